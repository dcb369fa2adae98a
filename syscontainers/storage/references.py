"""Who needs a layer: images, other layers and containers, here and in stores that build on this one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .layers import Layer, read_link
from .locks import lock_shared
from .paths import StorePaths, link_name
from .records import Record, read_records

_LINK_IN_LOWER = re.compile(r"(?:^|/)l/([A-Z2-7]{26})(?:/|$)")


def strings_of(records: Iterable[Record], *keys: str) -> set[str]:
    """The non-empty strings under ``keys`` of the records; lists of strings count as their members."""
    found: set[str] = set()
    for record in records:
        for key in keys:
            value = record.get(key)
            found.update(value if isinstance(value, list) else [value] if isinstance(value, str) else [])
    return found - {""}


def container_records(paths: StorePaths) -> list[Record]:
    """The containers of podman, CRI-O and Buildah in a store, and our holders (``holders``). Raises DocumentError."""
    return [record for path in paths.containers_json for record in read_records(path)]


def layers_used_inside(paths: StorePaths, images: Iterable[Record]) -> set[str]:
    """The layers that the store's own images, containers and volatile layers stand on."""
    used = strings_of(images, "layer", "mapped-layers")
    used |= strings_of(container_records(paths), "layer")
    return used | strings_of(read_records(paths.volatile_layers_json), "parent")


def layers_used_by(consumer: StorePaths, paths: StorePaths, layers: Mapping[str, Layer]) -> set[str]:
    """Which of the ``layers`` at ``paths`` another store leans on, because ours is an additional store of its.

    Its layers name ours as their parent; its images have ours as their top once somebody tagged them; its overlay
    directories list ours in ``lower``. What it has itself it takes from itself. Raises DocumentError.
    """
    records = [*read_records(consumer.layers_json), *read_records(consumer.volatile_layers_json)]
    mentioned = strings_of(records, "parent") | layers_used_inside(consumer, read_records(consumer.images_json))
    by_link = _links(paths, layers)
    for part in _lower_parts(consumer):
        match = _LINK_IN_LOWER.search(part)
        if match is None:
            mentioned.add(part)
        elif not consumer.link(match[1]).is_symlink():
            mentioned.add(by_link.get(match[1], ""))
    return (mentioned - strings_of(records, "id")) & layers.keys()


def _links(paths: StorePaths, layers: Iterable[str]) -> dict[str, str]:
    """The layers by their short names: ours, and those that other writers chose."""
    links = {link_name(layer_id): layer_id for layer_id in layers}
    return links | {name: layer_id for layer_id in layers if (name := read_link(paths, layer_id))}


def _lower_parts(store: StorePaths) -> Iterator[str]:
    for path in (*store.overlay.glob("*/lower"), *store.overlay.glob("*/lower-layers")):
        with contextlib.suppress(FileNotFoundError):  # the layer was removed while we looked
            yield from path.read_text(errors="replace").split(":")


def with_parents(layer_ids: Iterable[str], layers: Mapping[str, Layer]) -> set[str]:
    """``layer_ids`` and every layer below them."""
    found: set[str] = set()
    for layer_id in layer_ids:
        current: str | None = layer_id
        while current is not None and current not in found and current in layers:
            found.add(current)
            current = layers[current].parent
    return found


def other_stores(paths: StorePaths, consumers: Iterable[Path]) -> list[StorePaths]:
    """The ``consumers`` without repetitions and without the store itself, which may be podman's own."""
    roots = {os.path.realpath(root): root for root in consumers}
    roots.pop(os.path.realpath(paths.root), None)
    return [StorePaths(root) for root in roots.values()]


@contextlib.contextmanager
def consumers_held(paths: StorePaths, consumers: Sequence[Path]) -> Iterator[list[StorePaths]]:
    """The stores that may lean on ours, kept from changing their layers while we look and remove.

    To be entered before our own lock is taken: a primary store's lock comes before its additional stores'.
    """
    stores = other_stores(paths, consumers)
    with contextlib.ExitStack() as stack:
        for store in stores:
            stack.enter_context(lock_shared(store.layers_lock))
        yield stores
