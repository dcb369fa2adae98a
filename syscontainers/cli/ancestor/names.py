"""The ancestor's names of images, as references of ours.

========================  =======================================================================
``oci:NAME``, ``https:``  a registry's image; the prefix says nothing more
``http:NAME``             the same over plain http
``docker:NAME:TAG``       an image of this host's own engine, which is podman: ``containers-storage:NAME:TAG``
``dockertar:/PATH``       an archive of ``docker save``; with two slashes surely absolute
anything else             as ``Reference`` reads it: NAME, ``oci-archive:FILE``, ``docker-archive:FILE`` …
========================  =======================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...images.reference import DOCKER_HUB, STORAGE, Reference

_REGISTRY = ("oci", "http", "https")
# "http:5000/x" is the image x on a host called http, as in ``Reference``.
_PORT = re.compile(r"[0-9]{1,5}/")


@dataclass(frozen=True)
class Named:
    """An image as somebody called it."""

    reference: Reference
    plain_http: bool = False
    defaulted: bool = False
    """Whether the name says no registry, so that Docker Hub is meant."""


def read_image(text: str) -> Named:
    """Understand one of the ancestor's names. Raises UsageError."""
    prefix, colon, rest = text.partition(":")
    if colon and not _PORT.match(rest):
        if prefix in _REGISTRY:
            return _in_registry(rest.removeprefix("//"), plain_http=prefix == "http")
        if prefix == "dockertar":
            return Named(Reference.parse(f"docker-archive:{_archive(rest)}"))
        if prefix == "docker" and not rest.startswith("//"):
            return Named(Reference.parse(f"{STORAGE}:{rest}"))
    reference = Reference.parse(text)
    return _in_registry(text.removeprefix("docker://")) if reference.transport == "docker" else Named(reference)


def _in_registry(name: str, *, plain_http: bool = False) -> Named:
    reference = Reference.parse(f"docker://{name}")
    defaulted = reference.registry == DOCKER_HUB and "." not in name.partition("/")[0]
    return Named(reference, plain_http, defaulted or "/" not in name)


def _archive(rest: str) -> Path:
    """``//abs``, ``/abs`` as it was documented, and ``/rel`` as it was in fact read: relative to here."""
    absolute, relative = Path("/", rest.lstrip("/")), Path(rest.removeprefix("/"))
    return relative if not absolute.exists() and relative.exists() else absolute
