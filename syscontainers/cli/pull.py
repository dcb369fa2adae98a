"""Fetch an image, verify every byte of it, and unpack it into the storage.

IMAGE is a registry's image (registry.example/etcd:3.5) or names a transport:
oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR, or containers-storage:NAME
for what podman has, which is not copied where hard links can be made.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.obtain import obtain_image
from ..images.reference import Reference
from ..progress import Progress
from ..settings import Settings
from .common import add_source_options, read_source_options


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``pull``."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only the image's digest")
    add_source_options(parser)


def do_pull(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Pull one image and print its digest."""
    context = Context(settings, Progress(quiet=True) if options.quiet else progress)
    image = obtain_image(context, Reference.parse(options.image), read_source_options(options))
    print(image.digest)
    return 0
