"""What every benchmark needs: file systems of its own, costs of processes, contenders in turn, medians, tables.

Root file systems differ in what a written page costs, and on some it hides everything else. So each run gets a new file
system in a sparse file, and whatever a contender writes goes there.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from syscontainers import kernel

CHECKOUT = Path(__file__).parents[1]
CACHE = CHECKOUT / ".cache" / "benchmarks"
"""Images and file systems; not below /tmp, which may be in memory."""

# Tables of inodes are written now, not by a kernel thread during the measurement.
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
FILE_SYSTEMS = tuple(_MAKE)
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.05

T = TypeVar("T")


def call(*argv: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed; its standard output. Its complaints are in the exception's text."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def leave_mounts_private() -> None:
    """What this process mounts from here on goes away with it and its children, however they end."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE, "")


class LoopFileSystem:
    """A file system in a sparse file below ``directory``, mounted at ``path``; use as a context manager."""

    def __init__(self, kind: str, directory: Path, gibibytes: int = 8) -> None:
        self.kind = kind
        self.path = directory / f"{kind}-mount"
        self._image = directory / f"{kind}.img"
        self._size = gibibytes << 30

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unmount()
        self._image.unlink(missing_ok=True)

    def renew(self) -> None:
        """An empty file system, mounted."""
        self._unmount()
        self._image.unlink(missing_ok=True)
        with open(self._image, "xb") as file:
            file.truncate(self._size)
        call(*_MAKE[self.kind], self._image)
        self._mount()

    def forget(self) -> None:
        """Write everything back and drop it from the page cache, of this file system only."""
        self._unmount()
        self._mount()

    def sync(self) -> float:
        """Write everything back; the seconds it took."""
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            start = time.perf_counter()
            kernel.syncfs(directory)
            return time.perf_counter() - start
        finally:
            os.close(directory)

    def _mount(self) -> None:
        # Without direct I/O everything would be copied into the page cache a second time, for the file underneath.
        device = call("losetup", "--find", "--show", "--direct-io=on", self._image).strip()
        try:
            call("mount", device, self.path)
        finally:
            call("losetup", "--detach", device)  # when it is unmounted, that is, if it is mounted now

    def _unmount(self) -> None:
        if os.path.ismount(self.path):
            call("umount", self.path)


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds by the clock, seconds of all its processes' CPU, bytes of memory at the peak."""

    wall: float
    cpu: float
    memory: int


def measure(
    commands: Iterable[Sequence[str | Path]], *, daemon: int | None = None, env: Mapping[str, str] | None = None
) -> Cost:
    """Run ``commands`` one after the other. Raises RuntimeError when one fails.

    CPU and memory of the process ``daemon``, which does the work for some, are counted as well.
    """
    before = _cpu_of(daemon) if daemon else 0.0
    with MemoryWatch(daemon) as watch:
        start = time.perf_counter()
        cpu = sum(_run(argv, watch, env) for argv in commands)
        wall = time.perf_counter() - start
    return Cost(wall, cpu + (_cpu_of(daemon) - before if daemon else 0.0), watch.peak)


def _run(argv: Sequence[str | Path], watch: MemoryWatch, env: Mapping[str, str] | None) -> float:
    """The CPU seconds of one command and its children."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    ) as process:
        watch.root = process.pid
        assert process.stderr is not None
        complaints = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit code {process.returncode}\n{complaints.decode()}")
    return usage.ru_utime + usage.ru_stime


def _cpu_of(pid: int) -> float:
    """User and system time of a living process and its children (proc_pid_stat(5), fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


class MemoryWatch:
    """Looks at a tree of processes twenty times a second; shared pages are counted once."""

    def __init__(self, daemon: int | None = None) -> None:
        self.root: int | None = None
        self.peak = 0
        """The larger of the highest sum seen (PSS) and the highest mark of any one process (VmHWM), in bytes."""
        self._daemon = daemon
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            roots = [pid for pid in (self.root, self._daemon) if pid]
            family = [pid for root in roots for pid in _family(root)]
            total = sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in family)
            highest = max((_kilobytes(pid, "status", "VmHWM:") for pid in family), default=0)
            self.peak = max(self.peak, total << 10, highest << 10)


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):  # it has ended
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from _family(int(child))


def _kilobytes(pid: int, file: str, key: str) -> int:
    with contextlib.suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    return 0


def in_turn(contenders: Sequence[T], rounds: int) -> Iterator[T]:
    """Every contender once a round, each round beginning with another: what a shared machine does hits all alike."""
    for number in range(rounds):
        first = number % len(contenders)
        yield from (*contenders[first:], *contenders[:first])


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Medians of times, the highest of the peaks."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.memory for cost in costs),
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with the first column left and the others right, padded so that it reads well as plain text."""
    cells = [list(head), *([str(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row[:1], widths, strict=False)] for row in cells]
    for line, row in zip(lines, cells, strict=True):
        line += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def replace_section(document: Path, name: str, text: str) -> None:
    """Put ``text`` between the comments ``<!-- NAME -->`` and ``<!-- end of NAME -->`` of a document that has them."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = document.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise RuntimeError(f"{document}: no place for {name}")
    document.write_text(f"{before}{start}\n{text.strip()}\n\n{end}{after}")


def describe_machine() -> dict[str, object]:
    """What figures depend on, apart from the contenders' versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "processor": next((line.partition(":")[2].strip() for line in lines if "model name" in line), "unknown"),
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "python": platform.python_version(),
    }
