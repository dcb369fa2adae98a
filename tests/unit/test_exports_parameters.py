from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.errors import UsageError
from syscontainers.exports.escape import escape_json, escape_tmpfiles, escape_unit
from syscontainers.exports.parameters import TYPES, Parameter, as_words
from syscontainers.exports.render import Spot
from syscontainers.exports.rules import created_by, quote_field
from syscontainers.systemd.unitfile import UnitSyntaxError, parse

GOOD = [
    ("string", "a b%\"'", "a b%\"'"),
    ("integer", "-12", "-12"),
    ("number", "1.5e3", "1.5e3"),
    ("boolean", "Yes", "true"),
    ("boolean", "0", "false"),
    ("boolean", "True", "true"),
    ("size", "1.5G", "1.5G"),
    ("size", "10%", "10%"),
    ("size", "infinity", "infinity"),
    ("duration", "90", "90"),
    ("duration", "1min 30s", "1min 30s"),
    ("duration", "2h30min", "2h30min"),
    ("duration", "infinity", "infinity"),
    ("percentage", "250%", "250%"),
    ("tasks", "512", "512"),
    ("path", "//srv/./x/", "/srv/x"),
    ("hostname", "node-1.example", "node-1.example"),
    ("unit", "basic.target", "basic.target"),
    ("slice", "a-b.slice", "a-b.slice"),
    ("list", "run --name 'a b'", '["run", "--name", "a b"]'),
    ("list", '["a", "é"]', '["a", "é"]'),
    ("json", '{"a": [1]}', '{"a": [1]}'),
    ("raw", ",\n{}", ",\n{}"),
]
BAD = [
    ("string", "two\nlines"),
    ("string", "\x1b[31m"),
    ("integer", "1.0"),
    ("integer", "٣"),
    ("number", "NaN"),
    ("number", "01"),
    ("boolean", "maybe"),
    ("size", "1GB"),
    ("size", "101%"),
    ("size", "-1"),
    ("duration", "soon"),
    ("duration", "1 fortnight"),
    ("duration", "5\nExecStart=/bin/evil"),
    ("percentage", "50"),
    ("tasks", "many"),
    ("path", "relative"),
    ("path", "/a/../b"),
    ("hostname", "-a"),
    ("hostname", "a" * 65),
    ("unit", "x"),
    ("slice", "a--b.slice"),
    ("slice", "multi-user.target"),
    ("list", "'open"),
    ("list", "[1]"),
    ("list", '["a"'),
    ("json", "{"),
    ("json", '{"a": 1, "a": 2}'),
    ("raw", "\0"),
]


@pytest.mark.parametrize(("kind", "text", "normal"), GOOD)
def test_good_values_come_in_normal_form(kind: str, text: str, normal: str) -> None:
    assert Parameter("P", kind).check(text) == normal


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_bad_values_are_refused_by_name(kind: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"^P: "):
        Parameter("P", kind).check(text)


def test_every_type_is_tried() -> None:
    assert {kind for kind, *_ in GOOD} == {kind for kind, _ in BAD} == set(TYPES)


def test_empty_is_not_set_unless_required() -> None:
    assert Parameter("P", "integer", allowed=("1",)).check("") == ""
    with pytest.raises(UsageError):
        Parameter("P", "integer", required=True).check("")


def test_allowed_values_are_named() -> None:
    with pytest.raises(UsageError, match="must be one of: host, none"):
        Parameter("NETWORK", allowed=("host", "none")).check("bridge")


def test_a_secret_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        Parameter("P", "integer", secret=True).check("hunter2")
    assert "hunter2" not in caught.value.message + caught.value.hint


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_lists_survive_their_json_form(words: list[str]) -> None:
    assert as_words(Parameter("P", "list").check(json.dumps(words) if words else "[]")) == words


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_string_stays_one_string_in_json(text: str) -> None:
    parameter = Parameter("P")
    assert json.loads('"' + escape_json(parameter, text, Spot().after('{"a": "')) + '"') == text
    assert json.loads(escape_json(parameter, text, Spot().after('{"a\\"": '))) == text


def test_numbers_and_lists_stay_themselves_outside_of_strings() -> None:
    assert escape_json(Parameter("P", "integer"), "5", Spot().after('"a": ')) == "5"
    assert escape_json(Parameter("P", "list"), '["a"]', Spot().after('"a": ')) == '["a"]'
    assert escape_json(Parameter("P", "list"), '["a"]', Spot().after('"a": "')) == '[\\"a\\"]'


@pytest.mark.parametrize("text", ["a\nExecStartPre=/bin/evil", "a\rb", "a\\", "\u2028x"])
def test_what_would_end_a_line_of_a_unit_is_refused(text: str) -> None:
    with pytest.raises(UnitSyntaxError):
        escape_unit(Parameter("P"), text, Spot().after("Description="))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("Description=", "%%n \"'$x\\y"),
        ("ExecStart=/bin/x ", "%%n \\\"\\'$$x\\\\y"),
        ('Environment="A=', "%%n \\\"\\'$x\\\\y"),
    ],
)
def test_a_unit_gets_the_escapes_of_its_setting(before: str, expected: str) -> None:
    assert escape_unit(Parameter("P"), "%n \"'$x\\y", Spot().after(before)) == expected


def test_paths_with_quotes_cannot_stand_in_a_list_of_paths() -> None:
    with pytest.raises(UnitSyntaxError):
        escape_unit(Parameter("P", "path"), '/a"b', Spot().after("RequiresMountsFor="))


@given(st.text())
def test_no_value_adds_a_setting(text: str) -> None:
    try:
        value = escape_unit(Parameter("P"), text, Spot().after("Description="))
        unit = parse(f"[Service]\nDescription={value}\nKey=1\n")
    except UnitSyntaxError:
        return
    assert [setting.key for setting in unit.settings] == ["Description", "Key"]


def test_rules_keep_blanks_and_specifiers() -> None:
    assert quote_field("/a b/%m\"'\\") == '"/a b/%%m\\"\'\\\\"'
    assert quote_field("/plain/%") == "/plain/%%"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_what_rules_create_is_read_back(text: str) -> None:
    try:
        rule = f"d {quote_field('/' + text)} 0755 - - -"
    except UnitSyntaxError:
        return
    assert created_by(f"# d /no 0 - - -\nr /no\n{rule}\n") == {"/" + text}


def test_inside_quotes_of_a_rule_no_second_ones_are_put() -> None:
    assert escape_tmpfiles(Parameter("P"), 'a "b"', Spot().after('d "/srv/')) == 'a \\"b\\"'
    assert escape_tmpfiles(Parameter("P"), "a b", Spot().after("d /srv/")) == '"a b"'


@pytest.mark.parametrize("kind", ["size", "percentage", "tasks"])
def test_percentages_are_no_specifiers(kind: str) -> None:
    assert escape_unit(Parameter("P", kind), "10%", Spot().after("MemoryMax=")) == "10%"
