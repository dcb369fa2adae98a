"""A bounded way from the thread that inflates to the thread that writes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator


class AbandonedError(Exception):
    """The other end has given up; its own error says why."""


class BytePipe:
    """A queue of byte strings, bounded by their total size and not their number. One reader, one writer."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._finished = False
        self._abandoned = False
        self._changed = threading.Condition()

    def put(self, piece: bytes) -> None:
        """Hand over one piece, waiting while the pipe is full. Raises AbandonedError."""
        with self._changed:
            while self._held >= self._capacity and not self._abandoned:
                self._changed.wait()
            if self._abandoned:
                raise AbandonedError
            self._pieces.append(piece)
            self._held += len(piece)
            self._changed.notify()

    def finish(self) -> None:
        """No more pieces will come."""
        with self._changed:
            self._finished = True
            self._changed.notify()

    def abandon(self) -> None:
        """Make both ends stop."""
        with self._changed:
            self._abandoned = True
            self._pieces.clear()
            self._changed.notify()

    def __iter__(self) -> Iterator[bytes]:
        """The pieces in order. Raises AbandonedError."""
        while True:
            with self._changed:
                while not (self._pieces or self._finished or self._abandoned):
                    self._changed.wait()
                if self._abandoned:
                    raise AbandonedError
                if not self._pieces:
                    return
                piece = self._pieces.popleft()
                self._held -= len(piece)
                self._changed.notify()
            yield piece
