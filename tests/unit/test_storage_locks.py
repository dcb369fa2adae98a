"""The locks of the store and of the staging area, against real processes."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers import kernel
from syscontainers.storage import locks
from syscontainers.storage.staging import StagingArea, Ticket, share_claim

FORK = multiprocessing.get_context("fork")


def posix_lock_is_free(path: Path, kind: int) -> bool:
    """Whether another process gets the lock that Go's containers/storage takes."""

    def probe() -> None:
        with open(path, "r+b") as file:
            try:
                fcntl.lockf(file, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                os._exit(1)
        os._exit(0)

    child = FORK.Process(target=probe)
    child.start()
    child.join(30)
    return child.exitcode == 0


@contextlib.contextmanager
def held_by_another(path: Path, kind: int) -> Iterator[None]:
    """A process that holds a POSIX record lock, as podman does."""
    ready, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with open(path, "r+b") as file:
            fcntl.lockf(file, kind)
            ready.set()
            done.wait(30)

    child = FORK.Process(target=hold)
    child.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        done.set()
        child.join(30)


def is_free(path: Path, *, exclusive: bool) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        kernel.lock_descriptor(descriptor, exclusive=exclusive, wait=False)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_ours_keep_go_out(tmp_path: Path) -> None:
    lock = tmp_path / "layers.lock"
    with locks.lock_exclusively(lock):
        assert not posix_lock_is_free(lock, fcntl.LOCK_SH)
    with locks.lock_shared(lock):
        assert posix_lock_is_free(lock, fcntl.LOCK_SH)
        assert not posix_lock_is_free(lock, fcntl.LOCK_EX)
    assert posix_lock_is_free(lock, fcntl.LOCK_EX)


def test_those_of_go_keep_us_out(tmp_path: Path) -> None:
    lock = tmp_path / "layers.lock"
    lock.touch()
    with held_by_another(lock, fcntl.LOCK_EX):
        assert not is_free(lock, exclusive=False)
    with held_by_another(lock, fcntl.LOCK_SH):
        assert is_free(lock, exclusive=False)
        assert not is_free(lock, exclusive=True)
    assert is_free(lock, exclusive=True)


def test_another_descriptor_does_not_drop_the_lock(tmp_path: Path) -> None:
    # The trap of POSIX locks: whoever reads the file and closes it loses the lock.
    lock = tmp_path / "layers.lock"
    with locks.lock_exclusively(lock):
        lock.read_bytes()
        assert not is_free(lock, exclusive=False)


def test_nothing_to_lock_where_there_is_no_store(tmp_path: Path) -> None:
    with locks.lock_shared(tmp_path / "none/layers.lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_announcements_never_repeat(tmp_path: Path) -> None:
    lock = tmp_path / "images.lock"
    seen = set()
    for _ in range(100):
        with locks.lock_exclusively(lock) as descriptor:
            locks.announce_change(descriptor)
        seen.add(lock.read_bytes())
    assert len(seen) == 100
    assert {len(token) for token in seen} == {64}


# The staging area


@pytest.fixture
def area(tmp_path: Path) -> StagingArea:
    area = StagingArea(tmp_path / "staging")
    area.create()
    return area


def names(area: StagingArea) -> list[str]:
    return sorted(path.name for path in area.path.iterdir())


def sweep(area: StagingArea) -> list[Ticket | None]:
    """The tickets of the leftovers, which are gone then."""
    tickets = []
    for leftover in area.leftovers():
        tickets.append(leftover.read_ticket())
        leftover.remove()
    return tickets


def test_nobody_who_sweeps_is_in_the_way_of_who_begins(area: StagingArea) -> None:
    def work() -> None:
        for _ in range(200):
            with area.working_directory() as work:
                assert work.path.is_dir()
                sweep(area)
                assert work.path.is_dir()

    children = [FORK.Process(target=work) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 8
    assert names(area) == []


def test_nobody_who_sweeps_is_taken_for_one_who_holds_a_claim(area: StagingArea) -> None:
    ended = FORK.Event()

    def sweep_claims() -> None:
        while not ended.is_set():
            area.drop_dead_claims()

    def claim() -> None:
        for number in range(1000):
            with area.claim(f"{os.getpid()}-{number}", exclusive=True, wait=False):
                pass

    sweepers, claimers = ([FORK.Process(target=work) for _ in range(4)] for work in (sweep_claims, claim))
    for child in (*sweepers, *claimers):
        child.start()
    for child in claimers:
        child.join()
    ended.set()
    for child in sweepers:
        child.join()
    assert [child.exitcode for child in (*sweepers, *claimers)] == [0] * 8
    assert names(area) == []


def test_working_directories_go_with_their_block(area: StagingArea) -> None:
    with area.working_directory() as work:
        (work.path / "deep/er").mkdir(parents=True)
        assert len(names(area)) == 2
        assert list(area.leftovers()) == []
    assert names(area) == []
    with pytest.raises(ZeroDivisionError), area.working_directory():
        raise ZeroDivisionError
    assert names(area) == []


def die_with_a_ticket(area: StagingArea) -> None:
    with area.working_directory() as work:
        (work.path / "half").write_text("half")
        work.note(Ticket("/store", ("a" * 64,), ("b" * 64,)))
        os.kill(os.getpid(), signal.SIGKILL)


def test_leftovers_of_the_dead_are_found_with_their_ticket(area: StagingArea) -> None:
    child = FORK.Process(target=die_with_a_ticket, args=(area,))
    child.start()
    child.join(30)
    with area.working_directory() as mine:
        assert sweep(area) == [Ticket("/store", ("a" * 64,), ("b" * 64,))]
        assert [path.name for path in area.path.iterdir() if path.is_dir()] == [mine.path.name]
    assert names(area) == []


def test_a_leftover_that_can_not_be_settled_waits(area: StagingArea) -> None:
    child = FORK.Process(target=die_with_a_ticket, args=(area,))
    child.start()
    child.join(30)
    before = names(area)
    assert len(list(area.leftovers())) == 1
    assert names(area) == before
    assert len(sweep(area)) == 1
    assert names(area) == []


def test_an_unsettled_directory_is_kept_for_another_process(area: StagingArea) -> None:
    with area.working_directory() as work:
        work.note(Ticket("/store"))
    assert len(names(area)) == 2
    assert sweep(area) == [Ticket("/store")]
    assert names(area) == []


@pytest.mark.parametrize("data", [b"", b"{", b'{"root":', b"\0" * 100])
def test_a_torn_ticket_is_none(area: StagingArea, data: bytes) -> None:
    (area.path / "storage-0123456789abcdef.lock").write_bytes(data)
    assert sweep(area) == [None]
    assert names(area) == []


def test_foreign_files_in_the_staging_area_stay(area: StagingArea) -> None:
    (area.path / "somebody.lock").touch()
    (area.path / "somebody").mkdir()
    assert list(area.leftovers()) == []
    assert names(area) == ["somebody", "somebody.lock"]


def test_claims(area: StagingArea) -> None:
    with area.claim("x", exclusive=True) as claim:
        for exclusive in (True, False):
            with pytest.raises(BlockingIOError), area.claim("x", exclusive=exclusive, wait=False):
                pass
        with area.claim("y", exclusive=True, wait=False):
            pass
        share_claim(claim)
        with area.claim("x", exclusive=False, wait=False):
            pass
        with pytest.raises(BlockingIOError), area.claim("x", exclusive=True, wait=False):
            pass
    assert names(area) == []


def test_a_claim_that_many_wait_for_is_held_by_one_at_a_time(area: StagingArea) -> None:
    inside, most = FORK.Value("i", 0), FORK.Value("i", 0)

    def work() -> None:
        for _ in range(50):
            with area.claim("x", exclusive=True):
                with inside.get_lock():
                    inside.value += 1
                    most.value = max(most.value, inside.value)
                os.sched_yield()
                with inside.get_lock():
                    inside.value -= 1

    children = [FORK.Process(target=work) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert most.value == 1
    assert names(area) == []
