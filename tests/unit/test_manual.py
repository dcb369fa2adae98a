"""The manual page and the completion are made from the parsers, so they cannot leave anything out."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator

import pytest

from docs.generate import make_completion, make_files, make_page
from syscontainers.cli.parsers import whole_parser
from syscontainers.cli.verbs import VERBS


@pytest.fixture(scope="module")
def page() -> str:
    return make_page()


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from options_of(below)


def test_page_has_every_verb_and_option(page: str) -> None:
    text = page.replace("\\-", "-")
    assert [verb for verb in VERBS if f"syscontainer {verb}" not in text] == []
    assert [option for option in set(options_of(whole_parser())) if option not in text and option != "--help"] == []


def test_page_is_without_warnings(page: str) -> None:
    command = ["groff", "-man", "-Tutf8", "-ww", "-z"]
    done = subprocess.run(command, input=page.encode("ascii", "xmlcharrefreplace"), capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize(("words", "expected"), [("inst", {"install"}), ("install --dry", {"--dry-run"})])
def test_bash_completes_verbs_and_options(words: str, expected: set[str]) -> None:
    script = (
        make_completion("bash")
        + f"""
COMP_WORDS=(syscontainer {words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) COMP_LINE="syscontainer {words}"
COMP_POINT=${{#COMP_LINE}}
$(complete -p syscontainer | sed 's/.*-F \\([^ ]*\\).*/\\1/') syscontainer "${{COMP_WORDS[-1]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected


def test_what_is_checked_in_is_current() -> None:
    stale = [path.name for path, text in make_files().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "make docs"
