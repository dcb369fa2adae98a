"""The time that an image's health check has is that of all tries together."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import cast

import pytest

from syscontainers.containers import health
from syscontainers.errors import SyscontainersError, UnhealthyError
from syscontainers.exports.health import HealthCheck
from syscontainers.systemd import journal
from syscontainers.systemd.manager import Manager
from syscontainers.systemd.unitstatus import UnitStatus, read_status


@dataclass
class _Clock:
    """Time passes only where a check takes some."""

    now: float = 1000.0
    limits: list[float] = field(default_factory=list)

    def run(self, _words: object, *, check: bool, timeout: float) -> subprocess.CompletedProcess[bytes]:
        """The first try fails after four seconds, the second one hangs."""
        self.limits.append(timeout)
        self.now += min(4.0 if len(self.limits) == 1 else 1000.0, timeout)
        if len(self.limits) > 1:
            raise SyscontainersError("no answer")
        return subprocess.CompletedProcess([], 1, b"", b"")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


class _Manager:
    def status(self, unit: str) -> UnitStatus:
        return read_status(unit, {"LoadState": "loaded", "ActiveState": "active", "SubState": "running"}, {})


def test_a_hanging_check_has_only_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, manager = _Clock(), cast("Manager", _Manager())
    monkeypatch.setattr(health, "run", clock.run)
    monkeypatch.setattr(health, "time", clock)
    monkeypatch.setattr(journal, "last_lines", lambda *_: ())
    check = HealthCheck(command=("ask",), timeout=10.0, interval=1.0)
    with pytest.raises(UnhealthyError):
        health._ask(manager, manager.status("x.service"), "x", "runc", check)
    assert clock.limits[0] == 10.0
    assert clock.limits[1] == pytest.approx(5.0, abs=0.1)
    assert clock.now - 1000.0 == pytest.approx(10.0, abs=0.1)
