"""Decisions read from a fuzzer's input, and documents changed by them.

Bytes thrown at a JSON parser nearly always stop there. So an input here is a list of decisions: which part of a good
document becomes which bad value.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1 << 31, 1 << 32, 1 << 63, -(1 << 63) - 1, 1 << 70, 1.5, -0.0),
    *("", "a", "a\nb", "\x1b[2J", "a\r", "\u202e", "%n", "%%", "$A", "${A}", "$$", '"', "'", "\\", "a b", "a,b", "a:b"),
    *("\nExecStart=/bin/true", "\n[Service]\nUser=0", "x\\\n", ";id", "$(id)", "`id`", "a=b", "=", "A=\nB=c"),
    *("/", "//", "/..", "../..", "/proc/self/fd/7", "/proc", "/dev/null", "/etc", "/link/x", "/loop", "rootfs", "."),
    *("4294967296", "0:0x", "root", "0:4294967295", "1000:staff", "-1", "many", "SIGKILL", "SIGRTMIN+3", "9", "99"),
    *("sha256:" + "0" * 64, "sha256:../..", "sha512:" + "0" * 128, "sha256:" + "A" * 64, "x" * 5000),
    *("2026-01-02T03:04:05Z", "2026-02-30T00:00:00Z", "now", "\ud800", "\0", "é", "🦭"),
    *({}, [], [None], [[]], {"": ""}, {"a": {}}, ["a", "b"], {"a": "b"}, {"\n": {}}),
)


class Choices:
    """Decisions read from the input; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self.left = len(data)

    def pick(self, count: int) -> int:
        self.left -= 1
        return next(self._data, 0) % count

    def of(self, options: Sequence[_T]) -> _T:
        return options[self.pick(len(options))]


def edit(document: Any, choices: Choices) -> Any:
    """A copy of ``document`` with as many changes as the input has decisions for."""
    document = copy.deepcopy(document)
    while choices.left > 0:
        holder, key = _place(document, choices)
        if holder is None:
            return choices.of(VALUES)
        _change(holder, key, choices)
    return document


def _place(document: Any, choices: Choices) -> tuple[Any, Any]:
    """A list or object somewhere in ``document``, and an index or key of it; (None, None) for the top itself."""
    holder, key, current = None, None, document
    while isinstance(current, (dict, list)) and current:
        keys = list(current) if isinstance(current, dict) else list(range(len(current)))
        holder, key = current, choices.of(keys)
        current = holder[key]
        if choices.pick(8) == 0:
            break
    return holder, key


def _change(holder: Any, key: Any, choices: Choices) -> None:
    what = choices.pick(6)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[choices.of([key.upper(), key.lower(), f"{key} ", "x" * 300, *_TEXTS])] = holder[key]
    elif what == 1:
        holder.append(copy.deepcopy(holder[key]))
    elif what == 2 and isinstance(holder[key], str):
        holder[key] = holder[key][:1] + choices.of(_TEXTS) + holder[key][1:]
    else:
        holder[key] = copy.deepcopy(choices.of(VALUES))


_TEXTS = tuple(value for value in VALUES if isinstance(value, str))
