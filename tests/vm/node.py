"""The node of ``chain.py`` as a running machine: what its tests ask of it on every release."""

from __future__ import annotations

from tests.vm.chain import NAMES
from tests.vm.machine import Machine

UNITS = " ".join(f"{name}.service" for name in NAMES)
STATES = f"systemctl show -P ActiveState {UNITS} | xargs"
PATIENCE = 900.0
"""Seconds for a boot in which a payload has to fail five times, on a machine that has other things to do as well."""


def restart(machine: Machine, *, clock: str = "utc") -> str:
    """Shut down in order and boot; what PID 1 says at the end."""
    machine.shut_down()
    machine.boot(clock=clock)
    return machine.wait_until_up(PATIENCE)


def assert_all_run(machine: Machine) -> None:
    states = machine.run(STATES).stdout
    assert states == "active active active\n", machine.run(f"systemctl status --lines=20 {UNITS}", check=False).stdout
