"""Files that are whole or not there: durable writes, links and removals.

Everything is written under a temporary name in the same directory and renamed; the directory is synced
after the rename, because a rename that is only in memory is lost in a power cut (fsync(2), NOTES).
A crash leaves at most a file named ``.NAME.XXXXXXXX.tmp``, which nobody reads and ``sweep_temporaries``
removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from . import kernel

_SUFFIX = ".tmp"
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable."""
    _with_directory(path, os.fsync)


def sync_file_system(path: Path) -> None:
    """Make everything on the file system of the directory ``path`` durable: one call instead of one for each file."""
    _with_directory(path, kernel.syncfs)


def _with_directory(path: Path, sync: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_directory(path: Path, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock on a directory, flock(2): no file in it is needed, none is left, and one can read it without.

    Threads of one process exclude each other too, other machines on a network file system are not excluded. Raises
    BlockingIOError if ``operation`` says LOCK_NB and others hold it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A fresh name beside ``path`` that ``sweep_temporaries`` recognises."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")


def final_name(name: str) -> str:
    """What a file named ``name`` was to become: itself, unless an interrupted write left it."""
    match = _TEMPORARY.fullmatch(name)
    return match[1] if match else name


def sweep_temporaries(path: Path) -> None:
    """Remove what interrupted writes of ``path`` left beside it; only under a lock that excludes other writers."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}{_SUFFIX}"):
        remove_tree(leftover)


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Entered before ``path`` is made: an interrupt may strike between two instructions."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put ``data`` at ``path``, replacing what is there; after return it survives a power cut. Raises OSError."""
    temporary = temporary_name(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with _removed_on_error(temporary):
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    sync_directory(path.parent)


def replace_symlink(path: Path, target: str) -> None:
    """Make ``path`` a symbolic link to ``target`` in one step, replacing a link or file; durable on return."""
    temporary = temporary_name(path)
    with _removed_on_error(temporary):
        os.symlink(target, temporary)
        os.rename(temporary, path)
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove ``path`` if it is there; durable on return."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a file, link or whole tree if it is there, never following links.

    Raises OSError, EBUSY for a mount: what is mounted on the tree or anywhere in it stays as it is.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _empty(parent, path.name, path)
        finally:
            os.close(parent)
        path.rmdir()


def _empty(parent: int, name: str, path: Path) -> None:
    # One frame and one descriptor for each level of what an image may nest: see Limits.depth.
    directory = _open_unless_mounted(parent, name, path)
    try:
        for inner in os.listdir(directory):
            try:
                os.unlink(inner, dir_fd=directory)
            except IsADirectoryError:
                _empty(directory, inner, path / inner)
                os.rmdir(inner, dir_fd=directory)
    finally:
        os.close(directory)


def _open_unless_mounted(parent: int, name: str, path: Path) -> int:
    # A bind mount may have the same device number; the kernel knows a mount when it comes to one (openat2(2)).
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        return kernel.openat2(parent, name, flags, resolve=kernel.RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "still mounted", str(path)) from None
        raise


def make_directories(path: Path, mode: int = 0o755) -> None:
    """Create ``path`` and its parents (0755); the last gets ``mode``. An existing one is left as it is."""
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=mode)


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a whole file of at most ``limit`` bytes. Raises OSError (EFBIG) for a larger one."""
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data
