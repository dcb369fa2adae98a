"""Control groups of a throw-away machine: one directory of its own in every hierarchy that is mounted.

Without them two machines would meet in the same groups, and a machine that dies would leave its groups behind
among everybody else's. Hierarchies of version 1, of version 2 and a mix of both are treated alike.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def _mount_points() -> dict[str, Path]:
    """Where each hierarchy is mounted, by the name that /proc/PID/cgroup gives it; version 2 has the empty name."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[""] = Path(where)
        elif kind == "cgroup":
            for option in options.split(","):
                found[option] = Path(where)
    return found


def read_cgroups(pid: int | str = "self") -> list[Path]:
    """The directory that process ``pid`` is in, one for each mounted hierarchy."""
    mounts = _mount_points()
    groups: list[Path] = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if where := mounts.get(controllers.split(",")[0]):
            groups.append(where / path.lstrip("/"))
    return groups


def create_groups(name: str) -> list[Path]:
    """Make a group called ``name`` below each of our own groups."""
    created = []
    for parent in read_cgroups():
        group = parent / name
        group.mkdir(exist_ok=True)
        created.append(group)
        # A cpuset starts without processors and memory nodes and then takes no process (cpusets(7)).
        for key in ("cpuset.cpus", "cpuset.mems"):
            if (group / key).exists() and not (group / key).read_text().strip():
                (group / key).write_text((parent / key).read_text())
    return created


def join_groups(groups: Iterable[Path]) -> None:
    """Move the calling process."""
    for group in groups:
        (group / "cgroup.procs").write_text("0")


def remove_groups(groups: Sequence[Path]) -> bool:
    """Remove ``groups`` and all below them, the deepest first; whether none is left, as those with a process are."""
    for group in groups:
        for directory, _, _ in os.walk(group, topdown=False):
            # EBUSY: somebody still lives there, as the result says; ENOENT: gone meanwhile.
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
    return not any(group.exists() for group in groups)
