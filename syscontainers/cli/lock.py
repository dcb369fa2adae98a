"""Pin the image of each declaration to the digest that its name means now, in a lock file.

Boot and apply follow the lock file and nothing else: a declared image that is not in it is refused. What the old
lock file pins stays pinned; --renew asks seeds, storage and registries anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..boot.lock import LockRequest, lock
from ..boot.places import find_places
from ..containers.context import Context
from ..progress import Progress
from ..settings import Settings
from .common import add_source_options, read_source_options


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``lock``."""
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, help="declarations in place of this host's own")
    parser.add_argument("--to", metavar="FILE", type=Path, help="the lock file, by default the one in /etc")
    parser.add_argument("--renew", action="store_true", help="ask for every image anew")
    add_source_options(parser)


def do_lock(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Write the lock file and show it."""
    request = LockRequest(tuple(options.paths), options.to, options.renew, read_source_options(options))
    for reference, digest in lock(Context(settings, progress), find_places(settings), request).items():
        print(f"{reference} {digest}")
    return 0
