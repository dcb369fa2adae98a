"""The files of ``containers.d``: which of them count, and what each says, with the line of every key.

As with units: of two files with one name the one in the directory that comes first replaces the other, an empty
one or a link to /dev/null takes the container away, and ``NAME.toml.d/*.toml`` of all directories change single keys
in the order of their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UsageError

_LARGEST = 1 << 20
_HEADER = re.compile(r"\s*\[(?P<table>[^\[\]]+)\]\s*(?:#.*)?")
_KEY = re.compile(r"""\s*(?P<key>[A-Za-z0-9_-]+|"[^"]*"|'[^']*')\s*[.=]""")
_SYNTAX = re.compile(r"(?P<problem>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)")


@dataclass(frozen=True)
class Fragment:
    """One file."""

    path: Path
    text: str
    table: Mapping[str, Any]

    def line_of(self, *keys: str) -> int:
        """The line on which a key stands, or as near as can be told; 0 where it does not stand at all."""
        return find_line(self.text, keys)

    def fail(self, keys: Sequence[str], problem: str) -> NoReturn:
        """Refuse the file because of one key. Raises UsageError with file, line and key."""
        line = self.line_of(*keys)
        place = f"{self.path}:{line}" if line else str(self.path)
        raise UsageError(f"{place}: {'.'.join(keys)} {problem}", "see declarations.md in share/doc/syscontainers")


@dataclass(frozen=True)
class Declared:
    """The files about one container: the main one first, then those that change it, in order."""

    stem: str
    fragments: tuple[Fragment, ...]


def read_declared(directories: Sequence[Path]) -> list[Declared]:
    """Everything that is declared, by file name. Raises UsageError naming file and line of what cannot be read."""
    found = []
    for name, path in sorted(_winners(directories, "*.toml").items()):
        main = read_fragment(path)
        if main is not None:
            drop_ins = _winners([directory / f"{name}.d" for directory in directories], "*.toml")
            changes = (read_fragment(drop_in) for _, drop_in in sorted(drop_ins.items()))
            found.append(Declared(path.stem, (main, *filter(None, changes))))
    return found


def read_paths(paths: Iterable[Path]) -> list[Declared]:
    """The same for files and directories that the user named. Raises UsageError."""
    found = []
    for path in paths:
        if path.is_dir():
            found += read_declared([path])
        elif (main := read_fragment(path)) is not None:
            changes = sorted(path.with_name(f"{path.name}.d").glob("*.toml"))
            found.append(Declared(path.stem, (main, *filter(None, map(read_fragment, changes)))))
    return found


def _winners(directories: Sequence[Path], pattern: str) -> dict[str, Path]:
    return {path.name: path for directory in reversed(directories) for path in directory.glob(pattern)}


def read_fragment(path: Path) -> Fragment | None:
    """One file, or None for one that is there to take another's place. Raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        text = data.decode()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: is not UTF-8", "TOML files are UTF-8") from None
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: larger than {_LARGEST} bytes")
    return Fragment(path, text, _parse(path, text)) if text.strip() else None


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        line = int(match["line"]) if match and match["line"] else text.count("\n") + 1
        problem = match["problem"] if match else str(error)
        raise UsageError(f"{path}:{line}: not valid TOML: {problem}") from None


def find_line(text: str, keys: Sequence[str]) -> int:
    """The line where ``keys`` are set, that of the innermost part found, or 0.

    tomllib does not tell. Written for files that people write: keys within inline tables count as standing where
    the table begins, and lines within multi-line strings may be taken for keys only if they look like one.
    """
    best, depth = 0, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.fullmatch(line), _KEY.match(line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header["table"].split("."))
        full = table if header else (*table, key["key"].strip("\"'")) if key else ()
        if full == tuple(keys[: len(full)]) and len(full) > depth:
            best, depth = number, len(full)
    return best
