"""Show what a container wrote, from the journal. Without -f or -n, everything since the journal began."""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.generation import current_generation
from ..containers.names import service_unit
from ..progress import Progress
from ..run import replace_process
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``logs``."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-f", "--follow", action="store_true", help="go on showing what is written")
    parser.add_argument("-n", "--lines", metavar="N", type=int, help="only the last N lines")
    parser.add_argument("--since", metavar="TIME", help="only what was written since then (see systemd.time(7))")
    parser.add_argument("-o", "--output", metavar="FORMAT", default="short", help="a format of journalctl")


def do_logs(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Become journalctl, so that paging, following and interrupting are its own."""
    current_generation(Context(settings, progress), options.name)
    words = ["journalctl", "--unit", service_unit(options.name), "--output", options.output]
    words += ["--follow"] if options.follow else []
    words += ["--lines", str(options.lines)] if options.lines is not None else []
    words += ["--since", options.since] if options.since else []
    if not options.follow:
        words.append("--no-pager")
    replace_process(words)
