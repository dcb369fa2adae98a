"""The words of tmpfiles.d(5) rules: writing them so that they stand for themselves, and reading what they make."""

from __future__ import annotations

import re
import shlex

from ..systemd.unitfile import UnitSyntaxError

_MAKES = ("f", "F", "d", "D", "v", "q", "Q", "e", "L", "C", "p", "c", "b")


def quote_field(text: str) -> str:
    """One field of a rule that stands for ``text``, or a part of one. Raises UnitSyntaxError for control characters."""
    return f'"{quote_inside(text)}"' if re.search(r"[\s\"'\\]", text) else quote_inside(text)


def quote_inside(text: str) -> str:
    """As ``quote_field`` for a place that is between quotes already. Raises UnitSyntaxError for control characters."""
    # systemd-tmpfiles 252 knows quotes, and backslashes before them, but no codes such as \\x20 (seen).
    if not text.isprintable():
        raise UnitSyntaxError(f"{text!r} cannot stand in a tmpfiles rule: it holds a control character")
    return text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def created_by(rules: str) -> set[str]:
    """The paths that ``rules`` create; lines that do not parse create nothing."""
    created = set()
    for line in rules.splitlines():
        try:
            words = shlex.split(line, comments=line.startswith("#"))
        except ValueError:
            continue  # systemd-tmpfiles will name the line when the rules are checked
        if len(words) > 1 and words[0][0] in _MAKES:
            created.add(words[1].replace("%%", "%"))
    return created
