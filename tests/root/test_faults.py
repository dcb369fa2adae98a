"""The harness itself: a fault it misses would make every campaign's "good" worthless."""

from __future__ import annotations

import fcntl
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import Campaign, DirectoryBench, DiskBench, Fault, Run, Sample, Watch
from tests.faults.benches import Bench

pytestmark = pytest.mark.root

EVERYTHING = Sample(None)
KILLS = (Fault.KILL_BEFORE, Fault.KILL_AFTER)

SLOPPY = """
with open("file", "w") as file:
    file.write("new")
"""
UNSYNCED = """
import os
with open(".file.0123abcd.tmp", "w") as file:
    file.write("new")
os.rename(".file.0123abcd.tmp", "file")
"""
DURABLE = """
import os
with open(".file.0123abcd.tmp", "w") as file:
    file.write("new")
    file.flush()
    os.fsync(file.fileno())
os.rename(".file.0123abcd.tmp", "file")
directory = os.open(".", os.O_RDONLY)
os.fsync(directory)
os.write(1, b"done")
"""
THREADS = """
import os, secrets, threading
def work(name):
    for number in range(3):
        temporary = f"{name}/.{number}.{secrets.token_hex(4)}.tmp"
        os.mkdir(temporary)
        os.rename(temporary, f"{name}/{number}")
for name in "abcd":
    os.mkdir(name)
threads = [threading.Thread(target=work, args=name) for name in "abcd"]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def write_old(state: Path) -> None:
    (state / "file").write_text("old")


def check_whole(state: Path, run: Run) -> str:
    text = (state / "file").read_text()
    assert text in ("old", "new"), f"neither old nor new but {text!r}"
    assert text == "new" or "done" not in run.output, "said done, and is not"
    return text


def campaign(bench: Bench[Path], directory: Path, script: str, faults: tuple[Fault, ...]) -> Campaign[Path]:
    return Campaign(
        bench,
        lambda state: [sys.executable, "-IBc", f"import os; os.chdir({str(state)!r})\n{script}"],
        check_whole,
        Watch((str(directory / "state"),)),
        faults,
    )


def test_finds_a_file_written_in_place(tmp_path: Path) -> None:
    report = campaign(DirectoryBench(tmp_path, write_old), tmp_path, SLOPPY, KILLS).run(EVERYTHING)
    assert [step.call for step in report.steps] == ["openat", "write"]
    assert [(bad.point.step.call, bad.outcome.splitlines()[0]) for bad in report.failures] == [
        ("write", "neither old nor new but ''")
    ]
    assert report.outcomes() == {"old": 1}
    assert "2      write " in report.table(only_failures=True)
    with pytest.raises(AssertionError, match="1 bad, 0 not reached"):
        report.require_good()


def test_each_fault_strikes_at_its_step(tmp_path: Path) -> None:
    faults = (*KILLS, Fault.ENOSPC, Fault.FULL, Fault.EIO)
    report = campaign(DirectoryBench(tmp_path, write_old), tmp_path, DURABLE, faults).run(EVERYTHING)
    report.require_good()
    seen = {(result.point.step.call, result.point.fault): result for result in report.results}
    assert not report.missed
    assert {seen["rename", fault].outcome for fault in faults if fault is not Fault.KILL_AFTER} == {"old"}
    assert seen["rename", Fault.KILL_AFTER].outcome == "new"
    assert seen["rename", Fault.KILL_AFTER].status == -9
    assert seen["openat", Fault.ENOSPC].status == 1


def test_the_command_sees_the_error(tmp_path: Path) -> None:
    errors: dict[Fault, str] = {}
    base = campaign(DirectoryBench(tmp_path, write_old), tmp_path, DURABLE, (Fault.ENOSPC, Fault.EIO))

    def check(state: Path, run: Run) -> str:
        return run.errors.strip().rpartition("\n")[2]

    report = replace(base, check=check).run(EVERYTHING)
    for result in report.results:
        errors[result.point.fault] = result.outcome
    assert "No space left on device" in errors[Fault.ENOSPC]
    assert "Input/output error" in errors[Fault.EIO]


def test_a_full_disk_stays_full(tmp_path: Path) -> None:
    script = """
for name in "abc":
    try:
        open(name, "x").close()
    except OSError:
        pass
