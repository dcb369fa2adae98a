"""Whatever happens while files are published, each is the old one or the new one, and the way back is open."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from syscontainers.containers.changes import Change, Content, change_to, undo_changes
from syscontainers.files import sweep_temporaries
from tests.faults import CRASHES, FAILURES, Campaign, DirectoryBench, DiskBench, Fault, Run, Watch

pytestmark = pytest.mark.root

OLD = {
    "unit": Content(b"[Service]\nExecStart=old\n" * 1000),
    "secret": Content(b"old", 0o600),
    "gone": Content(b"only in the old one"),
    "link": Content(target="generation.1"),
    "file-to-link": Content(b"a file"),
}
NEW = {
    "unit": Content(b"[Service]\nExecStart=new\n" * 2000),
    "secret": Content(b"new", 0o640),
    "x.service.d/drop-in.conf": Content(b"only in the new one"),
    "link": Content(target="generation.2"),
    "file-to-link": Content(target="generation.2"),
}
NAMES = sorted({*OLD, *NEW})

SCRIPT = """
import sys
from pathlib import Path
from syscontainers.containers.changes import apply_changes, undo_changes
from tests.root.test_faults_files import NEW, plan_changes
changes = plan_changes(Path(sys.argv[1]))
try:
    apply_changes(changes)
except OSError:
    undo_changes(changes)
    raise
print("done")
"""


def prepare(state: Path) -> None:
    for name, content in OLD.items():
        if content.target is not None:
            (state / name).symlink_to(content.target)
        else:
            (state / name).write_bytes(content.data)
            (state / name).chmod(content.mode)
    os.sync()


def plan_changes(state: Path) -> list[Change]:
    return [change_to(state / name, NEW.get(name)) for name in NAMES]


def read_tree(state: Path) -> dict[str, Content]:
    """Everything but directories."""
    found = {}
    for directory, _, names in os.walk(state):
        for path in (Path(directory, name) for name in names):
            status = path.lstat()
            is_link = stat.S_ISLNK(status.st_mode)
            content = (
                Content(target=os.readlink(path)) if is_link else Content(path.read_bytes(), status.st_mode & 0o7777)
            )
            found[str(path.relative_to(state))] = content
    return found


def take_back(state: Path) -> None:
    """What a later command does with a record that says *publishing*."""
    changes = [Change(state / name, OLD.get(name), NEW.get(name)) for name in NAMES]
    for change in changes:
        if change.path.parent.is_dir():
            sweep_temporaries(change.path)
    undo_changes(changes)


def check(state: Path, run: Run) -> str:
    found = read_tree(state)
    for name in NAMES:
        assert found.get(name) in (OLD.get(name), NEW.get(name)), f"{name} is neither old nor new"
    if "done" in run.output:
        assert found == NEW, "it said done"
        return "new"
    left = found.items() - {**OLD, **NEW}.items() - OLD.items()
    take_back(state)
    assert read_tree(state) == OLD, f"not the old state after recovery; there was {sorted(name for name, _ in left)}"
    assert not (state / "x.service.d").exists(), "an empty directory is left"
    if run.status < 0:
        return "old after recovery"
    assert found == OLD or "No space left" in run.errors, "the error was not taken back"
    return "old at once" if found == OLD else "old after recovery, for want of space"


def test_publishing_files_survives_crashes_and_errors(tmp_path: Path) -> None:
    report = Campaign(
        DirectoryBench(tmp_path / "bench", prepare),
        lambda state: [sys.executable, "-Bc", SCRIPT, str(state)],
        check,
        Watch((str(tmp_path / "bench/state"),)),
        (*CRASHES, *FAILURES),
    ).run()
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed


def test_publishing_files_survives_power_cuts(tmp_path: Path) -> None:
    report = Campaign(
        DiskBench(tmp_path / "bench", prepare, size=32 << 20),
        lambda state: [sys.executable, "-Bc", SCRIPT, str(state)],
        check,
        Watch((str(tmp_path / "bench/state"),)),
        (Fault.POWER_CUT,),
    ).run()
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed
