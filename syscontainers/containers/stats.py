"""What running containers use: totals of their control groups, and their processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..systemd.manager import Manager, connect
from ..systemd.usage import Usage, read_usage
from .context import Context
from .generation import container_names, current_generation
from .names import service_unit


@dataclass(frozen=True)
class ProcessRow:
    """One process of a container, as this host numbers it."""

    pid: int
    name: str
    cpu_seconds: float
    memory: int
    """Resident bytes, shared ones included."""
    threads: int

    def to_json(self) -> dict[str, object]:
        """For ``stats --json``; the keys are a contract."""
        return {
            "pid": self.pid,
            "name": self.name,
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory,
            "threads": self.threads,
        }


@dataclass(frozen=True)
class Stats:
    """One container that runs."""

    name: str
    usage: Usage
    processes: tuple[ProcessRow, ...]

    def to_json(self) -> dict[str, object]:
        """For ``stats --json``; the keys are a contract."""
        return {"name": self.name, **self.usage.to_json(), "processes": [row.to_json() for row in self.processes]}


def read_stats(context: Context, names: Sequence[str]) -> list[Stats]:
    """Those of ``names`` that run, or of all. Raises NotFoundError for an unknown name, NoSystemdError."""
    for name in names:
        current_generation(context, name)
    with connect() as manager:
        return list(_read(manager, names or container_names(context)))


def _read(manager: Manager, names: Sequence[str]) -> Iterator[Stats]:
    for name in names:
        group = manager.status(service_unit(name)).control_group
        if group:
            pids = [process.pid for process in manager.unit_processes(service_unit(name))]
            yield Stats(name, read_usage(group), tuple(_read_processes(pids)))


def _read_processes(pids: Sequence[int]) -> Iterator[ProcessRow]:
    import psutil

    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times = process.cpu_times()
                row = ProcessRow(
                    pid,
                    process.name(),
                    times.user + times.system,
                    process.memory_info().rss,
                    process.num_threads(),
                )
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile
        yield row
