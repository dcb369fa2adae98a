"""Fault injection: run a command, list its durable steps by tracing it, then break each of them in turn.

A campaign says where the command runs (a bench), what counts as a step (a watch), what goes wrong (faults) and what
must hold afterwards (a check)::

    def check(state: Path, run: Run) -> str:
        assert (text := (state / "file").read_text()) in ("old", "new")
        return text

    report = Campaign(
        bench=DirectoryBench(tmp_path / "bench", prepare),
        command=lambda state: [sys.executable, "-m", "something", str(state)],
        check=check,
        watch=Watch((str(tmp_path / "bench/state"),)),
    ).run()
    report.require_good()
    print(report.table())

Every run starts from the same state at the same path, in a mount namespace of its own, on as many cores as there
are. A step is known again by its call, its path without random parts, and how often both were seen before; so
neither threads nor random names matter. How many points the tests try is bounded; all of them::

    SYSCONTAINERS_FAULTS=all python -m pytest -s tests/root/test_faults*.py tests/machine/test_faults*.py

or another number in place of ``all``. With ``-s`` each test prints its table.
"""

from tests.faults.benches import Bench, DirectoryBench, DiskBench
from tests.faults.campaign import CRASHES, FAILURES, INTERRUPTS, Campaign
from tests.faults.report import Report, Result
from tests.faults.sampling import Sample
from tests.faults.steps import Step, Watch
from tests.faults.tracer import Fault, Point, Run, trace

__all__ = [
    "CRASHES",
    "FAILURES",
    "INTERRUPTS",
    "Bench",
    "Campaign",
    "DirectoryBench",
    "DiskBench",
    "Fault",
    "Point",
    "Report",
    "Result",
    "Run",
    "Sample",
    "Step",
    "Watch",
    "trace",
]