"""
    base = campaign(DirectoryBench(tmp_path), tmp_path, script, (Fault.ENOSPC, Fault.FULL))

    def check(state: Path, run: Run) -> str:
        return "".join(sorted(path.name for path in state.iterdir()))

    report = replace(base, check=check).run(EVERYTHING)
    assert [(result.point.fault, result.outcome) for result in report.results] == [
        (Fault.ENOSPC, "bc"),
        (Fault.FULL, ""),
        (Fault.ENOSPC, "ac"),
        (Fault.FULL, "a"),
        (Fault.ENOSPC, "ab"),
        (Fault.FULL, "ab"),
    ]


def test_threads_and_random_names_are_reached(tmp_path: Path) -> None:
    base = campaign(DirectoryBench(tmp_path), tmp_path, THREADS, (Fault.KILL_BEFORE,))

    def check(state: Path, run: Run) -> str:
        return f"{len([path for path in state.glob('*/*') if not path.name.startswith('.')])} renamed"

    report = replace(base, check=check).run(EVERYTHING)
    assert len(report.steps) == 4 + 4 * 3 * 2
    assert report.undisturbed == "12 renamed"
    assert not report.missed
    assert "12 renamed" not in report.outcomes()


@pytest.mark.parametrize("script", [UNSYNCED, DURABLE])
def test_a_power_cut_loses_what_was_not_synced(tmp_path: Path, script: str) -> None:
    # A step that nobody can miss after all the others, to cut the power at.
    script += '\nopen("last", "w")'
    base = campaign(DiskBench(tmp_path, write_old, size=32 << 20), tmp_path, script, (Fault.POWER_CUT,))
    report = base.run(EVERYTHING)
    last = report.results[-1]
    assert Path(last.point.step.path).name == "last"
    assert last.outcome.splitlines()[0] == ("new" if script.startswith(DURABLE) else "old")
    assert not report.missed
    # ext4 with delayed allocation: the name may be there before the data, but never the other way round.
    assert all(result.outcome.startswith(("old", "new", "neither old nor new but ''")) for result in report.results)


def test_a_command_that_hangs_is_bad(tmp_path: Path) -> None:
    script = """
import time
try:
    open("file", "w")
except OSError:
    time.sleep(600)
"""
    base = campaign(DirectoryBench(tmp_path, write_old), tmp_path, script, (Fault.EIO,))
    report = replace(base, check=lambda state, run: "", timeout=3).run(EVERYTHING)
    assert [bad.outcome.splitlines()[0] for bad in report.failures] == ["it hung for 3 s"]


def test_what_does_not_work_undisturbed_is_said_at_once(tmp_path: Path) -> None:
    base = campaign(DirectoryBench(tmp_path), tmp_path, "raise SystemExit('no')", KILLS)

    def check(state: Path, run: Run) -> str:
        raise AssertionError("it failed")

    with pytest.raises(AssertionError, match="undisturbed, with exit status 1: it failed\nno"):
        replace(base, check=check).run(EVERYTHING)


def test_children_die_with_the_command(tmp_path: Path) -> None:
    script = """
import subprocess, sys
late = "import sys; sys.stdin.read(); open('late', 'w')"
reader = subprocess.Popen([sys.executable, "-Ic", late], stdin=subprocess.PIPE)
open("early", "w")
reader.communicate()
"""
    base = campaign(DirectoryBench(tmp_path), tmp_path, script, (Fault.KILL_BEFORE,))

    def check(state: Path, run: Run) -> str:
        return " ".join(sorted(path.name for path in state.iterdir()))

    # The child has all it waits for once its parent is dead: the end of its input.
    report = replace(base, check=check).run(EVERYTHING)
    assert report.undisturbed == "early late"
    assert [(Path(result.point.step.path).name, result.outcome) for result in report.results] == [
        ("early", ""),
        ("late", "early"),
    ]


def test_a_child_that_is_born_while_the_command_is_killed_dies_too(tmp_path: Path) -> None:
    script = """
import fcntl, os, threading
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
ended = threading.Event()
def fork():
    while not ended.is_set():
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
threads = [threading.Thread(target=fork) for _ in range(3)]
for thread in threads:
    thread.start()
for name in range(40):
    open(str(name), "w").close()
ended.set()
for thread in threads:
    thread.join()
"""
    base = campaign(DirectoryBench(tmp_path), tmp_path, script, KILLS)

    def check(state: Path, run: Run) -> str:
        with (state / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # each of them holds it as long as it lives
        return ""

    replace(base, check=check).run(EVERYTHING).require_good()
