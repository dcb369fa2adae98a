"""Fuzzes the reader of pax records against another reader of them, written from the grammar alone.

Both refuse an input, or both read the same.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from syscontainers.errors import HostileArchiveError
from syscontainers.storage import pax
from tests.archive import record

_LENGTH = re.compile(rb"([0-9]{1,9}) ")


def read_by_grammar(data: bytes) -> dict[bytes, bytes] | None:
    """POSIX.1-2017, pax: ``"%d %s=%s\\n", length, keyword, value``; None for anything else."""
    found: dict[bytes, bytes] = {}
    while data:
        match = _LENGTH.match(data)
        if match is None:
            return None
        whole, data = data[: int(match[1])], data[int(match[1]) :]
        if len(whole) != int(match[1]) or len(whole) <= match.end() or not whole.endswith(b"\n"):
            return None
        key, equals, value = whole[match.end() : -1].partition(b"=")
        if not key or not equals or b"\0" in key or (key in (b"path", b"linkpath") and b"\0" in value):
            return None
        found[key] = value
    return found


def run(data: bytes) -> None:
    """One input: the records."""
    try:
        read = pax.parse_records(data)
    except HostileArchiveError:
        assert read_by_grammar(data) is None
        return
    assert read == read_by_grammar(data)
    for key, value in read.items():
        _read_numbers(key, value)
    assert pax.parse_records(b"".join(record(*each) for each in read.items())) == read


def _read_numbers(key: bytes, value: bytes) -> None:
    with contextlib.suppress(HostileArchiveError):
        number = pax.parse_integer(value, "key")
        assert 0 <= number == int(value)
    with contextlib.suppress(HostileArchiveError):
        time = pax.parse_time(value)
        assert abs(time - float(value) * 10**9) <= max(10, abs(time) / 10**12), (key, value)


@contextlib.contextmanager
def target(corpus: Path) -> Iterator[Callable[[bytes], None]]:
    """What to call with each input, after ``corpus`` has been filled with seeds."""
    seeds = (
        record(b"path", b"a") + record(b"mtime", b"-1.000000001") + record(b"size", b"12"),
        record(b"SCHILY.xattr.user.a", bytes(range(256))) + record(b"linkpath", b"b" * 200),
        b"0 \n",
        b"5 a=\n",
        b"00000006 a=b\n",
    )
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    yield run
