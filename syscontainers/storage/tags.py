"""Names of images that are in the store already."""

from __future__ import annotations

from ..errors import NotFoundError
from .images import give_names, take_name
from .paths import StorePaths
from .records import locked_table


def add_name(paths: StorePaths, image_id: str, name: str) -> None:
    """Call an image ``name`` (canonical) too; another image of that name loses it.

    Raises NotFoundError, and UsageError for a name that no image may have, or not this one.
    """
    with locked_table(paths.images_json, paths.images_lock) as table:
        record = table.find(image_id)
        if record is None:
            raise NotFoundError(
                f"image {image_id[:12]} was removed meanwhile", "syscontainer images lists what is there"
            )
        if give_names(table.records, record, [name]):
            table.save()


def remove_name(paths: StorePaths, image_id: str, name: str) -> bool:
    """Take ``name`` from an image, which stays even without any name; whether it had it."""
    with locked_table(paths.images_json, paths.images_lock) as table:
        record = table.find(image_id)
        taken = record is not None and take_name(record, name)
        if taken:
            table.save()
    return taken
