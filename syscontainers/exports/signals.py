"""The signal that asks a payload to stop, as image configs write it."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from ..errors import RefusedError

_REALTIME = re.compile(r"RT(?P<end>MIN|MAX)(?:(?P<sign>[+-])(?P<offset>[0-9]{1,2}))?")
_FIRST, _LAST = 34, 64  # SIGRTMIN and SIGRTMAX as glibc has them (signal(7)); systemd counts from the same
_ALIASES = {"CLD": "CHLD", "POLL": "IO", "IOT": "ABRT"}


@dataclass(frozen=True)
class StopSignal:
    """A signal by number and by the name that ``KillSignal=`` takes."""

    number: int
    name: str


def parse_signal(text: str) -> StopSignal:
    """Read ``SIGTERM``, ``TERM``, ``15`` or ``SIGRTMIN+3``; nothing means SIGTERM. Raises RefusedError."""
    word = text.strip().upper().removeprefix("SIG")
    if not word:
        return StopSignal(signal.SIGTERM, "SIGTERM")
    number = _number_of(word)
    if number is None or not 1 <= number <= _LAST or number in (32, 33):  # those two are glibc's own
        raise RefusedError(f"{text[:40]!r} is no signal", "set another with --set STOP_SIGNAL=SIGTERM")
    if number >= _FIRST:
        return StopSignal(number, f"SIGRTMIN+{number - _FIRST}")
    return StopSignal(number, signal.Signals(number).name)


def _number_of(word: str) -> int | None:
    if word.isascii() and word.isdigit():
        return int(word) if len(word) <= 2 else None
    realtime = _REALTIME.fullmatch(word)
    if realtime:
        offset = int(realtime["sign"] + realtime["offset"]) if realtime["offset"] else 0
        number = (_FIRST if realtime["end"] == "MIN" else _LAST) + offset
        return number if _FIRST <= number <= _LAST else None
    try:
        return signal.Signals[f"SIG{_ALIASES.get(word, word)}"].value
    except KeyError:
        return None
