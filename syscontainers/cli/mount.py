"""Look at the files of an image or a container, read-only.

Of a container with a writable root, what it has written is there too, while it runs also what it writes. The layers
stay in the storage until syscontainer unmount.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..containers.context import Context
from ..containers.mounting import MountRequest, mount
from ..progress import Progress
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``mount``."""
    parser.add_argument("target", metavar="NAME|IMAGE", help="a container, else an image of the storage")
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to, an existing directory")


def do_mount(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Mount one."""
    mount(Context(settings, progress), MountRequest(options.target, options.directory))
    return 0
