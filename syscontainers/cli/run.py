"""Run an image once in the foreground, or a command in a container, and exit as it does.

run NAME               start the container's service
run NAME COMMAND…      in a container that runs; beside one that is stopped, with the same root and config
run IMAGE [COMMAND…]   pull the image if it is missing, run it, and leave nothing

COMMAND replaces the image's whole command. There is a terminal when standard input is one. What is neither the name
of a container nor in the storage has to be written with its registry or tag, so that no slip of the pen is pulled.
Everything behind NAME or IMAGE belongs to the command.
"""

from __future__ import annotations

import argparse
import sys

from ..containers.context import Context
from ..containers.generation import container_names
from ..containers.once import ContainerRun, ImageRun, run_container, run_image
from ..errors import NotFoundError, UsageError
from ..exports.values import parse_assignments
from ..images.reference import Reference
from ..progress import Progress
from ..settings import Settings
from .common import add_assignments, add_source_options, read_command, read_source_options


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``run``."""
    parser.add_argument("-T", "--no-terminal", action="store_true", help="never give the command a terminal")
    parser.add_argument("-d", "--detach", action="store_true", help="in a running container: do not wait for it")
    parser.add_argument("--runtime", metavar="PROGRAM", help="the OCI runtime to run an image with")
    add_assignments(parser)
    add_source_options(parser, policy="missing")
    parser.add_argument("target", metavar="NAME|IMAGE")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")


def do_run(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Run in a container or an image; the command's exit code.

    Raises UsageError for options that do not go with the target, and what ``run_container`` and ``run_image`` raise.
    """
    context = Context(settings, progress)
    command = read_command(options.command)
    terminal = sys.stdin.isatty() and not options.no_terminal
    if options.target in container_names(context):
        if options.assignments or options.runtime:
            raise UsageError("--set and --runtime go with an image", f"syscontainer update {options.target}")
        return run_container(context, ContainerRun(options.target, command, terminal, options.detach))
    if options.detach:
        raise UsageError("--detach goes with a container that runs", "syscontainer install makes a service of an image")
    reference = Reference.parse(options.target)
    check_is_image(context, options.target, reference)
    request = ImageRun(
        reference=reference,
        command=command,
        user_values=parse_assignments(options.assignments),
        source=read_source_options(options),
        runtime=options.runtime,
        terminal=terminal,
    )
    return run_image(context, request)


def check_is_image(context: Context, target: str, reference: Reference) -> None:
    """Raises NotFoundError for what may be a container's name misspelt, unless there is such an image here."""
    if "/" not in target and ":" not in target and context.store.find_image(reference.kept_as) is None:
        raise NotFoundError(f"{target}: no such container or image", "write an image with its registry or tag")
