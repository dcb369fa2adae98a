"""Install, update, rollback and uninstall with a fault at every step that changes a disk or that PID 1 hears of.

Afterwards, and after recovery, the machine is exactly what it was before or exactly what an undisturbed run makes of
it: units, links, rules, generations, mounts, control groups, enabled or not, running or not. The data stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.faults import CRASHES, FAILURES, Campaign, Fault, Run, Sample, Watch
from tests.machine.bench import WATCHED, MachineBench
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FILES, PATIENT, push_image, shell_image, start_registry

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "faulty"
DATA = f"/var/lib/{NAME}-data/precious"
RULES = "d /var/lib/$NAME-data 0755 root root -\nD /run/$NAME 0700 root root -\n"
CONFIG = "/etc/syscontainers/config.toml"


@dataclass(frozen=True)
class Scenario:
    """A command, and those that make its starting state."""

    before: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Machines:
    hosts: Sequence[ThrowawayHost]
    old: str
    new: str

    def scenario(self, verb: str) -> Scenario:
        install = ("install", "--now", "--name", NAME, self.old)
        update = ("update", "--pull", "missing", "--image", self.new, NAME)
        return {
            "install": Scenario((install, ("uninstall", NAME)), install),
            "update": Scenario((install,), update),
            "rollback": Scenario((install, update), ("rollback", NAME)),
            "uninstall": Scenario((install, update), ("uninstall", NAME)),
        }[verb]


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


def make_check(bench: MachineBench) -> Callable[[ThrowawayHost, Run], str]:
    def check(host: ThrowawayHost, run: Run) -> str:
        assert "Traceback" not in run.errors
        said = recover(host)
        from_old, from_new = bench.distance()
        side, lines = ("new", from_new) if len(from_new) < len(from_old) else ("old", from_old)
        text = "; ".join(line[:150] for line in lines[:10])
        assert not lines, f"after '{said}' {len(lines)} differences from {side}: {text}"
        assert host.path(DATA).read_text() == "data\n"
        assert run.status or not from_new, "it said it was done"
        if run.status > 0 and not from_old:
            assert run.status in (1, 3), f"unexpected exit status {run.status}"
        word = "new" if not from_new else "old"
        return f"{word}, {said.partition('interrupted ')[2] or said}"

    return check


@pytest.mark.parametrize("kind", ["crash", "error"])
@pytest.mark.parametrize("verb", ["install", "update", "rollback", "uninstall"])
def test_transaction_survives(machines: Machines, verb: str, kind: str) -> None:
    scenario = machines.scenario(verb)
    bench = MachineBench(
        machines.hosts,
        NAME,
        lambda host: run_all(host, [*scenario.before]),
        lambda host: run_all(host, [scenario.command]),
    )
    faults: tuple[Fault, ...] = CRASHES if kind == "crash" else FAILURES
    report = Campaign(
        bench,
        lambda host: host.command(["syscontainer", *scenario.command]),
        make_check(bench),
        Watch(WATCHED, messages=True),
        faults,
        workers=len(machines.hosts),
    ).run(Sample.from_environment(24))
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    # How often the service is looked at depends on how fast it starts.
    assert all(result.point.step.is_message for result in report.missed)
