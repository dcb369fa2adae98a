"""Show the storage to podman and CRI-O, or check that it is in order.

storage export         add it to storage.conf as an additional image store, and see
                       that podman shows its images; --undo takes exactly that back
storage check          read the whole storage and compare it with its records and digests

What the others then see they can run, export and build on, but not change or remove.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.sharing import export_storage, unexport_storage
from ..errors import RefusedError
from ..progress import Progress
from ..settings import Settings
from .output import print_json


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``storage``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="let podman and CRI-O see the images")
    export.add_argument("--undo", action="store_true", help="take back what an earlier export did")
    export.add_argument("--dry-run", action="store_true", help="print what would change in which file")
    check = actions.add_parser("check", help="is everything as it was pulled")
    check.add_argument("--quick", action="store_true", help="only records and directories, not the files' contents")
    check.add_argument("--json", action="store_true", help="print JSON")


def do_storage(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Dispatch to the action."""
    actions = {"export": _export, "check": _check}
    return actions[options.action](Context(settings, progress), options)


def _export(context: Context, options: argparse.Namespace) -> int:
    edit = (unexport_storage if options.undo else export_storage)(context, dry_run=options.dry_run)
    if options.dry_run:
        print(edit.diff(), end="")
    elif not edit.changes:
        print(f"{context.settings.storage}: nothing to do, see {edit.path}")
    else:
        print(f"{context.settings.storage}: {'taken out of' if options.undo else 'added to'} {edit.path}")
    return 0


def _check(context: Context, options: argparse.Namespace) -> int:
    from ..storage.check import check_store

    findings = list(check_store(context.store, contents=not options.quick))
    if options.json:
        print_json({"storage": str(context.settings.storage), "findings": [each.to_json() for each in findings]})
    else:
        for finding in findings:
            print(finding)
        images, layers = len(context.store.images()), len(context.store.layers())
        print(f"{images} images, {layers} layers: {f'{len(findings)} problems' if findings else 'ok'}")
    return RefusedError.exit_code if findings else 0
