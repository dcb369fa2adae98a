"""Install, update, rollback and uninstall with faults: what is run, where, and what must hold afterwards.

Afterwards, and after recovery, the machine is exactly what it was before or exactly what an undisturbed run makes of
it: units, links, rules, generations, mounts, control groups, enabled or not, running or not. The data stays.

``python -m tests.faults`` goes through every step there is; CI tries a few of each operation.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults import CRASHES, FAILURES, INTERRUPTS, Campaign, Fault, Point, Report, Run, Sample, Step, Watch, trace
from tests.images import Entry, Image, build_image, directory, layer, program, program_from, symlink
from tests.machine.bench import WATCHED, MachineBench
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FILES, PATIENT, push_image, start_registry

NAME = "faulty"
DATA = f"/var/lib/{NAME}-data/precious"
RULES = "d /var/lib/$NAME-data 0755 root root -\nD /run/$NAME 0700 root root -\n"
WATCH = Watch(WATCHED, messages=True)
RECORD = f"/var/lib/syscontainers/transactions/{NAME}.json"
PUBLISHED = Step("rename", RECORD, "", f"rename {RECORD}", 2)
"""The record says from here on that all changes are in place."""
CONFIG = "/etc/syscontainers/config.toml"
VERBS = ("install", "update", "rollback", "uninstall")
KINDS: dict[str, tuple[Fault, ...]] = {"crash": CRASHES, "error": FAILURES, "interrupt": INTERRUPTS}
INTERRUPTED = 130
HEADER = ("| operation | faults | steps | points | outcomes | wrong |", "| --- | --- | --- | --- | --- | --- |")

Check = Callable[[ThrowawayHost, Run], str]


@dataclass(frozen=True)
class Scenario:
    """A command, and what makes its starting state."""

    prepare: Callable[[ThrowawayHost], None]
    command: tuple[str, ...]
    cut_off: bool = False
    """Whether the starting state is that of an operation cut off."""


@dataclass(frozen=True)
class Machines:
    """One for each core, with two images that are pulled already: pulling has its own campaign."""

    hosts: Sequence[ThrowawayHost]
    old: str
    new: str

    def scenario(self, verb: str) -> Scenario:
        """The verb on a container that runs, or on none."""
        install = ("install", "--now", "--name", NAME, self.old)
        update = ("update", "--pull", "missing", "--image", self.new, NAME)
        before, command = {
            "install": ((install, ("uninstall", NAME)), install),
            "update": ((install,), update),
            "rollback": ((install, update), ("rollback", NAME)),
            "uninstall": ((install, update), ("uninstall", NAME)),
        }[verb]
        return Scenario(lambda host: run_all(host, before), command)

    def recovery(self, fault: Fault) -> Scenario:
        """Recovering from an update that was cut off just before (or after) its record said that all is published."""
        update = self.scenario("update")

        def prepare(host: ThrowawayHost) -> None:
            update.prepare(host)
            run = trace(host.command(["syscontainer", *update.command]), WATCH, Point(PUBLISHED, fault))
            assert run.reached

        return Scenario(prepare, ("recover",), cut_off=True)


def make_image(tag: str) -> Image:
    """A payload with host files and rules. It has most mount points, so that few steps are only about them."""
    base: dict[str, Entry | str | bytes] = {
        "bin/busybox": program_from("/bin/busybox"),
        "bin/sh": symlink("busybox"),
        "bin/sleep": symlink("busybox"),
    }
    points = ("dev", "proc", "sys", "run", "tmp", "var/tmp", "var/lib")
    base |= {point: directory() for point in points}
    base |= {f"etc/{name}": "" for name in ("hosts", "localtime", "resolv.conf")}
    own: dict[str, Entry | str | bytes] = {
        "payload": program(f"#!/bin/sh\n{PATIENT} # {tag}\n"),
        "exports/tmpfiles.template": f"# {tag}\n{RULES}",
        "exports/hostfs/srv/faulty/file": f"made by {tag}\n",
    }
    return build_image([layer(base), layer(own)], {"Entrypoint": ["/payload"], "Env": ["PATH=/bin"]})


@contextlib.contextmanager
def boot_machines() -> Iterator[Machines]:
    """Two of them, with everything in the storage."""
    files = {**FILES, CONFIG: FILES[CONFIG].replace("0.5", "0.1")}
    with ThrowawayHost(files=files) as first, ThrowawayHost(files=files) as second:
        for host in (first, second):
            start_registry(host)
            references = []
            for tag in ("old", "new"):
                references.append(push_image(host, make_image(tag), NAME, tag))
                host.run(["syscontainer", "pull", references[-1]])
            host.shell(f"mkdir {DATA.rpartition('/')[0]}; echo data >{DATA}")
        yield Machines((first, second), *references)


def run_all(host: ThrowawayHost, commands: Sequence[Sequence[str]]) -> None:
    """Run each, and demand that it succeeds."""
    for words in commands:
        host.run(["syscontainer", *words])


def recover(host: ThrowawayHost) -> str:
    """What a later boot does, or whoever asks for it."""
    return host.run(["syscontainer", "recover"]).stdout.strip() or "nothing to recover"


def run_campaign(
    machines: Machines,
    scenario: Scenario,
    faults: tuple[Fault, ...],
    make_check: Callable[[MachineBench], Check],
    sample: Sample,
) -> Report:
    """Disturb the scenario at the sample of its steps."""
    finish = [scenario.command]
    bench = MachineBench(
        machines.hosts, NAME, scenario.prepare, lambda host: run_all(host, finish), replay=scenario.cut_off
    )
    report = Campaign(
        bench,
        lambda host: host.command(["syscontainer", *scenario.command]),
        make_check(bench),
        WATCH,
        faults,
        workers=len(machines.hosts),
    ).run(sample)
    assert any(step.is_message for step in report.steps)
    return report


def require_none(differences: Sequence[str], what: str) -> None:
    """Fail with the first few differences."""
    text = "; ".join(line[:150] for line in differences[:10])
    assert not differences, f"{len(differences)} differences from {what}: {text}"


def old_or_new(bench: MachineBench) -> Check:
    """After recovery, exactly the old state or exactly the new one; an interrupt leaves nothing to recover."""

    def check(host: ThrowawayHost, run: Run) -> str:
        assert "Traceback" not in run.errors
        said = recover(host)
        from_old, from_new = bench.distance()
        nearer, differences = ("new", from_new) if len(from_new) < len(from_old) else ("old", from_old)
        require_none(differences, f"{nearer} after '{said}'")
        assert host.path(DATA).read_text() == "data\n"
        if run.status == 0:
            assert nearer == "new", "it said it was done"
        if run.status == INTERRUPTED:
            assert said == "nothing to recover", "it was interrupted and left that to others"
        return f"{nearer}, {said.partition('interrupted ')[2] or said}"

    return check


def new_only(bench: MachineBench) -> Check:
    """After recovery of the recovery, exactly the state that it leads to undisturbed."""

    def check(host: ThrowawayHost, run: Run) -> str:
        said = recover(host)
        require_none(bench.distance()[1], "new")
        return said

    return check


def main(arguments: Sequence[str]) -> int:
    """Everything, or only the campaigns whose titles have all the words of one of the arguments."""
    rows, bad = list(HEADER), 0
    sample = Sample.from_environment(1 << 30)
    with boot_machines() as machines:
        wanted = [
            (f"{verb} {kind}", machines.scenario(verb), KINDS[kind], old_or_new) for verb in VERBS for kind in KINDS
        ]
        wanted += [
            (f"recover {fault.value} publishing", machines.recovery(fault), CRASHES, new_only)
            for fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)
        ]
        for title, scenario, faults, make_check in wanted:
            if arguments and not any(set(words.split()) <= set(title.split()) for words in arguments):
                continue
            report = run_campaign(machines, scenario, faults, make_check, sample)
            print(f"== {title}", report.table(), report.summary(), sep="\n", flush=True)
            bad += len(report.failures) + len(report.missed)
            rows.append(_row(title, report))
    print("", *rows, sep="\n")
    return 1 if bad else 0


def _row(title: str, report: Report) -> str:
    verb, _, kind = title.partition(" ")
    good = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes().most_common())
    wrong = len(report.failures) + len(report.missed)
    return f"| {verb} | {kind} | {len(report.steps)} | {len(report.results)} | {good} | {wrong} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
