from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syscontainers.errors import DigestError, HostileArchiveError, SyscontainersError
from syscontainers.storage.blob import PromisedBlob
from syscontainers.storage.limits import Expansion, FreeSpace, Limits
from syscontainers.storage.pipe import AbandonedError, HashedPipe
from tests.archive import promise, sha256


def test_expansion() -> None:
    expansion = Expansion(Limits(ratio=10, ratio_grace=1000, unpacked=50_000))
    expansion.add(1000, 1)
    expansion.add(9000, 1000)
    assert expansion.estimate_rest(1500) == 5000
    with pytest.raises(HostileArchiveError, match="bomb"):
        expansion.add(1, 1000)
    assert Expansion(Limits()).estimate_rest(100) == 0
    with pytest.raises(HostileArchiveError, match="unpacks to more than"):
        expansion.add(50_000, 50_000)


def test_free_space(tmp_path: Path) -> None:
    FreeSpace(tmp_path, Limits(reserve=1, reserve_inodes=0)).check(1)
    with pytest.raises(SyscontainersError, match="no space left") as caught:
        FreeSpace(tmp_path, Limits(reserve=1)).check(1 << 62)
    assert "about 4611686.0 TB needed" in caught.value.message
    assert caught.value.exit_code == 1
    with pytest.raises(SyscontainersError, match="no inodes left"):
        FreeSpace(tmp_path, Limits(reserve=1, reserve_inodes=1 << 62)).check()


def pump(blob: bytes, chunks: list[bytes]) -> PromisedBlob:
    passed = PromisedBlob(chunks, promise(blob))
    for _ in passed:
        pass
    passed.verify()
    return passed


def test_promised_blob() -> None:
    blob = PromisedBlob([b"ab", b"c"], promise(b"abc"))
    assert list(blob) == [b"ab", b"c"]
    blob.verify()
    assert blob.consumed == 3


def test_promises_broken() -> None:
    with pytest.raises(DigestError, match="longer than the 3 bytes"):
        pump(b"abc", [b"ab", b"cd"])
    with pytest.raises(DigestError, match="2 bytes instead of 3"):
        pump(b"abc", [b"ab"])
    with pytest.raises(DigestError, match="bytes received are sha256:"):
        pump(b"abc", [b"abd"])


def test_pipe_keeps_order_and_bound() -> None:
    pipe = HashedPipe(100)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.extend(pipe))
    reader.start()
    pieces = [b"%d" % n * (n % 7) for n in range(500)]
    for piece in pieces:
        pipe.put(piece)
    pipe.finish()
    reader.join()
    assert got == pieces
    assert pipe.digest == sha256(b"".join(pieces))


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 9000), max_size=40), capacity=st.integers(1, 30_000), slow=st.sampled_from("rwn"))
def test_pipe_hashes_whoever_waits(sizes: list[int], capacity: int, slow: str) -> None:
    pipe = HashedPipe(capacity)
    pieces = [os.urandom(size) for size in sizes]
    got = []

    def read() -> None:
        for piece in pipe:
            got.append(piece)
            time.sleep(0.0005 * (slow == "r"))

    reader = threading.Thread(target=read)
    reader.start()
    for piece in pieces:
        pipe.put(piece)
        time.sleep(0.0005 * (slow == "w"))
    pipe.finish()
    reader.join()
    assert got == pieces
    assert pipe.digest == sha256(b"".join(pieces))


def test_full_pipe_waits() -> None:
    pipe = HashedPipe(10)
    pipe.put(b"x" * 10)
    writer = threading.Thread(target=pipe.put, args=(b"y",))
    writer.start()
    writer.join(0.05)
    assert writer.is_alive()
    assert next(iter(pipe)) == b"x" * 10
    writer.join()


def test_abandoned_pipe_releases_both_ends() -> None:
    pipe = HashedPipe(1)
    pipe.put(b"x")
    caught: list[BaseException] = []

    def put() -> None:
        try:
            pipe.put(b"y")
        except AbandonedError as error:
            caught.append(error)

    writer = threading.Thread(target=put)
    writer.start()
    pipe.abandon()
    writer.join()
    assert len(caught) == 1
    with pytest.raises(AbandonedError):
        list(pipe)
