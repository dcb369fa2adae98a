"""The last words of a unit, from the journal.

Through ``journalctl`` as a child process: libsystemd's reader has no binding among our packages, and this is only
done after something failed. Wanted are the lines of the unit's processes and those of PID 1 about the unit, of one
run alone: both carry the invocation's ID (systemd.journal-fields(7)), the first in ``_SYSTEMD_INVOCATION_ID``, the
second in ``INVOCATION_ID``. Matching by it is not enough: what a process writes just before it dies is often
stored without, because journald finds nobody left to ask about; such a line belongs to the run that it stands in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import SyscontainersError
from ..run import run

_TIMEOUT = 10.0
_FEWEST = 200  # lines to look through: other runs of a unit that restarts quickly lie between


@dataclass(frozen=True)
class _Entry:
    invocation: str
    text: str


def last_lines(unit: str, invocation_id: str, count: int = 10) -> tuple[str, ...]:
    """The last ``count`` lines of one run of ``unit``, oldest first; of all its runs if ``invocation_id`` is empty.

    Empty where there is no journal. Characters that could steer a terminal are replaced: the lines are the
    payload's own.
    """
    try:
        # What was written before now may still be on its way from the daemon's sockets to the file.
        run(["journalctl", "--sync"], check=False, timeout=_TIMEOUT)
        query = [*_QUERY, f"--unit={unit}", f"--lines={max(count * 10, _FEWEST)}"]
        done = run(query, check=False, timeout=_TIMEOUT)
    except SyscontainersError:  # no journalctl, or a journal that hangs: evidence is welcome, not necessary
        return ()
    lines: list[str] = []
    for entry in _entries(done.stdout):
        if invocation_id in ("", entry.invocation):
            lines += entry.text.splitlines()
    return tuple(_printable(line) for line in lines[-count:])


_FIELDS = ("MESSAGE", "INVOCATION_ID", "_SYSTEMD_INVOCATION_ID")
_QUERY = ("journalctl", "--quiet", "--boot", "--all", "--output=json", f"--output-fields={','.join(_FIELDS)}")


def _entries(output: bytes) -> Iterator[_Entry]:
    """Entries in order; those without an invocation get that of the one before."""
    invocation = ""
    for line in output.splitlines():
        fields: dict[str, Any] = json.loads(line)
        invocation = fields.get("_SYSTEMD_INVOCATION_ID") or fields.get("INVOCATION_ID") or invocation
        yield _Entry(str(invocation), _text(fields.get("MESSAGE")))


def _text(message: object) -> str:
    """A message is a string, or a list of bytes where it is not plain text (systemd's JOURNAL_EXPORT_FORMATS)."""
    if isinstance(message, list):
        return bytes(byte for byte in message if isinstance(byte, int)).decode(errors="replace")
    return message if isinstance(message, str) else ""


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)
