"""``atomic mount`` and ``unmount``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...containers.context import Context
from ...containers.generation import container_names
from ...containers.mounting import MountRequest, mount, unmount
from ...errors import UsageError
from ..guard import require_root
from .images import find
from .options import add_storage


def configure_mount(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic mount``."""
    parser.add_argument("--live", action="store_true", help="refused, as it always was for system containers")
    parser.add_argument("--shared", action="store_true", help="accepted; has no effect")
    add_storage(parser)
    parser.add_argument("target", metavar="NAME|IMAGE", help="a container, else an image")
    parser.add_argument("directory", metavar="DIRECTORY", type=Path)
    parser.set_defaults(run=do_mount)


def do_mount(context: Context, options: argparse.Namespace) -> int:
    """Mount a root to look at it, read-only."""
    require_root("mount", "atomic")
    if options.live:
        raise UsageError("system containers do not support --live", "leave it out: the mount is read-only")
    target = options.target if options.target in container_names(context) else find(context, options.target).id
    mount(context, MountRequest(target, options.directory))
    return 0


def configure_unmount(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic unmount``."""
    parser.add_argument("directory", metavar="DIRECTORY", type=Path)
    parser.set_defaults(run=do_unmount)


def do_unmount(context: Context, options: argparse.Namespace) -> int:
    """End it."""
    require_root("unmount", "atomic")
    unmount(context, options.directory)
    return 0
