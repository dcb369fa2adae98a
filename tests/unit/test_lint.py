"""Style and types are tests like any other: "the tests pass" means all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_the_tool_has_nothing_to_say(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    # The tool's own report is the message; a traceback through this test would only hide it.
    if done.returncode != 0:
        pytest.fail(f"{command}:\n{done.stdout}{done.stderr}", pytrace=False)
