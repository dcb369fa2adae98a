"""Install, update, rollback and uninstall with a fault at every step that changes a disk or that PID 1 hears of.

Afterwards, and after recovery, the machine is exactly what it was before or exactly what an undisturbed run makes of
it: units, links, rules, generations, mounts, control groups, enabled or not, running or not. The data stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.faults import CRASHES, FAILURES, Campaign, Fault, Point, Run, Sample, Step, Watch, trace
from tests.machine.bench import WATCHED, MachineBench
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FILES, PATIENT, push_image, shell_image, start_registry

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "faulty"
DATA = f"/var/lib/{NAME}-data/precious"
RULES = "d /var/lib/$NAME-data 0755 root root -\nD /run/$NAME 0700 root root -\n"
WATCH = Watch(WATCHED, messages=True)
RECORD = f"/var/lib/syscontainers/transactions/{NAME}.json"
PUBLISHED = Step("rename", RECORD, "", f"rename {RECORD}", 2)
"""The record says from here on that all changes are in place."""
NOT_FOUND = 4
CONFIG = "/etc/syscontainers/config.toml"


MakeCheck = Callable[[MachineBench], Callable[[ThrowawayHost, Run], str]]


@dataclass(frozen=True)
class Scenario:
    """A command, and what makes its starting state."""

    prepare: Callable[[ThrowawayHost], None]
    command: tuple[str, ...]
    cut_off: bool = False
    """Whether the starting state is that of an operation cut off."""


@dataclass(frozen=True)
class Machines:
    hosts: Sequence[ThrowawayHost]
    old: str
    new: str

    def scenario(self, verb: str) -> Scenario:
        install = ("install", "--now", "--name", NAME, self.old)
        update = ("update", "--pull", "missing", "--image", self.new, NAME)
        before, command = {
            "install": ((install, ("uninstall", NAME)), install),
            "update": ((install,), update),
            "rollback": ((install, update), ("rollback", NAME)),
            "uninstall": ((install, update), ("uninstall", NAME)),
        }[verb]
        return Scenario(lambda host: run_all(host, before), command)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """One for each core, with two images that are pulled already: pulling has its own campaign."""
    files = {**FILES, CONFIG: f"{FILES[CONFIG]}grace_seconds = 0.1\n"}
    with ThrowawayHost(files=files) as first, ThrowawayHost(files=files) as second:
        for host in (first, second):
            start_registry(host)
            references = []
            for tag in ("old", "new"):
                image = shell_image(f"{PATIENT} # {tag}", exports={"tmpfiles.template": f"# {tag}\n{RULES}"})
                references.append(push_image(host, image, NAME, tag))
                host.run(["syscontainer", "pull", references[-1]])
            host.shell(f"mkdir {DATA.rpartition('/')[0]}; echo data >{DATA}")
        yield Machines((first, second), *references)


def run_all(host: ThrowawayHost, commands: Sequence[Sequence[str]]) -> None:
    for words in commands:
        host.run(["syscontainer", *words])


def recover(host: ThrowawayHost) -> str:
    """What a later boot does, or whoever asks for it."""
    return host.run(["syscontainer", "recover"]).stdout.strip() or "nothing to recover"


def run_campaign(
    machines: Machines, scenario: Scenario, faults: tuple[Fault, ...], make_check: MakeCheck, points: int
) -> None:
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
    ).run(Sample.from_environment(points))
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed
    assert any(step.is_message for step in report.steps)


def require_none(differences: Sequence[str], what: str) -> None:
    text = "; ".join(line[:150] for line in differences[:10])
    assert not differences, f"{len(differences)} differences from {what}: {text}"


def old_or_new(bench: MachineBench) -> Callable[[ThrowawayHost, Run], str]:
    def check(host: ThrowawayHost, run: Run) -> str:
        assert "Traceback" not in run.errors
        said = recover(host)
        from_old, from_new = bench.distance()
        nearer, differences = ("new", from_new) if len(from_new) < len(from_old) else ("old", from_old)
        require_none(differences, f"{nearer} after '{said}'")
        assert host.path(DATA).read_text() == "data\n"
        if run.status == 0:
            assert nearer == "new", "it said it was done"
        return f"{nearer}, {said.partition('interrupted ')[2] or said}"

    return check


@pytest.mark.parametrize("kind", ["crash", "error"])
@pytest.mark.parametrize("verb", ["install", "update", "rollback", "uninstall"])
def test_transaction_survives(machines: Machines, verb: str, kind: str) -> None:
    run_campaign(machines, machines.scenario(verb), CRASHES if kind == "crash" else FAILURES, old_or_new, 24)


@pytest.mark.parametrize("verb", ["update", "uninstall"])
def test_the_same_command_again_ends_it(machines: Machines, verb: str) -> None:
    scenario = machines.scenario(verb)

    def new_again(bench: MachineBench) -> Callable[[ThrowawayHost, Run], str]:
        def check(host: ThrowawayHost, run: Run) -> str:
            done = host.run(["syscontainer", *scenario.command], check=False)
            # What was done to its end before the kill, and to a container that is gone now, cannot be done again.
            assert done.returncode in (0, NOT_FOUND) if verb == "uninstall" else done.returncode == 0, done.stderr
            require_none(bench.distance()[1], "new")
            return "new"

        return check

    run_campaign(machines, scenario, CRASHES, new_again, 16)


@pytest.mark.parametrize("fault", [Fault.KILL_BEFORE, Fault.KILL_AFTER])
def test_recovery_survives_a_crash_of_its_own(machines: Machines, fault: Fault) -> None:
    """An update is cut off where its fate is decided, before or after; then what undoes or completes it is, too."""
    update = machines.scenario("update")

    def prepare(host: ThrowawayHost) -> None:
        update.prepare(host)
        run = trace(host.command(["syscontainer", *update.command]), WATCH, Point(PUBLISHED, fault))
        assert run.reached

    def new_only(bench: MachineBench) -> Callable[[ThrowawayHost, Run], str]:
        def check(host: ThrowawayHost, run: Run) -> str:
            said = recover(host)
            require_none(bench.distance()[1], "new")
            return said

        return check

    run_campaign(machines, Scenario(prepare, ("recover",), cut_off=True), CRASHES, new_only, 24)
