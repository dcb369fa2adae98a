"""The images in the storage and which containers use them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NotFoundError, SyscontainersError
from ..images.reference import Reference
from ..storage.images import Image
from ..storage.layers import Layer
from ..storage.paths import is_id
from ..storage.store import Store
from .context import Context
from .generation import all_generations


@dataclass(frozen=True)
class ImageRow:
    """One image as listed."""

    image_id: str
    names: tuple[str, ...]
    digest: str
    created: str
    size: int
    """Bytes of its layers' archives, uncompressed; shared layers count in each image."""
    layers: int
    used_by: tuple[str, ...]
    """Containers: ours by name, then those that other tools have in the same store."""

    def to_json(self) -> dict[str, object]:
        """The row of ``images --json``; its keys are a contract."""
        return {
            "id": self.image_id,
            "names": list(self.names),
            "digest": self.digest,
            "created": self.created,
            "size": self.size,
            "layers": self.layers,
            "used_by": list(self.used_by),
        }


def find_image(context: Context, name: str) -> Image:
    """The image of the storage called ``name``, as a reference or an ID's beginning. Raises NotFoundError."""
    image = context.store.find_image(name)
    if image is None and not is_id(name.removeprefix("sha256:")):
        image = context.store.find_image(Reference.parse(name).kept_as)
    if image is None:
        raise NotFoundError(f"{name}: no such image", "syscontainer images lists them")
    return image


def list_images(context: Context) -> list[ImageRow]:
    """Every image of the storage, by name."""
    store = context.store
    users = _users_by_image(context)
    rows = []
    for image in store.images():
        chain = _chain(store, image)
        size = sum(max(layer.diff_size, 0) for layer in chain)
        used = tuple(users.get(image.id, ()))
        rows.append(ImageRow(image.id, image.names, image.digest, image.created, size, len(chain), used))
    return sorted(rows, key=lambda row: (row.names or ("~",), row.image_id))


def _chain(store: Store, image: Image) -> list[Layer]:
    """The layers that the store itself has; another tool's image may stand on those of an additional store."""
    try:
        return store.chain(image)
    except NotFoundError:
        return []


def _users_by_image(context: Context) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for generation in all_generations(context):
        try:
            image_id = generation.read_info().image_id
        except SyscontainersError:
            continue  # `list` shows the broken one; here it just names no image
        if generation.name not in users.setdefault(image_id, []):
            users[image_id].append(generation.name)
    for container in context.store.containers():
        if not container.holds_for:
            users.setdefault(container.image_id, []).append(container.name)
    return users
