"""Manifests and indexes: read strictly, refused when two readers could see two different things in them.

OCI image-spec 1.1: "Image Manifest", "Image Index", "Content Descriptors"; Docker "Image Manifest V 2, Schema 2".
Schema 1 is refused, as Docker and containerd do: its digests do not cover what is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import RefusedError
from ..typed import Document, DocumentError
from .digests import digest_of, is_digest
from .shape import MANIFEST, check_shape

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

ACCEPTED = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
"""What we ask registries for; schema 1 is not offered."""

MANIFEST_LIMIT = 4 << 20
CONFIG_LIMIT = 4 << 20
MOST_LAYERS = 500
"""The kernel's limit of lower directories of one overlay mount (fs/overlayfs/params.h, OVL_MAX_STACK)."""

_MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
_INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
# What web servers say when they do not know better; then the document's own word and its shape decide.
_NEUTRAL_TYPES = ("", "application/json", "text/plain", "application/octet-stream")
_SCHEMA1_TYPES = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
# No .zstd among these: containers/image does not know it in a Docker manifest.
_DOCKER_LAYER_TYPES = frozenset(
    f"{base}{suffix}"
    for base in (DOCKER_LAYER, "application/vnd.docker.image.rootfs.foreign.diff.tar")
    for suffix in ("", ".gzip")
)
_LAYER_TYPES = _DOCKER_LAYER_TYPES | {
    f"{base}{suffix}" for base in (OCI_LAYER, _OCI_FOREIGN_LAYER) for suffix in ("", "+gzip", "+zstd")
}
_LARGEST_BLOB = 1 << 50


@dataclass(frozen=True)
class RawManifest:
    """A manifest or index as it came, byte for byte."""

    data: bytes
    media_type: str
    """What the source called it (a Content-Type); may be empty."""

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return digest_of(self.data)


@dataclass(frozen=True)
class Platform:
    """What a program needs to run (OCI image-spec, "Image Index", ``platform``); Go's names."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    """A promise about bytes that lie elsewhere: their digest and exact size."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    @classmethod
    def from_document(cls, document: Document) -> Descriptor:
        """Raises DocumentError. ``urls`` and ``data`` are not read: bytes come from the image's own source only."""
        digest = document.get_str("digest")
        if not is_digest(digest):
            document.fail("digest", f"must be sha256: and 64 hexadecimal digits, not {digest[:80]!r}")
        size = document.get_int("size", minimum=0)
        if size > _LARGEST_BLOB:
            document.fail("size", f"is beyond reason: {size}")
        platform = document.get_optional_object("platform")
        return cls(
            media_type=document.get_str("mediaType", ""),
            digest=digest,
            size=size,
            annotations=document.get_string_map("annotations", {}),
            platform=None if platform is None else _read_platform(platform),
        )


def _read_platform(document: Document) -> Platform:
    return Platform(document.get_str("os", ""), document.get_str("architecture", ""), document.get_str("variant", ""))


@dataclass(frozen=True)
class Manifest:
    """One image for one platform: its config and its layers, base first."""

    raw: RawManifest
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Index:
    """A choice of manifests (or further indexes), mostly one per platform."""

    raw: RawManifest
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


def parse_manifest(raw: RawManifest, where: str) -> Manifest | Index:
    """Tell manifest from index and read it. Raises DocumentError or RefusedError, naming ``where``."""
    document = Document.parse(raw.data, where)
    check_shape(document, MANIFEST)
    media_type = _agreed_type(document, raw.media_type)
    if media_type in _INDEX_TYPES:
        return _read_index(document, raw)
    return _read_manifest(document, raw, media_type)


def _agreed_type(document: Document, content_type: str) -> str:
    """The one media type that the transport, the document and its shape agree on.

    CVE-2021-41190: a document that is a manifest to one reader and an index to another has one digest and two
    meanings, so any disagreement refuses it.
    """
    _refuse_schema1(document, content_type)
    outer = content_type.partition(";")[0].strip().lower()
    inner = document.get_str("mediaType", "")
    if outer not in (*ACCEPTED, *_NEUTRAL_TYPES):
        raise DocumentError(f"{document.where}: came as {outer!r}, which is no image manifest", "check the name")
    if inner not in (*ACCEPTED, ""):
        document.fail("mediaType", f"is {inner!r}: no image manifest")
    if outer in ACCEPTED and inner and outer != inner:
        document.fail("mediaType", f"is {inner!r}, but it came as {outer!r}")
    return _checked_shape(document, inner or (outer if outer in ACCEPTED else ""))


def _checked_shape(document: Document, declared: str) -> str:
    is_index = "manifests" in document
    is_manifest = "config" in document or "layers" in document
    if is_index == is_manifest:
        problem = "has both manifests and layers" if is_index else "has neither layers nor manifests"
        raise DocumentError(f"{document.where}: {problem}: not a manifest")
    shape = _INDEX_TYPES if is_index else _MANIFEST_TYPES
    if declared and declared not in shape:
        raise DocumentError(f"{document.where}: calls itself {declared!r} but is {'an index' if is_index else 'none'}")
    return declared or shape[0]


def _refuse_schema1(document: Document, content_type: str) -> None:
    if (
        document.get("schemaVersion") == 1
        or "fsLayers" in document
        or content_type.partition(";")[0].strip().lower() in _SCHEMA1_TYPES
        or document.get("mediaType") in _SCHEMA1_TYPES
    ):
        raise RefusedError(
            f"{document.where}: is a Docker schema 1 image, a format given up in 2017",
            "push it again with a current tool: skopeo copy --format oci",
        )
    if document.get_int("schemaVersion") != 2:
        document.fail("schemaVersion", "must be 2")


def _read_index(document: Document, raw: RawManifest) -> Index:
    manifests = tuple(Descriptor.from_document(entry) for entry in document.get_objects("manifests"))
    return Index(raw, manifests, document.get_string_map("annotations", {}))


def _read_manifest(document: Document, raw: RawManifest, media_type: str) -> Manifest:
    # OCI manifests may have layers of Docker's types, as BuildKit once wrote them; the reverse breaks podman.
    config_type, layer_types = (OCI_CONFIG, _LAYER_TYPES)
    if media_type == DOCKER_MANIFEST:
        config_type, layer_types = (DOCKER_CONFIG, _DOCKER_LAYER_TYPES)
        if not document.get_str("mediaType"):
            document.fail("mediaType", "must not be empty")
    config = Descriptor.from_document(document.get_object("config"))
    if config.media_type != config_type:
        raise RefusedError(
            f"{document.where}: is no container image but an artifact of type {config.media_type!r}", "check the name"
        )
    if config.size > CONFIG_LIMIT:
        document.fail("config.size", f"is {config.size}, more than {CONFIG_LIMIT}")
    layers = tuple(_read_layer(entry, layer_types) for entry in document.get_objects("layers"))
    if len(layers) > MOST_LAYERS:
        document.fail("layers", f"are {len(layers)}; the kernel mounts at most {MOST_LAYERS}")
    return Manifest(raw, config, layers, document.get_string_map("annotations", {}))


def _read_layer(document: Document, types: frozenset[str]) -> Descriptor:
    layer = Descriptor.from_document(document)
    if layer.media_type.endswith("+encrypted"):
        document.fail("mediaType", "is an encrypted layer, which is not supported")
    if layer.media_type not in types:
        document.fail("mediaType", f"is {layer.media_type!r}: no layer of such an image")
    return layer
