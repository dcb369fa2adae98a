"""Parameters: variables that a ``manifest.json`` describes, so that their values can be checked before use.

A type says what a value may look like and thereby that it is safe where such a value goes:

==========  ==========================================================================================
string      one line of printable text
integer     a whole number
number      a JSON number
boolean     true/false, yes/no, on/off, 1/0; becomes ``true`` or ``false``
size        bytes as systemd takes them: ``512M``, ``10%``, ``infinity`` (systemd.resource-control(5))
duration    a time span as systemd takes it: ``90``, ``1min 30s``, ``infinity`` (systemd.time(7))
percentage  a number and ``%``; may be more than 100
tasks       a number, a percentage or ``infinity``
path        an absolute path in normal form
hostname    labels of letters, digits and ``-`` with dots between (RFC 1123)
unit        the name of a systemd unit; ``slice``: of a slice
list        a JSON list of strings, or words as a shell would split them; becomes a JSON list
json        any JSON value
raw         anything; goes into the template as it is, like ``ADDTL_MOUNTS``
==========  ==========================================================================================
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import UsageError
from ..systemd.unitfile import UnitSyntaxError, slice_cgroup, valid_unit_name
from ..typed import DocumentError, parse_json

_BOOLEANS = {**dict.fromkeys(("true", "yes", "on", "1"), "true"), **dict.fromkeys(("false", "no", "off", "0"), "false")}
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,3})?")
_SIZE = re.compile(r"infinity|[0-9]{1,19}(?:\.[0-9]{1,9})?[KMGTPE]?|(?:100|[0-9]{1,2})(?:\.[0-9]{1,2})?%")
_PERCENTAGE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,2})?%")
_TASKS = re.compile(r"infinity|[0-9]{1,10}|(?:100|[0-9]{1,2})%")
_HOSTNAME = re.compile(
    r"(?=.{1,64}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_UNITS = r"us|usec|µs|ms|msec|s|sec|second|seconds|m|min|minute|minutes|h|hr|hour|hours|d|day|days|w|week|weeks"
_DURATION = re.compile(rf"infinity|(?:[0-9]{{1,15}}(?:\.[0-9]{{1,9}})? ?(?:{_UNITS})?(?: |$|(?=[0-9])))+")


class ParameterError(UsageError):
    """A value that its parameter does not allow."""

    def __init__(self, parameter: str, problem: str, hint: str) -> None:
        super().__init__(f"{parameter}: {problem}", hint)
        self.parameter = parameter
        self.problem = problem


@dataclass(frozen=True)
class Parameter:
    """What a manifest says of one variable."""

    name: str
    type: str = "string"
    help: str = ""
    allowed: tuple[str, ...] = ()
    """The only values it may have; empty: any of its type."""
    secret: bool = False
    """Never shown, neither by ``show`` nor in messages."""
    required: bool = False
    """An empty value is refused as well."""

    def check(self, text: str) -> str:
        """The value in its normal form. Raises ParameterError naming the parameter and, unless secret, the value.

        Empty means "not set" for every type, unless the parameter is required.
        """
        if not text and not self.required:
            return text
        try:
            value = _CHECKS[self.type](text)
        except (ValueError, DocumentError, UnitSyntaxError) as error:
            raise self._refusal(text, getattr(error, "message", str(error))) from None
        if self.allowed and value not in self.allowed:
            raise self._refusal(text, f"must be one of: {', '.join(self.allowed)}")
        return value

    def _refusal(self, text: str, problem: str) -> ParameterError:
        shown = "the value given" if self.secret else repr(text[:80])
        hint = self.help or f"give a {self.type}"
        return ParameterError(self.name, f"{shown} will not do: {problem}", f"--set {self.name}=…: {hint}")


def as_words(text: str) -> list[str]:
    """The words of a ``list`` value, in either of its forms. Raises ValueError or DocumentError."""
    if text.lstrip().startswith("["):
        value = parse_json(text, "a list")
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise ValueError("must be a JSON list of strings")
        return [_no_nul(word) for word in value]
    return [_no_nul(word) for word in shlex.split(text)]


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold a NUL character")
    return text


def _matching(pattern: re.Pattern[str], problem: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text.strip()):
            raise ValueError(problem)
        return text.strip()

    return check


def _string(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


def _boolean(text: str) -> str:
    if text.strip().lower() not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[text.strip().lower()]


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isprintable() or ".." in text.split("/"):
        raise ValueError("must be an absolute path without '..'")
    return posixpath.normpath("/" + text.lstrip("/"))


def _unit(text: str) -> str:
    if not valid_unit_name(text):
        raise ValueError("must be the name of a unit, such as multi-user.target")
    return text


def _slice(text: str) -> str:
    slice_cgroup(text)
    return text


def _list(text: str) -> str:
    return json.dumps(as_words(text), ensure_ascii=False)


def _json(text: str) -> str:
    parse_json(text, "the value")
    return text


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "string": _string,
    "integer": _matching(_INTEGER, "must be a whole number"),
    "number": _matching(_NUMBER, "must be a number"),
    "boolean": _boolean,
    "size": _matching(_SIZE, "must be a number of bytes such as 512M, a percentage or infinity"),
    "duration": _matching(_DURATION, "must be a time span such as 90s, '1min 30s' or infinity"),
    "percentage": _matching(_PERCENTAGE, "must be a percentage such as 50%"),
    "tasks": _matching(_TASKS, "must be a number, a percentage or infinity"),
    "path": _path,
    "hostname": _matching(_HOSTNAME, "must be a host name of at most 64 characters"),
    "unit": _unit,
    "slice": _slice,
    "list": _list,
    "json": _json,
    "raw": _no_nul,
}
TYPES = tuple(_CHECKS)
