"""The emulated machine itself: what every other test here relies on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.vm.golden import Golden, build_golden
from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return build_golden()


def test_power_cut_loses_what_was_not_synced_and_nothing_else(golden: Golden, tmp_path: Path) -> None:
    blank = tmp_path / "blank"
    blank.touch()
    os.truncate(blank, 1 << 20)
    with Machine(golden, disks={"scratch": blank}) as machine:
        machine.boot()
        assert machine.wait_until_up() == "running", machine.run("systemctl --failed").stdout
        machine.run("mkdir /root/kept && echo first >/root/kept/file && sync /root/kept/file /root/kept /root")
        machine.run("head -c 65536 /dev/urandom >/root/unwritten")
        # The disk has got all of these, but only the first 64 are flushed.
        dd = "tr '\\0' x </dev/zero | dd of=/dev/vdb bs=4096 iflag=fullblock oflag=direct"
        machine.run(f"{dd} count=64 conv=fsync; {dd} count=64 seek=64")
        cut = machine.power_cut(seed=7)["scratch"]
        assert (cut.flushed, cut.kept + cut.lost + cut.torn) == (65, 64)
        assert cut.lost > 0
        assert cut.kept > 0
        machine.boot()
        assert machine.run("cat /root/kept/file").stdout == "first\n"
        assert machine.run("stat -c %s /root/unwritten || true").stdout.strip() in ("", "0")
        bytes_there = [len(part) for part in machine.run("tr '\\0' '\\n' </dev/vdb").stdout.split()]
        assert bytes_there[0] >= 64 * 4096
        assert sum(bytes_there) < (64 + cut.kept + cut.torn) * 4096 + 1


def test_nothing_is_lost_in_a_shutdown_and_forks_share_a_past(golden: Golden) -> None:
    with Machine(golden) as past:
        past.boot()
        past.run("echo before >/root/file")
        past.shut_down()
        for word in ("one", "two"):
            with past.fork() as machine:
                machine.boot(clock="2031-02-03T04:05:06")
                assert machine.run("cat /root/file; date -u +%Y-%m").stdout == "before\n2031-02\n"
                machine.run(f"echo {word} >/root/file; sync /root/file")


def test_an_emulator_that_gets_stuck_before_any_program_is_started_again(
    golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = iter([False])
    comes_up = Machine._kernel_comes_up
    monkeypatch.setattr(Machine, "_kernel_comes_up", lambda machine: next(looked, True) and comes_up(machine))
    with Machine(golden) as machine:
        machine.boot()
        assert machine.console_file().name == "console.2"
        assert machine.run("cat /etc/hostname").stdout == "guest\n"
        machine.shut_down()


def test_programs_and_files_of_a_boot_are_known(golden: Golden) -> None:
    with Machine(golden) as machine:
        machine.boot()
        machine.wait_until_up()
        assert not machine.was_read("/usr/bin/python3")
        machine.run("syscontainer --version")
        assert machine.was_read("/usr/bin/python3")
        assert "syscontainer" in machine.programs_run()
        assert any(entry.get("_PID") == "1" for entry in machine.journal("--boot"))
