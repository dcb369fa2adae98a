"""Make this host have the containers that it should have, as containers.d/*.toml declares them.

Reads /etc/syscontainers/containers.d, /run/… and /usr/lib/… as systemd reads units, or the files and directories
that are named. Installs, updates, gives values, sets dependencies and limits, enables and starts; says what it did,
and does nothing where everything is as declared. What did not come up when it was tried is not tried again until
something else is declared, or --retry is given. With --check nothing is changed: the differences are printed, and
the exit code is 1 if there are any, higher if something could not be compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..boot.apply import ApplyRequest, apply, check
from ..boot.places import find_places
from ..boot.report import Report
from ..containers.context import Context
from ..errors import SyscontainersError, from_os_error
from ..progress import Progress
from ..settings import Settings
from .common import add_source_options, read_source_options
from .guard import tell_error

MISSING = 75
"""The exit code of ``--fetch`` where an image could not be had (EX_TEMPFAIL of sysexits.h(3head))."""
_TROUBLE = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``apply``."""
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, help="declarations in place of this host's own")
    parser.add_argument("--check", action="store_true", help="print what would change as a diff; 1 if anything would")
    parser.add_argument("--prune", action="store_true", help="uninstall what was declared once and is not any more")
    parser.add_argument("--boot", action="store_true", help="for syscontainers-apply.service: wait for no service")
    parser.add_argument(
        "--fetch", action="store_true", help=f"for syscontainers-fetch.service: {MISSING} without an image"
    )
    parser.add_argument("--retry", action="store_true", help="try also what did not come up when it was tried before")
    add_source_options(parser)


def do_apply(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Apply or check; the worst exit code of all containers."""
    context = Context(settings, progress, early=options.boot)
    request = ApplyRequest(tuple(options.paths), options.prune, options.retry, read_source_options(options))
    if options.check:
        return _check(context, request)
    report = apply(context, find_places(settings), request)
    code = _tell(report, quiet=options.boot)
    return MISSING if options.fetch and report.missing else code


def _check(context: Context, request: ApplyRequest) -> int:
    """As diff(1): 1 is for differences, so an error has to have another code."""
    try:
        lines, report = check(context, find_places(context.settings), request)
    except SyscontainersError as error:
        lines, report = [], Report(failed={"": error})
    except OSError as error:
        lines, report = [], Report(failed={"": from_os_error(error)})
    for line in lines:
        print(line)
    for failed in report.failed.values():
        tell_error(failed, "syscontainer: ")
    return max([int(bool(lines)), *(max(_TROUBLE, failed.exit_code) for failed in report.failed.values())])


def _tell(report: Report, *, quiet: bool) -> int:
    """Say what was done and what was not; ``quiet``, what stays or has to wait is no failure."""
    for name, done in report.done.items():
        print(f"{name}: {', '.join(done)}")
    expected = [*report.left.values(), *report.missing.values()]
    for error in (*report.failed.values(), *expected):
        tell_error(error, "syscontainer: ")
    if not report.done and not report.failed and not expected:
        print("everything is as declared; nothing to do")
    problems = [*report.failed.values(), *(() if quiet else expected)]
    return max((error.exit_code for error in problems), default=0)
