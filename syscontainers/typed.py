"""Typed reading of documents that came from outside.

JSON and TOML documents pass through these getters once, at the edge; behind them the code never
checks a type again. ``Document`` remembers where in which file it stands, so that every complaint
names the place: ``manifest.json: layers[2].size must be an integer, not a string``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from .errors import RefusedError

_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_REQUIRED: Any = object()
_SHOWN = 80
_DEEPEST = 100
"""Levels of nesting; no document of this field needs a tenth. Whoever goes through one may call itself for each."""


class DocumentError(RefusedError):
    """A document from outside is not what it has to be."""


def _name_of(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two parsers that pick different ones of two equal keys see two documents: refuse (CVE-2021-41190's family).
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:_SHOWN]!r} stands twice in one object")
            seen.add(key)
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(data: bytes | str, where: str) -> Any:
    """Parse strict JSON (RFC 8259): no duplicate keys, no NaN, at most a hundred levels of nesting.

    Raises DocumentError naming ``where``.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError:
        raise DocumentError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise DocumentError(f"{where}: not valid JSON: {error}") from None
    if text.count("[") + text.count("{") > _DEEPEST and _is_deep(value):
        raise DocumentError(f"{where}: nested too deeply")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def check_texts(value: object, where: str) -> None:
    r"""Refuse a document in which any text, names of members included, could be passed to no program and no file.

    No argv, environment or path can hold a NUL, and ``\ud800`` is half a character. Raises DocumentError.
    """
    for text in _texts(value):
        if "\0" in text:
            raise DocumentError(f"{where}: contains a NUL character in {text[:40]!r}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DocumentError(f"{where}: contains half a surrogate pair in {text[:40]!r}") from None


def _texts(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, str):
            yield current
        elif isinstance(current, dict):
            waiting.extend((*current, *current.values()))
        elif isinstance(current, list):
            waiting.extend(current)


class Document(Mapping[str, Any]):
    """One object inside a document, together with the path that leads to it."""

    __slots__ = ("_value", "where")

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise DocumentError(f"{where}: must be an object, not {_name_of(value)}")
        self._value: dict[str, Any] = value
        self.where = where

    @classmethod
    def parse(cls, data: bytes | str, where: str) -> Document:
        """Parse JSON whose top is an object. Raises DocumentError."""
        return cls(parse_json(data, where), where)

    def __getitem__(self, key: str) -> Any:
        return self._value[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def raw(self) -> dict[str, Any]:
        """The object itself, for passing on unread parts."""
        return self._value

    def place(self, key: str) -> str:
        """How to name ``key`` of this object to a human."""
        return f"{self.where}: {key}" if ": " not in self.where else f"{self.where}.{key}"

    def fail(self, key: str, problem: str) -> NoReturn:
        """Refuse the document because of ``key``."""
        raise DocumentError(f"{self.place(key)} {problem}")

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self._value.get(key)
        if value is None:
            if default is _REQUIRED:
                self.fail(key, "is missing" if key not in self._value else "must not be null")
            return default
        # bool is a subclass of int, and a document that says true where a number belongs is wrong.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(key, f"must be {_NAMES[kind]}, not {_name_of(value)}")
        return value

    def get_str(self, key: str, default: Any = _REQUIRED) -> str:
        """A string; without a default the key is required."""
        return self._get(key, str, default)  # type: ignore[no-any-return]

    def get_int(self, key: str, default: Any = _REQUIRED, *, minimum: int | None = None) -> int:
        """An integer, optionally with a lower bound."""
        value: int = self._get(key, int, default)
        if minimum is not None and value is not None and value < minimum:
            self.fail(key, f"must be at least {minimum}, not {value}")
        return value

    def get_bool(self, key: str, default: Any = _REQUIRED) -> bool:
        """A boolean."""
        return self._get(key, bool, default)  # type: ignore[no-any-return]

    def get_object(self, key: str, default: Any = _REQUIRED) -> Document:
        """An object; a default of ``{}`` gives an empty one."""
        return Document(self._get(key, dict, default), self.place(key))

    def get_optional_object(self, key: str) -> Document | None:
        """An object, or None where the key is absent or null."""
        return None if self._value.get(key) is None else self.get_object(key)

    def get_list(self, key: str, default: Any = _REQUIRED) -> list[Any]:
        """A list of anything."""
        return self._get(key, list, default)  # type: ignore[no-any-return]

    def get_strings(self, key: str, default: Any = _REQUIRED) -> list[str]:
        """A list of strings."""
        values = self.get_list(key, default)
        for number, value in enumerate(values):
            if not isinstance(value, str):
                self.fail(f"{key}[{number}]", f"must be a string, not {_name_of(value)}")
        return values

    def get_objects(self, key: str, default: Any = _REQUIRED) -> list[Document]:
        """A list of objects."""
        return [Document(value, self.place(f"{key}[{n}]")) for n, value in enumerate(self.get_list(key, default))]

    def get_string_map(self, key: str, default: Any = _REQUIRED) -> dict[str, str]:
        """An object whose values are all strings."""
        mapping = self.get_object(key, default)
        if set(map(type, mapping.raw().values())) - {str}:
            for name in mapping:
                mapping.get_str(name)
        return dict(mapping.raw())
