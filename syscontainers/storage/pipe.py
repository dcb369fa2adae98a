"""A bounded way from the thread that inflates to the thread that writes, hashing what passes.

Either end may be the slower one: many small files keep the writer busy, few large ones the inflater. So the
hash, a fifth of all work, is done by whoever would have to wait: the inflater while the pipe is full, the
writer for what nobody has hashed yet.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator


class AbandonedError(Exception):
    """The other end has given up; its own error says why."""


class HashedPipe:
    """A queue of byte strings, bounded by their total size and not their number. One reader, one writer."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._abandoned = False
        self._changed = threading.Condition()
        self._hash = hashlib.sha256()
        self._hashed = 0  # pieces in the queue that are done; always the oldest ones
        self._hashing = False
        self.is_wanted = True
        """Whether the digest is; may be set before the first piece."""

    @property
    def digest(self) -> str:
        """``sha256:`` and the digest of all pieces that were taken out; meaningful at the end."""
        return f"sha256:{self._hash.hexdigest()}"

    def put(self, piece: bytes) -> None:
        """Hand over one piece, waiting while the pipe is full. Raises AbandonedError."""
        with self._changed:
            while self._held >= self._capacity and not self._abandoned:
                if self.is_wanted and not self._hashing and self._hashed < len(self._pieces):
                    self._hash_waiting_piece()
                else:
                    self._changed.wait()
            if self._abandoned:
                raise AbandonedError
            self._pieces.append(piece)
            self._held += len(piece)
            self._changed.notify()

    def finish(self) -> None:
        """No more pieces will come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def abandon(self) -> None:
        """Make both ends stop."""
        with self._changed:
            self._abandoned = True
            self._pieces.clear()
            self._changed.notify()

    def __iter__(self) -> Iterator[bytes]:
        """The pieces in order. Raises AbandonedError."""
        while (piece := self._take()) is not None:
            yield piece

    def _take(self) -> bytes | None:
        with self._changed:
            # A piece that the other end is hashing is the oldest one that is not done, so perhaps this one.
            while not (self._pieces or self._ended or self._abandoned) or (self._hashing and not self._hashed):
                self._changed.wait()
            if self._abandoned:
                raise AbandonedError
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._held -= len(piece)
            self._changed.notify()
            if self._hashed:
                self._hashed -= 1
            elif self.is_wanted:
                self._update(piece)
                self._changed.notify()
            return piece

    def _hash_waiting_piece(self) -> None:
        self._update(self._pieces[self._hashed])
        self._hashed += 1
        self._changed.notify()

    def _update(self, piece: bytes) -> None:
        """Hash without holding the lock, so that the other end can go on."""
        self._hashing = True
        self._changed.release()
        try:
            self._hash.update(piece)
        finally:
            self._changed.acquire()
            self._hashing = False
