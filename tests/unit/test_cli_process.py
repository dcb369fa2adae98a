"""The command as a process: it ends at once when its work is done, and loses nothing by it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers.cli.guard import run_guarded
from syscontainers.progress import Progress


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


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at its end", "at once"])
def test_who_only_reads_ends_early_when_nobody_listens(
    command: list[str | Path], closed_pipe: int, unbuffered: str
) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [*command, "images"], stdout=closed_pipe, stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_counts_also_when_nobody_hears_of_it(command: list[str | Path], closed_pipe: int) -> None:
    done = subprocess.run([*command, "show", "nobody"], stdout=closed_pipe, stderr=closed_pipe, check=False)
    assert done.returncode == 4


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at its end", "at once"])
def test_who_changes_something_goes_on_when_nobody_listens(tmp_path: Path, closed_pipe: int, unbuffered: str) -> None:
    """In a process of its own, for it takes away the streams of the one it runs in."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from syscontainers.cli.guard import keep_going, run_guarded\n"
        "def body(progress):\n"
        "    with keep_going():\n"
        "        for number in range(3):\n"
        "            print('x' * 10000, flush=True); progress.warn('y'); progress.say('z')\n"
        "        Path(sys.argv[1]).touch()\n"
        "    return 7\n"
        "code = run_guarded(body, lambda error: 1)\n"
        "sys.stdout.flush(); sys.stderr.flush()\n"
        "os._exit(code)\n"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    words = [sys.executable, "-c", script, str(tmp_path / "done")]
    done = subprocess.run(words, stdout=closed_pipe, stderr=closed_pipe, env=environment, check=False)
    assert done.returncode == 7
    assert (tmp_path / "done").exists()


def test_a_pipe_of_our_own_that_breaks_is_an_error() -> None:
    def body(_progress: Progress) -> int:
        raise BrokenPipeError(32, "Broken pipe", "a helper")

    assert run_guarded(body, lambda error: error.exit_code) == 1
