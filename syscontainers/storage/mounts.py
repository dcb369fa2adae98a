"""Looking into an image: its layers as one read-only tree, mounted where nobody else can see it.

The mount is made by a thread of its own in a mount namespace of its own, which end together; what stays is a detached
copy that lives as long as its descriptor. A process that is killed at any moment leaves no mount behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import kernel
from ..errors import HostileArchiveError, SyscontainersError

_OPTIONS_LIMIT = 4000
"""Bytes; mount(2) copies one page, which must also hold what others append."""
_SPECIAL = "\\,"
_RESOLVE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
_MOUNT_FLAGS = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
HARDENING = ("redirect_dir=nofollow", "metacopy=off")
"""Mount options: layers that came with overlayfs's own markers must not show one file or directory as another."""


def _escape(path: Path | str, special: str) -> str:
    return "".join(f"\\{character}" if character in special else character for character in str(path))


def overlay_options(lowers: Sequence[Path | str], upper: Path | None = None, work: Path | None = None) -> str:
    r"""The option string of an overlay mount: ``lowers`` top-most first, writable with ``upper`` and ``work``.

    ``,`` and ``\`` are escaped everywhere, ``:`` in the lower directories (kernel, Documentation/filesystems/
    overlayfs.rst, "Multiple lower layers"; fs/overlayfs/params.c). Raises SyscontainersError for what one mount
    cannot take.
    """
    text = "lowerdir=" + ":".join(_escape(lower, _SPECIAL + ":") for lower in lowers)
    if upper is not None and work is not None:
        text += f",upperdir={_escape(upper, _SPECIAL)},workdir={_escape(work, _SPECIAL)}"
    if len(text.encode(errors="surrogateescape")) > _OPTIONS_LIMIT:
        raise SyscontainersError(
            f"{len(lowers)} layers are more than one overlay mount takes here",
            "shorten the storage's path, or squash the image's layers",
        )
    return ",".join((text, *HARDENING))


@contextlib.contextmanager
def open_tree(lowers: Sequence[Path]) -> Iterator[int]:
    """The merged layers (top-most first), read-only, as a descriptor for ``read_file`` and its like.

    The descriptor is of the kind O_PATH; symbolic links inside resolve as if it were the root. Raises OSError, and
    SyscontainersError for more layers than one mount takes.
    """
    descriptor = _in_new_thread(lambda: _mount_privately(lowers))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _in_new_thread(work: Callable[[], int]) -> int:
    """The result of ``work``, done in a thread whose namespace and working directory may change."""
    results: list[int] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            errors.append(error)

    thread = threading.Thread(target=run, name="mount")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _mount_privately(lowers: Sequence[Path]) -> int:
    kernel.unshare(kernel.CLONE_NEWNS)  # takes CLONE_FS along: chdir below moves this thread only
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE, "")
    os.chdir(lowers[0].parent)
    target = str(lowers[-1])  # any directory does, nobody else sees the mount
    if len(lowers) == 1:  # overlayfs wants two; one layer hides nothing
        kernel.mount(target, target, "", kernel.MS_BIND, "")
        kernel.mount("", target, "", kernel.MS_BIND | kernel.MS_REMOUNT | _MOUNT_FLAGS, "")
    else:
        # Relative where possible: 150 short links fit into the option page, but only 50 absolute paths.
        here = lowers[0].parent
        names = [lower.name if lower.parent == here else lower for lower in lowers]
        kernel.mount("overlay", target, "overlay", _MOUNT_FLAGS, overlay_options(names))
    # A copy, whose namespace is its own and ends with the descriptor; that of the mount itself ends with the thread,
    # and below a mount without a namespace openat2(2) fails with EAGAIN at some "..".
    return kernel.open_tree(target, kernel.OPEN_TREE_CLONE)


def _open_inside(tree: int, path: str, flags: int) -> int | None:
    """Open ``path`` inside ``tree``, or None where there is nothing. Raises HostileArchiveError for link loops."""
    try:
        # O_NONBLOCK: the opening of a FIFO waits for nobody.
        return kernel.openat2(tree, path or ".", flags | os.O_NONBLOCK | os.O_NOCTTY, resolve=_RESOLVE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EACCES, errno.ENXIO, errno.EXDEV, errno.EPERM):
            raise HostileArchiveError(f"{path}: is no plain file or directory of the image") from None
        raise


def read_file(tree: int, path: str, limit: int) -> bytes | None:
    """A regular file of at most ``limit`` bytes, or None where there is none.

    Raises HostileArchiveError for anything else that is there: a device, a FIFO, a directory, a larger file.
    """
    descriptor = _open_inside(tree, path, os.O_RDONLY)
    if descriptor is None:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise HostileArchiveError(f"{path}: is not a regular file in the image")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise HostileArchiveError(f"{path}: is larger than {limit} bytes in the image")
    return data


def list_directory(tree: int, path: str) -> list[str] | None:
    """The names in a directory, sorted, or None where there is none. Raises HostileArchiveError for a file."""
    descriptor = _open_inside(tree, path, os.O_RDONLY)
    if descriptor is None:
        return None
    try:
        return sorted(os.listdir(descriptor))
    except NotADirectoryError:
        raise HostileArchiveError(f"{path}: is not a directory in the image") from None
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Entry:
    """One thing below a directory of an image."""

    path: str
    """Relative to where the walk began; bytes that are not UTF-8 are kept as lone surrogates."""
    status: os.stat_result
    target: str = ""
    """Where a symbolic link points."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)


def walk(tree: int, path: str) -> Iterator[Entry]:
    """Everything below a directory of the image, parents before children, sorted; links are not followed.

    Nothing where there is no such directory. Raises HostileArchiveError if it is a file.
    """
    for name in list_directory(tree, path) or []:
        inner = f"{path}/{name}"
        entry = _entry(tree, inner, name)
        yield entry
        if entry.is_directory:
            for below in walk(tree, inner):
                yield replace(below, path=f"{name}/{below.path}")


def _entry(tree: int, path: str, name: str) -> Entry:
    descriptor = kernel.openat2(tree, path, os.O_PATH | os.O_NOFOLLOW, resolve=_RESOLVE)
    try:
        status = os.fstat(descriptor)
        target = os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(status.st_mode) else ""
    finally:
        os.close(descriptor)
    return Entry(name, status, target)
