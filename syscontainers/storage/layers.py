"""Layers as a store records them: ``layers.json``, and the small files beside a layer's content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError, SyscontainersError
from ..typed import Document
from .paths import StorePaths, is_link, link_name
from .records import Record, drop_empty, now_text, read_records
from .staged import StagedLayer

_ALGORITHM = "sha256:"


class LayerGoneError(SyscontainersError):
    """A layer that was to be built on has been removed in the meantime; pulling again fetches it."""


@dataclass(frozen=True)
class Layer:
    """One layer of the store."""

    id: str
    parent: str | None
    diff_id: str
    """``sha256:`` and the digest of its tar; empty for one that was pulled by a table of contents only."""
    diff_size: int
    """Bytes of its tar; -1 if unknown."""
    digest: str
    """Of the bytes that were downloaded; may be empty."""
    size: int
    """Bytes that were downloaded; 0 if unknown."""
    created: str
    compression: int
    """Of the downloaded bytes, in containers/storage's numbers (see ``StagedLayer``)."""
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    incomplete: bool
    """Somebody began to write or remove it; to everyone else it is not there."""

    @classmethod
    def from_record(cls, document: Document) -> Layer:
        """Raises DocumentError."""
        return cls(
            id=document.get_str("id"),
            parent=document.get_str("parent", "") or None,
            diff_id=document.get_str("diff-digest", ""),
            diff_size=document.get_int("diff-size", 0),
            digest=document.get_str("compressed-diff-digest", ""),
            size=document.get_int("compressed-size", 0),
            created=document.get_str("created", ""),
            compression=document.get_int("compression", 0),
            uids=_read_ids(document, "uidset"),
            gids=_read_ids(document, "gidset"),
            incomplete=document.get_object("flags", {}).get("incomplete") is True,
        )


def _read_ids(document: Document, key: str) -> tuple[int, ...]:
    ids = document.get_list(key, [])
    if not all(type(each) is int for each in ids):
        document.fail(key, "must be a list of integers")
    return tuple(ids)


def layer_id(parent: str | None, diff_id: str) -> str:
    """The ID that containers/storage gives to a layer: it depends on all layers below."""
    digest = diff_id.removeprefix(_ALGORITHM)
    return digest if parent is None else hashlib.sha256(f"{parent}+{digest}".encode()).hexdigest()


def layer_ids(diff_ids: Iterable[str]) -> list[str]:
    """The IDs of an image's layers from the tar digests that its config lists, base first."""
    ids: list[str] = []
    for diff_id in diff_ids:
        ids.append(layer_id(ids[-1] if ids else None, diff_id))
    return ids


def layers_from(records: Iterable[Record], where: Path) -> dict[str, Layer]:
    """The whole layers among ``records``, by ID. Raises DocumentError."""
    layers = (Layer.from_record(Document(record, f"{where}: {record['id']}")) for record in records)
    return {layer.id: layer for layer in layers if not layer.incomplete}


def read_layers(paths: StorePaths) -> dict[str, Layer]:
    """The whole layers of a store, by ID. Raises DocumentError and OSError."""
    return layers_from(read_records(paths.layers_json), paths.layers_json)


def chain_of(layers: Mapping[str, Layer], top: str | None) -> list[Layer]:
    """A layer and all below it, base first. Raises NotFoundError where one is missing."""
    chain: list[Layer] = []
    while top is not None:
        layer = layers.get(top)
        if layer is None or len(chain) > len(layers):
            raise NotFoundError(f"layer {top[:12]} is not in this store", "pull the image again")
        chain.append(layer)
        top = layer.parent
    return chain[::-1]


def make_record(layer: StagedLayer, identity: str, parent: str | None) -> Record:
    """The record of a new layer, with the keys in Go's order."""
    return drop_empty(
        {
            "id": identity,
            "parent": parent,
            "created": now_text(),
            "compressed-diff-digest": layer.digest,
            "compressed-size": layer.size,
            "diff-digest": layer.diff_id,
            "diff-size": layer.diff_size,
            "compression": layer.compression,
            "uidset": list(layer.uids),
            "gidset": list(layer.gids),
        }
    )


def read_link(paths: StorePaths, identity: str) -> str | None:
    """The short name of a layer, if its link is there and leads to it."""
    try:
        name = (paths.layer(identity) / "link").read_text()
        if is_link(name) and paths.link(name).readlink() == Path("..", identity, "diff"):
            return name
    except OSError:
        pass  # a layer without a usable link is still found under its long name
    return None


def link_of(paths: StorePaths, identity: str) -> str:
    """The short name of a layer, or the one that ours would have."""
    return read_link(paths, identity) or link_name(identity)


def lower_texts(below: Sequence[str], links: Mapping[str, str]) -> dict[str, str]:
    """The small files that name the layers ``below`` (base first); c/storage reads the second since 1.63."""
    return {"lower": lower_paths(below, links), "lower-layers": ":".join(reversed(below))}


def lower_paths(chain: Sequence[str], links: Mapping[str, str]) -> str:
    """The text of a layer's ``lower``: the short links of the ``chain`` below it (base first), top-most first."""
    return ":".join(f"l/{links[identity]}" for identity in reversed(chain))
