"""Copy images into a directory of seeds, from which this host, or an operating system made of it, installs offline.

The seeds are one OCI layout. Images keep their bytes and digests; one that is there under the same name is replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..boot.seedwriter import add_seed
from ..containers.context import Context
from ..images.reference import Reference
from ..progress import Progress
from ..settings import Settings
from .common import add_source_options, read_source_options


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``seed``."""
    verbs = parser.add_subparsers(dest="action", metavar="add", required=True)
    add = verbs.add_parser("add", help="copy images", description="Copy images into a directory of seeds.")
    add.add_argument("images", metavar="IMAGE", nargs="+")
    add.add_argument("--to", metavar="DIR", type=Path, help="the layout, by default this host's own seeds")
    add_source_options(add)


def do_seed(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Add each image."""
    layout = (options.to or settings.state / "seeds").absolute()
    references = [Reference.parse(image) for image in options.images]
    for reference in references:
        digest = add_seed(Context(settings, progress), layout, reference, read_source_options(options))
        print(f"{reference}: {digest}")
    return 0
