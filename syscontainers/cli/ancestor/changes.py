"""``atomic containers update``, ``rollback`` and ``delete``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ...containers.context import Context
from ...containers.generation import current_generation
from ...containers.plan import Plan
from ...containers.rollback import rollback
from ...containers.uninstall import uninstall
from ...containers.update import Outcome, UpdateRequest, update, update_all
from ...errors import NotFoundError, SyscontainersError, UsageError
from ...exports.values import parse_assignments
from ...images.reference import Reference
from ..guard import require_root, tell_error
from .names import read_image
from .options import source_of
from .rows import ContainerRow, container_rows
from .tables import confirm, print_columns

_DELETE_HEADINGS = ("", "ID", "NAME", "IMAGE_NAME", "STORAGE")
_DELETE_WIDTHS = (2, 12, 20, 25, 10)
_SUMMARY_HEADINGS = ("Container", "Image ID before update", "Image ID after update", "Latest image ID", "Status")
_SUMMARY_WIDTHS = (15, 32, 32, 32, 15)


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
