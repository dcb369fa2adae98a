"""List the containers of this host."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.listing import Row, list_containers
from ..progress import Progress
from ..settings import Settings
from .output import human_time, print_json, print_table, short_reference

_HEADINGS = ("NAME", "STATE", "GENERATION", "IMAGE", "CREATED")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``list``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def do_list(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print a row for each container."""
    rows = list_containers(Context(settings, progress))
    if options.json:
        print_json([row.to_json() for row in rows])
        return 0
    print_table(_HEADINGS, [_cells(row) for row in rows])
    for row in rows:
        if row.problem:
            progress.warn(f"{row.name}: {row.problem}")
    return 0


def _cells(row: Row) -> tuple[str, ...]:
    image = short_reference(row.info.image) if row.info else "-"
    created = human_time(row.info.created) if row.info else "-"
    return row.name, row.state, "-" if row.generation is None else str(row.generation), image, created
