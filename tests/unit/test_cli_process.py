"""The command as a process: it ends at once when its work is done, and loses nothing by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def command(tmp_path: Path) -> list[str | Path]:
    config = tmp_path / "config.toml"
    config.write_text(f'state = "{tmp_path}/state"\n')
    return [sys.executable, "-m", "syscontainers", "--config", config]


def test_what_was_printed_arrives(command: list[str | Path]) -> None:
    done = subprocess.run([*command, "images", "--json"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_exit_code_is_kept(command: list[str | Path]) -> None:
    done = subprocess.run([*command, "show", "nobody"], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("syscontainer: ")


def test_output_that_cannot_be_written_is_an_error(command: list[str | Path]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "images", "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
