"""The system calls that our own template withholds.

Not a list of what is allowed: such a list has to follow every kernel and C library, and withholds by accident. This
one holds what no capability guards, what ordinary daemons do without, and through which most escapes of the last
years began: user namespaces (they hand out every capability over code that expects root), io_uring, userfaultfd,
kernel keyrings, bpf and perf. A capability that is granted lifts what it is for.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

_ENOSYS = 38
_CLONE_NEWUSER = 0x10000000

# Without the sibling ABIs of a machine their programs would be killed at their first system call.
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}
_ALWAYS = ("add_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "request_key", "userfaultfd")
_UNLESS = {"bpf": "CAP_BPF", "perf_event_open": "CAP_PERFMON"}


def make_filter(capabilities: Collection[str], machine: str = os.uname().machine) -> dict[str, Any]:
    """The ``linux.seccomp`` of a container that gets ``capabilities``."""
    administers = "CAP_SYS_ADMIN" in capabilities
    withheld = [*_ALWAYS, *(call for call, by in _UNLESS.items() if by not in capabilities and not administers)]
    rules: list[dict[str, Any]] = [{"names": sorted(withheld), "action": "SCMP_ACT_ERRNO"}]
    if not administers:
        rules += _no_user_namespaces(machine)
    architectures = {"architectures": list(_ARCHITECTURES[machine])} if machine in _ARCHITECTURES else {}
    return {"defaultAction": "SCMP_ACT_ALLOW", **architectures, "syscalls": rules}


def _no_user_namespaces(machine: str) -> list[dict[str, Any]]:
    return [
        _with_flag("unshare", 0),
        _with_flag("clone", 1 if machine == "s390x" else 0),  # clone(2), "C library/kernel differences"
        # Its flags lie in memory, where a filter cannot look; with ENOSYS every C library falls back to clone.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
    ]


def _with_flag(call: str, index: int) -> dict[str, Any]:
    flag = {"index": index, "value": _CLONE_NEWUSER, "valueTwo": _CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}
    return {"names": [call], "action": "SCMP_ACT_ERRNO", "args": [flag]}
