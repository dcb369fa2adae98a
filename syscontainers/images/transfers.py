"""The downloads in flight: one place to end them all, or those that have come to a standstill.

A thread that waits in recv(2) sees no flag; only shutting its socket down wakes it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ..errors import SyscontainersError

WATCH_SECONDS = 1.0
"""Between two looks at who has come to a standstill."""


class CancelledError(SyscontainersError):
    """The transfer was given up because something else failed; never the error to show."""


def _ignore(_text: str) -> None:
    pass


class Read:
    """One reading thread: its socket's stop function and until when the present read must return."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop
        self.deadline: float | None = None
        self.stalled = False

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """The read in this block must be over in ``seconds``, however many packets it takes."""
        self.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self.deadline = None


class Transfers:
    """All reads of one pull. ``tell`` hears, in words for the user, why it takes longer."""

    def __init__(self, tell: Callable[[str], None] = _ignore) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._reads: set[Read] = set()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether everything is to end."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise CancelledError if everything is to end."""
        if self.cancelled:
            raise CancelledError("cancelled")

    def wait(self, seconds: float, why: str) -> None:
        """Do nothing for a while, but not longer than until ``cancel``. Raises CancelledError."""
        self.check()
        self._tell(f"{why}; trying again in {seconds:.0f} s")
        self._cancelled.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def reading(self, stop: Callable[[], None]) -> Iterator[Read]:
        """Register a read that ``stop``, called from any thread, makes return."""
        read = Read(stop)
        with self._lock:
            self._reads.add(read)
        try:
            # cancel() may have come before the registration
            self.check()
            yield read
        finally:
            with self._lock:
                self._reads.discard(read)

    def cancel(self) -> None:
        """End everything, from any thread."""
        self._cancelled.set()
        with self._lock:
            for read in self._reads:
                read.stop()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """In this block a read that is past its deadline is ended, within a second or so."""
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=[over], name="watcher", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(WATCH_SECONDS):
            self._stop_stalled()

    def _stop_stalled(self) -> None:
        now = time.monotonic()
        with self._lock:
            for read in self._reads:
                if read.deadline is not None and read.deadline < now:
                    read.stalled = True
                    read.stop()
