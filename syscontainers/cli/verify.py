"""Verify that containers are what was installed: records, files, published units and rules, host files, layers.

Every file of every layer is read again and compared with the digest of what was pulled. Says what differs and ends
with 5, or with 0 where all is as it should be. Without NAME all containers are verified.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.listing import list_containers
from ..containers.verify import Verifier
from ..errors import RefusedError
from ..progress import Progress
from ..settings import Settings
from .output import print_json


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``verify``."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="a container")
    parser.add_argument("--quick", action="store_true", help="see that the layers are there, and do not read them")
    parser.add_argument("--json", action="store_true", help="print JSON: what differs, by container")


def do_verify(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Verify each and print what differs."""
    context = Context(settings, progress)
    verifier = Verifier(context, layers=not options.quick)
    names = options.names or [row.name for row in list_containers(context)]
    found = {}
    for name in names:
        found[name] = verifier.verify(name)
        if not options.json:
            print(*(f"{name}: {line}" for line in found[name] or ["ok"]), sep="\n", flush=True)
    if options.json:
        print_json(found)
    return RefusedError.exit_code if any(found.values()) else 0
