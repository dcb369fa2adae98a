"""Capabilities: which the kernel knows, which may be granted on this host, and how our parameter names them."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UsageError

# include/uapi/linux/capability.h; a capability's number is its place here.
_KERNEL = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_ORDINARY = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP"

NAMES = tuple(f"CAP_{name}" for name in _KERNEL.split())
DEFAULT = tuple(f"CAP_{name}" for name in _ORDINARY.split())
"""What a container gets unless it asks: the set podman settled on, which ordinary daemons live with."""

_BASES = {"default": DEFAULT, "all": NAMES, "none": ()}


def known_capabilities(proc: Path = Path("/proc")) -> tuple[str, ...]:
    """Every capability that the running kernel has, by number."""
    return NAMES[: int((proc / "sys/kernel/cap_last_cap").read_text()) + 1]


def grantable_capabilities(proc: Path = Path("/proc")) -> frozenset[str]:
    """The capabilities in PID 1's bounding set: what it starts can have these and no others (capabilities(7))."""
    status = (proc / "1/status").read_text()
    bounding = int(status.partition("CapBnd:")[2].split()[0], 16)
    return frozenset(name for number, name in enumerate(NAMES) if bounding >> number & 1)


def select_capabilities(text: str) -> tuple[str, ...]:
    """Read a choice such as ``default +NET_ADMIN -SETFCAP``, ``all`` or ``NET_ADMIN,NET_RAW``.

    Words are separated by spaces or commas; ``CAP_`` may be left out; nothing means the default. Raises
    UsageError for a name no kernel knows.
    """
    chosen: dict[str, None] = {}
    for word in re.split(r"[\s,]+", text.strip() or "default"):
        name = "CAP_" + word.lstrip("+-").upper().removeprefix("CAP_")
        if word.lower() in _BASES:
            chosen.update(dict.fromkeys(_BASES[word.lower()]))
        elif name not in NAMES:
            raise UsageError(
                f"CAPABILITIES: {word[:40]!r} is no capability", "see capabilities(7); or default, all, none"
            )
        elif word.startswith("-"):
            chosen.pop(name, None)
        else:
            chosen[name] = None
    return tuple(name for name in NAMES if name in chosen)
