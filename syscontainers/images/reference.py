"""Names of images: ``[TRANSPORT:]NAME``, checked against the grammar before they get into any path or URL.

Grammar of registry names: distribution/reference (OCI distribution-spec, "Pulling manifests"). Transports and their
spelling: containers-transports(5). A name without a registry means Docker Hub, as everywhere in the field.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .digests import is_digest

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# OCI image-spec, "Pre-Defined Annotation Keys", org.opencontainers.image.ref.name; or @N, the N-th entry.
_LAYOUT_NAME = re.compile(r"[A-Za-z0-9]+(?:[-._:@/+]+[A-Za-z0-9]+)*|@[0-9]{1,6}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 255
_ARCHIVE_SUFFIXES = re.compile(r"\.(?:tar|oci|tar\.gz|tgz|tar\.zst|tar\.xz)$")

DOCKER_HUB = "docker.io"
PATH_TRANSPORTS = ("oci", "oci-archive", "docker-archive", "dir")
_UNSUPPORTED = {
    "docker-daemon": "export it: docker save IMAGE -o FILE, then docker-archive:FILE",
    "dockertar": "write docker-archive:FILE",
    "ostree": "pull the image from its registry instead",
    "sif": "only OCI and Docker images are supported",
    "tarball": "only OCI and Docker images are supported",
    "atomic": "pull the image from its registry instead",
    "http": "leave http: off and allow it with --plain-http or the setting insecure_registries",
    "https": "leave https: off",
    "docker": "write docker://NAME, or only NAME",
}
_EXAMPLE = "write it like registry.example/group/name:tag"


def _transport_of(text: str) -> tuple[str, str]:
    prefix, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        return "docker", text.removeprefix("docker://")
    if colon and prefix in (*PATH_TRANSPORTS, "containers-storage"):
        return prefix, rest
    # "docker:5000/x" is a host called docker with its port.
    if colon and prefix in _UNSUPPORTED and not re.match(r"[0-9]{1,5}/", rest):
        raise UsageError(f"{text!r}: the transport {prefix}: is not supported", _UNSUPPORTED[prefix])
    return "docker", text


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    # distribution/reference: a first part that cannot be one of a repository, or could be a DNS name, is a host.
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return ("docker.io", rest) if first in ("index.docker.io", "registry-1.docker.io") else (first, rest)
    return DOCKER_HUB, name


def _check_host(host: str, text: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise UsageError(f"{text!r}: {host!r} is not a registry's host name", _EXAMPLE)


def _split_name(text: str) -> tuple[str, str | None, str | None]:
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise UsageError(f"{text!r}: the digest must be sha256: and 64 hexadecimal digits", _EXAMPLE)
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, None, digest or None
    if not _TAG.fullmatch(tag):
        raise UsageError(f"{text!r}: {tag!r} is not a tag", "tags have up to 128 letters, digits and '_.-'")
    return head, tag, digest or None


@dataclass(frozen=True)
class Reference:
    """Where an image is to be found, and what it is called there.

    ``registry``, ``repository``, ``tag`` and ``digest`` belong to ``docker`` and ``containers-storage``. The others
    have ``path``, and ``tag`` for the name inside: an ``org.opencontainers.image.ref.name``, ``@N`` for the N-th
    image, a ``RepoTags`` entry of a docker-archive, or None for the only one.
    """

    transport: str
    registry: str = ""
    repository: str = ""
    tag: str | None = None
    digest: str | None = None
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Understand what a user called an image. Raises UsageError."""
        transport, rest = _transport_of(text)
        if transport in PATH_TRANSPORTS:
            return cls._parse_path(transport, rest, text)
        name, tag, digest = _split_name(rest)
        registry, repository = _split_registry(name)
        _check_host(registry, text)
        if registry == DOCKER_HUB and "/" not in repository:
            if _HEX64.fullmatch(repository):
                raise UsageError(f"{text!r} is an image's ID, not its name", _EXAMPLE)
            repository = f"library/{repository}"
        if not _PATH.fullmatch(repository) or len(registry) + 1 + len(repository) > _LONGEST_NAME:
            raise UsageError(f"{text!r} is not the name of an image", f"{_EXAMPLE}, in lower case")
        return cls(transport, registry, repository, tag or (None if digest else "latest"), digest)

    @classmethod
    def _parse_path(cls, transport: str, rest: str, text: str) -> Reference:
        path, _, name = rest.partition(":") if transport != "dir" else (rest, "", "")
        if not path or "\0" in path:
            raise UsageError(f"{text!r} names no file", f"write {transport}:PATH")
        if name and not _LAYOUT_NAME.fullmatch(name):
            raise UsageError(f"{text!r}: {name!r} is not the name of an image inside", f"write {transport}:PATH[:NAME]")
        return cls(transport, tag=name or None, path=Path(os.path.abspath(path)))

    @property
    def is_path(self) -> bool:
        """Whether the image lies in a file or directory of this host."""
        return self.path is not None

    @property
    def name(self) -> str:
        """The name without tag and digest: ``registry.example/group/name``."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        """The canonical spelling; of a registry's image it is the name in the storage."""
        if self.path is not None:
            return f"{self.transport}:{self.path}{f':{self.tag}' if self.tag else ''}"
        prefix = "" if self.transport == "docker" else f"{self.transport}:"
        # A digest says more than a tag, and containers/storage knows no name with both.
        return f"{prefix}{self.name}@{self.digest}" if self.digest else f"{prefix}{self.name}:{self.tag}"

    @property
    def container_name(self) -> str:
        """What a container of this image is called by default: the last path element, ``-TAG`` unless latest."""
        tag = self.tag
        if self.path is None:
            base = self.repository.rpartition("/")[2]
        elif tag and "/" in tag:
            return Reference.parse(tag).container_name
        else:
            base = _ARCHIVE_SUFFIXES.sub("", self.path.name)
        return base if tag in (None, "latest") or tag.startswith("@") else f"{base}-{tag}"

    def stored_name(self, annotated: str | None = None) -> str:
        """The canonical name for the storage; ``annotated`` is what the image inside a file calls itself.

        A file's image that has no full name of its own becomes ``localhost/FILE:TAG``.
        """
        if self.path is None:
            return str(self)
        own = annotated or self.tag or "latest"
        with contextlib.suppress(UsageError):  # some tools annotate with any text
            if "/" in own or ":" in own:
                return str(Reference.parse(own))
        base = re.sub(r"[^a-z0-9]+", "-", _ARCHIVE_SUFFIXES.sub("", self.path.name).lower()).strip("-") or "image"
        return f"localhost/{base}:{own if _TAG.fullmatch(own) else 'latest'}"
