"""Make a container of an image a systemd service.

The image is pulled unless the storage has it; containers-storage:NAME takes over what podman has. Its own templates
(/exports) say how to run it; without them the image's Entrypoint, Cmd, Env, WorkingDir, User, Volumes and StopSignal
do. The service is enabled; --now starts it too and undoes everything if it does not keep running. An image with the
label atomic.run=once is run instead, in the foreground, and nothing is installed; the exit code is its own.
--dry-run pulls nothing: the image has to be in the storage already (syscontainer pull).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..containers.context import Context
from ..containers.install import InstallRequest, Ran, install
from ..containers.plan import Plan
from ..exports.values import parse_assignments
from ..images.reference import Reference
from ..progress import Progress
from ..settings import Settings
from .common import add_assignments, add_source_options, read_source_options


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``install``."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("-n", "--name", metavar="NAME", help="the container's name; by default the image's last part")
    add_assignments(parser)
    parser.add_argument("--now", action="store_true", help="start it too, and undo all if it does not keep running")
    parser.add_argument("--no-enable", action="store_true", help="do not start it at boot")
    parser.add_argument("--shadow", action="store_true", help="stand in for a unit of the OS that nobody has enabled")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and change nothing")
    parser.add_argument("--runtime", metavar="PROGRAM", help="the OCI runtime to run it with")
    parser.add_argument(
        "--rootfs", metavar="PATH", type=Path, help="run from this directory, or the rootfs in it; it is not changed"
    )
    add_source_options(parser, policy="missing")


def do_install(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Install one container."""
    reference = Reference.parse(options.image)
    request = InstallRequest(
        reference=reference,
        source=read_source_options(options),
        name=options.name or reference.container_name,
        user_values=parse_assignments(options.assignments),
        now=options.now,
        enable=not options.no_enable,
        dry_run=options.dry_run,
        runtime=options.runtime,
        rootfs=options.rootfs,
        shadow=options.shadow,
        terminal=sys.stdin.isatty(),
    )
    plan = install(Context(settings, progress), request)
    if isinstance(plan, Ran):
        return plan.exit_status
    if plan is None:
        print(f"{request.name} already present")
    elif options.dry_run:
        print_plan(plan)
    else:
        print(f"{plan.generation.name}: installed{' and running' if options.now else ''}")
    return 0


def print_plan(plan: Plan) -> None:
    """Every file that the plan would write, as it would be written."""
    for path, text in plan.texts():
        print(f"# {path}")
        print(text if text.endswith("\n") else text + "\n")
