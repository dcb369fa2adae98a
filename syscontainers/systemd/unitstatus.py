"""What PID 1 says about a unit at one moment (org.freedesktop.systemd1(5), "Unit Objects", "Service Unit Objects")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNKNOWN = 2**64 - 1
_CODES = {1: "exited", 2: "killed", 3: "dumped"}  # siginfo_t.si_code, CLD_*


@dataclass(frozen=True)
class UnitStatus:
    """A snapshot of one unit; figures are None where systemd does not know them."""

    name: str
    description: str
    service_type: str
    """``forking``, ``notify``, ``oneshot``, …; empty for units that are not services."""
    load_state: str
    """``loaded``, ``not-found``, ``masked``, ``bad-setting``, ``error``."""
    load_error: str
    active_state: str
    """``active``, ``inactive``, ``failed``, ``activating``, ``deactivating``, ``reloading``, ``maintenance``."""
    sub_state: str
    result: str
    """Why it stopped: ``success``, ``exit-code``, ``signal``, ``timeout``, ``oom-kill``, ``start-limit-hit``, …"""
    main_pid: int
    """0 when there is none."""
    exec_main_code: str
    """``exited``, ``killed``, ``dumped``; empty while it runs or before it ever ran."""
    exec_main_status: int
    """Exit status, or the signal's number."""
    status_text: str
    control_group: str
    invocation_id: str
    """32 hexadecimal digits; empty before the first start."""
    n_restarts: int
    fragment_path: str
    drop_in_paths: tuple[str, ...]
    need_reload: bool
    """The files changed after systemd read them."""
    condition_result: bool
    """False if the last start was skipped because of a Condition…=."""
    can_start: bool
    can_stop: bool
    can_reload: bool
    active_enter_timestamp: int | None
    """Microseconds since 1970."""
    inactive_enter_timestamp: int | None
    memory_current: int | None
    """Bytes."""
    tasks_current: int | None
    cpu_usage_nsec: int | None
    has_job: bool = False
    """Whether something is queued or under way: a start, a restart, a stop."""
    main_exit: int | None = None
    """When its main process last ended, in microseconds of CLOCK_MONOTONIC."""
    active_exit: int | None = None
    """When it last ceased to be active, by the same clock."""

    @property
    def is_running(self) -> bool:
        """It is up or on its way there; what is on its way down does not run."""
        return not self.is_down and self.active_state not in ("deactivating", "maintenance")

    @property
    def is_down(self) -> bool:
        """Nothing of it is left."""
        return self.active_state in ("inactive", "failed")

    @property
    def ended_by_itself(self) -> bool:
        """Its main process was gone before anybody began to stop it."""
        return self.main_exit is not None and self.active_exit is not None and self.main_exit <= self.active_exit

    def describe_failure(self) -> str:
        """Why the unit is not running, for a human: ``exit status 3``, ``killed by signal 9``, ``timeout``."""
        if self.load_state != "loaded":
            return self.load_error or f"unit {self.load_state}"
        if self.result == "exit-code" and self.exec_main_code == "exited":
            return f"exit status {self.exec_main_status}"
        if self.result in ("signal", "core-dump") and self.exec_main_code:
            return f"killed by signal {self.exec_main_status}"
        if (self.result, self.service_type) == ("protocol", "forking"):
            return "it ended before systemd knew its process"
        if self.result == "success":
            return self._describe_success()
        return _RESULTS.get(self.result, self.result)

    def _describe_success(self) -> str:
        if not self.condition_result:
            return "a Condition…= of its unit does not hold"
        if self.exec_main_code and not self.ended_by_itself:
            return "somebody stopped it"
        if self.exec_main_code == "exited":
            return f"it ended by itself, with exit status {self.exec_main_status}"
        if self.exec_main_code:
            return f"it ended by signal {self.exec_main_status}"
        return "it ended without an error"  # and PID 1 has forgotten it, as it does with what nothing refers to


_RESULTS = {
    "exit-code": "a command exited with an error",
    "signal": "a command was killed by a signal",
    "timeout": "a time limit was hit",
    "watchdog": "the watchdog was not fed",
    "oom-kill": "out of memory",
    "start-limit-hit": "it was started too often in too short a time",
    "protocol": "it did not report readiness as its Type= demands",
    "resources": "systemd could not set it up",
}


@dataclass(frozen=True)
class UnitSummary:
    """One row of a listing; cheaper than a status because one call returns all rows."""

    name: str
    description: str
    load_state: str
    active_state: str
    sub_state: str


@dataclass(frozen=True)
class UnitProcess:
    """A process in a unit's control group."""

    control_group: str
    pid: int
    command: str


def _number(properties: Mapping[str, Any], key: str) -> int | None:
    value = properties.get(key, _UNKNOWN)
    return None if value == _UNKNOWN else int(value)


def _timestamp(properties: Mapping[str, Any], key: str) -> int | None:
    return int(properties.get(key, 0)) or None


def read_status(name: str, unit: Mapping[str, Any], kind: Mapping[str, Any]) -> UnitStatus:
    """Make a status of the properties of the Unit interface and those of the unit's kind (Service, Mount, …)."""
    return UnitStatus(
        name=name,
        description=unit.get("Description", ""),
        service_type=kind.get("Type", "") if "MainPID" in kind else "",
        load_state=unit["LoadState"],
        load_error=unit.get("LoadError", ("", ""))[1],
        active_state=unit["ActiveState"],
        sub_state=unit["SubState"],
        result=kind.get("Result", "success"),
        main_pid=kind.get("MainPID", 0),
        exec_main_code=_CODES.get(kind.get("ExecMainCode", 0), ""),
        exec_main_status=kind.get("ExecMainStatus", 0),
        status_text=kind.get("StatusText", ""),
        control_group=kind.get("ControlGroup", ""),
        invocation_id=bytes(unit.get("InvocationID", [])).hex(),
        n_restarts=kind.get("NRestarts", 0),
        fragment_path=unit.get("FragmentPath", ""),
        drop_in_paths=tuple(unit.get("DropInPaths", [])),
        need_reload=unit.get("NeedDaemonReload", False),
        condition_result=unit.get("ConditionResult", False) or not unit.get("ConditionTimestamp", 0),
        can_start=unit.get("CanStart", False),
        can_stop=unit.get("CanStop", False),
        can_reload=unit.get("CanReload", False),
        active_enter_timestamp=_timestamp(unit, "ActiveEnterTimestamp"),
        inactive_enter_timestamp=_timestamp(unit, "InactiveEnterTimestamp"),
        memory_current=_number(kind, "MemoryCurrent"),
        tasks_current=_number(kind, "TasksCurrent"),
        cpu_usage_nsec=_number(kind, "CPUUsageNSec"),
        has_job=unit.get("Job", (0, "/"))[0] != 0,
        main_exit=_timestamp(kind, "ExecMainExitTimestampMonotonic"),
        active_exit=_timestamp(unit, "ActiveExitTimestampMonotonic"),
    )
