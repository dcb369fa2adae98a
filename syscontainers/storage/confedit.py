"""Adding one store to the text of a storage.conf and taking it out again, every other byte left as it is.

No writer of TOML keeps comments and layout, so the text itself is changed; what comes out is parsed and must differ
from before in nothing but that one entry.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SyscontainersError

_KEY = "additionalimagestores"
_HEADER = re.compile(r"^[ \t]*\[[ \t]*storage[ \t]*\.[ \t]*options[ \t]*\][ \t]*(?:#.*)?\r?$\n?", re.MULTILINE)
_ANY_HEADER = re.compile(r"^[ \t]*\[\[?[ \t]*[\w.-]+[ \t]*\]\]?[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_ARRAY = re.compile(rf"^[ \t]*{_KEY}[ \t]*=[ \t]*\[", re.MULTILINE)
# TOML 1.0: a comment, a basic string, a literal string, an inline table, or one character of anything else.
_TOKEN = re.compile(r"""#[^\n]*|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\{[^{}\n]*\}|\S""")


def stores_in(text: str) -> list[object]:
    """The entries of ``additionalimagestores``. Raises tomllib.TOMLDecodeError."""
    entries = _options(tomllib.loads(text)).get(_KEY, [])
    return entries if isinstance(entries, list) else []


def add_store(text: str, root: Path, where: str) -> str:
    """``text`` with ``root`` as the last of its additional image stores. Raises SyscontainersError."""
    if str(root) in stores_in(text):
        return text
    array = _find_array(text)
    table = _find_table(text)
    line = f"{_KEY} = [{_quote(root)}]\n"
    if array is not None:
        new = _append(text, array, _quote(root))
    elif table is not None:
        above, below = text[: table.start], text[table.start :]
        new = above + ("" if above.endswith("\n") else "\n") + line + below
    else:
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        new = f"{text}{gap}[storage.options]\n{line}"
    return _checked(new, text, [*stores_in(text), str(root)], where)


def remove_store(text: str, root: Path, where: str) -> str:
    """``text`` without ``root`` among its additional image stores. Raises SyscontainersError."""
    rest = [entry for entry in stores_in(text) if entry != str(root)]
    array = _find_array(text)
    if array is None or len(rest) == len(stores_in(text)):
        return text
    at = next((index for index, token in enumerate(array) if _value(token.text) == str(root)), None)
    if at is None:
        raise _by_hand(where)
    start, end = array[at].start, array[at].end
    if at and array[at - 1].text == ",":
        start = array[at - 1].start
    elif array[at + 1].text == ",":
        end = array[at + 1].end
    return _checked(text[:start] + text[end:], text, rest, where)


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    text: str = ""


def _options(document: dict[str, Any]) -> dict[str, Any]:
    storage = document.get("storage", {})
    options = storage.get("options", {}) if isinstance(storage, dict) else {}
    return options if isinstance(options, dict) else {}


def _quote(root: Path) -> str:
    # JSON's escapes are all TOML's, too.
    return json.dumps(str(root), ensure_ascii=False)


def _value(token: str) -> object:
    if token[:1] not in ("'", '"'):
        return None
    return tomllib.loads(f"x = {token}")["x"]


def _find_table(text: str) -> _Span | None:
    """From the line after the header ``[storage.options]`` to the next header."""
    header = _HEADER.search(text)
    if header is None:
        return None
    end = _ANY_HEADER.search(text, header.end())
    return _Span(header.end(), end.start() if end else len(text))


def _find_array(text: str) -> list[_Span] | None:
    """What stands between the brackets, comments left out, and the closing one; None without the key."""
    table = _find_table(text)
    match = _ARRAY.search(text, table.start, table.end) if table else None
    return list(_tokens(text, match.end())) if match else None


def _tokens(text: str, position: int) -> Iterator[_Span]:
    for match in _TOKEN.finditer(text, position):
        if not match[0].startswith("#"):
            yield _Span(match.start(), match.end(), match[0])
        if match[0] == "]":
            return


def _append(text: str, array: list[_Span], value: str) -> str:
    closing = array[-1]
    if len(array) == 1:
        return f"{text[: closing.start]}{value}{text[closing.start :]}"
    last = array[-2]
    addition = f" {value}," if last.text == "," else f", {value}"
    return f"{text[: last.end]}{addition}{text[last.end :]}"


def _checked(new: str, old: str, stores: list[object], where: str) -> str:
    """``new``, if it says what ``old`` says but for the list of stores. Raises SyscontainersError."""
    before = tomllib.loads(old)
    try:
        after = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        raise _by_hand(where) from None
    if stores_in(new) != stores or _without_stores(before) != _without_stores(after):
        raise _by_hand(where)
    return new


def _without_stores(document: dict[str, Any]) -> dict[str, Any]:
    """The rest of the document; a table in which there is nothing else counts for nothing."""
    options = {key: value for key, value in _options(document).items() if key != _KEY}
    storage = {key: value for key, value in dict(document.get("storage", {})).items() if key != "options"}
    rest = {key: value for key, value in document.items() if key != "storage"}
    return {**rest, "storage": storage, "options of storage": options}


def _by_hand(where: str) -> SyscontainersError:
    return SyscontainersError(
        f"{where}: is laid out too unusually to be edited safely", f"edit {_KEY} in [storage.options] by hand"
    )
