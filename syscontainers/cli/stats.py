"""Show what running containers use: memory, processor time, tasks, input and output, and each of their processes.

Totals are those of the control group, in which the payload and nothing else runs. Without NAME all that run are shown.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.stats import Stats, read_stats
from ..progress import Progress, human_size
from ..settings import Settings
from .output import print_json, print_table

_HEADINGS = ("NAME", "MEMORY", "LIMIT", "CPU", "TASKS", "READ", "WRITTEN")
_PROCESS_HEADINGS = ("PID", "PROCESS", "MEMORY", "CPU", "THREADS")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``stats``."""
    parser.add_argument("names", metavar="NAME", nargs="*", help="a container; its processes are shown too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def do_stats(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print totals, and processes of those that were named."""
    found = read_stats(Context(settings, progress), options.names)
    if options.json:
        print_json([stats.to_json() for stats in found])
        return 0
    print_table(_HEADINGS, [_cells(stats) for stats in found])
    for stats in found if options.names else ():
        print()
        rows = [
            (str(row.pid), row.name, human_size(row.memory), f"{row.cpu_seconds:.2f} s", str(row.threads))
            for row in stats.processes
        ]
        print_table(_PROCESS_HEADINGS, rows)
    return 0


def _cells(stats: Stats) -> tuple[str, ...]:
    usage = stats.usage
    cpu = "-" if usage.cpu_seconds is None else f"{usage.cpu_seconds:.2f} s"
    sizes = [_size(value) for value in (usage.memory, usage.memory_limit, usage.read_bytes, usage.written_bytes)]
    return stats.name, sizes[0], sizes[1], cpu, "-" if usage.tasks is None else str(usage.tasks), sizes[2], sizes[3]


def _size(value: int | None) -> str:
    return "-" if value is None else human_size(value)
