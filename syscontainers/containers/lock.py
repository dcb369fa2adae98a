"""One lock per container: whoever changes a container holds it, from planning to the end of the transaction.

The file ``locks/NAME.lock`` names its holder (pid and verb), so that who waits can say for whom. It goes with the
container: the holder removes it when no container of that name remains; who opened the removed file notices
by its inode and tries again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .. import kernel
from ..errors import SyscontainersError
from ..files import make_directories
from .context import Context
from .names import service_unit

_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1


def _open_current(path: Path) -> int | None:
    """Open and try to lock; None when somebody else holds it or the file was removed meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        kernel.lock_descriptor(descriptor, exclusive=True, wait=False)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or unlinked by the last holder between open and stat: the caller tries again
    os.close(descriptor)
    return None


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "another process"
    except OSError:
        return "another process"


def _acquire(context: Context, name: str, path: Path) -> int:
    deadline = time.monotonic() + _WAIT_SECONDS
    told = False
    while (descriptor := _open_current(path)) is None:
        if time.monotonic() > deadline:
            raise SyscontainersError(
                f"{name}: still being changed by {_holder(path)} after {_WAIT_SECONDS:.0f} seconds",
                f"interrupt that, and it takes back what it did; systemctl stop {service_unit(name)} waits for nobody",
            )
        if not told and time.monotonic() > deadline - _WAIT_SECONDS + 0.5:
            context.progress.say(f"{name}: waiting for {_holder(path)}")
            told = True
        time.sleep(_POLL_SECONDS)
    return descriptor


@contextlib.contextmanager
def container_lock(context: Context, name: str, verb: str) -> Iterator[None]:
    """Hold the lock of container ``name``. Waits up to a minute, then raises SyscontainersError naming the holder."""
    path = context.settings.locks / f"{name}.lock"
    make_directories(path.parent, 0o700)
    descriptor = _acquire(context, name, path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"syscontainer {verb} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        if not (context.settings.containers / name).is_symlink():
            path.unlink(missing_ok=True)
        os.close(descriptor)


def locked_names(context: Context) -> list[str]:
    """Containers that somebody changes, or did when he was killed."""
    return sorted(path.stem for path in context.settings.locks.glob("[!.]*.lock"))


@contextlib.contextmanager
def host_lock(context: Context, what: str) -> Iterator[None]:
    """Hold the lock ``locks/.WHAT``, one for the whole host: who comes second waits, however long."""
    path = context.settings.locks / f".{what}"
    make_directories(path.parent, 0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        kernel.lock_descriptor(descriptor, exclusive=True)
        yield
    finally:
        os.close(descriptor)
