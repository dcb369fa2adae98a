"""Control groups that systemd does not own.

With cgroups v1 an OCI runtime makes its group in every hierarchy, those that systemd does not manage (freezer, cpuset,
…) included, and deletes only the last component. On a unified hierarchy there is nothing to do here.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..errors import SyscontainersError
from .unitfile import UnitSyntaxError, parse, unit_cgroup

_TOP = Path("/sys/fs/cgroup")


def remove_empty_groups(service_text: str, unit: str) -> None:
    """Remove what is left of a stopped unit's groups in the v1 hierarchies; groups with processes stay."""
    try:
        group = unit_cgroup(parse(service_text), unit)
    except (UnitSyntaxError, SyscontainersError):
        return  # a unit that systemd could not have started either
    remove_empty_group(group)


def remove_empty_group(group: str) -> None:
    """Remove one control group from the v1 hierarchies where it is empty."""
    for hierarchy in _TOP.iterdir() if _TOP.is_dir() else ():
        # ENOENT: not made there; EBUSY or ENOTEMPTY: something lives in it, which is then not ours to end
        with contextlib.suppress(OSError):
            (hierarchy / group.lstrip("/")).rmdir()
