"""Landlock (landlock(7)): the calling thread may change files only below one directory.

It is the second line behind descriptor-relative names: if a name did lead outside, creating, writing, linking,
renaming and removing there would fail. Changing modes, owners, times and attributes is not covered by the kernel,
which is why the unpacker does those through descriptors of what it has just made.
"""

from __future__ import annotations

import ctypes
import errno
import os

_SYS_CREATE_RULESET = 444  # the same numbers on every architecture
_SYS_ADD_RULE = 445
_SYS_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_ABI_WITH_REFER = 2
"""Before it, every confined thread is denied hard links between directories, and layers have those."""
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# linux/landlock.h, LANDLOCK_ACCESS_FS_*: (first ABI that knows it, bit)
_WRITING = (
    (1, 1 << 1),  # WRITE_FILE
    (1, 0xFF << 4),  # REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, _DIR, _REG, _SOCK, _FIFO, _BLOCK
    (1, 1 << 12),  # MAKE_SYM
    (2, 1 << 13),  # REFER: link or rename across directories
    (3, 1 << 14),  # TRUNCATE
)

_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return result


def abi_version() -> int:
    """The kernel's Landlock ABI; 0 without Landlock, or where a container's filter of system calls keeps it from us."""
    try:
        return _call(_SYS_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def confine_thread(directory: int) -> bool:
    """Let this thread, for the rest of its life, change files only below the open ``directory``.

    Returns False on a kernel without a Landlock that can allow links (Linux 5.19). Raises OSError if the kernel
    has it and refuses.
    """
    version = abi_version()
    if version < _ABI_WITH_REFER:
        return False
    access = 0
    for since, bit in _WRITING:
        access |= bit if version >= since else 0
    attributes = _RulesetAttributes(access)
    ruleset = _call(_SYS_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), 0)
    try:
        rule = _PathBeneath(access, directory)
        _call(_SYS_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        # Without it an unprivileged thread could gain rights by executing; the kernel insists.
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *(ctypes.c_ulong(0),) * 3)
        _call(_SYS_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True
