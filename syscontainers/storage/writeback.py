"""Lets the disk work while layers are still being unpacked.

The kernel would begin after half a minute, or when a tenth of the memory is waiting to be written; then the one
``syncfs`` of a commit (see ``store``) has to wait for everything. It still decides: what is done here only leaves it
less to do.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from .. import kernel

_EVERY = 8 << 20
"""Compressed bytes between two rounds: some 30 MB of files, which a disk writes well in one go."""


class WriteBack:
    """Writes a file system back again and again, in a thread, as long as ``note`` hears of enough new bytes.

    Leaving the ``with`` block raises the OSError of a round that failed: the kernel tells of a lost write once
    (syncfs(2)), so that the commit's own call would not hear of it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bytes = 0
        self._ended = False
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="write-back")

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        os.close(self._descriptor)
        if self._error is not None and error is None:
            raise self._error

    def note(self, count: int) -> None:
        """``count`` more compressed bytes have come in; from any thread."""
        with self._changed:
            self._bytes += count
            if self._bytes >= _EVERY:
                self._changed.notify()

    def _run(self) -> None:
        try:
            while self._is_due():
                kernel.syncfs(self._descriptor)
        except OSError as error:
            self._error = error

    def _is_due(self) -> bool:
        """Wait for enough bytes; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._bytes >= _EVERY)
            self._bytes = 0
            return not self._ended
