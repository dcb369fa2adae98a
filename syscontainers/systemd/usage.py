"""What a control group uses, read from the kernel's own files, of either version (cgroups(7), cgroup-v2.rst).

Files that are not there, because a controller is off or the group has just gone, give None.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TOP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 62  # v1 writes the largest multiple of a page that fits


@dataclass(frozen=True)
class Usage:
    """A group and all below it; None where the kernel does not tell."""

    memory: int | None
    """Bytes, page cache included."""
    memory_peak: int | None
    memory_limit: int | None
    """Bytes; None also where there is no limit."""
    cpu_seconds: float | None
    """Of all its processes, those included that have ended."""
    tasks: int | None
    read_bytes: int | None
    written_bytes: int | None

    def to_json(self) -> dict[str, object]:
        """For ``stats --json``; the keys are a contract."""
        return {
            "memory_bytes": self.memory,
            "memory_peak_bytes": self.memory_peak,
            "memory_limit_bytes": self.memory_limit,
            "cpu_seconds": self.cpu_seconds,
            "tasks": self.tasks,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
        }


def read_usage(group: str, top: Path = _TOP) -> Usage:
    """What ``group`` uses, a path as systemd's ControlGroup= gives it. Raises nothing for a group that is gone."""
    relative = group.lstrip("/")
    return _read_unified(top / relative) if (top / "cgroup.controllers").exists() else _read_legacy(relative, top)


def _read_unified(group: Path) -> Usage:
    cpu = _keyed(group / "cpu.stat").get("usage_usec")
    devices = [dict(_pair(word) for word in line.split()[1:]) for line in _lines(group / "io.stat")]
    limit = _number(group / "memory.max")
    return Usage(
        memory=_number(group / "memory.current"),
        memory_peak=_number(group / "memory.peak"),
        memory_limit=limit,
        cpu_seconds=None if cpu is None else cpu / 1e6,
        tasks=_number(group / "pids.current"),
        read_bytes=sum(int(device.get("rbytes", 0)) for device in devices) if devices else None,
        written_bytes=sum(int(device.get("wbytes", 0)) for device in devices) if devices else None,
    )


def _read_legacy(group: str, top: Path) -> Usage:
    memory = _hierarchy(top, "memory") / group
    cpu = _number(_hierarchy(top, "cpuacct") / group / "cpuacct.usage")
    limit = _number(memory / "memory.limit_in_bytes")
    moved: dict[str, int] = {}
    for line in _lines(_hierarchy(top, "blkio") / group / "blkio.throttle.io_service_bytes_recursive"):
        words = line.split()
        if len(words) == 3:
            moved[words[1]] = moved.get(words[1], 0) + int(words[2])
    return Usage(
        memory=_number(memory / "memory.usage_in_bytes"),
        memory_peak=_number(memory / "memory.max_usage_in_bytes"),
        memory_limit=None if limit is None or limit > _NO_LIMIT else limit,
        cpu_seconds=None if cpu is None else cpu / 1e9,
        tasks=_number(_hierarchy(top, "pids") / group / "pids.current"),
        read_bytes=moved.get("Read"),
        written_bytes=moved.get("Write"),
    )


def _hierarchy(top: Path, controller: str) -> Path:
    """Where a v1 controller is mounted: alone, or together with others as ``cpu,cpuacct``."""
    if (top / controller).is_dir():
        return top / controller
    return next((path for path in top.glob("*,*") if controller in path.name.split(",")), top / controller)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _keyed(path: Path) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in _lines(path))}


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value
