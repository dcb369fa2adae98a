"""From the words to the verb: who may run it, and with which code it ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from syscontainers import errors
from syscontainers.cli import main as command
from syscontainers.cli.guard import INTERRUPTED
from syscontainers.cli.verbs import VERBS
from syscontainers.progress import Progress

EXIT_CODES = Path(__file__).parents[2] / "docs/exit-codes.md"
WORDS = {"image": ["verify", "x"], "storage": ["check"], "exec": ["x", "true"], "mount": ["x", "/x"]}
NAMELESS = ("prune", "doctor", "apply", "recover", "settle", "verify")


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.needs_root])
def test_only_root_may(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(command, "run_guarded", lambda body, _tell: body(Progress()))
    with pytest.raises(errors.SyscontainersError, match=f"^syscontainer {verb} must be run as root$"):
        command.main([verb, *WORDS.get(verb, [] if verb in NAMELESS else ["x"])])


def test_anybody_may_look() -> None:
    # `lock`, `seed` and `export` build an operating system's tree, which takes no root.
    free = {name for name, verb in VERBS.items() if not verb.needs_root}
    assert free == {"images", "list", "show", "logs", "stats", "export", "lock", "seed"}


def test_the_page_of_exit_codes_has_those_of_the_errors() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "exit_code")]
    rows = re.findall(r"^\| ([0-9]+) \|", EXIT_CODES.read_text(), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted({0, INTERRUPTED, *(each.exit_code for each in classes)})
