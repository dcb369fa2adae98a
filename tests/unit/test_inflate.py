from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import random
import zlib
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from syscontainers.errors import HostileArchiveError
from syscontainers.storage import inflate
from syscontainers.storage.inflate import BZIP2, GZIP, PLAIN, XZ, ZSTD, Inflater, identify
from syscontainers.storage.zstdframes import FrameWatch

SKIPPABLE = b"\x5a\x2a\x4d\x18" + (10).to_bytes(4, "little") + b"0123456789"
DATA = random.Random(1).randbytes(30_000) + bytes(100_000) + b"text " * 500


def compress(data: bytes, kind: int) -> bytes:
    made = {
        PLAIN: lambda: data,
        GZIP: lambda: gzip.compress(data),
        BZIP2: lambda: bz2.compress(data),
        XZ: lambda: lzma.compress(data),
        ZSTD: lambda: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    }
    return made[kind]()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def inflate_all(data: bytes, size: int = 65536) -> bytes:
    return b"".join(Inflater(cut(data, size)))


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def gzip_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts without a wheel of isal inflate with zlib, by the same code."""
    library, error = (isal_zlib, isal_zlib.IsalError) if request.param == "isal" else (zlib, zlib.error)
    monkeypatch.setattr(inflate, "gzip_library", library)
    monkeypatch.setattr(inflate, "_GZIP_ERROR", error)


@pytest.mark.parametrize("kind", [PLAIN, GZIP, BZIP2, XZ, ZSTD])
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_any_chunks(kind: int, size: int) -> None:
    blob = compress(DATA[:40_000], kind)
    inflater = Inflater(cut(blob, size))
    assert inflater.compression == kind
    assert b"".join(inflater) == DATA[:40_000]


@pytest.mark.parametrize("kind", [GZIP, BZIP2, XZ, ZSTD])
def test_several_members(kind: int) -> None:
    blob = compress(DATA, kind) + compress(b"", kind) + compress(b"more", kind)
    for size in (1000, 65536, 1 << 20):
        assert inflate_all(blob, size) == DATA + b"more"


def test_skippable_frames() -> None:
    blob = SKIPPABLE + compress(DATA, ZSTD) + SKIPPABLE + SKIPPABLE + compress(b"more", ZSTD) + SKIPPABLE
    for size in (1, 1000, 1 << 20):
        assert inflate_all(blob, size) == DATA + b"more"
    assert identify(SKIPPABLE) == ZSTD


def test_what_looking_back_takes() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=24)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert Inflater([compressor.compress(DATA) + compressor.flush()]).memory == 16 << 20
    assert Inflater([compress(DATA, XZ)]).memory > 65 << 20
    assert Inflater([SKIPPABLE + compress(DATA, ZSTD)]).memory == 32 << 20  # nobody knows
    assert [Inflater([compress(DATA, kind)]).memory for kind in (GZIP, BZIP2)] == [0, 0]


def test_pieces_stay_small() -> None:
    zeros = bytes(6 << 20)
    for kind in (GZIP, BZIP2, XZ, ZSTD):
        assert max(map(len, Inflater([compress(zeros, kind)]))) <= 512 << 10
    assert max(map(len, Inflater([zeros]))) <= 512 << 10


def test_what_is_too_short_to_be_compressed_is_plain() -> None:
    assert Inflater([]).compression == PLAIN
    assert inflate_all(b"") == b""
    assert inflate_all(b"abc") == b"abc"


@pytest.mark.parametrize("kind", [GZIP, BZIP2, XZ, ZSTD])
def test_cut_short(kind: int) -> None:
    blob = compress(DATA, kind)
    for end in (len(blob) - 1, len(blob) - 9, len(blob) // 2, 12):
        with pytest.raises(HostileArchiveError, match="too early"):
            inflate_all(blob[:end])


def zstd_frames() -> Iterator[bytes]:
    """A frame with each kind of header and block."""
    for checksum, size, level in itertools.product((False, True), (False, True), (1, 19)):
        compressor = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=size)
        for data in (b"", b"x" * 300, b"x" * 70_000, random.Random(2).randbytes(200_000), DATA):
            yield compressor.compress(data)
            yield b"".join(streamed(compressor, data))
    yield zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(DATA[:20_000])).compress(DATA)


def streamed(compressor: zstandard.ZstdCompressor, data: bytes) -> Iterator[bytes]:
    """Of unknown size, with blocks flushed in between."""
    stream = compressor.compressobj()
    for at in range(0, len(data), 50_000):
        yield stream.compress(data[at : at + 50_000]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    yield stream.flush()


def test_ends_of_zstd_frames() -> None:
    whole = b"".join(zstd_frames())
    for size in (1, 3, 4096, 1 << 17):
        watch = FrameWatch(cut(whole, size))
        assert sum(map(len, watch)) == len(whole)
        assert watch.is_complete


@pytest.mark.parametrize("checksum", [False, True])
def test_frames_that_are_not_whole(checksum: bool) -> None:
    """What podman refuses too: the end of the last block, or the checksum behind it, or of what is skipped."""
    blob = zstandard.ZstdCompressor(write_checksum=checksum).compress(DATA[:1000])
    for start in (blob, blob + SKIPPABLE):
        for missing in range(1, min(len(blob), len(SKIPPABLE))):
            with pytest.raises(HostileArchiveError, match="too early"):
                inflate_all(start[:-missing])


@pytest.mark.parametrize("kind", [GZIP, BZIP2, XZ, ZSTD])
@pytest.mark.parametrize("garbage", [b"garbage", b"\0", bytes(512), b"\x1f"])
def test_something_behind(kind: int, garbage: bytes) -> None:
    for size in (1000, 1 << 20):
        with pytest.raises(HostileArchiveError):
            inflate_all(compress(DATA, kind) + garbage, size)


@pytest.mark.parametrize("kind", [GZIP, BZIP2, XZ, ZSTD])
def test_damaged(kind: int) -> None:
    blob = bytearray(compress(DATA, kind))
    blob[len(blob) // 2] ^= 0xFF
    with pytest.raises(HostileArchiveError, match=inflate.NAMES[kind]):
        inflate_all(bytes(blob))


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000), sizes=st.lists(st.integers(1, 500), min_size=1))
@pytest.mark.parametrize("kind", [GZIP, ZSTD])
def test_random_chunks(kind: int, data: bytes, sizes: list[int]) -> None:
    file, turns = io.BytesIO(compress(data, kind)), itertools.cycle(sizes)
    assert b"".join(Inflater(iter(lambda: file.read(next(turns)), b""))) == data
