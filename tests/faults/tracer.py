"""Run a command step by step, and let one step go wrong.

Under a seccomp filter only the calls of ``steps.py`` stop; measured on a pull, that costs less than strace's own
filter. strace's injection is of no use here: it counts calls per thread and not per process, knows files by their
full name only, and ours have random ones.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tests.faults import ptrace
from tests.faults.steps import Step, Watch, recognise

_STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Fault(enum.Enum):
    """What goes wrong at a step."""

    KILL_BEFORE = "killed before"
    KILL_AFTER = "killed after"
    ENOSPC = "no space"
    FULL = "no space from there on"
    EIO = "I/O error"
    POWER_CUT = "power cut before"
    INTERRUPT = "interrupted"
    """SIGTERM to whoever takes the step, which still happens."""


KILLS = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.POWER_CUT)
_CODES = {Fault.ENOSPC: errno.ENOSPC, Fault.FULL: errno.ENOSPC, Fault.EIO: errno.EIO}


@dataclass(frozen=True)
class Point:
    """Where and how a run is disturbed."""

    step: Step
    fault: Fault


@dataclass(frozen=True)
class Run:
    """How a command went. ``reached``: the disturbance happened. ``hung``: it was killed for taking too long."""

    steps: tuple[Step, ...]
    """Without those that failed, if there was no disturbance."""
    status: int
    """Exit status, negative for the signal that ended it."""
    output: str
    errors: str
    reached: bool
    hung: bool


class _Tracer:
    """One command and its descendants; ``watch`` says what counts and ``point`` what goes wrong."""

    def __init__(self, watch: Watch, point: Point | None) -> None:
        self.reached = False
        self.status = 0
        self._watch = watch
        self._point = point
        self._steps: list[Step | None] = []
        self._under_way: dict[int, int] = {}
        """Which step a process is in the middle of, by its place in the list."""
        self._counts: Counter[str] = Counter()
        self._pids: set[int] = set()
        self._killing = False
        self._full = False

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for step in self._steps if step)

    def follow(self, command: int) -> None:
        """Until the last process has ended."""
        self._pids.add(command)
        # One that was born just before its parent was killed has not stopped yet, and so is not known.
        while self._pids or _has_tracees():
            pid, status = os.waitpid(-1, 0x40000000)  # __WALL: threads too
            if os.WIFSTOPPED(status):
                self._pids.add(pid)
                self._handle_stop(pid, status >> 8)
                continue
            self._pids.discard(pid)
            if pid == command:
                self.status = os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """Nothing that was started goes any further."""
        self._killing = True
        for pid in list(self._pids):
            with contextlib.suppress(ProcessLookupError):  # a thread whose process is gone already
                os.kill(pid, signal.SIGKILL)

    def _handle_stop(self, pid: int, stop: int) -> None:
        number, event = stop & 0xFF, stop >> 8
        if self._killing:
            self.kill()  # born while the others died
        elif event == ptrace.PTRACE_EVENT_SECCOMP:
            self._handle_call(pid)
        elif number == signal.SIGTRAP | 0x80:
            self._handle_return(pid)
        elif event == ptrace.PTRACE_EVENT_STOP and number in _STOPPING:
            ptrace.resume(pid, request=ptrace.PTRACE_LISTEN)
        else:
            ptrace.resume(pid, 0 if event else number)

    def _handle_call(self, pid: int) -> None:
        try:
            step = recognise(pid, ptrace.read_entry(pid), self._watch)
            if step is None:
                ptrace.resume(pid)
            else:
                self._disturb(pid, self._count(step))
        except (ProcessLookupError, FileNotFoundError):
            return  # killed by somebody else while it stood still

    def _count(self, step: Step) -> Step:
        self._counts[step.key] += 1
        step = replace(step, nth=self._counts[step.key])
        self._steps.append(step)
        return step

    def _handle_return(self, pid: int) -> None:
        if self._point:
            self.kill()  # the step that was to be the last one is done
            return
        place = self._under_way.pop(pid)
        with contextlib.suppress(ProcessLookupError):  # killed by somebody else while it stood still
            # What failed by itself (a directory that is there already) has changed nothing.
            if ptrace.call_failed(pid):
                self._steps[place] = None
        ptrace.resume(pid)

    def _disturb(self, pid: int, step: Step) -> None:
        point = self._point
        if self._full and step.takes_space:
            ptrace.fail_call(pid, errno.ENOSPC)
        if point is None:
            self._under_way[pid] = len(self._steps) - 1
            ptrace.resume(pid, request=ptrace.PTRACE_SYSCALL)
        elif self.reached or (step.key, step.nth) != (point.step.key, point.step.nth):
            ptrace.resume(pid)
        else:
            self.reached = True
            self._strike(pid, point)

    def _strike(self, pid: int, point: Point) -> None:
        if point.fault is Fault.KILL_AFTER:
            ptrace.resume(pid, request=ptrace.PTRACE_SYSCALL)
        elif point.fault in KILLS:
            self.kill()
        elif point.fault is Fault.INTERRUPT:
            os.kill(pid, signal.SIGTERM)
            ptrace.resume(pid)
        else:
            self._full = point.fault is Fault.FULL
            ptrace.fail_call(pid, _CODES[point.fault])
            ptrace.resume(pid)


def _has_tracees() -> bool:
    """Whether we trace anybody; we may have other children too, which are not to be waited for (proc(5), TracerPid)."""
    ours = f"TracerPid:\t{threading.get_native_id()}\n"
    return any(ours in status for process in Path("/proc").glob("[0-9]*") for status in _statuses(process))


def _statuses(process: Path) -> Iterator[str]:
    """Of its threads; of those that end meanwhile none."""
    with contextlib.suppress(OSError):
        for number in os.listdir(process / "task"):
            with contextlib.suppress(OSError):
                yield (process / "task" / number / "status").read_text()


def _start(argv: Sequence[str], env: Mapping[str, str] | None, program: bytes, output: int, errors: int) -> int:
    """A child that runs ``argv`` as soon as it is traced."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        try:
            ptrace.seize(pid)
        except BaseException:
            os.kill(pid, signal.SIGKILL)  # it must not run unwatched
            raise
        finally:
            os.close(go)
        return pid
    try:
        os.close(go)
        os.read(ready, 1)  # ends when the tracer holds us
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.closerange(3, 256)
        ptrace.install_filter(program)
        os.execvpe(argv[0], list(argv), dict(os.environ if env is None else env))
    finally:
        os._exit(127)


def _read_back(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def trace(
    argv: Sequence[str],
    watch: Watch,
    point: Point | None = None,
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Run:
    """Run ``argv`` to its end, disturbed at ``point``, in a process that has no other children and runs as root."""
    hung = threading.Event()
    tracer = _Tracer(watch, point)

    def give_up() -> None:
        hung.set()
        tracer.kill()

    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        command = _start(argv, env, watch.compile_filter(), output.fileno(), errors.fileno())
        timer = threading.Timer(timeout, give_up)
        timer.start()
        try:
            tracer.follow(command)
        finally:
            timer.cancel()
        texts = _read_back(output), _read_back(errors)
    return Run(tracer.steps, tracer.status, *texts, tracer.reached, hung.is_set())
