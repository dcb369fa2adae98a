"""Pax extended headers (POSIX.1-2017, "pax Extended Header")."""

from __future__ import annotations

from ..errors import HostileArchiveError

_XATTR = b"SCHILY.xattr."
_WITHOUT_NUL = (b"path", b"linkpath")
_DIGITS_OF_LENGTH = 10
_DIGITS_OF_NUMBER = 20
_NANOSECONDS = 1_000_000_000
GLOBAL_HARMLESS = (b"comment",)
"""What git archive writes. Any other global record changes later entries for some readers and not for others."""


def parse_records(data: bytes) -> dict[bytes, bytes]:
    r"""``LENGTH KEY=VALUE\n`` records as a mapping; later ones win. Raises HostileArchiveError."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + _DIGITS_OF_LENGTH)
        digits = data[at:space]
        if space < 0 or not digits.isdigit():
            raise HostileArchiveError("a pax record has no length")
        end = at + int(digits)
        if end > len(data) or end <= space + 1 or data[end - 1] != 0x0A:
            raise HostileArchiveError("a pax record's length is wrong")
        key, separator, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not separator or b"\0" in key or (key in _WITHOUT_NUL and b"\0" in value):
            raise HostileArchiveError("a pax record is malformed")
        records[key] = value
        at = end
    return records


def select_xattrs(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The extended attributes among the records, by name."""
    return {key[len(_XATTR) :]: value for key, value in records.items() if key.startswith(_XATTR)}


def is_sparse(records: dict[bytes, bytes]) -> bool:
    """Whether the entry is one of GNU tar's three pax sparse formats, whose body is a map and then data."""
    return any(key.startswith(b"GNU.sparse.") for key in records)


def parse_integer(value: bytes, key: str) -> int:
    """A decimal number that is not negative. Raises HostileArchiveError."""
    if not value.isdigit() or len(value) > _DIGITS_OF_NUMBER:
        raise HostileArchiveError(f"the pax record {key} is not a number")
    return int(value)


def parse_time(value: bytes) -> int:
    """A decimal time with optional fraction, in nanoseconds, digits beyond dropped. Raises HostileArchiveError."""
    seconds, _, fraction = value.removeprefix(b"-").partition(b".")
    if not seconds.isdigit() or len(seconds) > _DIGITS_OF_NUMBER or (fraction and not fraction.isdigit()):
        raise HostileArchiveError("the pax record mtime is not a time")
    nanoseconds = int(seconds) * _NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if value.startswith(b"-") else nanoseconds
