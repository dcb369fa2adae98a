from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from syscontainers.systemd.startscript import FILE_NAME, GROUP, SCRIPT, clears, started


def start(directory: Path, membership: str, top: Path) -> list[str]:
    """Run the script on files in place of /proc and /sys; the words that the command got."""
    (directory / "cgroup").write_text(membership)
    script = SCRIPT.replace("/proc/self/cgroup", str(directory / "cgroup")).replace("/sys/fs/cgroup", str(top))
    (directory / FILE_NAME).write_text(script)
    (directory / "run/runc").mkdir(parents=True)
    command = started(directory, "/no/runc", "x", ["/usr/bin/printf", "%s\\n", "two words", "", "$HOME", "*"])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]


def test_on_a_unified_hierarchy_it_moves_first(tmp_path: Path) -> None:
    group = tmp_path / "top" / "system.slice" / "x.service"
    (group / GROUP).mkdir(parents=True)
    (group / "cgroup.procs").touch()
    words = start(tmp_path, "0::/system.slice/x.service\n", tmp_path / "top")
    assert words == ["two words", "", "$HOME", "*"]
    assert (group / GROUP / "cgroup.procs").read_text() == "0\n"


def test_where_systemd_has_moved_it_already_it_stays(tmp_path: Path) -> None:
    group = tmp_path / "top" / "system.slice" / "x.service" / GROUP
    group.mkdir(parents=True)
    (group / "cgroup.procs").touch()
    assert start(tmp_path, f"0::/system.slice/x.service/{GROUP}\n", tmp_path / "top")[0] == "two words"
    assert [path.name for path in group.iterdir()] == ["cgroup.procs"]
    assert (group / "cgroup.procs").read_text() == ""


@pytest.mark.parametrize("membership", ["12:pids:/system.slice/x.service\n0::/\n", "1:name=systemd:/x\n"])
def test_elsewhere_it_only_becomes_the_command(tmp_path: Path, membership: str) -> None:
    (tmp_path / "top").mkdir()
    assert start(tmp_path, membership, tmp_path / "top") == ["two words", "", "$HOME", "*"]
    assert list((tmp_path / "top").iterdir()) == []


@pytest.mark.parametrize(
    ("runtime", "left", "runs"),
    [("runc", True, True), ("runc", False, False), ("crun", False, False), ("kata-runtime", False, True)],
)
def test_only_what_is_left_over_is_deleted(tmp_path: Path, runtime: str, left: bool, runs: bool) -> None:
    program = tmp_path / runtime
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    (tmp_path / "run" / runtime / ("x" if left else "y")).mkdir(parents=True)
    (tmp_path / FILE_NAME).write_text(SCRIPT.replace("/run/", f"{tmp_path}/run/"))
    command = started(tmp_path, str(program), "x", [str(program), "run", "x"])
    assert clears(" ".join(command), tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert done.stdout == ("delete --force x\n" if runs else "") + "run x\n"


def test_what_cannot_be_deleted_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    program = tmp_path / "kata-runtime"
    program.write_text('#!/bin/sh\necho "$@"\n[ "$1" = run ]\n')
    program.chmod(0o755)
    (tmp_path / FILE_NAME).write_text(SCRIPT)
    command = started(tmp_path, str(program), "x", [str(program), "run", "x"])
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert done.stdout == "delete --force x\nrun x\n"
