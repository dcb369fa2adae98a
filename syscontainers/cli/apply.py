"""Make this host have the containers that it should have, as containers.d/*.toml declares them.

Reads /etc/syscontainers/containers.d, /run/… and /usr/lib/… as systemd reads units, or the files and directories
that are named. Installs, updates, gives values, sets dependencies and limits, enables and starts; says what it did,
and does nothing where everything is as declared. With --check nothing is changed: the differences are printed, and
the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..boot.apply import ApplyRequest, Report, apply, check
from ..boot.places import find_places
from ..containers.context import Context
from ..progress import Progress
from ..settings import Settings
from .common import add_source_options, read_source_options
from .guard import tell_error


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``apply``."""
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, help="declarations in place of this host's own")
    parser.add_argument("--check", action="store_true", help="print what would change as a diff; 1 if anything would")
    parser.add_argument("--prune", action="store_true", help="uninstall what was declared once and is not any more")
    parser.add_argument("--boot", action="store_true", help="for syscontainers-apply.service: wait for no service")
    add_source_options(parser)


def do_apply(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Apply or check; the worst exit code of all containers."""
    context = Context(settings, progress, early=options.boot)
    request = ApplyRequest(tuple(options.paths), options.prune, read_source_options(options))
    if options.check:
        lines = check(context, find_places(settings), request)
        for line in lines:
            print(line)
        return 1 if lines else 0
    return _tell(apply(context, find_places(settings), request), may_miss=options.boot)


def _tell(report: Report, *, may_miss: bool) -> int:
    for name, done in report.done.items():
        print(f"{name}: {', '.join(done)}")
    for error in (*report.failed.values(), *report.missing.values()):
        tell_error(error, "syscontainer: ")
    if not report.done and report.is_complete:
        print("everything is as declared; nothing to do")
    problems = [*report.failed.values(), *(() if may_miss else report.missing.values())]
    return max((error.exit_code for error in problems), default=0)
