"""Text from outside on its way to a terminal.

Names of files, labels, help texts and registries' messages are somebody else's words. Written raw, an escape sequence
in them could clear the screen, rename the window or rewrite what the administrator has just read, and a line break
could fake a line of ours. So what we print passes here; the bytes of programs that we become (``exec``, ``logs``) do
not.
"""

from __future__ import annotations

import io
import re
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


class CleanStream(io.TextIOBase):
    """A stream that lets only clean text through to another."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text``, escaped; the count is that of the characters given."""
        self._stream.write(escape(text))
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
