"""Unit text as PID 1 itself understands it, compared with what we say that it means."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from syscontainers.systemd.manager import connect
from syscontainers.systemd.unitfile import make_unit, parse, quote_command, quote_path, quote_word
from tests.machine.host import ThrowawayHost
from tests.machine.inside import inside

pytestmark = pytest.mark.machine

UNITS = Path("/run/systemd/system")
REPORT = Path("/run/report")
# Batches, because each costs a daemon-reload; shrinking one would take minutes and the failing word is shown anyway.
batches = settings(
    max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
NASTY = (
    "",
    " ",
    ";",
    "$HOME",
    "${HOME}",
    "$$",
    "%n",
    "%%",
    "'",
    '"',
    "\\",
    "\\n",
    "\n",
    "a\tb",
    "-",
    "#",
    "[x]",
    "\ufffe",
)
words = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    with ThrowawayHost() as machine:
        yield machine


@inside
def test_words_reach_programs_and_environment_as_they_are() -> None:
    program = "import json, os, sys; json.dump([sys.argv[2:], os.environ['WORD']], open(sys.argv[1], 'w'))"

    @batches
    @given(st.lists(words, min_size=40, max_size=40))
    def check(arguments: list[str]) -> None:
        arguments = [*NASTY, *arguments]
        word = "".join(arguments[-3:]) + " $HOME %n"
        unit = make_unit(
            (
                "Service",
                [
                    ("Type", "oneshot"),
                    ("Environment", quote_word(f"WORD={word}")),
                    ("ExecStart", quote_command([sys.executable, "-c", program, str(REPORT), *arguments])),
                ],
            )
        )
        (UNITS / "words.service").write_text(unit.to_text())
        with connect() as manager:
            manager.reload()
            manager.start("words.service")
        assert json.loads(REPORT.read_text()) == [arguments, word]

    check()


PIECES = (
    "[Unit]",
    "[X-Other]",
    "[broken",
    "Description=",
    "Description",
    "=",
    "# no",
    ";no",
    "a",
    " ",
    "\t",
    "\\",
    "\n",
    "\r",
)
texts = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@inside
def test_text_is_parsed_as_pid_1_parses_it() -> None:
    @batches
    @given(st.lists(texts, min_size=60, max_size=60))
    def check(samples: list[str]) -> None:
        expected, refused = {}, set()
        for number, sample in enumerate(samples):
            text = f"[Unit]\n{sample}\n[Service]\nExecStart=/bin/true\n"
            (UNITS / f"sample-{number}.service").write_bytes(text.encode())
            unit = parse(text)
            if any("not a section header" in problem for problem in unit.problems):
                refused.add(f"sample-{number}.service")
            elif unit.get("Service", "ExecStart") == "/bin/true":  # unless the sample has swallowed it
                expected[f"sample-{number}.service"] = unit.get("Unit", "Description") or f"sample-{number}.service"
        with connect() as manager:
            manager.reload()
            found = {name: manager.status(name) for name in {*expected, *refused}}
        assert {found[name].load_state for name in refused} <= {"error"}
        for name, description in expected.items():
            assert found[name].load_state == "loaded", ((UNITS / name).read_bytes(), found[name].load_error)
            assert found[name].description == description, (UNITS / name).read_bytes()

    check()


@inside
def test_paths_in_lists_are_taken_whole() -> None:
    paths = ["/plain", "/with space/and more", "/50%", "/ünï", "/a:b,c", "/dollar$x"]
    unit = make_unit(
        ("Unit", [("RequiresMountsFor", quote_path(p)) for p in paths]), ("Service", [("ExecStart", "/bin/x")])
    )
    (UNITS / "paths.service").write_text(unit.to_text())
    with connect() as manager:
        manager.reload()
        assert set(manager.list_dependencies("paths.service", "RequiresMountsFor")) == set(paths)
