"""Containers as a store records them, and those of ours that hold images in a store that others write to.

In podman's own store an image goes with ``podman rmi`` or ``podman image prune --all``, unless a container uses it.
So each generation that stands on an image there gets a record of a container: podman lists it with ``ps --external``
and leaves the image alone, but for ``rmi --force``. As c/storage wants it, the record has a layer of its own
on top of the image's; it stays empty.

A record is known by its ID, which follows from what it holds for. Made and removed under layers.lock, images.lock and
containers.lock in that order. A crash in between leaves a layer of a container that is not there, or its directory,
which the next who stages something removes by the ticket (``settle``); or a record for a generation that is not
there, which the next prune removes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import NotFoundError
from ..typed import Document, DocumentError
from .images import Image
from .layers import chain_of, layers_from, link_of, lower_texts
from .locks import lock_exclusively, lock_shared
from .moves import move
from .paths import StorePaths, link_name
from .records import Record, locked_table, now_text, read_records
from .settle import take_out_layers
from .staging import StagingArea, Ticket

_MARK = "syscontainers"


@dataclass(frozen=True)
class StoredContainer:
    """One container of a store, anybody's."""

    id: str
    name: str
    """Its first name, or the beginning of its ID."""
    image_id: str
    layer: str
    holds_for: str
    """What of ours it holds the image for; empty for a container of another tool."""


def read_containers(paths: StorePaths) -> list[StoredContainer]:
    """The containers of podman, CRI-O and Buildah in a store, and our holders. Raises DocumentError."""
    return [_parse(record, path) for path in paths.containers_json for record in read_records(path)]


def _parse(record: Record, path: Path) -> StoredContainer:
    document = Document(record, f"{path}: {record['id']}")
    identity, names = document.get_str("id"), document.get_strings("names", [])
    return StoredContainer(
        id=identity,
        name=names[0] if names else identity[:12],
        image_id=document.get_str("image", ""),
        layer=document.get_str("layer", ""),
        holds_for=_read_mark(document.get_str("metadata", "")),
    )


def _read_mark(metadata: str) -> str:
    try:
        return Document.parse(metadata, "metadata").get_str(_MARK, "")
    except DocumentError:
        return ""  # another tool's own text


def holder_id(holds_for: str) -> str:
    """The ID of the record that holds an image for ``holds_for``."""
    return hashlib.sha256(f"{_MARK} {holds_for}".encode()).hexdigest()


def add_holder(paths: StorePaths, area: StagingArea, image: Image, holds_for: str, name: str) -> None:
    """Let a container called ``name`` hold ``image`` for ``holds_for``; one that is there already stays.

    Raises NotFoundError if the image is gone, and OSError.
    """
    identity = holder_id(holds_for)
    layer = hashlib.sha256(identity.encode()).hexdigest()
    _make_tree(paths)
    with (
        area.working_directory() as work,
        locked_table(paths.layers_json, paths.layers_lock) as layers,
        lock_shared(paths.images_lock),
        locked_table(paths.containers_json[0], paths.containers_lock) as containers,
    ):
        if containers.find(identity) is not None:
            return
        if not any(record["id"] == image.id for record in read_records(paths.images_json)):
            raise NotFoundError(f"image {image.id[:12]} is not in {paths.root} any more", "pull it again")
        work.note(Ticket(str(paths.root), (layer,)))
        chain = [each.id for each in chain_of(layers_from(layers.records, paths.layers_json), image.layer)]
        layers.remove({layer})
        take_out_layers(paths, [layer], work.path)
        _put_layer(paths, work.path / "new", layer, chain)
        layers.records.append(_layer_record(layer, image))
        layers.save()
        containers.records.append(_container_record(identity, layer, image, holds_for, name))
        containers.save()
        work.is_settled = True


def _make_tree(paths: StorePaths) -> None:
    files.make_directories(paths.container_records, 0o700)
    with lock_exclusively(paths.containers_lock):
        files.sync_directory(paths.root)


def _put_layer(paths: StorePaths, directory: Path, layer: str, below: list[str]) -> None:
    """An empty writable layer, as the overlay driver makes it for a container."""
    directory.mkdir(mode=0o700)
    (directory / "diff").mkdir()
    (directory / "diff").chmod(paths.diff(below[-1]).stat().st_mode & 0o7777 if below else 0o755)
    for name in ("work", "merged", *(() if below else ("empty",))):
        (directory / name).mkdir(mode=0o700)
    texts = lower_texts(below, {each: link_of(paths, each) for each in below}) if below else {}
    for name, text in {**texts, "link": link_name(layer)}.items():
        files.replace_file(directory / name, text.encode())
    files.sync_directory(directory)
    move(directory, paths.layer(layer))
    paths.link(link_name(layer)).unlink(missing_ok=True)
    paths.link(link_name(layer)).symlink_to(Path("..", layer, "diff"))
    for changed in (paths.links, paths.overlay):
        files.sync_directory(changed)


def _layer_record(layer: str, image: Image) -> Record:
    parent = {} if image.layer is None else {"parent": image.layer}
    return {"id": layer, **parent, "created": now_text()}


def _container_record(identity: str, layer: str, image: Image, holds_for: str, name: str) -> Record:
    metadata = {
        "image-name": image.names[0] if image.names else "",
        "image-id": image.id,
        "name": name,
        "created-at": int(time.time()),
        _MARK: holds_for,
    }
    return {
        "id": identity,
        "names": [name],
        "image": image.id,
        "layer": layer,
        "metadata": json.dumps(metadata),
        "created": now_text(),
    }


def remove_holders(paths: StorePaths, area: StagingArea, identities: Iterable[str]) -> None:
    """Let go of what these hold; one that is gone already is no error. Raises OSError and DocumentError."""
    wanted = set(identities)
    with (
        area.working_directory() as work,
        locked_table(paths.layers_json, paths.layers_lock) as layers,
        lock_shared(paths.images_lock),
        locked_table(paths.containers_json[0], paths.containers_lock) as containers,
    ):
        gone = [_parse(record, paths.root) for record in containers.records if record["id"] in wanted]
        if not gone:
            return
        work.note(Ticket(str(paths.root), tuple(each.layer for each in gone)))
        containers.remove({each.id for each in gone})
        containers.save()
        layers.remove({each.layer for each in gone})
        layers.save()
        take_out_layers(paths, [each.layer for each in gone], work.path)
        work.is_settled = True
