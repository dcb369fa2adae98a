"""``atomic containers``: list, update, rollback, delete."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from ...containers.context import Context
from ...containers.generation import current_generation
from ...containers.plan import Plan
from ...containers.rollback import rollback
from ...containers.uninstall import uninstall
from ...containers.update import Outcome, UpdateRequest, update, update_all
from ...errors import NotFoundError, SyscontainersError, UsageError
from ...exports.values import parse_assignments
from ...images.reference import Reference
from ..common import add_assignments, require_root
from ..guard import tell_error
from ..output import print_json
from .names import read_image
from .options import add_storage, source_of
from .rows import ContainerRow, container_rows
from .tables import Filters, add_listing_options, confirm, print_columns, widest

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
_DELETE_HEADINGS = ("", "ID", "NAME", "IMAGE_NAME", "STORAGE")
_DELETE_WIDTHS = (2, 12, 20, 25, 10)
_SUMMARY_HEADINGS = ("Container", "Image ID before update", "Image ID after update", "Latest image ID", "Status")
_SUMMARY_WIDTHS = (15, 32, 32, 32, 15)


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
    change.set_defaults(run=do_update)
    back = actions.add_parser("rollback", help="go to the other generation")
    back.add_argument("container", metavar="NAME")
    back.set_defaults(run=do_rollback)
    delete = actions.add_parser("delete", help="uninstall containers")
    delete.add_argument("containers", metavar="NAME", nargs="*")
    delete.add_argument("-a", "--all", action="store_true", help="every container")
    delete.add_argument("-f", "--force", action="store_true", help="has no effect, as it always had none")
    add_storage(delete)
    delete.set_defaults(run=do_delete)


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


def do_update(context: Context, options: argparse.Namespace) -> int:
    """Update one container from the storage, or all."""
    require_root("containers update", "atomic")
    if options.all:
        if options.container or options.assignments or options.rebase:
            raise UsageError("--all goes with neither a container nor --set nor --rebase")
        return _update_all(context)
    if options.container is None:
        raise UsageError("Too few arguments.  Please specify the container", "atomic containers update NAME")
    named = read_image(options.rebase) if options.rebase else None
    request = UpdateRequest(
        name=options.container,
        reference=named.reference if named else None,
        source=source_of(named),
        set_values=parse_assignments(options.assignments),
    )
    print_update(update(context, request))
    return 0


def print_update(plan: Plan | None) -> None:
    """What clients look for after an update."""
    print("Latest version already installed." if plan is None else f"Extracting to {plan.generation.directory}")


def _update_all(context: Context) -> int:
    """Each on its own: one that does not come up goes back, and the others follow."""
    outcomes: list[Outcome] = []
    for outcome in update_all(context, source_of(None)):
        print(f"Checking container {outcome.name}...")
        outcomes.append(outcome)
        if outcome.error is not None:
            tell_error(outcome.error)
        else:
            print_update(outcome.plan)
    print("\nSUMMARY\n")
    print_columns(_SUMMARY_HEADINGS, [_summary(context, outcome) for outcome in outcomes], _SUMMARY_WIDTHS)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _summary(context: Context, outcome: Outcome) -> tuple[str, ...]:
    before, after = (digest.removeprefix("sha256:") for digest in (outcome.before, outcome.after))
    latest = _latest(context, outcome.name)
    status = "Failed" if outcome.error else _status(before, after, latest)
    return outcome.name, before, after, latest or "<NOT FOUND>", status


def _status(before: str, after: str, latest: str) -> str:
    if not latest:
        return "Unknown"
    if after != latest:
        return "Not updated"
    return "Updated" if before == latest else "Updated now"


def _latest(context: Context, name: str) -> str:
    """The digest of what the storage has under the name of the container's image."""
    try:
        reference = Reference.parse(current_generation(context, name).read_info().image)
        image = context.store.find_image(reference.kept_as)
    except SyscontainersError:
        return ""  # told already
    return image.digest.removeprefix("sha256:") if image else ""


def do_rollback(context: Context, options: argparse.Namespace) -> int:
    """Go back; a second time goes forward again."""
    require_root("containers rollback", "atomic")
    print(f"Attempting to roll back system container: {options.container}", flush=True)
    target = rollback(context, options.container)
    print(f"Rolling back container {target.name} to the checkout at {target.directory}")
    return 0


def do_delete(context: Context, options: argparse.Namespace) -> int:
    """Ask, then uninstall."""
    require_root("containers delete", "atomic")
    rows = _chosen(context, options.containers, every=options.all)
    names = " ".join(options.containers) or "all containers"
    print("The following containers will be deleted.\n" if options.assumeyes else "Delete the following containers?\n")
    print_columns(
        _DELETE_HEADINGS, [("", row.name, row.name, row.image_name, row.backend) for row in rows], _DELETE_WIDTHS
    )
    confirm(assumed=options.assumeyes, action=f"delete operation for {names}")
    for row in rows:
        uninstall(context, row.name)
    return 0


def _chosen(context: Context, names: Sequence[str], *, every: bool) -> list[ContainerRow]:
    if bool(names) == every:
        raise UsageError("You must select --all or provide a list of containers to delete.")
    known = {row.name: row for row in container_rows(context)}
    if every and not known:
        raise NotFoundError("No containers to delete")
    for name in names:
        if name not in known:
            raise NotFoundError(f"{name}: no such container", "atomic containers list --all shows what is installed")
    return list(known.values()) if every else [known[name] for name in names]
