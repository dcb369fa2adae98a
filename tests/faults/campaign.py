"""Run a command once for each point, and judge what it leaves."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic

from syscontainers.kernel import CLONE_NEWNS, MS_PRIVATE, MS_REC, mount, unshare
from tests.faults.benches import Bench, State
from tests.faults.report import Report, Result
from tests.faults.sampling import Sample
from tests.faults.steps import Step, Watch
from tests.faults.tracer import Fault, Point, Run, trace

CRASHES = (Fault.KILL_BEFORE, Fault.KILL_AFTER)
FAILURES = (Fault.ENOSPC, Fault.FULL, Fault.EIO)
INTERRUPTS = (Fault.INTERRUPT,)
# Calls whose effect is in another process, so that "after this one" is not the same as "before the next one".
_REMOTE = ("mount", "umount2", "move_mount", "sendmsg", "sendto")
# Where threads take turns, the n-th step of a kind may not come in every run.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Campaign(Generic[State]):
    """What is run, what is watched, and what must hold afterwards.

    ``check`` gets what the run left and how it went; it returns one or two words on which of the allowed states it
    found, and raises AssertionError for any other. It is called for the undisturbed run too (``Run.reached`` is
    false), and runs in a worker: what it changes outside of the state is lost.
    """

    bench: Bench[State]
    command: Callable[[State], Sequence[str]]
    check: Callable[[State, Run], str]
    watch: Watch
    faults: tuple[Fault, ...] = (*CRASHES, *FAILURES)
    env: Mapping[str, str] | None = None
    timeout: float = 60.0
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def run(self, sample: Sample | None = None) -> Report:
        """List the steps, and disturb the command at the ``sample`` of them, as many at once as there are workers."""
        sample = sample or Sample.from_environment()
        context = multiprocessing.get_context("fork")
        numbers: multiprocessing.queues.SimpleQueue[int] = context.SimpleQueue()
        for number in range(self.workers):
            numbers.put(number)
        began = time.monotonic()
        with ProcessPoolExecutor(self.workers, context, _enter_worker, (self, numbers)) as pool:
            steps, outcome = pool.submit(_run_undisturbed).result()
            points = sample.choose(list_points(steps, self.faults))
            results = tuple(pool.map(_run_point, points))
        return Report(steps, outcome, results, time.monotonic() - began)

    def try_once(self, point: Point | None) -> tuple[Run, str, bool]:
        """One run in a fresh state, the words on its outcome, and whether that is allowed."""
        with self.bench.fresh() as state:
            run = trace(self.command(state), self.watch, point, env=self.env, timeout=self.timeout)
            if point and point.fault is Fault.POWER_CUT and run.reached:
                self.bench.cut_power(state)
            try:
                assert not run.hung, f"it hung for {self.timeout:.0f} s"
                return run, self.check(state, run), True
            except AssertionError as error:
                return run, f"{error}\n{run.output}{run.errors}", False


def makes_sense(fault: Fault, step: Step) -> bool:
    """Whether ``fault`` at ``step`` can happen, and tells something that no other point does."""
    if fault is Fault.KILL_AFTER:
        return step.call in _REMOTE or step.call.startswith("rename")
    if fault in (Fault.ENOSPC, Fault.FULL):
        return step.takes_space
    if fault is Fault.EIO:
        return not step.is_message
    return True


def list_points(steps: Iterable[Step], faults: Iterable[Fault]) -> list[Point]:
    """Every fault at every step where it makes sense, in the order of the run."""
    return [Point(step, fault) for step in steps for fault in faults if makes_sense(fault, step)]


# What a worker works on: handed over by fork, because neither benches nor checks can be pickled.
_campaign: Campaign[Any]
_cleanup: contextlib.ExitStack


def _enter_worker(campaign: Campaign[Any], numbers: multiprocessing.queues.SimpleQueue[int]) -> None:
    global _campaign, _cleanup
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE, "")
    _campaign, _cleanup = campaign, contextlib.ExitStack()
    _cleanup.enter_context(campaign.bench.open(numbers.get()))


def _run_undisturbed() -> tuple[tuple[Step, ...], str]:
    run, outcome, good = _campaign.try_once(None)
    if not good:
        raise AssertionError(f"undisturbed, with exit status {run.status}: {outcome}")
    return run.steps, outcome


def _run_point(point: Point) -> Result:
    began = time.monotonic()
    for _ in range(_ATTEMPTS):
        run, outcome, good = _campaign.try_once(point)
        if run.reached or not good:
            break
    return Result(point, run.reached, good, outcome, run.status, time.monotonic() - began)
