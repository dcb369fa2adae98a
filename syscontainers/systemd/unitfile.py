"""The text of unit files: reading it, writing it, and putting foreign values into it safely.

Syntax: systemd.syntax(7), systemd.unit(5) "String Escaping for Inclusion in Unit Names" and "Specifiers",
systemd.service(5) "Command lines". What comes from an image or a user passes ``escape_value``, ``quote_argument``
or ``escape_path`` before it stands in a unit: a newline would otherwise begin a setting of the attacker's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

_NAME_LIMIT = 255  # UNIT_NAME_MAX is 256 with the closing NUL
_KINDS = ("service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope")
_PREFIX = re.compile(r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\@-]*)?")
_NOT_ESCAPED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


class UnitSyntaxError(UsageError):
    """Text that systemd would not read as a unit, or would read as something else than meant."""


@dataclass(frozen=True)
class Setting:
    """One assignment, in the order of the file. A key may come again: settings that are lists add up."""

    section: str
    key: str
    value: str


@dataclass(frozen=True)
class UnitFile:
    """A parsed unit: its assignments in order, comments and line breaks gone."""

    settings: tuple[Setting, ...]
    problems: tuple[str, ...] = ()
    """Lines that are not unit syntax, each as ``line 3: …``. systemd warns about them and ignores them, but refuses the
    whole unit for a broken section header."""

    def get_all(self, section: str, key: str) -> tuple[str, ...]:
        """All values of a list setting; an empty assignment forgets those before it."""
        values: list[str] = []
        for setting in self.settings:
            if (setting.section, setting.key) == (section, key):
                values = [*values, setting.value] if setting.value else []
        return tuple(values)

    def get(self, section: str, key: str, default: str = "") -> str:
        """The value that counts for a setting that is not a list: the last; an empty one resets to the default."""
        values = self.get_all(section, key)
        return values[-1] if values else default

    def sections(self) -> tuple[str, ...]:
        """Section names in order of appearance, each once. Sections without settings are left out."""
        return tuple(dict.fromkeys(setting.section for setting in self.settings))

    def to_text(self) -> str:
        """The unit as systemd reads it, one line per setting, equal sections together."""
        blocks = [
            "\n".join([f"[{section}]", *(f"{s.key}={s.value}" for s in self.settings if s.section == section)])
            for section in self.sections()
        ]
        return "\n\n".join(blocks) + "\n" if blocks else ""


def make_unit(*sections: tuple[str, Iterable[tuple[str, str]]]) -> UnitFile:
    """Build a unit of ``(section, [(key, value), …])``. Raises UnitSyntaxError for what would break its lines."""
    settings = tuple(Setting(section, key, value) for section, pairs in sections for key, value in pairs)
    for setting in settings:
        text = f"{setting.section}{setting.key}{setting.value}"
        if _LINE_BREAK.search(text) or setting.value.endswith("\\") or setting.value != setting.value.strip():
            raise UnitSyntaxError(f"{setting.key}={setting.value!r}: cannot stand on one line of a unit")
    return UnitFile(settings)


def parse(text: str) -> UnitFile:
    """Read a unit's text the way systemd does; what systemd ignores with a warning is listed in ``problems``."""
    section = ""
    settings: list[Setting] = []
    problems: list[str] = []
    for number, line in _logical_lines(text):
        key, equals, value = (part.strip(_WHITESPACE) for part in line.partition("="))
        if line.startswith("[") and line.endswith("]") and not _UNSAFE.search(line):
            section = line[1:-1]
        elif line.startswith("["):
            problems.append(f"line {number}: {line!r} is not a section header")
        elif not equals or not key:
            problems.append(f"line {number}: {line!r} is not an assignment")
        elif not section:
            problems.append(f"line {number}: {key}= stands before the first section")
        else:
            settings.append(Setting(section, key, value))
    return UnitFile(tuple(settings), tuple(problems))


