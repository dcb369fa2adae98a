"""Names of images: ``[TRANSPORT:]NAME``, checked against the grammar before they get into any path or URL.

Grammar of registry names: distribution/reference (OCI distribution-spec, "Pulling manifests"). Transports and their
spelling: containers-transports(5). A name without a registry means Docker Hub, as everywhere in the field.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..storage.imagenames import EXAMPLE, is_registry, is_repository, is_tag
from .digests import is_digest

# OCI image-spec, "Pre-Defined Annotation Keys", org.opencontainers.image.ref.name; or @N, the N-th entry.
_LAYOUT_NAME = re.compile(r"[A-Za-z0-9]+(?:[-._:@/+]+[A-Za-z0-9]+)*|@[0-9]{1,6}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
# containers-transports(5), "containers-storage": [driver@]graphroot[+runroot][:options]; a path may hold "+" and ":".
_SPECIFIER = re.compile(
    r"\[(?:(?P<driver>[a-z0-9]+)@)?(?P<root>/[^\[\]+:,]*)(?:\+[^\[\]]*)?(?::[^\[\]]*)?\](?P<name>.*)"
)
_IMAGE_ID = re.compile(r"@?(?P<id>[0-9a-f]{64})|@(?P<prefix>[0-9a-f]{3,63})")
_LONGEST_BASE = 100
_ARCHIVE_SUFFIXES = re.compile(r"\.(?:tar|oci|tar\.gz|tgz|tar\.zst|tar\.xz)$")

DOCKER_HUB = "docker.io"
STORAGE = "containers-storage"
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


def _transport_of(text: str) -> tuple[str, str]:
    prefix, colon, rest = text.partition(":")
    if text.startswith("docker://"):
        return "docker", text.removeprefix("docker://")
    if colon and prefix in (*PATH_TRANSPORTS, STORAGE):
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
    if not is_registry(host):
        raise UsageError(f"{text!r}: {host!r} is not a registry's host name", EXAMPLE)


def _split_name(text: str) -> tuple[str, str | None, str | None]:
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise UsageError(f"{text!r}: the digest must be sha256: and 64 hexadecimal digits", EXAMPLE)
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, None, digest or None
    if not is_tag(tag):
        raise UsageError(f"{text!r}: {tag!r} is not a tag", "tags have up to 128 letters, digits and '_.-'")
    return head, tag, digest or None


def _plain_base(path: Path) -> str:
    """A file's name as the last part of an image's."""
    words = re.sub(r"[^a-z0-9]+", "-", _ARCHIVE_SUFFIXES.sub("", path.name).lower())
    return words[:_LONGEST_BASE].strip("-") or "image"


def canonical(name: str) -> str:
    """What an image inside a file is called, as a canonical name if it is a name at all: it may be any text."""
    with contextlib.suppress(UsageError):
        return str(Reference.parse(name)) if "/" in name or ":" in name else name
    return name


@dataclass(frozen=True)
class Reference:
    """Where an image is to be found, and what it is called there.

    ``registry``, ``repository``, ``tag`` and ``digest`` belong to ``docker`` and ``containers-storage``; the latter may
    name the store's ``root``, and in place of a name an ``image_id`` or its beginning. The others have ``path``, and
    ``tag`` for the name inside: an ``org.opencontainers.image.ref.name``, ``@N`` for the N-th image, a ``RepoTags``
    entry of a docker-archive, or None for the only one.
    """

    transport: str
    registry: str = ""
    repository: str = ""
    tag: str | None = None
    digest: str | None = None
    path: Path | None = None
    root: Path | None = None
    image_id: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Understand what a user called an image. Raises UsageError."""
        transport, rest = _transport_of(text)
        if transport in PATH_TRANSPORTS:
            return cls._parse_path(transport, rest, text)
        return cls._parse_storage(rest, text) if transport == STORAGE else cls._parse_name(transport, rest, text)

    @classmethod
    def _parse_storage(cls, rest: str, text: str) -> Reference:
        match = _SPECIFIER.fullmatch(rest)
        if match is None and rest.startswith("["):
            raise UsageError(f"{text!r}: what stands in [] names no store", f"write {STORAGE}:[overlay@/ROOT]NAME")
        root, name = (Path(match["root"]), match["name"]) if match else (None, rest)
        if match and match["driver"] not in (None, "overlay"):
            raise UsageError(f"{text!r}: a store of the {match['driver']} driver", "only overlay stores are supported")
        if root and ".." in root.parts:
            raise UsageError(f"{text!r}: the store's path must not contain '..'", "name it by its absolute path")
        if by_id := _IMAGE_ID.fullmatch(name):
            return cls(STORAGE, root=root, image_id=by_id["id"] or by_id["prefix"])
        return replace(cls._parse_name(STORAGE, name, text), root=root)

    @classmethod
    def _parse_name(cls, transport: str, rest: str, text: str) -> Reference:
        name, tag, digest = _split_name(rest)
        registry, repository = _split_registry(name)
        _check_host(registry, text)
        if registry == DOCKER_HUB and "/" not in repository:
            if _HEX64.fullmatch(repository):
                raise UsageError(f"{text!r} is an image's ID, not its name", EXAMPLE)
            repository = f"library/{repository}"
        if not is_repository(registry, repository):
            raise UsageError(f"{text!r} is not the name of an image", f"{EXAMPLE}, in lower case")
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
    def is_local(self) -> bool:
        """Whether the image lies on this host, so that asking for it costs nothing and needs no network."""
        return self.transport != "docker"

    @property
    def name(self) -> str:
        """The name without tag and digest: ``registry.example/group/name``."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        """The canonical spelling; of a registry's image it is the name in the storage."""
        if self.path is not None:
            return f"{self.transport}:{self.path}{f':{self.tag}' if self.tag else ''}"
        place = "" if self.root is None else f"[overlay@{self.root}]"
        return f"{'' if self.transport == 'docker' else f'{self.transport}:{place}'}{self._plain}"

    @property
    def _plain(self) -> str:
        """Without the transport."""
        if self.image_id:
            return f"@{self.image_id}"
        # A digest says more than a tag, and containers/storage knows no name with both.
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    @property
    def kept_as(self) -> str:
        """Under which name the storage keeps the image for whoever will ask for this very reference again.

        A name that every reader of the storage understands: one with a transport makes podman refuse the whole store.
        """
        if self.path is None:
            return self.image_id or self._plain
        mark = hashlib.sha256(str(self).encode(errors="surrogateescape")).hexdigest()[:12]
        return f"localhost/{_plain_base(self.path)}.{mark}:latest"

    def asks_for(self, name: str) -> bool:
        """Whether ``name``, canonical, is what whoever wrote this reference would call the image."""
        return name in (self.kept_as, canonical(self.tag or ""))

    @property
    def container_name(self) -> str:
        """What a container of this image is called by default: the last path element, ``-TAG`` unless latest."""
        tag = self.tag
        if self.image_id:
            return self.image_id[:12]
        if self.path is None:
            base = self.repository.rpartition("/")[2]
        elif tag and "/" in tag:
            return Reference.parse(tag).container_name
        else:
            base = _ARCHIVE_SUFFIXES.sub("", self.path.name)
        return base if tag in (None, "latest") or tag.startswith("@") else f"{base}-{tag}"

    def stored_name(self, annotated: str | None = None) -> str:
        """The canonical name for the storage; ``annotated`` is what the image inside a file calls itself.

        A file's image that has no full name of its own becomes ``localhost/FILE:TAG``. One with a digest is none: a
        file can claim any, and whoever asks for a digest later must not be served by its word.
        """
        if self.path is None:
            return self._plain
        own = annotated or self.tag or "latest"
        with contextlib.suppress(UsageError):  # some tools annotate with any text
            named = Reference.parse(own) if "/" in own or ":" in own else self
            if not named.is_local and named.digest is None:
                return str(named)
        return f"localhost/{_plain_base(self.path)}:{own if is_tag(own) else 'latest'}"
