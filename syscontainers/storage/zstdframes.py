"""Where the frames of a zstd stream begin and end (RFC 8878, section 3.1).

The library does not say whether its input ended with a frame, unless it hands out all that the input unpacks to at
once, and 128 KiB can be 4 GiB. So the lengths that stand in the headers of frames and blocks are added up beside it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from ..errors import HostileArchiveError

_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE_BLOCK = 1
_Steps = Generator[None, bytes, None]


def starts_frame(start: bytes) -> bool:
    """Whether ``start``, four bytes at least, begins a frame of any kind; skippable ones have sixteen magic numbers."""
    return start.startswith(_MAGIC) or _is_skippable(start)


def _is_skippable(start: bytes) -> bool:
    return start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50


class FrameWatch:
    """Passes ``parts`` of a stream on, and knows whether the last of them ended a frame."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts
        self._part = b""
        self._at = 0
        self._between = True
        self._steps = self._walk()
        next(self._steps)

    def __iter__(self) -> Iterator[bytes]:
        """Raises HostileArchiveError for a frame that is none."""
        for part in self._parts:
            self._steps.send(part)
            yield part

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing behind what was passed on."""
        return self._between and self._at == len(self._part)

    def _walk(self) -> _Steps:
        while True:
            self._between = True
            magic = yield from self._read(4)
            self._between = False
            if magic == _MAGIC:
                yield from self._frame()
            elif _is_skippable(magic):
                size = yield from self._read(4)
                yield from self._skip(int.from_bytes(size, "little"))
            else:
                raise HostileArchiveError("not a sound zstd stream: something that is no frame lies behind one")

    def _frame(self) -> _Steps:
        (descriptor,) = yield from self._read(1)
        single_segment, has_checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
        dictionary_id = (0, 1, 2, 4)[descriptor & 3]
        content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
        window = 1 - single_segment
        yield from self._skip(window + dictionary_id + content_size)
        is_last = 0
        while not is_last:
            header = int.from_bytes((yield from self._read(3)), "little")
            is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
            yield from self._skip(1 if kind == _RLE_BLOCK else size)
        yield from self._skip(4 if has_checksum else 0)

    def _read(self, count: int) -> Generator[None, bytes, bytes]:
        while len(self._part) - self._at < count:
            self._part = self._part[self._at :] + (yield)
            self._at = 0
        self._at += count
        return self._part[self._at - count : self._at]

    def _skip(self, count: int) -> _Steps:
        while count > (here := len(self._part) - self._at):
            count -= here
            self._part, self._at = (yield), 0
        self._at += count
