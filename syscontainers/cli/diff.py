"""Show what an update would change: image, values, runtime config, units, rules and host files, as a unified diff.

Takes the same options as update and changes nothing, except that an image which is asked for is pulled.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.diff import diff_update
from ..progress import Progress
from ..settings import Settings
from .output import print_json
from .update import add_change_options, read_update_request


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``diff``."""
    parser.add_argument("name", metavar="NAME")
    add_change_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: the parts that differ, and their diffs")


def do_diff(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print the diff; nothing for nothing to do."""
    parts = diff_update(Context(settings, progress), read_update_request(options, dry_run=True))
    if options.json:
        print_json([part.to_json() for part in parts])
        return 0
    for part in parts:
        print(*part.lines, sep="\n")
    return 0
