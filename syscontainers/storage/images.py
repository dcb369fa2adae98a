"""Images as a store records them: ``images.json`` and the big data beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError
from ..typed import Document
from .imagenames import check_name, repository_of
from .paths import StorePaths
from .records import Record, checked_time, now_text, read_records

MANIFEST = "manifest"
"""The key under which every tool finds an image's manifest; the same stands once more under its digest."""
_MANIFEST_PREFIX = "manifest-"
_SHORTEST_PREFIX = 3
_HEX = frozenset("0123456789abcdef")


def manifest_key(digest: str) -> str:
    """The key of the manifest or index with that digest."""
    return f"{_MANIFEST_PREFIX}{digest}"


@dataclass(frozen=True)
class NewImage:
    """An image that is to be added to the store."""

    manifest: bytes
    manifest_digest: str
    config: bytes
    names: tuple[str, ...] = ()
    """Canonical: ``registry.example/repository:tag`` or ``…@sha256:…``. Another image that has one loses it."""
    indexes: Mapping[str, bytes] = field(default_factory=dict)
    """The indexes that it was chosen from, by digest; the image is found under these digests too."""
    created: str = ""
    """As the config says; what Go cannot read as a time is replaced by now."""

    @property
    def id(self) -> str:
        """The hex digest of the config, which is how containers/storage knows it."""
        return hashlib.sha256(self.config).hexdigest()

    def big_data(self) -> dict[str, bytes]:
        """What is kept of it beside the layers, by key."""
        manifests = {self.manifest_digest: self.manifest, **self.indexes}
        data = {manifest_key(digest): content for digest, content in manifests.items()}
        return {**data, MANIFEST: self.manifest, f"sha256:{self.id}": self.config}


@dataclass(frozen=True)
class Image:
    """One image of the store."""

    id: str
    """64 hex digits, the digest of its config unless it was made by other means."""
    names: tuple[str, ...]
    digest: str
    """Of its manifest; empty if the store does not say."""
    layer: str | None
    """The topmost layer; None for an image without layers."""
    created: str
    digests: tuple[str, ...]
    """Every digest that it is known under: its manifests' and their indexes'."""

    @classmethod
    def from_record(cls, document: Document) -> Image:
        """Raises DocumentError."""
        keys = document.get_strings("big-data-names", [])
        digest = document.get_str("digest", "")
        known = [key.removeprefix(_MANIFEST_PREFIX) for key in keys if key.startswith(_MANIFEST_PREFIX)]
        return cls(
            id=document.get_str("id"),
            names=tuple(document.get_strings("names", [])),
            digest=digest,
            layer=document.get_str("layer", "") or None,
            created=document.get_str("created", ""),
            digests=tuple(dict.fromkeys([*filter(None, [digest]), *known])),
        )


def images_from(records: Iterable[Record], where: Path) -> list[Image]:
    """The images among ``records``. Raises DocumentError."""
    return [Image.from_record(Document(record, f"{where}: {record['id']}")) for record in records]


def read_images(paths: StorePaths) -> list[Image]:
    """All images of a store in the order of its file. Raises DocumentError and OSError."""
    return images_from(read_records(paths.images_json), paths.images_json)


def find_image(images: Sequence[Image], name: str) -> Image | None:
    """The image called ``name``: a canonical name, ``name@digest``, an ID, ``sha256:ID`` or an ID's beginning.

    Raises UsageError for a beginning that several images share.
    """
    repository, at, digest = name.partition("@")
    if at:
        # Not by the whole name alone: whoever wrote that may have lied. But of several images that were chosen from one
        # index, each for its platform, the one that has the name is meant.
        candidates = [image for image in images if _has_digest(image, repository, digest)]
        return next((image for image in candidates if name in image.names), next(iter(candidates), None))
    for image in images:
        if name in image.names:
            return image
    prefix = name.removeprefix("sha256:")
    if len(prefix) < _SHORTEST_PREFIX or not _HEX.issuperset(prefix):
        return None
    found = [image for image in images if image.id.startswith(prefix)]
    if len(found) > 1:
        raise UsageError(f"{name}: {len(found)} images have an ID that begins so", "give more of it")
    return found[0] if found else None


def _has_digest(image: Image, repository: str, digest: str) -> bool:
    """Whether ``repository@digest`` is this image; a digest alone would let any repository claim it."""
    return digest in image.digests and any(repository_of(name) == repository for name in image.names)


def make_record(new: NewImage, layer: str | None) -> Record:
    """The record of a new image without names and big data, with the keys in Go's order."""
    record: Record = {"id": new.id, "digest": new.manifest_digest}
    if layer is not None:
        record["layer"] = layer
    record["metadata"] = "{}"
    record["created"] = checked_time(new.created) or now_text()
    return record


def note_big_data(record: Record, new: NewImage) -> None:
    """Add the new image's big data to its record; other items, signatures for instance, stay."""
    names = record.setdefault("big-data-names", [])
    sizes, digests = record.setdefault("big-data-sizes", {}), record.setdefault("big-data-digests", {})
    for key, data in new.big_data().items():
        if key not in names:
            names.append(key)
        sizes[key] = len(data)
        digests[key] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    record["digest"] = new.manifest_digest


def give_names(records: Iterable[Record], record: Record, names: Iterable[str]) -> bool:
    """Add ``names`` to ``record`` and take them from whatever image has them; whether anything changed.

    A name belongs to at most one image of a store. What an image was called once stays in ``names-history``. Raises
    UsageError for a name that no image may have, or not this one.
    """
    changed = False
    for name in names:
        _check_name(record, name)
        for other in records:
            if other is not record and take_name(other, name):
                changed = True
        if name not in (own := record.get("names") or []):
            record["names"] = [*own, name]
            record["names-history"] = [name, *(old for old in record.get("names-history") or [] if old != name)]
            changed = True
    return changed


def _check_name(record: Record, name: str) -> None:
    check_name(name)
    _, at, digest = name.partition("@")
    image = Image.from_record(Document(record, "images.json"))
    if at and digest not in image.digests:
        raise UsageError(f"{name}: the image {image.id[:12]} has another digest", f"its own is {image.digest}")


def take_name(record: Record, name: str) -> bool:
    """Remove ``name`` from ``record``; whether it had it."""
    names = record.get("names") or []
    if name not in names:
        return False
    record["names"] = [own for own in names if own != name]
    if not record["names"]:
        del record["names"]
    return True
