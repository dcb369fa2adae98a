"""How long it takes to list what is installed: ``syscontainer list --json`` beside ``podman ps --all``.

::

    python -m benchmarks.list                       # 1 000 containers of each
    python -m benchmarks.list --containers 100 --no-podman

In a throw-away machine with a systemd of its own. The containers are real on the disk: one is installed as usual, the
others are generations that our own code writes and publishes as an install does; all are enabled, so PID 1 has them in
memory. Podman's are made by ``podman create``, which takes a quarter of a second each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from syscontainers.containers.changes import apply_changes
from syscontainers.containers.context import Context
from syscontainers.containers.generation import current_generation, generation_at, write_generation
from syscontainers.containers.publish import publishing_changes
from syscontainers.containers.texts import read_contents
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.systemd.manager import connect
from tests.machine.host import ThrowawayHost
from tests.machine.inside import run_inside
from tests.machine.registry import FILES, push_image, shell_image, start_registry
from tests.wheel import installed_commands

from .common import CHECKOUT, Cost, in_turn, markdown_table, measure, median_cost, replace_section

_FIRST = "c0000"
_OURS, _THEIRS = "syscontainer list --json", "podman ps --all --format json"


def main(arguments: Sequence[str]) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="benchmarks.list", description=__doc__.partition("\n")[0])
    parser.add_argument("--containers", type=int, default=1000, help="how many of each")
    parser.add_argument("--rounds", type=int, default=9, help="how often each lists them")
    parser.add_argument("--no-podman", action="store_true", help="leave podman out")
    parser.add_argument("--keep", action="store_true", help="put the figures into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    with ThrowawayHost(files=FILES, commands=[installed_commands()]) as host:
        start_registry(host)
        reference = push_image(host, shell_image(), "listed", "1")
        _install(host, reference, options.containers)
        commands = [_OURS]
        if not options.no_podman:
            _create(host, reference, options.containers)
            commands.append(_THEIRS)
        costs = _measure(host, commands, options.rounds)
        for command in commands:
            found = len(json.loads(host.run(command.split()).stdout))
            assert found == options.containers, f"{command}: {found} rows"
    rows = [(command, f"{cost.wall:.3f} s", f"{cost.cpu:.3f} s") for command, cost in costs.items()]
    text = markdown_table((f"{options.containers} containers", "time", "CPU"), rows) + "\n"
    print(text, end="")
    if options.keep:
        replace_section(CHECKOUT / "docs/benchmarks.md", "list", text)
    return 0


def _install(host: ThrowawayHost, reference: str, count: int) -> None:
    host.run(["syscontainer", "install", "--no-enable", "--name", _FIRST, reference])
    run_inside(host, lambda: _multiply(count))


def _multiply(count: int) -> None:
    """Write and publish ``count - 1`` more generations like the one that is installed."""
    context = Context(Settings(), Progress(quiet=True))
    first = current_generation(context, _FIRST)
    info, contents = first.read_info(), read_contents(first)
    for number in range(1, count):
        name = f"c{number:04}"
        generation = generation_at(context, name, 0)
        old, new = _FIRST.encode(), name.encode()
        texts = {key.replace(_FIRST, name): data.replace(old, new) for key, data in contents.items()}
        write_generation(generation, texts, writable=info.writable)
        apply_changes(publishing_changes(context, generation, texts))
    with connect() as manager:
        manager.enable_units([f"c{number:04}.service" for number in range(count)])
        manager.reload()


def _create(host: ThrowawayHost, reference: str, count: int) -> None:
    host.run(["podman", "pull", "--quiet", "--tls-verify=false", reference])
    create = f"podman create --quiet --network host {reference}"
    host.shell(f"seq {count} | xargs -P 2 -I @ {create} >/dev/null", timeout=3600)


def _measure(host: ThrowawayHost, commands: Sequence[str], rounds: int) -> dict[str, Cost]:
    costs: dict[str, list[Cost]] = {command: [] for command in commands}
    for command in commands:
        measure([host.command(command.split())])  # once for the page cache
    for command in in_turn(commands, rounds):
        costs[command].append(measure([host.command(command.split())]))
    return {command: median_cost(found) for command, found in costs.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