_WHITESPACE = " \t\r\n"
# systemd's read_line() takes each of these for the end of a line, also a lone carriage return and NUL.
_LINE_BREAK = re.compile(r"\r\n|\n\r|[\n\r\0]")


# systemd's string_is_safe(), which it asks about section headers alone.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\\"']")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with continuations joined and comments gone, also those in the middle of a continued line."""
    joined, first = "", 0
    for number, raw in enumerate(_LINE_BREAK.split(text.removeprefix("\ufeff")), start=1):
        line = raw.lstrip(_WHITESPACE)
        if line.startswith(("#", ";")):
            continue
        line = joined + line
        if _is_continued(line):
            joined, first = line[:-1] + " ", first or number
            continue
        if line.strip(_WHITESPACE):
            yield first or number, line.strip(_WHITESPACE)
        joined, first = "", 0
    if joined.strip(_WHITESPACE):
        yield first, joined.strip(_WHITESPACE)


def _is_continued(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def escape_value(value: str, what: str = "value") -> str:
    """Make text stand for itself as (part of) a setting that is not split into words: ``%`` begins a specifier.

    Raises UnitSyntaxError for characters that do not print, which no setting of ours needs and some of which end
    the line, and for a backslash at the end, which would swallow the next line.
    """
    if not value.isprintable():
        raise UnitSyntaxError(f"{what}: {value!r} holds a control character", "give it on one line, without tabs")
    if value.endswith("\\"):
        raise UnitSyntaxError(f"{what}: {value!r} ends in a backslash", "leave the backslash away")
    return value.replace("%", "%%")


def quote_word(word: str) -> str:
    """One word of a list setting such as ``Environment=`` or ``LogExtraFields=``, with C escapes where needed.

    Raises UnitSyntaxError for NUL and for text that is not Unicode.
    """
    if "\0" in word or any("\ud800" <= character <= "\udfff" for character in word):
        raise UnitSyntaxError(f"{word!r} holds a NUL or is not valid Unicode")
    if _PLAIN_WORD.fullmatch(word):
        return word
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape_bytes(c)) for c in word) + '"'


# Every character here means itself everywhere in a word, also as its first one.
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@:,./=+-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "%": "%%", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _escape_bytes(character: str) -> str:
    # systemd ignores lines with code points that Unicode reserves; as escaped bytes they pass.
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def quote_argument(argument: str) -> str:
    """One word of ``Exec…=`` that reaches the program as it is (systemd.service(5), "Command lines").

    As ``quote_word``, and ``$`` doubled against variables. Raises UnitSyntaxError.
    """
    return quote_word(argument).replace("$", "$$")


def quote_command(argv: Sequence[str]) -> str:
    """A whole command line for ``Exec…=``. Raises UnitSyntaxError.

    The program must be an absolute path of plain characters: systemd expands no variables in it, so a doubled ``$``
    would stay double, and it refuses quotes and backslashes there.
    """
    if not argv or not argv[0].startswith("/") or not _PLAIN_WORD.fullmatch(argv[0]):
        raise UnitSyntaxError(f"{argv[0] if argv else ''!r} is not the plain absolute path of a program")
    return " ".join([argv[0], *(quote_argument(word) for word in argv[1:])])


def quote_path(path: str | Path) -> str:
    """One path of a list such as ``RequiresMountsFor=``, where systemd takes quotes but no escapes.

    Raises UnitSyntaxError for paths that cannot be written there.
    """
    text = str(path)
    if '"' in text or "\\" in text or "'" in text:
        raise UnitSyntaxError(f"{text!r}: a path with quotes or backslashes cannot stand in a list of paths")
    return f'"{escape_value(text, "path")}"' if " " in text else escape_value(text, "path")


