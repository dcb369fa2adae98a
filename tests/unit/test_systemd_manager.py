"""Where no systemd answers. Everything else is told by a real one, in tests/machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers.systemd.manager import NoSystemdError, connect
from syscontainers.systemd.unitstatus import read_status


@pytest.fixture
def lonely_bus(tmp_path: Path) -> Iterator[str]:
    """A message bus on which nobody owns the name of systemd."""
    config = tmp_path / "bus.conf"
    config.write_text(
        f"<busconfig><listen>unix:path={tmp_path}/bus</listen><policy context='default'><allow user='*'/>"
        "<allow send_type='method_call'/><allow receive_type='method_return'/><allow receive_type='error'/>"
        "<allow receive_type='signal'/></policy></busconfig>"
    )
    reading, writing = os.pipe()
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", f"--print-address={writing}"], pass_fds=[writing]
    )
    os.close(writing)
    with open(reading) as pipe:
        yield pipe.readline().strip()
    daemon.terminate()
    daemon.wait()


def test_neither_socket_nor_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    with pytest.raises(NoSystemdError) as caught, connect(tmp_path / "nothing"):
        pass
    assert caught.value.exit_code == 1
    assert caught.value.hint


def test_a_bus_without_systemd(lonely_bus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", lonely_bus)
    with pytest.raises(NoSystemdError), connect(tmp_path / "nothing"):
        pass


def test_figures_that_systemd_does_not_know_are_none() -> None:
    unit = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "InvocationID": [1, 171]}
    status = read_status("a.service", unit, {"MemoryCurrent": 2**64 - 1, "TasksCurrent": 3, "ExecMainCode": 2})
    assert status.memory_current is None
    assert status.tasks_current == 3
    assert status.exec_main_code == "killed"
    assert status.invocation_id == "01ab"
    assert status.active_enter_timestamp is None


@pytest.mark.parametrize(
    ("unit", "kind", "text"),
    [
        ({}, {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3}, "exit status 3"),
        ({}, {"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 11}, "killed by signal 11"),
        ({}, {"Result": "core-dump", "ExecMainCode": 3, "ExecMainStatus": 6}, "killed by signal 6"),
        ({}, {"Result": "oom-kill"}, "out of memory"),
        ({}, {"Result": "something-new"}, "something-new"),
        ({"LoadState": "not-found", "LoadError": ("x", "Unit a not found.")}, {}, "Unit a not found."),
        ({"LoadState": "masked"}, {}, "unit masked"),
    ],
)
def test_why_a_unit_is_down(unit: dict[str, object], kind: dict[str, object], text: str) -> None:
    properties = {"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", **unit}
    assert read_status("a.service", properties, kind).describe_failure() == text
