"""Bring containers to their image's newest version, to another image, or to other values.

The service is restarted only if it runs. When the new generation does not keep running, the old one runs again and
the exit code is 6; what requires it and stopped with it runs again in either case. A masked unit is refused; what
somebody changed in a unit's file is kept beside it as FILE.edited. Without --image the recorded reference is asked for
again. --dry-run pulls nothing: it compares with the image that the storage has under that name.
"""

from __future__ import annotations

import argparse
from collections import Counter

from ..containers.context import Context
from ..containers.plan import Plan
from ..containers.update import Outcome, UpdateRequest, try_update, update, update_all
from ..errors import UsageError
from ..exports.values import parse_assignments
from ..images.reference import Reference
from ..progress import Progress
from ..settings import Settings
from .common import add_assignments, add_source_options, read_source_options
from .guard import tell_error
from .install import print_plan
from .output import print_json


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``update``."""
    parser.add_argument("name", metavar="NAME", nargs="?")
    parser.add_argument("--all", action="store_true", help="update every container")
    add_change_options(parser)
    parser.add_argument("--json", action="store_true", help="print what became of it as JSON")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and change nothing")


def add_change_options(parser: argparse.ArgumentParser) -> None:
    """What can be changed about a container."""
    parser.add_argument("--image", metavar="IMAGE", help="go to this image")
    add_assignments(parser)
    parser.add_argument("--unset", metavar="KEY", action="append", default=[], help="take the default again")
    parser.add_argument("--runtime", metavar="PROGRAM", help="run it with another OCI runtime")
    add_source_options(parser, policy="always")


def read_update_request(options: argparse.Namespace, *, dry_run: bool) -> UpdateRequest:
    """The typed form of NAME and ``add_change_options``. Raises UsageError."""
    return UpdateRequest(
        name=options.name,
        reference=Reference.parse(options.image) if options.image else None,
        source=read_source_options(options),
        set_values=parse_assignments(options.assignments),
        unset=options.unset,
        runtime=options.runtime,
        dry_run=dry_run,
    )


def do_update(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Update one container or all; 0, or with --json and --all the exit code of what failed.

    Raises UsageError for options that do not go together, and what ``update`` raises.
    """
    if options.all == (options.name is not None):
        raise UsageError("update needs either a NAME or --all", "syscontainer update NAME")
    if options.dry_run and options.json:
        raise UsageError("--dry-run goes not with --json", "syscontainer diff --json says what would change")
    if not options.all:
        return _update_one(Context(settings, progress), options)
    if options.image or options.assignments or options.unset or options.dry_run or options.runtime:
        raise UsageError("--all goes with no other change", "syscontainer update NAME changes a single one")
    return _update_all(Context(settings, progress), options)


def _update_one(context: Context, options: argparse.Namespace) -> int:
    request = read_update_request(options, dry_run=options.dry_run)
    if options.json:
        outcome = try_update(context, request)
        print_json(outcome.to_json())
        return _tell_failure(outcome)
    plan = update(context, request)
    if plan is not None and options.dry_run:
        print_plan(plan)
    else:
        print(_text(options.name, plan))
    return 0


def _update_all(context: Context, options: argparse.Namespace) -> int:
    """The worst exit code of all."""
    outcomes = []
    for outcome in update_all(context, read_source_options(options)):
        outcomes.append(outcome)
        if _tell_failure(outcome) == 0 and not options.json:
            print(_text(outcome.name, outcome.plan), flush=True)
    if options.json:
        print_json([outcome.to_json() for outcome in outcomes])
    else:
        _print_summary(outcomes)
    return max((outcome.error.exit_code for outcome in outcomes if outcome.error), default=0)


def _tell_failure(outcome: Outcome) -> int:
    if outcome.error is None:
        return 0
    tell_error(outcome.error, f"{outcome.name}: ")
    return outcome.error.exit_code


def _print_summary(outcomes: list[Outcome]) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    failed = [outcome.name for outcome in outcomes if outcome.error]
    print(", ".join(f"{counts[status]} {status}" for status in ("updated", "unchanged", "failed")), end="")
    print(f": {' '.join(failed)}" if failed else "")


def _text(name: str, plan: Plan | None) -> str:
    return f"{name}: nothing to change" if plan is None else f"{name}: now at {plan.generation}"
