"""What of this host shapes a runtime config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .capabilities import grantable_capabilities

# proc(5), /proc/PID/limits: the heading of each row, and the limit's name in a config.
_LIMITS = {
    "Max cpu time": "RLIMIT_CPU",
    "Max file size": "RLIMIT_FSIZE",
    "Max data size": "RLIMIT_DATA",
    "Max stack size": "RLIMIT_STACK",
    "Max core file size": "RLIMIT_CORE",
    "Max resident set": "RLIMIT_RSS",
    "Max processes": "RLIMIT_NPROC",
    "Max open files": "RLIMIT_NOFILE",
    "Max locked memory": "RLIMIT_MEMLOCK",
    "Max address space": "RLIMIT_AS",
    "Max file locks": "RLIMIT_LOCKS",
    "Max pending signals": "RLIMIT_SIGPENDING",
    "Max msgqueue size": "RLIMIT_MSGQUEUE",
    "Max nice priority": "RLIMIT_NICE",
    "Max realtime priority": "RLIMIT_RTPRIO",
    "Max realtime timeout": "RLIMIT_RTTIME",
}
_HEADING_WIDTH = 26


@dataclass(frozen=True)
class Host:
    """A host as far as runtimes are concerned."""

    capabilities: frozenset[str]
    """Those that can be granted."""
    selinux: bool
    apparmor: bool
    limits: Mapping[str, int] = field(default_factory=dict)
    """Resource limits that nobody here may raise further."""

    @classmethod
    def look(cls) -> Host:
        """The host we are on. Raises OSError where /proc is not mounted."""
        capabilities = grantable_capabilities()
        apparmor = Path("/sys/module/apparmor/parameters/enabled")
        return cls(
            capabilities=capabilities,
            selinux=Path("/sys/fs/selinux/enforce").exists(),
            apparmor=apparmor.exists() and apparmor.read_text().startswith("Y"),
            limits={} if "CAP_SYS_RESOURCE" in capabilities else read_limits(),
        )


def read_limits(proc: Path = Path("/proc")) -> dict[str, int]:
    """The hard limits that are finite, of PID 1 and of ourselves, whichever are lower.

    Ours count because images are also run without systemd, below us.
    """
    limits: dict[str, int] = {}
    for process in ("1", "self"):
        for line in (proc / process / "limits").read_text().splitlines()[1:]:
            name, hard = _LIMITS.get(line[:_HEADING_WIDTH].strip()), line[_HEADING_WIDTH:].split()[1]
            if name and hard != "unlimited":
                limits[name] = min(int(hard), limits.get(name, int(hard)))
    return limits
