"""A campaign of power cuts: ``python -m tests.vm.powercut --cuts 60 --to DIRECTORY``.

Each cut begins with a machine in which an operation is about to begin, lets it run until so many flushes or writes
have reached the disk, or so much time has gone, and kills qemu; ``disk.py`` says what of the unsynced writes is left:
at that very write, or at some moment between the last two flushes. Then the machine boots and is looked at, and where
the operation turns out not to have happened, it is done again.

What is asked after each cut:

- the boot comes to an end, no unit has failed, no command reports a problem, every layer equals its digest;
- units, links, generations, records and payloads (``guest/host-state.sh``) are exactly those of before the operation
  or exactly those of after it, no line more or less;
- done again, the operation succeeds and ends in the latter, but for the generation's number.

Results go to ``cuts.json`` after every cut, and a run with the same directory goes on where one was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.vm.disk import Disk
from tests.vm.machine import Machine, MachineError
from tests.vm.victim import OPERATIONS, START_REGISTRY, Operation, Pasts

OLD, NEW, OTHER = "old", "new", "neither"
BY_WRITES, BY_FLUSHES, BY_TIME = "writes", "flushes", "time"
_PATIENCE = 900.0
"""Seconds for one boot, on a machine that may have a lot else to do."""
_SLOW = 4.0
"""How much slower than the time it was measured an operation may run before the cut comes anyway."""


@dataclass(frozen=True)
class Point:
    """Which operation is cut, and where: ``fraction`` of its writes, its flushes or its time."""

    operation: str
    by: str
    fraction: float
    seed: int


@dataclass(frozen=True)
class Reference:
    """An operation that nobody disturbed."""

    old: str
    new: str
    flushes: int
    """How many it made."""
    requests: int
    """How many of every kind."""
    seconds: float
    """How long it took, from its window on where it has one."""


@dataclass(frozen=True)
class Result:
    """One cut and what was found after it."""

    point: Point
    flushes: int
    """How many of the operation's flushes had reached the disk."""
    of_flushes: int
    safe: int
    kept: int
    lost: int
    torn: int
    outcome: str
    said: str
    """What recovery wrote into the journal."""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    commit: str = ""


class Campaign:
    """Everything that cuts share: the pasts and the undisturbed runs."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._pasts = Pasts(stack)
        self._references: dict[str, Reference] = {}

    def reference(self, operation: Operation) -> Reference:
        """The undisturbed run of an operation; done once."""
        if operation.name not in self._references:
            self._references[operation.name] = self._measure(operation)
        return self._references[operation.name]

    def _measure(self, operation: Operation) -> Reference:
        with self._pasts.begin(operation) as machine:
            old = look(machine, operation) if operation.script else ""
            disk = machine.disks["root"]
            flushes, requests, started = disk.flushes(), disk.requests(), time.monotonic()
            if operation.window:
                machine.start(operation.script)
                machine.wait_for(operation.window)
                started = time.monotonic()
                machine.wait_for("! systemctl -q is-active task.service")
            else:
                finish(machine, operation)
            seconds = time.monotonic() - started
            flushes, requests = disk.flushes() - flushes, disk.requests() - requests
            return Reference(old, look(machine, operation), flushes, requests, seconds)

    def cut(self, point: Point) -> Result:
        """Make one cut and look at what it left."""
        operation = OPERATIONS[point.operation]
        reference = self.reference(operation)
        began = time.monotonic()
        with self._pasts.begin(operation) as machine:
            disk = machine.disks["root"]
            before = disk.flushes()
            goal = _choose_goal(disk, reference, point)
            if operation.script:
                machine.start(operation.script)
            _wait_for_point(machine, operation, reference, point, goal)
            flushes = disk.flushes() - before
            by_writes = point.by == BY_WRITES
            lost = machine.power_cut(point.seed, sooner=not by_writes, most=goal if by_writes else None)["root"]
            outcome, said, problems = _examine(machine, operation, reference)
        return Result(
            point=point,
            flushes=flushes,
            of_flushes=reference.flushes,
            safe=lost.flushed,
            kept=lost.kept,
            lost=lost.lost,
            torn=lost.torn,
            outcome=outcome,
            said=said,
            problems=problems,
            seconds=round(time.monotonic() - began, 1),
        )


def look(machine: Machine, operation: Operation) -> str:
    """The state that ``operation`` changes."""
    if operation.name == "pull":
        return machine.run("syscontainer images").stdout
    return machine.run("host-state").stdout


def finish(machine: Machine, operation: Operation) -> None:
    """Do the operation to its end."""
    if operation.script:
        machine.run(operation.script)
    else:
        machine.wait_until_up(_PATIENCE)


def _choose_goal(disk: Disk, reference: Reference, point: Point) -> int | None:
    """How many requests, or flushes, the disk has to have had; None where time decides."""
    if point.by == BY_WRITES:
        return disk.requests() + int(point.fraction * reference.requests)
    if point.by == BY_FLUSHES:
        return disk.flushes() + int(point.fraction * reference.flushes)
    return None


def _wait_for_point(
    machine: Machine, operation: Operation, reference: Reference, point: Point, goal: int | None
) -> None:
    if operation.window:
        machine.wait_for(operation.window)
    disk = machine.disks["root"]
    deadline = time.monotonic() + reference.seconds * (point.fraction if goal is None else _SLOW)
    while time.monotonic() < deadline:
        if goal is not None and goal <= (disk.requests() if point.by == BY_WRITES else disk.flushes()):
            return
        time.sleep(0.01)


def _examine(machine: Machine, operation: Operation, reference: Reference) -> tuple[str, str, list[str]]:
    """Boot and look: which state it is, what was said about it, and everything that is wrong."""
    try:
        machine.boot(seconds=_PATIENCE)
    except MachineError as error:
        return OTHER, "", [f"no boot: {error}"]
    try:
        return _examine_booted(machine, operation, reference)
    except MachineError as error:
        evidence = machine.run("systemctl list-jobs; journalctl --boot --no-pager | tail -50", check=False).stdout
        return OTHER, "", [f"the machine gave up: {error}\n{evidence}"]


def _examine_booted(machine: Machine, operation: Operation, reference: Reference) -> tuple[str, str, list[str]]:
    problems = list(_find_problems(machine))
    state = look(machine, operation)
    said = machine.run(
        "journalctl --boot --output=cat _SYSTEMD_UNIT=syscontainers-recover.service + "
        "_SYSTEMD_UNIT=syscontainers-settle.service"
    ).stdout.strip()
    outcome = {reference.new: NEW, reference.old: OLD}.get(state, OTHER)
    if outcome == OTHER:
        problems += _differences(state, reference)
    if outcome == OLD and operation.script:
        machine.run(START_REGISTRY + operation.script)
        again = look(machine, operation)
        if _outline(again) != _outline(reference.new):
            problems += ["done again it ends otherwise:", *sorted(_outline(again) ^ _outline(reference.new))]
    return outcome, said, problems


def _find_problems(machine: Machine) -> Iterator[str]:
    state = machine.wait_until_up(_PATIENCE)
    if state != "running":
        yield f"the boot ends {state}: {machine.run('systemctl --failed --no-legend').stdout}"
    # As `syscontainer list` and `syscontainer storage check`, by one interpreter: starting it is most of the work.
    main = "import sys; from syscontainers.cli.main import main; sys.exit(main(['list']) or main(['storage', 'check']))"
    done = machine.run(f'python3 -c "{main}"', check=False)
    if done.returncode != 0 or done.stderr:
        yield f"list, storage check: exit status {done.returncode}: {done.stdout}{done.stderr}"
    if machine.run("ls -A /var/lib/syscontainers/transactions").stdout:
        yield "a record of an operation is left"


def _differences(state: str, reference: Reference) -> list[str]:
    lines = set(state.splitlines())
    old, new = (set(text.splitlines()) for text in (reference.old, reference.new))
    nearest = min((old, new), key=lambda each: len(each ^ lines))
    return [*(f"missing: {line}" for line in sorted(nearest - lines)), *(f"extra: {line}" for line in lines - nearest)]


def _outline(state: str) -> set[str]:
    """A state without what depends on a generation's number, which is never used a second time."""
    lines = state.splitlines()
    kept = [line for line in lines if re.match(r"[-dl][-rwxstST]{9} |[a-z]+\.service ", line)]
    return {re.sub(r"app\.\d+", "app.N", line) for line in kept or lines}


