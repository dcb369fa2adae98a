"""One 512-byte tar header (POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

Strict where parsers disagree, because an archive that two programs read differently passes the check of one
and is unpacked by the other. Bytes stay bytes: a name is what is in the archive.
"""

from __future__ import annotations

import re
import zlib

from ..errors import HostileArchiveError

_USTAR = b"ustar\x00"
_STAR_TRAILER = b"tar\x00"
_OCTAL = re.compile(rb"[ \0]*([0-7]+)(?:[ \0].*)?", re.DOTALL)
_BLANKS_FOR_CHECKSUM = 8 * 0x20


def _sum(data: bytes) -> int:
    # adler32's low half is 1 + the sum modulo 65521, and 256 bytes sum to at most 65280: exact, at a fifth of the
    # cost of sum().
    return (zlib.adler32(data) & 0xFFFF) - 1


def verify_checksum(header: bytes) -> None:
    """Raise HostileArchiveError unless the header's checksum is right (unsigned; or signed, as old Sun tars had it)."""
    stored = parse_octal(header[148:156], "checksum")
    actual = _sum(header[:256]) + _sum(header[256:]) - _sum(header[148:156]) + _BLANKS_FOR_CHECKSUM
    if actual != stored:
        signed = actual - 256 * sum(1 for byte in header[:148] + header[156:] if byte > 127)
        if signed != stored:
            raise HostileArchiveError("the header's checksum is wrong")


def parse_octal(field: bytes, what: str) -> int:
    """A number of octal digits between blanks and NULs; an empty field is 0. Raises HostileArchiveError."""
    digits = field.strip(b" \0")
    # int() alone would also take "-7", "1_0" and "0o7".
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    if not digits:
        return 0
    # Some writers leave old bytes behind the terminator; every reader stops there.
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


def parse_name(header: bytes) -> bytes:
    """The name, with the prefix field of those formats that have one."""
    name = header[:100].partition(b"\0")[0]
    if header[345] and header[257:263] == _USTAR:
        # In star's format two times follow the shorter prefix.
        end = 476 if header[508:512] == _STAR_TRAILER else 500
        prefix = header[345:end].partition(b"\0")[0]
        return prefix + b"/" + name
    return name


def parse_link(header: bytes) -> bytes:
    """The link's target."""
    return header[157:257].partition(b"\0")[0]
