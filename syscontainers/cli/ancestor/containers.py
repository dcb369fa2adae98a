"""``atomic containers``: its options, and ``list``; what changes something is in ``changes``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from ...containers.context import Context
from ..common import add_assignments
from ..output import print_json
from .options import add_storage, later
from .rows import ContainerRow, container_rows
from .tables import Filters, add_listing_options, print_columns, widest

_HEADINGS = ("", "CONTAINER ID", "IMAGE", "NAME", "COMMAND", "CREATED", "STATE", "BACKEND", "RUNTIME")
_WIDTHS = (2, 12, 20, 10, 10, 16, 10, 10, 10)
_FILTERS: Mapping[str, Callable[[ContainerRow], str]] = {
    "container": lambda row: row.name,
    "image": lambda row: row.image_name,
    "command": lambda row: row.command,
    "created": lambda row: row.created,
    "state": lambda row: row.state,
    "runtime": lambda row: row.runtime,
    "backend": lambda row: row.backend,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic containers``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the containers that are not inactive")
    listing.add_argument("-a", "--all", action="store_true", help="the inactive ones as well")
    add_listing_options(listing, "containers")
    listing.set_defaults(run=list_all)
    change = actions.add_parser("update", help="go to the image's version that is in the storage, or to other values")
    change.add_argument("container", metavar="NAME", nargs="?")
    change.add_argument("-a", "--all", action="store_true", help="update every container")
    change.add_argument("--rebase", metavar="IMAGE", help="go to this image; it is pulled if the storage lacks it")
    add_assignments(change)
    change.set_defaults(run=later("changes", "do_update"))
    back = actions.add_parser("rollback", help="go to the other generation")
    back.add_argument("container", metavar="NAME")
    back.set_defaults(run=later("changes", "do_rollback"))
    delete = actions.add_parser("delete", help="uninstall containers")
    delete.add_argument("containers", metavar="NAME", nargs="*")
    delete.add_argument("-a", "--all", action="store_true", help="every container")
    delete.add_argument("-f", "--force", action="store_true", help="has no effect, as it always had none")
    add_storage(delete)
    delete.set_defaults(run=later("changes", "do_delete"))


def list_all(context: Context, options: argparse.Namespace) -> int:
    """Print the containers."""
    wanted = Filters(options.filters, _FILTERS)
    rows = [row for row in wanted.take(container_rows(context)) if options.all or row.is_shown]
    if options.quiet:
        for row in rows:
            print(row.name if options.no_trunc else row.name[:12])
    elif options.json:
        print_json([row.to_json() for row in rows])
    elif rows:
        table = [_cells(row, whole=options.no_trunc) for row in rows]
        widths = (2, *widest(_HEADINGS, table)[1:]) if options.no_trunc else _WIDTHS
        print_columns(_HEADINGS, table, widths, heading=not options.noheading)
    for row in rows:
        if row.problem:
            context.progress.warn(f"{row.name}: {row.problem}")
    return 0


def _cells(row: ContainerRow, *, whole: bool) -> tuple[str, ...]:
    created = row.created if whole else row.created[:16]
    return ("", row.name, row.image_name, row.name, row.command, created, row.state, row.backend, row.runtime)