def choose_points(count: int, seed: int, operations: Sequence[str] = tuple(OPERATIONS)) -> list[Point]:
    """``count`` cuts, in turn over the operations and spread evenly, with some jitter, over each."""
    dice = random.Random(seed)
    points = []
    for number, name in enumerate(operations):
        share = len(range(number, count, len(operations)))
        for index in range(share):
            by = BY_TIME if OPERATIONS[name].window else (BY_WRITES, BY_FLUSHES, BY_TIME)[index % 3]
            # The last of them may come just after the end, when everything has to be there.
            points.append(Point(name, by, round((index + dice.random()) / share * 1.05, 3), dice.getrandbits(32)))
    dice.shuffle(points)
    return points


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "../../syscontainers"], check=False)
    return head.stdout.strip() + ("+" if changed.returncode else "")


def read_results(file: Path) -> list[Result]:
    """What an earlier run found."""
    if not file.exists():
        return []
    return [Result(**{**row, "point": Point(**row["point"])}) for row in json.loads(file.read_text())]


def write_results(file: Path, results: Sequence[Result]) -> None:
    """Both tables: ``cuts.json`` and beside it ``cuts.md``."""
    file.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    file.with_suffix(".md").write_text("\n".join(make_table(results)) + "\n")


def make_table(results: Sequence[Result]) -> list[str]:
    """A row for each operation, in markdown."""
    lines = [
        "| operation | cuts | old after boot | new after boot | neither | problems | writes at risk | lost | torn |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in [*((name, _of(results, name)) for name in OPERATIONS), ("all", list(results))]:
        ends = [sum(row.outcome == end for row in rows) for end in (OLD, NEW, OTHER)]
        bad = sum(bool(row.problems) for row in rows)
        fates = [sum(getattr(row, fate) for row in rows) for fate in ("kept", "lost", "torn")]
        cells = [name, len(rows), *ends, bad, sum(fates), *fates[1:]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _of(results: Sequence[Result], name: str) -> list[Result]:
    return [result for result in results if result.point.operation == name]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, default=Path("build/powercut"), help="where results go, and lie already")
    parser.add_argument("--only", choices=OPERATIONS, action="append", help="these operations")
    asked = parser.parse_args(arguments)
    asked.to.mkdir(parents=True, exist_ok=True)
    file = asked.to / "cuts.json"
    results = read_results(file)
    done = {result.point for result in results}
    commit = _commit()
    with contextlib.ExitStack() as stack:
        campaign = Campaign(stack)
        for point in choose_points(asked.cuts, asked.seed, asked.only or tuple(OPERATIONS)):
            if point not in done:
                result = replace(campaign.cut(point), commit=commit)
                results.append(result)
                write_results(file, results)
                print(f"{len(results)}: {point.operation} at {result.flushes} of {result.of_flushes} flushes: ", end="")
                print(result.outcome, *result.problems, sep="\n    ", flush=True)
    print(*make_table(results), sep="\n")
    return 1 if any(result.problems for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
