"""The file locks that containers/storage shares between processes, and the token that tells of a change.

Go's containers/storage locks whole files with POSIX record locks (``fcntl(F_SETLKW)``). Open-file-description
locks conflict with those in both directions, and unlike them exclude threads of one process from each other and
survive the closing of another descriptor of the same file (fcntl(2)).

The order, which everybody keeps or deadlocks: storage, layers, images, containers; where several stores take part,
the primary store's lock of one kind before the additional stores'.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from .. import kernel

_TOKEN_SIZE = 64
_counter = itertools.count(1)


@contextlib.contextmanager
def lock_exclusively(path: Path) -> Iterator[int]:
    """Hold the lock file ``path`` against readers and writers; yields its descriptor for ``announce_change``.

    The file is made where it is missing. Waits as long as it takes. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        kernel.lock_descriptor(descriptor, exclusive=True)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock_shared(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` against writers; where there is none, there is nothing to guard."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield
        return
    try:
        kernel.lock_descriptor(descriptor, exclusive=False)
        yield
    finally:
        os.close(descriptor)


def announce_change(lock: int) -> None:
    """Tell every other process to read the records again; call it under the exclusive lock, *before* the change.

    containers/storage compares the first 64 bytes of the lock file with those that it saw last. Any unique bytes
    do; these have its own layout: time, counter, process, random. Before, because a process that dies between
    the two then costs the others a needless reload instead of a missed one.
    """
    head = struct.pack("<QQI", time.time_ns(), next(_counter), os.getpid())
    os.pwrite(lock, head + os.urandom(_TOKEN_SIZE - len(head)), 0)
