"""Telling the user what goes on: messages and progress, on stderr only.

On a terminal one line is redrawn at most ten times a second; elsewhere each thing done is a plain line.
Thread-safe: layers report from their own threads.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from io import TextIOBase
from typing import TextIO

from .terminal import one_line

_REDRAW_SECONDS = 0.1


def human_size(size: float) -> str:
    """Bytes for people, in powers of 1000 as the field's tools print them: ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Progress:
    """Where messages of one command go. ``quiet`` leaves only warnings."""

    def __init__(self, stream: TextIO | TextIOBase | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._lock = threading.Lock()
        self._bars: dict[str, tuple[int, int]] = {}
        self._told: set[str] = set()
        self._drawn = 0.0
        self._shown = False

    def say(self, text: str) -> None:
        """One line for the user."""
        if not self._quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """One line that is shown even when quiet."""
        self._line(f"warning: {text}")

    def warn_once(self, text: str) -> None:
        """The same, unless this command has shown that very line already."""
        with self._lock:
            is_new = text not in self._told
            self._told.add(text)
        if is_new:
            self.warn(text)

    def advance(self, name: str, done: int, total: int) -> None:
        """``name`` has got ``done`` of ``total`` bytes; drawn only on a terminal."""
        if self._quiet or not self._terminal:
            return
        with self._lock:
            self._bars[name] = (done, total)
            now = time.monotonic()
            if now - self._drawn >= _REDRAW_SECONDS:
                self._drawn = now
                self._draw()

    def finish(self, name: str, text: str) -> None:
        """``name`` is complete; ``text`` stays on the screen or in the log."""
        with self._lock:
            self._bars.pop(name, None)
        self.say(text)

    def clear(self) -> None:
        """Take the progress line away, before an error message for instance."""
        with self._lock:
            self._bars.clear()
            self._erase()

    def _line(self, text: str) -> None:
        with self._lock:
            self._erase()
            print(one_line(text), file=self._stream, flush=True)

    def _erase(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False

    def _draw(self) -> None:
        done = sum(bar[0] for bar in self._bars.values())
        total = sum(bar[1] for bar in self._bars.values())
        percent = 100 * done // total if total else 0
        self._stream.write(
            f"\r\x1b[K{percent:3d} %  {human_size(done)} of {human_size(total)}, {len(self._bars)} layers"
        )
        self._stream.flush()
        self._shown = True
