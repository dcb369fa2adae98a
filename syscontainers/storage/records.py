"""The JSON files of a store: lists of records, of which most may be somebody else's.

A record is kept as the plain object that was read. Whoever changes one key leaves every other key and every other
record as it was, so that newer versions of containers/storage lose nothing through us.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import files
from ..typed import Document, DocumentError, parse_json
from .locks import announce_change, lock_exclusively

Record = dict[str, Any]

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_records(path: Path) -> list[Record]:
    """All records of ``path``; an absent file has none. Raises DocumentError and OSError.

    No lock is needed: every writer replaces the file by a rename.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    value = parse_json(data, str(path)) if data.strip() else []
    if value is None:  # how Go writes an empty list that was never made
        return []
    if not isinstance(value, list):
        raise DocumentError(f"{path}: must be a list of records")
    for number, record in enumerate(value):
        Document(record, f"{path}: [{number}]").get_str("id")
    return value


class RecordTable:
    """The records of one JSON file, held under its exclusive lock."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self.records = read_records(path)

    def find(self, record_id: str) -> Record | None:
        """The record with this ID, to be changed in place, or None."""
        return next((record for record in self.records if record["id"] == record_id), None)

    def remove(self, record_ids: set[str]) -> None:
        """Drop the records with these IDs."""
        self.records = [record for record in self.records if record["id"] not in record_ids]

    def save(self) -> None:
        """Token first, then the file in one step; durable on return. Raises OSError."""
        files.sweep_temporaries(self._path)
        announce_change(self._lock)
        # ASCII only: whatever odd string another writer left goes back exactly as it came.
        data = json.dumps(self.records, separators=(",", ":")).encode()
        files.replace_file(self._path, data, 0o600)


@contextlib.contextmanager
def locked_table(path: Path, lock: Path) -> Iterator[RecordTable]:
    """The records of ``path`` for changing them, under the exclusive lock file ``lock``."""
    with lock_exclusively(lock) as descriptor:
        yield RecordTable(path, descriptor)


def drop_empty(record: Record) -> Record:
    """As Go's ``omitempty`` writes it: without empty lists, objects and strings, and without zeros."""
    return {key: value for key, value in record.items() if value not in (None, "", 0, [], {})}


def now_text() -> str:
    """The present moment as containers/storage writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def checked_time(text: str) -> str | None:
    """``text`` if Go can read it as a time, else None.

    One record with a time that Go's RFC 3339 parser refuses makes every command on the whole store fail; and the
    text comes from the image.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        dt.datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError:
        return None
    return f"{day}T{clock}{(fraction or '')[:10]}{zone.upper()}"
