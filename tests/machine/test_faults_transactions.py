"""Install, update, rollback and uninstall survive faults at every step: a sample of what tests.faults tries in full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import CRASHES, FAILURES, INTERRUPTS, Fault, Report, Run, Sample
from tests.machine.bench import MachineBench
from tests.machine.host import ThrowawayHost
from tests.machine.transactions import (
    VERBS,
    Check,
    Machines,
    boot_machines,
    new_only,
    old_or_new,
    require_none,
    run_campaign,
)

pytestmark = [pytest.mark.machine, pytest.mark.root]

NOT_FOUND = 4


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with boot_machines() as booted:
        yield booted


def require_good(report: Report) -> None:
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed


@pytest.mark.parametrize("verb", VERBS)
def test_transaction_survives(machines: Machines, verb: str) -> None:
    sample = Sample.from_environment(24, VERBS.index(verb))
    faults = (*CRASHES, *FAILURES, *INTERRUPTS)
    report = run_campaign(machines, machines.scenario(verb), faults, old_or_new, sample)
    require_good(report)
    assert {result.point.fault for result in report.results} == set(faults)


@pytest.mark.parametrize("verb", ["update", "uninstall"])
def test_the_same_command_again_ends_it(machines: Machines, verb: str) -> None:
    scenario = machines.scenario(verb)

    def new_again(bench: MachineBench) -> Check:
        def check(host: ThrowawayHost, run: Run) -> str:
            host.run(["rm", "-rf", "/var/lib/syscontainers/numbers"])  # the second try may have the first one's number
            done = host.run(["syscontainer", *scenario.command], check=False)
            # What was done to its end before the kill, and to a container that is gone now, cannot be done again.
            assert done.returncode in (0, NOT_FOUND) if verb == "uninstall" else done.returncode == 0, done.stderr
            require_none(bench.distance()[1], "new")
            return "new"

        return check

    require_good(run_campaign(machines, scenario, CRASHES, new_again, Sample.from_environment(8, VERBS.index(verb))))


@pytest.mark.parametrize("fault", [Fault.KILL_BEFORE, Fault.KILL_AFTER])
def test_recovery_survives_a_crash_of_its_own(machines: Machines, fault: Fault) -> None:
    """An update is cut off where its fate is decided, before or after; then what undoes or completes it is, too."""
    report = run_campaign(machines, machines.recovery(fault), CRASHES, new_only, Sample.from_environment(8, 1))
    require_good(report)
