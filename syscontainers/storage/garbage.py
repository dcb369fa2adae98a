"""Removing images, and the layers that nothing needs any more."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SyscontainersError
from .holders import read_containers
from .images import Image, read_images
from .layers import Layer, layers_from, read_layers
from .locks import lock_shared
from .paths import StorePaths
from .records import RecordTable, locked_table, read_records
from .references import (
    consumers_held,
    layers_used_by,
    layers_used_inside,
    other_stores,
    with_parents,
)
from .settle import take_out_images, take_out_layers
from .staging import StagingArea, Ticket

Pins = Callable[[], Iterable[str]]

_SHARED_STORE_AGE = dt.timedelta(hours=24)


@dataclass(frozen=True)
class Pruned:
    """What a prune removed, or would."""

    layers: tuple[str, ...]
    size: int
    """Bytes of their archives, uncompressed."""


class ImageUsedError(SyscontainersError):
    """Somebody uses the image, or is about to."""


def remove_image(paths: StorePaths, area: StagingArea, image_id: str, is_wanted: Callable[[], bool]) -> None:
    """Remove an image with all its names; its layers stay until ``prune_layers``.

    ``is_wanted`` is asked when nobody can begin to use it any more. Nothing happens if it is gone already. Raises
    ImageUsedError if it is wanted, if another command of ours is about to use it, or a container in this store does.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(area.claim_image(image_id, exclusive=True, wait=False))
        except BlockingIOError:
            raise ImageUsedError(
                f"image {image_id[:12]} is about to be used by another command", "try again when that has ended"
            ) from None
        if is_wanted():
            raise ImageUsedError(f"image {image_id[:12]} is used", "syscontainer images --json says by what")
        _remove_image(paths, area, image_id)


def _remove_image(paths: StorePaths, area: StagingArea, image_id: str) -> None:
    with (
        area.working_directory() as work,
        locked_table(paths.images_json, paths.images_lock) as table,
        lock_shared(paths.containers_lock),
    ):
        _check_unused(paths, image_id)
        work.note(Ticket(str(paths.root), (), (image_id,)))
        if table.find(image_id) is not None:
            table.remove({image_id})
            table.save()
        take_out_images(paths, [image_id], work.path)
        work.is_settled = True


def _check_unused(paths: StorePaths, image_id: str) -> None:
    for user in read_containers(paths):
        if user.image_id == image_id:
            hint = "syscontainer list --json tells its generations" if user.holds_for else f"podman rm {user.name}"
            raise ImageUsedError(f"image {image_id[:12]} is used by container {user.name}", hint)


def without_unfinished(paths: StorePaths, chosen: Iterable[Image]) -> list[Image]:
    """The ``chosen`` images without those that another tool has in work. Raises DocumentError.

    In a store that others write to, an image has no name while it is pulled; and what ``podman build --layers`` keeps
    for the next time never gets one. As for podman's own prune, an image that another one stands on stays; besides,
    so does a young one.
    """
    images = list(chosen)
    if not paths.container_records.is_dir():
        return images
    nameless = {image.id: image for image in images if not image.names}
    old = {identity for identity in nameless if _is_long_there(paths, identity)}
    layers = read_layers(paths)
    staying = (image.layer for image in read_images(paths) if image.id not in old)
    needed = with_parents(filter(None, staying), layers)
    gone = {identity for identity in old if nameless[identity].layer not in needed}
    return [image for image in images if image.names or image.id in gone]


def _is_long_there(paths: StorePaths, image_id: str) -> bool:
    """Its record tells when it was built, wherever that was; its directory, when its documents were put here."""
    try:
        changed = paths.image(image_id).stat().st_mtime
    except FileNotFoundError:
        return False  # they are still to come
    return changed < time.time() - _SHARED_STORE_AGE.total_seconds()


def find_garbage(paths: StorePaths, pins: Pins, consumers: Sequence[Path]) -> Pruned:
    """What ``prune_layers`` would remove now, claims of pulls in progress left aside. Changes nothing."""
    layers = read_layers(paths)
    images = read_records(paths.images_json)
    used = {*pins(), *layers_used_inside(paths, images)}
    for consumer in other_stores(paths, consumers):
        used |= layers_used_by(consumer, paths, layers)
    return _summary(layers[layer_id] for layer_id in _unused(paths, layers, used))


def prune_layers(paths: StorePaths, area: StagingArea, pins: Pins, consumers: Sequence[Path]) -> Pruned:
    """Remove every layer that no image, no layer that stays, no pin, no consumer and no pull needs.

    ``pins`` gives IDs of layers, each of which keeps those below it too; it is asked when no image can go any more, so
    what is not pinned yet is still held by its image (``Store.keep_image``). ``consumers`` are roots of stores that
    have this one as an additional image store. Raises DocumentError, and then removes nothing, if one of them cannot
    be read.
    """
    with (
        area.working_directory() as work,
        contextlib.ExitStack() as claims,
        consumers_held(paths, consumers) as stores,
        locked_table(paths.layers_json, paths.layers_lock) as table,
        lock_shared(paths.images_lock),
        lock_shared(paths.containers_lock),
    ):
        layers = layers_from(table.records, paths.layers_json)
        used = {*pins(), *layers_used_inside(paths, read_records(paths.images_json))}
        for store in stores:
            used |= layers_used_by(store, paths, layers)
        garbage = _unclaimed(area, claims, layers, _unused(paths, layers, used))
        if garbage:
            work.note(Ticket(str(paths.root), tuple(garbage)))
            _remove(paths, table, garbage, work.path)
            work.is_settled = True
    return _summary(layers[layer_id] for layer_id in garbage)


def _unused(paths: StorePaths, layers: dict[str, Layer], used: set[str]) -> list[str]:
    kept = with_parents(used, layers)
    unused = [layer for layer in layers.values() if layer.id not in kept]
    if paths.container_records.is_dir():
        # Others pull into this store too, and they list an image's layers long before the image itself. Their own
        # check counts such layers as lost after a day.
        young = [layer.id for layer in unused if not _is_old(layer)]
        kept |= with_parents(young, layers)
    return [layer.id for layer in unused if layer.id not in kept]


def _is_old(layer: Layer) -> bool:
    try:
        created = dt.datetime.fromisoformat(f"{layer.created[:19]}+00:00")
    except ValueError:
        return False  # an unreadable time proves no age
    # A day more than enough for whatever time zone the rest of the text would have named.
    return created < dt.datetime.now(dt.UTC) - _SHARED_STORE_AGE - dt.timedelta(hours=14)


def _unclaimed(
    area: StagingArea, claims: contextlib.ExitStack, layers: dict[str, Layer], unused: Sequence[str]
) -> list[str]:
    """Those of ``unused`` that no pull is about to build on; they stay claimed by us until all is done."""
    claimed: set[str] = set()
    for layer_id in unused:
        try:
            claims.enter_context(area.claim(layer_id, exclusive=True, wait=False))
        except BlockingIOError:
            claimed.add(layer_id)
    kept = with_parents(claimed, layers)
    return [layer_id for layer_id in unused if layer_id not in kept]


def _remove(paths: StorePaths, table: RecordTable, layer_ids: Sequence[str], into: Path) -> None:
    # From the records first: nobody may start to use what is about to go.
    table.remove(set(layer_ids))
    table.save()
    take_out_layers(paths, layer_ids, into)


def _summary(layers: Iterable[Layer]) -> Pruned:
    chosen = list(layers)
    return Pruned(tuple(layer.id for layer in chosen), sum(max(layer.diff_size, 0) for layer in chosen))