def escape_name(text: str) -> str:
    """``systemd-escape``: any text as part of a unit name; ``/`` becomes ``-``, odd bytes their code in hexadecimal."""
    data = text.encode(errors="surrogateescape")
    parts: list[str] = []
    for position, byte in enumerate(data):
        if byte == 0x2F:
            parts.append("-")
        elif byte in _NOT_ESCAPED and not (position == 0 and byte == 0x2E):
            parts.append(chr(byte))
        else:
            parts.append(f"\\x{byte:02x}")
    return "".join(parts)


def escape_path(path: str | Path) -> str:
    """``systemd-escape --path``: an absolute path as a unit's name without suffix; ``/`` is ``-``.

    Raises UnitSyntaxError for a relative path and for one with ``..``, as systemd-escape does.
    """
    text = str(path)
    components = [part for part in text.split("/") if part not in ("", ".")]
    if not text.startswith("/") or ".." in components or "\0" in text:
        raise UnitSyntaxError(f"{text!r} is not an absolute path in normal form")
    return escape_name("/".join(components)) if components else "-"


def mount_unit_name(path: str | Path) -> str:
    """The only name that a unit mounting at ``path`` may have (systemd.mount(5)).

    Raises UnitSyntaxError where it would be too long.
    """
    name = escape_path(path) + ".mount"
    if not valid_unit_name(name):
        raise UnitSyntaxError(f"{path}: too long for the name of a mount unit", f"at most {_NAME_LIMIT} characters")
    return name


def valid_unit_name(name: str) -> bool:
    """A complete unit name that systemd accepts: characters, known suffix, at most 255 bytes (systemd.unit(5))."""
    prefix, dot, kind = name.rpartition(".")
    return bool(dot) and kind in _KINDS and len(name) <= _NAME_LIMIT and _PREFIX.fullmatch(prefix) is not None


def service_notifies(service: UnitFile) -> bool:
    """Whether systemd waits for the service's own word that it is up (sd_notify(3))."""
    return service.get("Service", "Type") in ("notify", "notify-reload")


def slice_cgroup(name: str) -> str:
    """The control group of a slice: each ``-`` is one level (systemd.slice(5)); ``-.slice`` is the root, "".

    ``a-b.slice`` lives in ``/a.slice/a-b.slice``. Raises UnitSyntaxError.
    """
    if name == "-.slice":
        return ""
    stem = name.removesuffix(".slice")
    parts = stem.split("-")
    if stem == name or not all(parts) or not valid_unit_name(name) or "@" in name:
        raise UnitSyntaxError(f"{name!r} is not the name of a slice", "for example: system.slice")
    levels = ("-".join(parts[: level + 1]) for level in range(len(parts)))
    return "".join(f"/{cgroup_name(level + '.slice')}" for level in levels)


def unit_cgroup(unit: UnitFile, name: str) -> str:
    """The control group in which systemd will run the service ``name``, seen from the cgroup root.

    Instances of a template without a Slice= go to a slice of their own below system.slice (systemd.slice(5)).
    Raises UnitSyntaxError.
    """
    chosen = unit.get("Service", "Slice")
    if not chosen:
        prefix, at, _instance = name.partition("@")
        chosen = f"system-{escape_name(prefix)}.slice" if at else "system.slice"
    return f"{slice_cgroup(chosen)}/{cgroup_name(name)}"


_RESERVED = {"tasks", "notify_on_release", "release_agent"}
_CONTROLLERS = {"cgroup", "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids"} | {
    f"bpf-{what}" for what in ("firewall", "devices", "foreign", "socket-bind", "restrict-network-interfaces")
}


def cgroup_name(name: str) -> str:
    """A unit's name as a directory of the cgroup tree: ``memory.service`` is ``_memory.service`` there.

    systemd puts ``_`` before names that could be those of the kernel's own files (its ``cg_escape``), and before
    those that begin with ``_`` or ``.``.
    """
    head, dot, _rest = name.partition(".")
    claimed = name in _RESERVED or (bool(dot) and head in _CONTROLLERS)
    return f"_{name}" if name.startswith(("_", ".")) or claimed else name
