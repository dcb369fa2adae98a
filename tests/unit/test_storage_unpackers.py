"""Unpacking in other processes: results and errors come back, and no process stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syscontainers.errors import HostileArchiveError, SyscontainersError
from syscontainers.storage.staged import LayerPromise, StagedLayer
from syscontainers.storage.unpackers import Unpackers

MEBIBYTE = 1 << 20
PROMISE = LayerPromise("sha256:blob", 3 * MEBIBYTE, "sha256:tar")


def count_bytes(chunks: Iterable[bytes], promise: LayerPromise, directory: Path) -> StagedLayer:
    size = sum(map(len, chunks))
    return StagedLayer(directory, promise.diff_id, size, promise.digest, promise.size, 0, (os.getpid(),), (), ())


def name_many(chunks: Iterable[bytes], promise: LayerPromise, directory: Path) -> StagedLayer:
    implied = tuple(b"directory/%d" % number for number in range(100_000))
    return StagedLayer(directory, promise.diff_id, len(list(chunks)), promise.digest, 0, 0, (), (), implied)


def refuse(_chunks: Iterable[bytes], _promise: LayerPromise, _directory: Path) -> StagedLayer:
    raise HostileArchiveError("it is bad", "leave it")


def fail_by_mistake(_chunks: Iterable[bytes], _promise: LayerPromise, _directory: Path) -> StagedLayer:
    raise KeyError("forgotten")


def die(chunks: Iterable[bytes], _promise: LayerPromise, _directory: Path) -> StagedLayer:
    next(iter(chunks))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def touch_at_the_end(chunks: Iterable[bytes], promise: LayerPromise, directory: Path) -> StagedLayer:
    list(chunks)
    directory.touch()
    return count_bytes([], promise, directory)


def children() -> set[str]:
    """Of all threads: the tests beside these have processes of their own."""
    return {child for path in Path("/proc/self/task").glob("*/children") for child in path.read_text().split()}


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


def three(chunk: bytes = bytes(MEBIBYTE)) -> list[bytes]:
    return [chunk] * 3


def test_all_bytes_arrive_in_another_process() -> None:
    with Unpackers(1, count_bytes) as unpackers:
        staged = unpackers.unpack(three(), PROMISE, Path("/somewhere"))
    assert (staged.diff_size, staged.directory, staged.diff_id) == (3 * MEBIBYTE, Path("/somewhere"), "sha256:tar")
    assert staged.uids != (os.getpid(),)


def test_a_process_takes_one_layer_after_another() -> None:
    with Unpackers(2, count_bytes) as unpackers, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda n: unpackers.unpack(three(), PROMISE, Path(str(n))), range(20)))
    assert [str(each.directory) for each in results] == [str(n) for n in range(20)]
    assert len({each.uids for each in results}) <= 2


def test_an_answer_may_be_longer_than_a_pipe() -> None:
    with Unpackers(1, name_many) as unpackers:
        assert len(unpackers.unpack(three(), PROMISE, Path("/x")).implied) == 100_000


def test_a_refusal_is_the_same_here() -> None:
    with Unpackers(1, refuse) as unpackers:
        for _ in range(2):  # and does not end the process
            with pytest.raises(HostileArchiveError, match="it is bad") as caught:
                unpackers.unpack(three(), PROMISE, Path("/x"))
            assert (caught.value.hint, caught.value.exit_code) == ("leave it", 5)
            assert not hasattr(caught.value, "__notes__")  # it is no mistake of ours


def test_a_mistake_says_where_it_was_made() -> None:
    with Unpackers(1, fail_by_mistake) as unpackers, pytest.raises(KeyError) as caught:
        unpackers.unpack(three(), PROMISE, Path("/x"))
    assert "in fail_by_mistake" in "".join(caught.value.__notes__)


def test_a_process_that_was_killed() -> None:
    with Unpackers(1, die) as unpackers:
        for _ in range(2):
            with pytest.raises(SyscontainersError, match="layer sha256:blob: the process that unpacked it was killed"):
                unpackers.unpack(three(), PROMISE, Path("/x"))


def test_a_download_that_fails_is_waited_for(tmp_path: Path) -> None:
    def broken() -> Iterable[bytes]:
        yield bytes(MEBIBYTE)
        raise SyscontainersError("the line is cut")

    with Unpackers(1, touch_at_the_end) as unpackers:
        with pytest.raises(SyscontainersError, match="the line is cut"):
            unpackers.unpack(broken(), PROMISE, tmp_path / "touched")
        assert (tmp_path / "touched").exists()  # nothing of it comes later than the error


def test_a_closed_block_leaves_nothing_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Unpackers(3, count_bytes) as unpackers:
        unpackers.unpack(three(), PROMISE, Path("/x"))
    assert set(os.listdir("/proc/self/fd")) == before


_KILLED = """
import os, signal, sys
from pathlib import Path
from syscontainers.storage.staged import LayerPromise
from syscontainers.storage.unpackers import Unpackers

def tell(chunks, promise, directory):
    print(os.getpid(), flush=True)
    sum(map(len, chunks))

def half():
    yield bytes(1 << 16)
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)

with Unpackers(3, tell) as unpackers:
    unpackers.unpack(half(), LayerPromise("", 0, ""), Path("/x"))
"""


def test_none_outlives_a_pull_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        unpacker = os.pidfd_open(int(process.stdout.readline()))
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL
        # All of them hold its output, which ends with the last of them.
        assert process.stdout.read() == b""
        assert select.select([unpacker], [], [], 60)[0]
        os.close(unpacker)


def test_threads_stay_out_of_the_way() -> None:
    before = set(threading.enumerate())  # a server of another test may not have ended yet
    with Unpackers(2, count_bytes) as unpackers:
        unpackers.unpack(three(), PROMISE, Path("/x"))
        assert set(threading.enumerate()) <= before
