"""Writing back while layers come in: begun often enough, over when it should be, and no error lost."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from syscontainers import kernel
from syscontainers.storage.writeback import WriteBack

MEBIBYTE = 1 << 20


class Rounds:
    """The real call, counted; ``fail`` instead of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: OSError | None = None) -> None:
        self.count = 0
        self.seen = threading.Event()
        syncfs = kernel.syncfs

        def round_(descriptor: int) -> None:
            self.count += 1
            self.seen.set()
            if fail:
                raise fail
            syncfs(descriptor)

        monkeypatch.setattr(kernel, "syncfs", round_)


def test_a_round_begins_when_enough_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)
    with WriteBack(tmp_path) as write_back:
        for _ in range(16):
            write_back.note(MEBIBYTE)
        assert rounds.seen.wait(60)
    assert rounds.count >= 1


def test_little_is_left_to_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch)
    with WriteBack(tmp_path) as write_back:
        write_back.note(MEBIBYTE)
    assert rounds.count == 0


def write_back_100_mib(directory: Path, rounds: Rounds, error: Exception | None = None) -> None:
    with WriteBack(directory) as write_back:
        write_back.note(100 * MEBIBYTE)
        assert rounds.seen.wait(60)
        if error:
            raise error


def test_a_lost_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        write_back_100_mib(tmp_path, rounds)


def test_the_first_error_is_the_one_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = Rounds(monkeypatch, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(ValueError, match="of the block"):
        write_back_100_mib(tmp_path, rounds, ValueError("of the block"))
