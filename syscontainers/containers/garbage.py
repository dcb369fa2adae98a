"""Freeing what nothing needs: images without names, layers that no image, generation or other store leans on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..images.reference import Reference
from ..storage.garbage import ImageUsedError, Pruned
from ..storage.images import Image
from ..storage.storageconf import writable_roots
from .bundle import sweep_bundles
from .context import Context
from .holds import settle_holds
from .inventory import find_image, list_images
from .retention import damaged_generations, pinned_layers


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


def remove_image(context: Context, name: str) -> str | None:
    """Take the name from its image; without another name, or called by its ID, the image goes too.

    Returns the ID of the image if it went. Layers that a generation needs stay. Raises NotFoundError, and
    ImageUsedError while a command is about to use the image or a container of another tool does.
    """
    image = find_image(context, name)
    by_id = image.id.startswith(name.removeprefix("sha256:"))
    canonical = name if by_id or name in image.names else Reference.parse(name).kept_as
    if canonical in image.names and len(image.names) > 1:
        context.store.untag(image, canonical)
        return None
    context.store.remove_image(image)
    return image.id


def remove_unused(context: Context, image: Image) -> bool:
    """Remove an image that no generation is made of; whether it went. Raises SyscontainersError."""
    try:
        context.store.remove_image(image, lambda: _is_used(context, image))
    except ImageUsedError:
        return False
    return True


def _is_used(context: Context, image: Image) -> bool:
    return any(row.used_by for row in list_images(context) if row.image_id == image.id)


def prune(context: Context, *, unused: bool = False, dry_run: bool = False) -> Freed:
    """Remove images without a name, with ``unused`` also those that no container uses, then unneeded layers.

    Containers of other tools in the same store count, and what these pull or build there stays. Raises
    SyscontainersError, having removed no layer, if it cannot be told what is needed.
    """
    if not dry_run:
        sweep_bundles(context)
    # What cannot be told must show before an image goes.
    pinned_layers(context)
    consumers(context)
    if not dry_run:
        settle_holds(context)
    for problem in damaged_generations(context):
        context.progress.warn(problem)
    rows = {row.image_id for row in list_images(context) if not row.used_by and (unused or not row.names)}
    images = context.store.without_unfinished(image for image in context.store.images() if image.id in rows)
    if dry_run:
        found = context.store.find_garbage(lambda: pinned_layers(context), consumers(context))
        return Freed(tuple(image.id for image in images), found.layers, found.size)
    removed = [image.id for image in images if remove_unused(context, image)]
    pruned = prune_layers(context)
    return Freed(tuple(removed), pruned.layers, pruned.size)


def prune_layers(context: Context) -> Pruned:
    """Remove the layers that nothing needs. Raises SyscontainersError as ``prune`` does."""
    return context.store.prune_layers(lambda: pinned_layers(context), consumers(context))


def consumers(context: Context) -> tuple[Path, ...]:
    """The stores on this host that may lean on layers of ours, because they have it as an additional image store.

    Raises SyscontainersError if a configuration file that names them cannot be read.
    """
    return tuple(dict.fromkeys(root for root in writable_roots(context.settings.host) if root.is_dir()))
