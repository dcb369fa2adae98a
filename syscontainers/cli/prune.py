"""Free what nothing needs: images without a name, and layers that no image, container or other store leans on."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.garbage import prune
from ..progress import Progress, human_size
from ..settings import Settings
from .output import print_json


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``prune``."""
    parser.add_argument("-a", "--all", action="store_true", help="also images that no container uses")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--json", action="store_true", help="print JSON")


def do_prune(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Prune the storage."""
    freed = prune(Context(settings, progress), unused=options.all, dry_run=options.dry_run)
    if options.json:
        print_json(freed.to_json())
        return 0
    for image_id in freed.images:
        print(f"image {image_id[:12]}")
    for layer_id in freed.layers:
        print(f"layer {layer_id[:12]}")
    print(f"{'would free' if options.dry_run else 'freed'} {human_size(freed.size)}")
    return 0
