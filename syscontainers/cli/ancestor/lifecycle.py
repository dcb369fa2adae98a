"""``atomic pull``, ``install``, ``uninstall``, ``run`` and ``stop``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ...containers import control
from ...containers.context import Context
from ...containers.generation import container_names, current_generation
from ...containers.hostfiles import read_owned
from ...containers.install import AlreadyInstalledError, InstallRequest, Ran, install
from ...containers.obtain import obtain_image
from ...containers.once import ContainerRun, ImageRun, run_container, run_image
from ...containers.plan import Plan
from ...containers.uninstall import uninstall
from ...errors import SyscontainersError, UsageError
from ...exports.values import parse_assignments
from ..common import add_assignments, read_command
from ..guard import require_root
from ..install import print_plan
from ..run import check_is_image
from .names import Named, read_image
from .options import add_credentials, add_storage, source_of

_DIRECTORY = "0"


def configure_pull(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic pull``."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("-t", "--type", metavar="TYPE", help="accepted; has no effect")
    add_storage(parser)
    add_credentials(parser)
    parser.set_defaults(run=do_pull)


def do_pull(context: Context, options: argparse.Namespace) -> int:
    """Ask the registry, and fetch what is missing."""
    require_root("pull", "atomic")
    named = _read_image(context, options.image)
    before = set(context.store.layers())
    try:
        image = obtain_image(context, named.reference, source_of(named, options.src_creds, policy="always"))
    except SyscontainersError as error:
        error.message = f"Failed: {error.message}"
        raise
    for layer in context.store.chain(image):
        if layer.id not in before:
            print(f"Pulling layer {layer.diff_id.removeprefix('sha256:')}")
    return 0


def _read_image(context: Context, text: str) -> Named:
    named = read_image(text)
    if named.defaulted:
        context.progress.warn(f"{text}: names no registry, so {named.reference.registry} is asked")
    return named


def configure_install(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic install``."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("-n", "--name", metavar="NAME", help="the container's name; by default the image's last part")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--system", action="store_true", help="accepted; there are no others")
    kind.add_argument("--user", action="store_true", help="refused")
    add_assignments(parser)
    parser.add_argument("--runtime", metavar="PROGRAM", help="the OCI runtime; $RUNC_PATH is another way to name it")
    parser.add_argument("--rootfs", metavar="PATH", type=Path, help="run from this directory, or the rootfs in it")
    parser.add_argument("--system-package", choices=("auto", "no", "yes", "build"), default="auto", help="auto or no")
    parser.add_argument("--display", action="store_true", help="print what would be written and change nothing")
    add_storage(parser)
    add_credentials(parser)
    parser.set_defaults(run=do_install)


def do_install(context: Context, options: argparse.Namespace) -> int:
    """Install, and enable; not start. What is installed already is left as it is."""
    require_root("install", "atomic")
    _refuse_what_is_gone(options)
    named = _read_image(context, options.image)
    request = InstallRequest(
        reference=named.reference,
        name=options.name or named.reference.container_name,
        user_values=parse_assignments(options.assignments),
        source=source_of(named, options.src_creds),
        dry_run=options.display,
        rootfs=options.rootfs,
        shadow=True,
        runtime=_chosen_runtime(options),
        terminal=sys.stdin.isatty(),
    )
    try:
        plan = install(context, request)
    except AlreadyInstalledError:
        plan = None
    if isinstance(plan, Ran):
        return plan.exit_status
    if plan is None:
        print(f"{request.name} already present")
    else:
        _tell_installed(context, plan, display=options.display)
    return 0


def _refuse_what_is_gone(options: argparse.Namespace) -> None:
    if options.user:
        raise UsageError("--user: containers of users are not supported", "install it as root, with --system")
    if options.system_package in ("yes", "build"):
        raise UsageError(
            f"--system-package={options.system_package}: no RPM is made",
            "say no: host files are installed, recorded and removed without one",
        )


def _tell_installed(context: Context, plan: Plan, *, display: bool) -> None:
    print(f"Extracting to {plan.generation.directory}")
    if display:
        print_plan(plan)
        return
    for path, mark in read_owned(context, plan.generation.name).items():
        if mark != _DIRECTORY:
            print(f"Created file {path}")


def configure_uninstall(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic uninstall``."""
    parser.add_argument("container", metavar="NAME")
    parser.add_argument("-n", "--name", metavar="NAME", help="refused, as it always was for system containers")
    parser.add_argument("-f", "--force", action="store_true", help="accepted; has no effect")
    parser.add_argument("--display", action="store_true", help="say what would be removed and change nothing")
    add_storage(parser)
    parser.set_defaults(run=do_uninstall)


def do_uninstall(context: Context, options: argparse.Namespace) -> int:
    """Stop and remove; image and data stay."""
    require_root("uninstall", "atomic")
    if options.name:
        raise UsageError("--name does not go with system containers", f"atomic uninstall {options.name}")
    if options.display:
        print(f"Would remove {current_generation(context, options.container)}")
    else:
        uninstall(context, options.container)
    return 0


def configure_run(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic run``."""
    parser.add_argument("-d", "--detach", action="store_true", help="in a running container: do not wait for it")
    parser.add_argument("--runtime", metavar="PROGRAM", help="the OCI runtime to run an image with")
    add_assignments(parser)
    add_storage(parser)
    add_credentials(parser)
    parser.add_argument("target", metavar="NAME|IMAGE", help="a container, or an image to run once")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="without, start the container")
    parser.set_defaults(run=do_run)


def do_run(context: Context, options: argparse.Namespace) -> int:
    """Start a container, run a command in it or beside it, or run an image once."""
    require_root("run", "atomic")
    command = read_command(options.command)
    if options.target in container_names(context):
        return run_container(context, ContainerRun(options.target, command, sys.stdin.isatty(), options.detach))
    named = _read_image(context, options.target)
    check_is_image(context, options.target, named.reference)
    request = ImageRun(
        reference=named.reference,
        command=command,
        user_values=parse_assignments(options.assignments),
        source=source_of(named, options.src_creds),
        runtime=_chosen_runtime(options),
        terminal=sys.stdin.isatty(),
    )
    return run_image(context, request)


def _chosen_runtime(options: argparse.Namespace) -> str | None:
    return options.runtime or os.environ.get("RUNC_PATH")


def configure_stop(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``atomic stop``."""
    parser.add_argument("name", metavar="NAME")
    add_storage(parser)
    parser.set_defaults(run=do_stop)


def do_stop(context: Context, options: argparse.Namespace) -> int:
    """Stop a container."""
    require_root("stop", "atomic")
    control.stop(context, [options.name])
    return 0
