"""End what syscontainer mount began."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..containers.context import Context
from ..containers.mounting import unmount
from ..progress import Progress
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``unmount``."""
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where something was mounted")


def do_unmount(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Unmount one."""
    unmount(Context(settings, progress), options.directory)
    return 0
