"""Go back to a container's previous generation, or to the one --to names. A second rollback goes forward again."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.rollback import rollback
from ..progress import Progress
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``rollback``."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--to", metavar="N", type=int, help="the generation to go to")


def do_rollback(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Roll one container back."""
    target = rollback(Context(settings, progress), options.name, options.to)
    print(f"{options.name}: now at generation {target.number}")
    return 0
