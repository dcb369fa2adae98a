"""Directories that a layer implies: its tar names ``usr/bin/tool`` but neither ``usr`` nor ``usr/bin``.

They have to exist in the layer, and overlayfs then shows *their* owner, mode, xattrs and time instead of those that
the same directory has in the layers below. So they are made to look like what they hide.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Markers of overlayfs concern the one layer that they stand in; labels are the host's affair.
_OWN_ATTRIBUTES = ("trusted.overlay.", "user.overlay.", "security.selinux")


class _HiddenError(Exception):
    """Something in a layer hides what the layers below it have at this path."""


def inherit_directories(diff: Path, implied: Sequence[bytes], lowers: Sequence[Path]) -> None:
    """Give the ``implied`` directories of ``diff`` the metadata of the same in ``lowers`` (top-most first).

    Those that no lower layer has stay as they are. Raises OSError.
    """
    for path in implied:
        with contextlib.ExitStack() as stack:
            source = _find_below(stack, path, lowers)
            if source is not None:
                target = _open_inside(stack, diff, path)
                if target is not None:
                    _copy_metadata(source, target)


def _find_below(stack: contextlib.ExitStack, path: bytes, lowers: Sequence[Path]) -> int | None:
    for lower in lowers:
        try:
            found = _open_inside(stack, lower, path)
        except _HiddenError:
            return None
        if found is not None:
            return found
    return None


def _open_inside(stack: contextlib.ExitStack, root: Path, path: bytes) -> int | None:
    """The directory ``path`` of the layer ``root``, or None if the layer does not speak of it. Raises _HiddenError."""
    directory = _opened(stack, root)
    for name in path.split(b"/"):
        if name in (b"", b"."):
            continue
        if name == b"..":
            raise _HiddenError
        try:
            # One component at a time: a symbolic link in a layer must lead nowhere.
            inner = _opened(stack, name, directory)
        except FileNotFoundError:
            if _is_opaque(directory):
                raise _HiddenError from None
            return None
        except OSError:  # ENOTDIR, ELOOP: a whiteout, a file or a link takes the place
            raise _HiddenError from None
        directory = inner
    return directory


def _opened(stack: contextlib.ExitStack, name: Path | bytes, directory: int | None = None) -> int:
    descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    stack.callback(os.close, descriptor)
    return descriptor


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False  # ENODATA: not marked


def _attributes(descriptor: int) -> Iterator[str]:
    return (name for name in os.listxattr(descriptor) if not name.startswith(_OWN_ATTRIBUTES))


def _copy_metadata(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    for name in _attributes(source):
        os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
