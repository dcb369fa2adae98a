"""System calls that Python does not offer, one function each, named after the call.

ctypes on libc; constants copied from the kernel's headers (``include/uapi``). Every function raises
OSError with the errno of the call and the path it was about.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

AT_FDCWD = -100

# fcntl.h: open file description locks conflict with the POSIX locks that Go's containers/storage takes, but
# belong to the descriptor, not the process: threads exclude each other and closing another descriptor of the
# same file does not drop them (fcntl(2), "Open file description locks").
F_OFD_SETLK = 37
F_OFD_SETLKW = 38
_FLOCK = "hhqqi4x"

# linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10
_SYS_OPENAT2 = 437  # the same number on every architecture since Linux 5.6
_MOST_ATTEMPTS = 10_000

# linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
UMOUNT_NOFOLLOW = 0x8
OPEN_TREE_CLONE = 0x1
_SYS_OPEN_TREE = 428  # the same number on every architecture since Linux 5.2

# linux/sched.h
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _check(result: int, path: str | bytes | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def openat2(directory: int, path: str | bytes, flags: int, *, resolve: int) -> int:
    """openat2(2): open ``path`` below ``directory`` under ``RESOLVE_*`` rules; always close-on-exec."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_MOST_ATTEMPTS):
        result = _libc.syscall(_SYS_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        # EAGAIN: a rename or mount anywhere raced with the resolution of ".." (openat2(2), ERRORS); the kernel asks
        # to try again. Below a mount without a namespace it does so for ever: mntput() then counts as such a race.
        if result >= 0 or ctypes.get_errno() not in (errno.EINTR, errno.EAGAIN):
            break
    return _check(result, path)


def syncfs(directory: int) -> None:
    """syncfs(2): write back the whole file system that ``directory`` is on; reports write-back errors (>= 5.8)."""
    _check(_libc.syncfs(directory))


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """mount(2)."""
    _check(
        _libc.mount(source.encode(), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), os.fsencode(data)),
        target,
    )


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), target)


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted on ``path``, which must exist; a link itself is none.

    ``os.path.ismount`` compares devices and misses a bind mount within one file system.
    """
    if path == path.parent:
        return True
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(parent, path.name, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_NO_XDEV))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return True
    finally:
        os.close(parent)
    return False


def open_tree(path: str | bytes, flags: int) -> int:
    """open_tree(2): with ``OPEN_TREE_CLONE`` a mount of ``path`` of its own, without those on top of it."""
    return _check(_libc.syscall(_SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags | os.O_CLOEXEC), path)


def unshare(flags: int) -> None:
    """unshare(2), for the calling thread alone."""
    _check(_libc.unshare(flags))


def lock_descriptor(descriptor: int, *, exclusive: bool, wait: bool = True) -> None:
    """Lock the whole file of ``descriptor`` until it is closed.

    An open-file-description record lock, fcntl(2). Raises BlockingIOError when ``wait`` is false and someone
    else holds it.
    """
    kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
    request = struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, F_OFD_SETLKW if wait else F_OFD_SETLK, request)
    except PermissionError as error:  # POSIX lets a conflict be EACCES as well as EAGAIN
        raise BlockingIOError(error.errno, error.strerror) from None
