"""Keeping images for as long as something is made of them.

Against our own commands a claim is enough, and only until the generation is on the disk: from then on its record pins
the layers (``retention``). Other tools remove images from a store that is theirs too, podman's own for instance; there
a container's record holds the image as long as the generation is there (``storage.holders``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import NotFoundError, SyscontainersError
from ..storage.images import Image
from ..storage.store import Store
from .context import Context
from .generation import Generation, all_generations


@contextlib.contextmanager
def kept_image(context: Context, obtain: Callable[[], Image]) -> Iterator[Image]:
    """The image that ``obtain`` gives, which none of our commands removes before the block ends."""
    with contextlib.ExitStack() as stack:
        while True:
            image = obtain()
            if stack.enter_context(context.store.keep_image(image)):
                break
            stack.close()  # somebody was quicker, so it has to be obtained anew
        yield image


def hold_image(context: Context, generation: Generation, image_id: str) -> None:
    """Keep other tools from removing the image of a generation that is about to be made. Raises NotFoundError."""
    store = context.store
    if not _is_shared(context, store):
        return
    image = store.find_image(image_id)
    if image is None:
        raise NotFoundError(f"image {image_id[:12]} is not in {store.root} any more", "another tool has removed it")
    store.hold_image(image, str(generation.directory), f"syscontainers-{generation}")


def release_image(context: Context, generation: Generation, storage: str) -> None:
    """Undo ``hold_image`` for a generation that is gone; ``storage`` is the root that its record names."""
    for root in {Path(storage) if storage else context.settings.storage, context.settings.storage}:
        _store_at(context, root).release_image(str(generation.directory))


def settle_holds(context: Context) -> None:
    """Let go of images for generations that are not there, and hold those again that somebody made us let go of.

    Only for who may wait for every other command: a generation that is being made is not there yet.
    """
    store = context.store
    present = {str(generation.directory): generation for generation in all_generations(context)}
    held = {container.holds_for: container for container in store.containers() if container.holds_for}
    for holds_for, container in held.items():
        if holds_for not in present and _is_ours(context, holds_for) and not _is_kept(store, container.image_id):
            store.release_image(holds_for)
    for holds_for, generation in present.items():
        try:
            info = generation.read_info()
        except SyscontainersError:  # prune tells of damaged ones
            continue
        if info.storage == str(store.root) and info.layers and holds_for not in held:
            with contextlib.suppress(NotFoundError):  # its image was removed by force: nothing left to be held
                hold_image(context, generation, info.image_id)


def _is_shared(context: Context, store: Store) -> bool:
    """Whether other tools write there, or may begin to: anywhere but in the place that is ours alone."""
    return store.root != context.settings.state / "storage" or store.paths.container_records.is_dir()


def _store_at(context: Context, root: Path) -> Store:
    return context.using_storage(root).store


def _is_ours(context: Context, holds_for: str) -> bool:
    """Whether it is about this host's own generations, not those of a tree that is being built beside it."""
    return Path(holds_for).parent == context.settings.containers


def _is_kept(store: Store, image_id: str) -> bool:
    """Whether some command is about to make a generation of the image."""
    try:
        with store.area.claim_image(image_id, exclusive=True, wait=False):
            return False
    except BlockingIOError:
        return True
