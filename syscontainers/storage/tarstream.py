"""The tar as it flows past: exact reads over pieces of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from ..errors import HostileArchiveError

BLOCK = 512


class TarStream:
    """A cursor over the pieces of a tar. Headers are copied out, contents are lent as views of the pieces.

    ``is_hashed`` says whether the digest is wanted; unpacking gets it on the way here.
    """

    def __init__(self, pieces: Iterable[bytes], *, is_hashed: bool = True) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._view = memoryview(b"")
        self._at = 0
        self._hash = hashlib.sha256()
        self._is_hashed = is_hashed
        self._before = 0

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._before + self._at

    @property
    def diff_id(self) -> str:
        """``sha256:`` and the digest of all pieces so far; meaningful at the end."""
        return f"sha256:{self._hash.hexdigest()}"

    def _advance(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._before += len(self._piece)
        if self._is_hashed:
            self._hash.update(piece)
        self._piece, self._view, self._at = piece, memoryview(piece), 0
        return True

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer only where the stream ends."""
        at = self._at
        data = self._piece[at : at + count]
        self._at = at + len(data)
        return data if len(data) == count else self._take_across(data, count)

    def _take_across(self, data: bytes, count: int) -> bytes:
        while len(data) < count and self._advance():
            more = self._piece[: count - len(data)]
            self._at = len(more)
            data += more
        return data

    def lend(self, count: int) -> Iterable[memoryview]:
        """The next ``count`` bytes as views, without copying. Raises HostileArchiveError if the stream ends first."""
        end = self._at + count
        if end <= len(self._piece):
            view = self._view[self._at : end]
            self._at = end
            return (view,)
        return self._lend_across(count)

    def _lend_across(self, count: int) -> Iterator[memoryview]:
        while count:
            if self._at == len(self._piece) and not self._advance():
                raise HostileArchiveError("the archive ends in the middle of its contents")
            view = self._view[self._at : self._at + count]
            self._at += len(view)
            count -= len(view)
            yield view

    def rest(self) -> Iterator[bytes]:
        """Everything up to the end, in pieces."""
        while self._at < len(self._piece) or self._advance():
            piece = self._piece[self._at :]
            self._at = len(self._piece)
            yield piece
