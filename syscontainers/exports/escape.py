"""Making a checked value stand for itself at the place where a template mentions it.

The image contract inserts values as they are. That stays so for variables nobody described; values of described
parameters, and everything in our own templates, pass through here, so that no quote, ``%`` or newline in a value
becomes syntax. What a place is can be told from the line before it.
"""

from __future__ import annotations

import json
import re

from ..systemd.unitfile import UnitSyntaxError, escape_value
from .parameters import Parameter
from .render import Spot
from .rules import quote_field, quote_inside

# Settings whose values systemd splits into words, with quotes and C escapes (systemd.syntax(7), "Quoting").
_WORDS = re.compile(r"Exec\w+|Environment|LogExtraFields|SetCredential\w*|PassEnvironment")
_COMMAND = re.compile(r"Exec\w+")
_PATHS = re.compile(r"RequiresMountsFor|ReadWritePaths|ReadOnlyPaths|InaccessiblePaths|BindPaths")
# "%" in MemoryMax=10% and its like is no specifier (seen with systemd 252), and the types allow nothing else.
_UNIT_SYNTAX = ("raw", "size", "percentage", "tasks", "duration")
_AS_THEY_ARE = ("raw", "json", "list", "integer", "number", "boolean")


def escape_json(parameter: Parameter, text: str, spot: Spot) -> str:
    """For a JSON template: inside a string its escapes are added; outside one a text is quoted whole."""
    if not spot.quoted and parameter.type in _AS_THEY_ARE:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted[1:-1] if spot.quoted else quoted


def escape_unit(parameter: Parameter, text: str, spot: Spot) -> str:
    """For a unit template. Raises UnitSyntaxError for what cannot stand on one line."""
    if parameter.type in _UNIT_SYNTAX:
        return text
    escaped = escape_value(text, parameter.name)
    setting = spot.setting or ""
    if _WORDS.fullmatch(setting):
        escaped = escaped.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'")
        return escaped.replace("$", "$$") if _COMMAND.fullmatch(setting) else escaped
    if _PATHS.fullmatch(setting) and re.search(r"[\\\"']", escaped):
        raise UnitSyntaxError(f"{parameter.name}: {text!r}: quotes and backslashes cannot stand in a list of paths")
    return escaped


def escape_tmpfiles(parameter: Parameter, text: str, spot: Spot) -> str:
    """For tmpfiles.d(5) rules, whose fields are words. Raises UnitSyntaxError for control characters."""
    if parameter.type == "raw":
        return text
    return quote_inside(text) if spot.quoted else quote_field(text)
