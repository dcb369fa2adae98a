"""How long a service is down when it is updated: ``syscontainer update`` beside a plain ``systemctl restart``.

::

    python -m benchmarks.update
    python -m benchmarks.update --rounds 3

In a throw-away machine with a systemd of its own. Down is, by systemd's own clock, from the moment the service leaves
the state active to the moment it is active again (ActiveExitTimestampMonotonic=, ActiveEnterTimestampMonotonic=).
The payload ends at once when it is asked to. Each update goes from one of two images to the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.machine.command import unit_property
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FILES, push_image, shell_image, start_registry
from tests.wheel import installed_commands

from .common import CHECKOUT, in_turn, markdown_table, replace_section

_NAME = "updated"
_UNIT = f"{_NAME}.service"
_SCRIPT = "trap 'exit 0' TERM; while :; do sleep 0.01; done"
_RESTART, _UPDATE = "systemctl restart", "syscontainer update --image"


@dataclass(frozen=True)
class Switch:
    """One restart or update; seconds."""

    down: float
    whole: float
    """From the start of the command to its end, with everything that is done before and after."""


def main(arguments: Sequence[str]) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="benchmarks.update", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each is done")
    parser.add_argument("--keep", action="store_true", help="put the figures into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    with ThrowawayHost(files=FILES, commands=[installed_commands()]) as host:
        start_registry(host)
        images = [push_image(host, shell_image(f"{_SCRIPT} # {tag}"), _NAME, tag) for tag in ("one", "two")]
        for image in images:
            host.run(["syscontainer", "pull", image])
        host.run(["syscontainer", "install", "--now", "--name", _NAME, images[0]])
        found = _measure(host, images, options.rounds)
    pairs = zip(found[_UPDATE], found[_RESTART], strict=True)
    ratio = statistics.median(update.down / restart.down for update, restart in pairs)
    table = markdown_table(("", "down", "whole command"), [_row(command, found[command]) for command in found])
    told = f"An update is down {ratio:.2f} times as long as a restart (median of the ratios of {options.rounds} pairs)."
    text = f"{table}\n\n{told}\n"
    print(text, end="")
    if options.keep:
        replace_section(CHECKOUT / "docs/benchmarks.md", "update", text)
    return 0


def _measure(host: ThrowawayHost, images: Sequence[str], rounds: int) -> dict[str, list[Switch]]:
    found: dict[str, list[Switch]] = {_RESTART: [], _UPDATE: []}
    for command in in_turn(list(found), rounds):
        # An even number of updates has gone before when the first image is there.
        target = images[(len(found[_UPDATE]) + 1) % 2]
        words = ["systemctl", "restart", _UNIT]
        if command == _UPDATE:
            words = ["syscontainer", "update", "--pull", "never", "--image", target, _NAME]
        start = time.perf_counter()
        host.run(words)
        whole = time.perf_counter() - start
        found[command].append(Switch(_down(host), whole))
    return found


def _down(host: ThrowawayHost) -> float:
    left, back = (int(unit_property(host, _UNIT, f"Active{what}TimestampMonotonic")) for what in ("Exit", "Enter"))
    return (back - left) / 1e6


def _row(command: str, switches: Sequence[Switch]) -> tuple[str, str, str]:
    down = statistics.median(switch.down for switch in switches)
    whole = statistics.median(switch.whole for switch in switches)
    return command, f"{down * 1000:.0f} ms", f"{whole * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
