"""Run a command inside a running container and exit as it does.

The command gets a terminal when standard input is one. Everything after NAME belongs to the command.
"""

from __future__ import annotations

import argparse
import sys

from ..containers.context import Context
from ..containers.execute import exec_command
from ..progress import Progress
from ..run import replace_process
from ..settings import Settings
from .common import read_command


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``exec``."""
    parser.add_argument("-T", "--no-terminal", action="store_true", help="never give the command a terminal")
    parser.add_argument("-u", "--user", metavar="UID[:GID]", help="run it as another user")
    parser.add_argument("-e", "--env", metavar="NAME=VALUE", action="append", default=[], help="add to its environment")
    parser.add_argument("-C", "--cwd", metavar="DIR", help="run it in another directory of the container")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")


def do_exec(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Become the runtime's exec, so that exit code, signals and terminal are the command's."""
    terminal = sys.stdin.isatty() and not options.no_terminal
    replace_process(
        exec_command(
            Context(settings, progress),
            options.name,
            read_command(options.command),
            terminal=terminal,
            user=options.user,
            env=options.env,
            cwd=options.cwd,
        )
    )
