"""From compressed bytes to tar bytes, whatever the compression, in bounded memory.

The magic number decides, because media types lie. A gzip layer may be several members in a row (RFC 1952
section 2.2; eStargz does it) and a zstd layer several frames, skippable ones among them (RFC 8878 section 3.1.2);
bytes after the last one that start no new one are an error. All of these libraries drop the GIL.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Protocol, cast

from ..errors import HostileArchiveError
from .zstdframes import FrameWatch, starts_frame

try:  # ISA-L inflates 2.5 times as fast as zlib, but has wheels for x86-64 and arm64 only
    from isal import isal_zlib as gzip_library

    _GZIP_ERROR: type[Exception] = gzip_library.IsalError  # type: ignore[assignment]  # typed as a value
except ImportError:  # pragma: no cover
    import zlib as gzip_library  # type: ignore[no-redef]

    _GZIP_ERROR = zlib.error

# containers/storage's numbers (archive.Compression)
PLAIN, BZIP2, GZIP, XZ, ZSTD = 0, 1, 2, 3, 4
NAMES = {PLAIN: "tar", BZIP2: "bzip2", GZIP: "gzip", XZ: "xz", ZSTD: "zstd"}

_INPUT = 128 << 10
_OUTPUT = 256 << 10
"""Large enough that a piece costs nothing beside its bytes, small enough to stay in the second-level cache."""
_XZ_MEMORY = 80 << 20
"""What ``xz -9`` needs to unpack, and a little."""
_ZSTD_WINDOW = 32 << 20
"""The largest window that container tools write (klauspost/compress, best level)."""
_LONGEST_MAGIC = 6


class _Decompressor(Protocol):
    """What zlib, bz2 and lzma have in common, once ``_MemberDecompressor`` has evened out the rest."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def identify(start: bytes) -> int:
    """The compression of a stream that begins with ``start`` (six bytes suffice)."""
    if start.startswith(b"\x1f\x8b"):
        return GZIP
    if starts_frame(start):
        return ZSTD
    if start.startswith(b"\xfd7zXZ\x00"):
        return XZ
    return BZIP2 if start.startswith(b"BZh") else PLAIN


class Inflater:
    """Iterates over the uncompressed bytes of ``chunks``, in pieces of at most 256 KiB (plain tar: as they come).

    Raises HostileArchiveError for a stream that is damaged, cut short or followed by something else.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._start = self._read_start()
        self.compression = identify(self._start)
        """containers/storage's number."""

    @property
    def memory(self) -> int:
        """About how many bytes the library will hold to look back at; of zstd's frames the first one decides."""
        if self.compression == ZSTD:
            return _window_of_zstd(self._start)
        return _XZ_MEMORY if self.compression == XZ else 0

    def _read_start(self) -> bytes:
        start = b""
        for chunk in self._chunks:
            start += chunk
            if len(start) >= _LONGEST_MAGIC:
                break
        return start

    def _parts(self) -> Iterator[bytes]:
        for chunk in self._all_chunks():
            if len(chunk) <= _INPUT:
                yield chunk
            else:
                for at in range(0, len(chunk), _INPUT):
                    yield chunk[at : at + _INPUT]

    def _all_chunks(self) -> Iterator[bytes]:
        if self._start:
            yield self._start
        yield from self._chunks

    def __iter__(self) -> Iterator[bytes]:
        return {PLAIN: self._parts, GZIP: self._gzip, BZIP2: self._bzip2, XZ: self._xz, ZSTD: self._zstd}[
            self.compression
        ]()

    def _gzip(self) -> Iterator[bytes]:
        try:
            yield from _inflate_gzip(self._parts())
        except _GZIP_ERROR as error:
            raise _damaged(GZIP, str(error)) from None

    def _bzip2(self) -> Iterator[bytes]:
        try:
            yield from _inflate_members(self._parts(), bz2.BZ2Decompressor, BZIP2)
        except (OSError, ValueError) as error:
            raise _damaged(BZIP2, str(error)) from None

    def _xz(self) -> Iterator[bytes]:
        def new() -> _Decompressor:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)

        try:
            yield from _inflate_members(self._parts(), new, XZ)
        except lzma.LZMAError as error:
            raise _damaged(XZ, str(error)) from None

    def _zstd(self) -> Iterator[bytes]:
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        watch = FrameWatch(self._parts())
        reader = decompressor.stream_reader(cast("IO[bytes]", _Readable(iter(watch))), read_across_frames=True)
        try:
            while piece := reader.read(_OUTPUT):
                yield piece
        except zstandard.ZstdError as error:
            raise _damaged(ZSTD, str(error)) from None
        if not watch.is_complete:
            raise _damaged(ZSTD, "it ends too early")


def _window_of_zstd(start: bytes) -> int:
    import zstandard

    try:
        return zstandard.get_frame_parameters(start).window_size or _ZSTD_WINDOW  # 0: a skippable frame
    except zstandard.ZstdError:  # too short to tell, or damaged
        return _ZSTD_WINDOW


def _damaged(compression: int, reason: str) -> HostileArchiveError:
    return HostileArchiveError(f"not a sound {NAMES[compression]} stream: {reason}")


def _inflate_gzip(parts: Iterator[bytes]) -> Iterator[bytes]:
    current = gzip_library.decompressobj(wbits=31)
    for part in parts:
        while True:
            if current.eof:
                current = gzip_library.decompressobj(wbits=31)
            piece = current.decompress(part, _OUTPUT)
            if piece:
                yield piece
            part = current.unused_data if current.eof else current.unconsumed_tail
            # With its output full the library may still hold bytes when all input is gone: ask again.
            if not part and (current.eof or len(piece) < _OUTPUT):
                break
    if not current.eof:
        raise _damaged(GZIP, "it ends too early")


def _inflate_members(parts: Iterator[bytes], new: Callable[[], _Decompressor], compression: int) -> Iterator[bytes]:
    current = new()
    for part in parts:
        while part:
            if current.eof:
                current = new()
            piece = current.decompress(part, _OUTPUT)
            while piece:
                yield piece
                piece = b"" if current.eof else current.decompress(b"", _OUTPUT)
            part = current.unused_data if current.eof else b""
    if not current.eof:
        raise _damaged(compression, "it ends too early")


class _Readable:
    """The file-like object that zstandard reads from."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def read(self, _size: int) -> bytes:
        # A part may be longer or shorter than asked for; zstandard takes what it gets.
        return next(self._parts, b"")
