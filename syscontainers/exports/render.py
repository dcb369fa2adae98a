"""Filling in templates: ``$NAME`` and ``${NAME}`` as in Python's ``string.Template``, which the image contract names.

``$$`` is a dollar sign; a name is ``[_A-Za-z][_A-Za-z0-9]*`` in ASCII; every other dollar sign is an error, and so is a
name without a value. Values are put in as they are and may carry pieces of JSON: a template need not be JSON
before it is rendered. Who wants values escaped for where they go passes an ``escape`` function.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from ..errors import RefusedError, SyscontainersError, UsageError
from ..typed import check_texts, parse_json

_LONGEST_TEXT = 16 << 20
"""Characters: a template of a megabyte can name a value of a megabyte half a million times."""
_LONGEST_SETTING = 64
# A backslash that is not itself escaped, at the end of a unit's line (systemd.syntax(7)).
_CONTINUATION = re.compile(r"(?<!\\)((?:\\\\)*)\\\n")
_UNESCAPED_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')


@dataclass(frozen=True)
class Spot:
    """What the line of a template says of a place in it; the values put in before it do not count."""

    setting: str | None = None
    """What stands before the first ``=``; empty if there is none, or a variable stands before it."""
    quoted: bool = False
    """Whether it is inside double quotes."""

    def after(self, text: str) -> Spot:
        """The place behind ``text``, which follows this one."""
        _, newline, line = _CONTINUATION.sub(r"\1 ", text).rpartition("\n")
        before = Spot() if newline else self
        setting = _setting_of(line) if before.setting is None else before.setting
        return Spot(setting, before.quoted != (len(_UNESCAPED_QUOTE.findall(line)) % 2 == 1))


Escape = Callable[[str, str, Spot], str]
"""Called with a variable's name, its text and where that goes; returns what to put in."""


class TemplateError(SyscontainersError):
    """A template that cannot be rendered whatever values it is given."""


class MissingValueError(UsageError):
    """A template needs a variable that has no value."""


@dataclass(frozen=True)
class Rendering:
    """A rendered template that still knows where its values went."""

    text: str
    where: str
    starts: tuple[int, ...]
    """Offsets in ``text`` at which values begin, ascending, and the names of those."""
    names: tuple[str, ...]
    secrets: tuple[str, ...] = ()
    """Texts that no complaint may show."""

    def nearest_variable(self, position: int) -> str | None:
        """The variable whose value stands at or last before ``position``."""
        index = bisect_right(self.starts, position)
        return self.names[index - 1] if index else None


def placeholders(template: str) -> tuple[str, ...]:
    """The variables that ``template`` mentions, each once, in order."""
    matches = Template.pattern.finditer(template)
    names = (match["named"] or match["braced"] for match in matches)
    return tuple(dict.fromkeys(name for name in names if name))


def render(template: str, values: Mapping[str, str], where: str, escape: Escape | None = None) -> str:
    """The rendered text.

    Raises MissingValueError for a variable without a value, TemplateError for a stray ``$``, RefusedError for a text
    without end; all name ``where``.
    """
    return render_traced(template, values, where, escape).text


def render_traced(template: str, values: Mapping[str, str], where: str, escape: Escape | None = None) -> Rendering:
    """As ``render``, keeping the places of the values for later complaints."""
    pieces: list[str] = []
    starts: list[int] = []
    names: list[str] = []
    length = end = 0
    spot = Spot()
    for match in Template.pattern.finditer(template):
        before = template[end : match.start()]
        end = match.end()
        spot = spot.after(before)
        name = match["named"] or match["braced"]
        if name:
            text = _value_of(name, values, template, where)
            if escape is not None:
                text = escape(name, text, spot)
            starts.append(length + len(before))
            names.append(name)
        elif match["escaped"] is not None:
            text = "$"
        else:
            raise _invalid_placeholder(template, match.start("invalid"), where)
        pieces += (before, text)
        length += len(before) + len(text)
        if length > _LONGEST_TEXT:
            raise RefusedError(f"{where}: longer than {_LONGEST_TEXT >> 20} MiB once its variables are filled in")
    return Rendering("".join([*pieces, template[end:]]), where, tuple(starts), tuple(names))


def parse_rendered(rendering: Rendering) -> Any:
    """Parse a rendered template as JSON. Raises TemplateError with line, column and the variable nearest to it."""
    try:
        json.loads(rendering.text)
    except json.JSONDecodeError as error:
        name = rendering.nearest_variable(error.pos)
        raise TemplateError(
            f"{rendering.where}: not valid JSON once rendered: {error.msg} at line {error.lineno}, "
            f"column {error.colno}" + (f", near the value of {name}" if name else ""),
            f"check the value of {name} and what surrounds it" if name else "the image has to be repaired",
            _excerpt(rendering, error.lineno),
        ) from None
    except RecursionError:
        pass  # the strict parser below has the words for it
    value = parse_json(rendering.text, rendering.where)
    check_texts(value, rendering.where)
    return value


def _value_of(name: str, values: Mapping[str, str], template: str, where: str) -> str:
    if name in values:
        return values[name]
    missing = [each for each in placeholders(template) if each not in values]
    # Provisioning scripts look for this sentence and its doubled quotes.
    raise MissingValueError(
        f"The template file '{where}' still contains an unreplaced value for: ''{name}''",
        "give it: " + " ".join(f"--set {each}=…" for each in missing),
    )


def _invalid_placeholder(template: str, position: int, where: str) -> TemplateError:
    # "Line" as str.splitlines() counts them: string.Template does, and its numbers are the contract's.
    lines = template[:position].splitlines(keepends=True)
    line, column = (len(lines), position - len("".join(lines[:-1]))) if lines else (1, 1)
    return TemplateError(
        f"The template file '{where}': Invalid placeholder in string: line {line}, col {column}",
        "a dollar sign that stands for itself is written $$",
    )


def _setting_of(line: str) -> str:
    name, equals, _ = line.partition("=")
    name = name.strip()
    return name if equals and len(name) <= _LONGEST_SETTING else ""


def _excerpt(rendering: Rendering, line: int) -> list[str]:
    lines = rendering.text.split("\n")
    shown = range(max(1, line - 1), min(len(lines), line + 1) + 1)
    return [f"{number}: {without_secrets(rendering.secrets, lines[number - 1])[:120]}" for number in shown]


def without_secrets(secrets: Iterable[str], text: str) -> str:
    """``text`` as it may be shown."""
    for secret in secrets:
        # As it is, and as it stands inside a JSON string.
        for form in (secret, json.dumps(secret, ensure_ascii=False)[1:-1]):
            text = text.replace(form, "(secret)") if form else text
    return text
