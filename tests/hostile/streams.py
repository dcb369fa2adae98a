"""Streams that end too early or too late, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import zlib
from collections.abc import Iterator

from syscontainers.storage.limits import Limits
from tests.archive import BLOCK, END, file, header, pax

from .case import Case, bytes_of, tar_of


def _stream_ends() -> Iterator[Case]:
    attack = "cut short or continued"
    whole = file(b"a", b"x" * 1000)
    yield Case("cut-in-header", attack, bytes_of(whole + header(b"b")[:300]), "middle of a header")
    yield Case("cut-in-contents", attack, bytes_of(whole[: BLOCK + 100]), "middle of its contents")
    yield Case("cut-in-padding", attack, bytes_of(whole[:-5]), "ends too early")
    yield Case("cut-in-end", attack, bytes_of(whole + b"\0" * 100), "middle of a header")
    yield Case("garbage-after-end", attack, bytes_of(whole + END + b"garbage"), "follows the end")
    yield Case("archive-after-end", attack, bytes_of(whole + END + file(b"b") + END), "follows the end")
    yield Case("archive-after-one-block", attack, bytes_of(whole + bytes(BLOCK) + file(b"b") + END), "follows the end")
    yield Case(
        "hidden-far-behind", attack, bytes_of(whole + END + bytes(1 << 20) + file(b"b") + END), "follows the end"
    )
    zeros = "CVE-2017-14992: zeros after the end"
    endless = whole + END + bytes(3 << 20)
    few = Limits(padding=1 << 20)
    yield Case("zeros-endless", zeros, bytes_of(gzip.compress(endless, 1)), "zeros follow", limits=few)
    yield Case("zeros-many", zeros, bytes_of(gzip.compress(endless, 1)), None, tar=lambda: endless, present=(b"a",))
    yield Case("not-a-tar", attack, bytes_of(b"#!/bin/sh\n" * 100), "checksum|not a number")
    yield Case(
        "gzip-in-gzip", attack, bytes_of(gzip.compress(gzip.compress(whole + END))), "checksum|not a number|middle of"
    )


def _compression() -> Iterator[Case]:
    import zstandard

    attack = "damaged compression, CVE-2021-20291"
    tar = b"".join(file(b"f%d" % n, os.urandom(3000)) for n in range(50)) + END
    made = {"gzip": gzip.compress(tar), "bzip2": bz2.compress(tar), "xz": lzma.compress(tar)}
    for name, blob in made.items():
        yield Case(f"{name}-cut", attack, bytes_of(blob[: len(blob) // 2]), f"{name} stream|ends")
        yield Case(f"{name}-flipped", attack, bytes_of(blob[:5000] + bytes([blob[5000] ^ 0xFF]) + blob[5001:]), "")
        yield Case(f"{name}-garbage-after", attack, bytes_of(blob + b"garbage"), f"{name} stream")
    zstd = zstandard.ZstdCompressor(write_checksum=True).compress(tar)
    yield Case("zstd-cut", attack, bytes_of(zstd[: len(zstd) // 2]), "ends|unpacks to")
    yield Case("zstd-flipped", attack, bytes_of(zstd[:-2] + b"\0\0"), "zstd stream")
    yield Case("zstd-garbage-after", attack, bytes_of(zstd + b"garbage"), "zstd stream")
    yield Case("gzip-bad-sum", attack, bytes_of(made["gzip"][:-8] + bytes(4) + made["gzip"][-4:]), "gzip stream")
    bomb = "decompression bomb"
    zeros = header(b"f", size=8 << 20) + bytes(8 << 20)
    tight = Limits(ratio_grace=1 << 20, ratio=100)
    yield Case("bomb-gzip", bomb, bytes_of(gzip.compress(zeros)), "bomb", limits=tight)
    yield Case("bomb-zstd", bomb, bytes_of(zstandard.ZstdCompressor(19).compress(zeros)), "bomb", limits=tight)
    yield Case("bomb-bzip2", bomb, bytes_of(bz2.compress(zeros)), "bomb", limits=tight)
    yield Case("bomb-xz", bomb, bytes_of(lzma.compress(zeros, preset=0)), "bomb", limits=tight)
    yield Case(
        "bomb-real", bomb, lambda _place: bz2.compress(header(b"f", size=1 << 28) + bytes(1 << 27)), "bomb|claims"
    )
    window = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0xA8]) + b"\x01\x00\x00"
    yield Case("zstd-window", "a window of gigabytes", bytes_of(window), "zstd stream")
    hungry = lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])
    # The dictionary size of the block header, which claims 3 GiB here (xz format, section 5.3.1); CRC32 renewed.
    at = hungry.index(b"\x21\x01", 12)
    size = (hungry[12] + 1) * 4
    block = hungry[12:at] + b"\x21\x01\x27" + hungry[at + 3 : 12 + size - 4]
    huge = hungry[:12] + block + struct.pack("<I", zlib.crc32(block)) + hungry[12 + size :]
    yield Case("xz-dictionary", "a dictionary of gigabytes", bytes_of(huge), "xz stream")


def _bombs() -> Iterator[Case]:
    attack = "more than a layer may have"
    many = b"".join(file(b"f%d" % n) for n in range(120))
    yield Case("many-entries", attack, tar_of(many), "more than 100 entries", limits=Limits(entries=100))
    implied = b"".join(file(b"d%d/f" % n) for n in range(30))
    yield Case("many-implied", attack, tar_of(implied), "without an entry", limits=Limits(implied=20))
    tall = pax({b"path": b"a/" * 200 + b"f"}) + file(b"f")
    yield Case("many-directories", attack, tar_of(tall), "more than 100", limits=Limits(entries=100))
    large = Limits(unpacked=1 << 20)
    yield Case("large", attack, tar_of(file(b"f", bytes(2 << 20))), "unpacks to more", limits=large)
    owners = b"".join(header(b"f%d" % n, uid=n) for n in range(65_600))
    yield Case("many-owners", attack, tar_of(owners), "different owners")
    devices = b"".join(header(b"d%d" % n, b"3", device=(1, 3)) for n in range(30))
    few = Limits(names=10_000)
    long = b"".join(header(b"%060d" % n, b"3", device=(1, 3)) for n in range(200))
    yield Case("many-names", attack, tar_of(long), "names of entries", limits=few)
    long = b"".join(file(b"%060d/f" % n) for n in range(200))
    yield Case("many-implied-names", attack, tar_of(long), "names of directories", limits=few)
    yield Case("many-devices", attack, tar_of(devices), "make no file", limits=Limits(implied=20))


def cases() -> Iterator[Case]:
    yield from _stream_ends()
    yield from _compression()
    yield from _bombs()
