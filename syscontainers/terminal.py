"""Text from outside on its way to a terminal.

Names of files, labels, help texts and registries' messages are somebody else's words. Written raw, an escape sequence
in them could clear the screen, rename the window or rewrite what the administrator has just read, and a line break
could fake a line of ours. So what we print passes here; the bytes of programs that we become (``exec``, ``logs``) do
not.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from typing import TextIO

# C0 and C1 controls but for tab and newline (ECMA-48), the marks that reorder text (Unicode Standard Annex 9), line
# and paragraph separators, and halves of surrogate pairs, which stand for bytes that are not UTF-8 (PEP 383).
_DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = re.compile("[\t\n]+")
_LONGEST_LINE = 2000


def escape(text: str) -> str:
    r"""What may stand on several lines: dangerous characters become ``\u001b``, as JSON and TOML write them too."""
    return text if text.isprintable() else _DANGEROUS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """What must stay on its line, and end: the same, line breaks and tabs become blanks, and the rest is cut off."""
    if len(text) > _LONGEST_LINE:
        text = f"{text[:_LONGEST_LINE]}…"
    return text if text.isprintable() else escape(_BREAKS.sub(" ", text))


class ReaderGoneError(BrokenPipeError):
    """Nobody reads our output any more, as after ``syscontainer list | head -1``."""


class _StreamBehind(io.TextIOBase):
    """What is written goes to another stream."""

    def __init__(self, stream: TextIO | io.TextIOBase) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``."""
        self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As the stream behind it."""
        self._stream.flush()

    def isatty(self) -> bool:
        """As the stream behind it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """As the stream behind it."""
        return self._stream.fileno()


class CleanStream(_StreamBehind):
    """A stream that lets only clean text through to another."""

    def write(self, text: str) -> int:
        """Write ``text``, escaped; the count is that of the characters given."""
        super().write(escape(text))
        return len(text)


class PipeStream(_StreamBehind):
    """A stream whose reader may go away at any time; what is written from then on is lost.

    ``tolerates`` are the errors that mean so.
    """

    def __init__(
        self, stream: TextIO | io.TextIOBase, *, raises: bool, tolerates: type[OSError] = BrokenPipeError
    ) -> None:
        super().__init__(stream)
        self._raises = raises
        self._tolerates = tolerates

    def write(self, text: str) -> int:
        """Write ``text``. Raises ReaderGoneError once, at the latest when flushed, if that is wanted."""
        with self._reader_may_go():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """As ``write``."""
        with self._reader_may_go():
            super().flush()

    @contextlib.contextmanager
    def _reader_may_go(self) -> Iterator[None]:
        try:
            yield
        except self._tolerates:
            # What lies in the buffers has to go somewhere: the interpreter complains at its exit otherwise.
            null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, self._stream.fileno())
            os.close(null)
            if self._raises:
                raise ReaderGoneError from None
