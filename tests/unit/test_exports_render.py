from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.errors import RefusedError
from syscontainers.exports.render import (
    MissingValueError,
    Spot,
    TemplateError,
    parse_rendered,
    placeholders,
    render,
    render_traced,
)

TEXTS = st.text(st.sampled_from("$${}aB_1 \n\r\x85é\u0131K"), max_size=30)
VALUES = st.dictionaries(st.sampled_from(["a", "B", "aB", "_", "a1", "K"]), st.sampled_from(["", "x", "$a", "é\n"]))


def outcome_of(work: Callable[[], str]) -> str:
    try:
        return work()
    except (KeyError, MissingValueError) as error:
        return f"missing {str(error).rpartition(' ')[2].strip(chr(39))}"
    except (ValueError, TemplateError) as error:
        return str(error).partition("Invalid")[2]


@given(TEXTS, VALUES)
def test_renders_as_string_template_does(template: str, values: dict[str, str]) -> None:
    theirs = outcome_of(lambda: string.Template(template).substitute(values))
    assert outcome_of(lambda: render(template, values, "F")) == theirs


def test_a_missing_value_names_the_file_and_the_variable_in_doubled_quotes() -> None:
    with pytest.raises(MissingValueError) as caught:
        render("$HAVE ${WANT} $ALSO", {"HAVE": "1"}, "/exports/service.template")
    assert caught.value.message == (
        "The template file '/exports/service.template' still contains an unreplaced value for: ''WANT''"
    )
    assert "--set WANT=…" in caught.value.hint
    assert "--set ALSO=…" in caught.value.hint


@pytest.mark.parametrize(
    ("template", "line", "column"),
    [("$", 1, 1), ("ab$1", 1, 3), ("x\ny $(z)", 2, 3), ("${a b}", 1, 1), ("\n\n$é", 3, 1)],
)
def test_a_stray_dollar_is_shown_with_its_place(template: str, line: int, column: int) -> None:
    with pytest.raises(TemplateError, match=rf"Invalid placeholder in string: line {line}, col {column}$"):
        render(template, {}, "F")


def test_values_are_not_rendered_again() -> None:
    assert render("$A$$B", {"A": "$B", "B": "never"}, "F") == "$B$B"


def test_placeholders_come_once_and_in_order() -> None:
    assert placeholders("$B ${A} $$C $B %n") == ("B", "A")


def test_json_is_parsed_only_after_rendering() -> None:
    template = '{"mounts": [{"a": 1}$MORE], "x": $NUMBER}'
    rendering = render_traced(template, {"MORE": ', {"b": 2}', "NUMBER": "3"}, "F")
    assert parse_rendered(rendering) == {"mounts": [{"a": 1}, {"b": 2}], "x": 3}


def test_broken_json_is_shown_with_place_and_nearest_variable() -> None:
    template = '{\n  "first": "$FIRST",\n  "mounts": [$MOUNTS],\n  "last": "$LAST"\n}'
    rendering = render_traced(template, {"FIRST": "1", "MOUNTS": '{"a": }', "LAST": "2"}, "config.json.template")
    with pytest.raises(TemplateError) as caught:
        parse_rendered(rendering)
    assert "config.json.template: not valid JSON once rendered" in caught.value.message
    assert "line 3, column 20, near the value of MOUNTS" in caught.value.message
    assert caught.value.details[1] == '3:   "mounts": [{"a": }],'


def test_broken_json_before_any_variable_names_none() -> None:
    with pytest.raises(TemplateError) as caught:
        parse_rendered(render_traced('{"a" 1, "b": "$B"}', {"B": ""}, "F"))
    assert "near the value" not in caught.value.message


def test_complaints_keep_secrets() -> None:
    rendering = render_traced('{"token": "$TOKEN" "x"}', {"TOKEN": 'ab"c'}, "F", lambda _n, _t, _b: 'ab\\"c')
    with pytest.raises(TemplateError) as caught:
        parse_rendered(replace(rendering, secrets=('ab"c',)))
    assert "ab" not in "".join((caught.value.message, caught.value.hint, *caught.value.details))


def seen_in(template: str) -> list[tuple[str, str, Spot]]:
    seen = []

    def escape(name: str, text: str, spot: Spot) -> str:
        seen.append((name, text, spot))
        return text.upper()

    assert render(template, {"A": "a", "B": "b"}, "F", escape) == template.replace("$A", "A").replace("${B}", "B")
    return seen


def test_escape_sees_name_text_and_the_spot() -> None:
    assert seen_in("x\n key =$A-${B}") == [("A", "a", Spot("key", False)), ("B", "b", Spot("key", False))]


@pytest.mark.parametrize(
    ("template", "setting", "quoted"),
    [
        ("$A", "", False),
        ("key=\n$A", "", False),
        ("key=\nother=$A", "other", False),
        ("key=a=$A", "key", False),
        ("${B}key=$A", "", False),
        ("ke${B}y=$A", "", False),
        ('key="$A', "key", True),
        ('key="${B}"$A', "key", False),
        ('key="${B}$A', "key", True),
        ('key="\n$A', "", False),
        ('key="\\"$A', "key", True),
        ('key="\\\\"$A', "key", False),
        ('key=\\${B}"$A', "key", True),  # the backslash stands before the variable
        (f"{'k' * 100}=$A", "", False),
        ("key=a \\\n  $A", "key", False),  # a continued line of a unit
        ('key="a${B} \\\n  b \\\n$A', "key", True),
        ("key=a\\\\\n$A", "", False),
    ],
)
def test_what_a_spot_says(template: str, setting: str, quoted: bool) -> None:
    assert seen_in(template)[-1] == ("A", "a", Spot(setting, quoted))


def test_a_rendered_text_has_an_end() -> None:
    with pytest.raises(RefusedError, match="F: longer than 16 MiB"):
        render("$A" * (1 << 19), {"A": "x" * (1 << 20)}, "F")
    with pytest.raises(RefusedError, match="longer than 16 MiB"):
        render("$A" * (1 << 19), {"A": "x"}, "F", lambda _name, text, _spot: text * 100)
    assert len(render("$A" * (1 << 18), {"A": "x" * 60}, "F")) == 60 << 18


@pytest.mark.parametrize("piece", ['"$A', "\\$A", "\\\n$A", " $A", "=$A"])
def test_a_template_of_one_line_takes_no_longer_than_one_of_many(piece: str) -> None:
    """A megabyte of them took an hour."""
    count = (1 << 20) // len(piece)
    assert len(render_traced(piece * count, {"A": ""}, "F", lambda _name, text, _spot: text).starts) == count
