"""One 512-byte tar header (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

Strict where parsers disagree, because an archive that two programs read differently passes the check of one
and is unpacked by the other. Bytes stay bytes: a name is what is in the archive.
"""

from __future__ import annotations

import functools
import re
from zlib import adler32

from ..errors import HostileArchiveError

_USTAR = b"ustar\x00"
_POSIX = b"ustar\x0000"
_GNU = b"ustar  \x00"
_STAR_TRAILER = b"tar\x00"
_OCTAL = re.compile(rb" *([0-7]+)(?:[ \0]*|\0.*)", re.DOTALL)
_NANOSECONDS = 1_000_000_000
_DIGITS = b"01234567"
_BLANKS = 8 * 0x20
_REMEMBERED = 4096


def verify_checksum(header: bytes) -> None:
    """Raise HostileArchiveError unless the header's checksum is right."""
    # adler32's low half is 1 + the sum modulo 65521, and 256 bytes sum to at most 65280: exact, at a fifth of the
    # cost of sum().
    total = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 2
    if total != _expected_sum(header[148:156]):
        _verify_signed(header)


@functools.lru_cache(_REMEMBERED)
def _expected_sum(field: bytes) -> int:
    """What all bytes of a header with this checksum field sum up to; for the checksum the field counts as blanks."""
    return parse_octal(field, "checksum") - _BLANKS + sum(field)


def _verify_signed(header: bytes) -> None:
    # Old Suns summed up signed bytes.
    rest = header[:148] + header[156:]
    signed = sum(rest) - 256 * sum(1 for byte in rest if byte > 127) + _BLANKS
    if signed != parse_octal(header[148:156], "checksum"):
        raise HostileArchiveError("the header's checksum is wrong")


def parse_octal(field: bytes, what: str) -> int:
    """A number of octal digits, blanks before and blanks or NULs behind; an empty field is 0.

    Raises HostileArchiveError.
    """
    digits = field.rstrip(b" \0")
    # int() alone would also take "-7", "1_0" and "0o7".
    if not digits.translate(None, _DIGITS):
        return int(digits or b"0", 8)
    # Some writers leave old bytes behind the NUL; every reader stops there.
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise HostileArchiveError(f"the header's {what} is not a number")
    return int(match[1], 8)


def parse_number(field: bytes, what: str) -> int:
    """An octal or, with the top bit set, a base-256 number (GNU; may be negative). Raises HostileArchiveError."""
    if field[0] & 0x80:
        bits = 8 * len(field)
        value = int.from_bytes(field, "big")
        return value - (1 << bits) if field[0] == 0xFF else value - (1 << (bits - 1))
    return parse_octal(field, what)


@functools.lru_cache(_REMEMBERED)
def parse_time(field: bytes) -> int:
    """A time in nanoseconds; files of one package have the same. Raises HostileArchiveError."""
    return parse_number(field, "time") * _NANOSECONDS


def parse_name(header: bytes) -> bytes:
    """The name, with the prefix field of those formats that have one. Raises HostileArchiveError."""
    name = header[:100].partition(b"\0")[0]
    magic = header[257:265]
    if magic == _GNU or (magic == _POSIX and not header[345]):
        return name
    return _parse_prefix(header) + name


def _parse_prefix(header: bytes) -> bytes:
    magic = header[257:265]
    if magic.startswith(_USTAR):
        # In star's format two times follow a shorter prefix.
        end = 476 if header[508:512] == _STAR_TRAILER else 500
        prefix = header[345:end].partition(b"\0")[0]
        return prefix + b"/" if prefix else b""
    # GNU has times there, and the first tar had nothing; some readers take either for a prefix.
    if magic != _GNU and (any(magic) or header[345]):
        raise HostileArchiveError("a header of no known format")
    return b""


def parse_link(header: bytes) -> bytes:
    """The link's target."""
    return header[157:257].partition(b"\0")[0]
