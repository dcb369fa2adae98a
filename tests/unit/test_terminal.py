"""Nothing that came from outside moves the cursor, rings the bell or fakes a line."""

from __future__ import annotations

import io
import json
import sys
import tomllib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.cli.guard import run_guarded, tell_error
from syscontainers.cli.output import print_fields, print_table
from syscontainers.errors import SyscontainersError
from syscontainers.progress import Progress
from syscontainers.terminal import escape, one_line

NASTY = "\x1b[2J\x1b]0;owned\a\r\x9b31m\u202egnp.exe\u2066\udcff\x7f"


def is_clean(text: str) -> bool:
    return not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in text.replace("\n", ""))


@given(st.text(st.characters()))
def test_what_is_escaped(text: str) -> None:
    assert is_clean(escape(text).replace("\t", ""))
    assert "\n" not in one_line(text)
    assert is_clean(one_line(text))


@pytest.mark.parametrize("text", ["", "Grüße, 世界\n\tund\u00a0mehr", "C:\\x1b", "🦭"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert escape(text) == text
    assert one_line("a\n\tb") == "a b"
    assert one_line("x" * 2000) == "x" * 2000
    assert one_line("x" * (4 << 20)) == "x" * 2000 + "…"


def test_escapes_mean_the_same_to_json_and_toml() -> None:
    assert json.loads(escape('"a\u202eb"')) == "a\u202eb"
    assert tomllib.loads(escape('a = "\u202e"'))["a"] == "\u202e"


def fail(_progress: Progress) -> int:
    print(f"to stdout {NASTY}")
    print(f"to stderr {NASTY}", file=sys.stderr)
    print_table(("A", "B"), [(NASTY, "one\nFAKED  row")])
    print_fields([("Runs", f"{NASTY}\nName: other")])
    raise SyscontainersError(f"wrong {NASTY}\nhint: run this", f"do {NASTY}", [f"detail\n{NASTY}"])


def test_every_command_prints_clean_text(capsys: pytest.CaptureFixture[str]) -> None:
    def tell(error: SyscontainersError) -> int:
        tell_error(error, "syscontainer: ")
        return error.exit_code

    assert run_guarded(fail, tell) == 1
    said = capsys.readouterr()
    assert is_clean(said.out + said.err)
    assert len(said.out.splitlines()) == 4
    assert [line.split()[0] for line in said.err.splitlines()] == ["to", "syscontainer:", "detail", "hint:"]


def test_progress_prints_clean_lines() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.say(f"layer {NASTY}\nlayer 2: done")
    progress.warn(NASTY)
    assert is_clean(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == 2
