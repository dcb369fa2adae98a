"""Stop and remove containers: their units, generations and tmpfiles rules. Images and data stay."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.uninstall import uninstall
from ..progress import Progress
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``uninstall``."""
    parser.add_argument("names", metavar="NAME", nargs="+")


def do_uninstall(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Uninstall each."""
    context = Context(settings, progress)
    for name in options.names:
        uninstall(context, name)
        print(f"{name}: uninstalled")
    return 0
