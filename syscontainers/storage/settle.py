"""Taking layers and images out of a store's tree, and clearing up after a process that died between two steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import files
from ..typed import Document, DocumentError
from .images import MANIFEST, Image, manifest_key
from .layers import read_link
from .moves import move
from .paths import StorePaths, big_data_name, link_name
from .records import Record, RecordTable, locked_table, read_records
from .references import container_records
from .staging import StagingArea, WorkingDirectory


def settle_leftovers(area: StagingArea, root: Path, warn: Callable[[str], None]) -> None:
    """Clear up after every dead process. What cannot be cleared up waits for the next time, and ``warn`` is told.

    Raises OSError and DocumentError only where that concerns what the store at ``root`` has in it.
    """
    for leftover in area.leftovers():
        ticket = leftover.read_ticket()
        is_vital = ticket is not None and os.path.realpath(ticket.root) == os.path.realpath(root)
        try:
            settle(leftover)
            is_vital = False  # the store is in order; a directory that stays is only in the way
            leftover.remove()
        except (OSError, DocumentError) as error:
            if is_vital:
                raise
            warn(f"{leftover.path} is left over and cannot be cleared up, the next command tries again: {error}")
    area.drop_dead_claims()


def settle(work: WorkingDirectory) -> None:
    """Remove from the store what the ticket of ``work`` names and no record mentions.

    That undoes a commit which did not come to its records, and completes a removal which did.
    """
    ticket = work.read_ticket()
    if ticket is None:
        return
    paths = StorePaths(Path(ticket.root))
    if not paths.layer_records.is_dir() or not paths.image_records.is_dir():
        return  # the store itself is gone
    work.path.mkdir(mode=0o700, exist_ok=True)
    with (
        locked_table(paths.layers_json, paths.layers_lock) as layers,
        locked_table(paths.images_json, paths.images_lock) as images,
    ):
        files.sweep_temporaries(paths.layers_json)
        files.sweep_temporaries(paths.images_json)
        _drop_orphans(paths, layers, ticket.layers)
        take_out_layers(paths, _unlisted(ticket.layers, layers, read_records(paths.volatile_layers_json)), work.path)
        take_out_images(paths, _unlisted(ticket.images, images, []), work.path)
        for image_id in ticket.images:
            if (record := images.find(image_id)) is not None:
                _make_whole(paths, record, work.path)


def _drop_orphans(paths: StorePaths, table: RecordTable, layer_ids: Iterable[str]) -> None:
    """Take those of the layers off the records that were of a container of ours and lost it, or never got it."""
    used = {record.get("layer") for record in container_records(paths)}
    records = [record for layer_id in layer_ids if (record := table.find(layer_id)) and layer_id not in used]
    orphans = {str(record["id"]) for record in records if not record.get("diff-digest")}
    if orphans:
        table.remove(orphans)
        table.save()


def _make_whole(paths: StorePaths, record: Record, into: Path) -> None:
    """Undo or complete the change of a listed image's manifest, whichever its record says."""
    document = Document(record, f"{paths.images_json}: {record['id']}")
    image = Image.from_record(document)
    known = {big_data_name(key) for key in document.get_strings("big-data-names", [])}
    strays = [path for path in _files_in(paths.image(image.id)) if path.name not in known]
    moved = [_move_away(path, into / f"{image.id}.{path.name}") for path in strays]
    if any(moved):
        files.sync_directory(paths.image(image.id))
    plain, right = (paths.big_data(image.id, key) for key in (MANIFEST, manifest_key(image.digest)))
    if right.is_file() and (not plain.is_file() or plain.read_bytes() != right.read_bytes()):
        files.replace_file(plain, right.read_bytes(), 0o600)


def _files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _unlisted(ids: Iterable[str], table: RecordTable, others: Iterable[dict[str, object]]) -> list[str]:
    listed = {record["id"] for record in (*table.records, *others)}
    return [identity for identity in ids if identity not in listed]


def take_out_layers(paths: StorePaths, layer_ids: Iterable[str], into: Path) -> None:
    """Move the directories of layers away, to be deleted when no lock is held any more. Raises OSError."""
    has_moved = False
    for layer_id in layer_ids:
        for link in {read_link(paths, layer_id), _own_link(paths, layer_id)} - {None}:
            paths.link(str(link)).unlink(missing_ok=True)
        paths.tar_split(layer_id).unlink(missing_ok=True)
        has_moved |= _move_away(paths.layer_data(layer_id), into / f"{layer_id}.data")
        has_moved |= _move_away(paths.layer(layer_id), into / layer_id)
    if has_moved:
        files.sync_directory(paths.overlay)


def take_out_images(paths: StorePaths, image_ids: Iterable[str], into: Path) -> None:
    """Move the big data of images away. Raises OSError."""
    moved = [_move_away(paths.image(image_id), into / f"{image_id}.image") for image_id in image_ids]
    if any(moved):
        files.sync_directory(paths.image_records)


def _own_link(paths: StorePaths, layer_id: str) -> str | None:
    """Our link of a layer, which may be there without the layer after a crash."""
    name = link_name(layer_id)
    try:
        target = paths.link(name).readlink()
    except OSError:
        return None
    return name if target == Path("..", layer_id, "diff") else None


def _move_away(path: Path, target: Path) -> bool:
    """Whether there was anything to move."""
    try:
        move(path, target)
    except FileNotFoundError:
        return False
    return True
