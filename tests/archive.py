"""Tar archives made byte by byte, so that tests can say exactly what stands in a header."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from syscontainers.storage.staged import LayerPromise

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR = b"ustar\x0000"
GNU = b"ustar  \x00"
V7 = bytes(8)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    if value < 0:
        return (value + (1 << (8 * width))).to_bytes(width, "big")
    return bytes([0x80]) + value.to_bytes(width - 1, "big")


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 1_600_000_000,
    link: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    tail: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    def number(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else octal(value, width)

    before = name[:100].ljust(100, b"\0") + number(mode, 8) + number(uid, 8) + number(gid, 8)
    before += number(size, 12) + number(mtime, 12)
    after = kind + link[:100].ljust(100, b"\0") + magic + bytes(64)
    after += octal(device[0], 8) + octal(device[1], 8) + prefix.ljust(155, b"\0") + tail
    after = after.ljust(BLOCK - 156, b"\0")
    total = sum(before) + 8 * 0x20 + sum(after) if checksum is None else checksum
    return before + b"%06o\0 " % total + after


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def file(name: bytes, data: bytes = b"", **fields: int | bytes) -> bytes:
    return header(name, fields.pop("kind", b"0"), size=len(data), **fields) + padded(data)  # type: ignore[arg-type]


def directory(name: bytes, mode: int = 0o755, **fields: int | bytes) -> bytes:
    return header(name, b"5", mode=mode, **fields)  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"2", link=target, mode=0o777)


def hard_link(name: bytes, target: bytes, **fields: int) -> bytes:
    return header(name, b"1", link=target, **fields)  # type: ignore[arg-type]


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def pax(records: Mapping[bytes, bytes] | bytes, kind: bytes = b"x") -> bytes:
    data = records if isinstance(records, bytes) else b"".join(record(*item) for item in records.items())
    return header(b"PaxHeaders/x", kind, size=len(data)) + padded(data)


def gnu_long(kind: bytes, text: bytes) -> bytes:
    return header(b"././@LongLink", kind, size=len(text) + 1, magic=GNU) + padded(text + b"\0")


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def promise(blob: bytes, tar: bytes | None = None) -> LayerPromise:
    return LayerPromise(sha256(blob), len(blob), sha256(blob if tar is None else tar))
