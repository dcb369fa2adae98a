"""Print the declaration that would install a container as it is: a file for /etc/syscontainers/containers.d."""

from __future__ import annotations

import argparse

from ..boot.export import export_container
from ..containers.context import Context
from ..progress import Progress
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``export``."""
    parser.add_argument("name", metavar="NAME")


def do_export(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print one declaration."""
    print(export_container(Context(settings, progress), options.name), end="")
    return 0
