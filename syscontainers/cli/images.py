"""List the images in the storage. A '*' marks those that an installed container uses."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.inventory import ImageRow, list_images
from ..progress import Progress, human_size
from ..settings import Settings
from .output import print_json, print_table, short_reference


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``images``."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--digests", action="store_true", help="show the manifests' digests")


def do_images(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print a row for each name of each image."""
    rows = list_images(Context(settings, progress))
    if options.json:
        print_json([row.to_json() for row in rows])
        return 0
    headings = ("", "IMAGE", "ID", "CREATED", "SIZE", *(("DIGEST",) if options.digests else ()))
    print_table(headings, [cells for row in rows for cells in _cells(row, options.digests)])
    return 0


def _cells(row: ImageRow, digests: bool) -> list[tuple[str, ...]]:
    mark = "*" if row.used_by else ""
    rest = (row.image_id[:12], row.created[:10], human_size(row.size), *((row.digest,) if digests else ()))
    return [(mark, short_reference(name), *rest) for name in row.names or ("<none>",)]
