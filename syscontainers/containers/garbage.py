"""Freeing what nothing needs: images without names, layers that no image, generation or other store leans on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError
from ..images.reference import Reference
from ..storage.images import Image
from ..storage.storageconf import writable_roots
from .bundle import sweep_bundles
from .context import Context
from .inventory import list_images
from .retention import pinned_layers


@dataclass(frozen=True)
class Freed:
    """What was removed, or would be."""

    images: tuple[str, ...]
    layers: tuple[str, ...]
    size: int
    """Bytes of the layers' archives, uncompressed."""

    def to_json(self) -> dict[str, object]:
        """For ``prune --json``; the keys are a contract."""
        return {"images": list(self.images), "layers": list(self.layers), "size": self.size}


def find_image(context: Context, name: str) -> Image:
    """The image of the storage called ``name``, as a reference or an ID's beginning. Raises NotFoundError."""
    image = context.store.find_image(name) or context.store.find_image(Reference.parse(name).kept_as)
    if image is None:
        raise NotFoundError(f"{name}: no such image", "syscontainer images lists them")
    return image


def remove_image(context: Context, name: str) -> str | None:
    """Take the name from its image; without another name, or called by its ID, the image goes too.

    Returns the ID of the image if it went. Layers that a generation needs stay. Raises NotFoundError.
    """
    image = find_image(context, name)
    canonical = name if name in image.names else Reference.parse(name).kept_as
    if canonical in image.names and len(image.names) > 1:
        context.store.untag(image, canonical)
        return None
    context.store.remove_image(image)
    return image.id


def prune(context: Context, *, unused: bool = False, dry_run: bool = False) -> Freed:
    """Remove images without a name, with ``unused`` also those that no container uses, then unneeded layers.

    Raises SyscontainersError, having removed no layer, if it cannot be told what is needed.
    """
    if not dry_run:
        sweep_bundles(context)
    pins = pinned_layers(context)
    images = [row.image_id for row in list_images(context) if not row.used_by and (unused or not row.names)]
    if dry_run:
        found = context.store.find_garbage(pins, consumers(context))
        return Freed(tuple(images), found.layers, found.size)
    for image_id in images:
        context.store.remove_image(find_image(context, image_id))
    pruned = context.store.prune_layers(pins, consumers(context))
    return Freed(tuple(images), pruned.layers, pruned.size)


def consumers(context: Context) -> tuple[Path, ...]:
    """The stores on this host that may lean on layers of ours, because they have it as an additional image store.

    Raises SyscontainersError if a configuration file that names them cannot be read.
    """
    return tuple(dict.fromkeys(root for root in writable_roots(context.settings.host) if root.is_dir()))
