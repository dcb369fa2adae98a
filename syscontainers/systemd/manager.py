"""PID 1 as a typed client: units are registered, started, stopped and asked about here, never through systemctl.

Interface: org.freedesktop.systemd1(5), "The Manager Object". A job's outcome is what its JobRemoved signal says;
it is asked for before the job is queued, because short jobs end before the call returns. If PID 1 re-executes
itself in the middle the signal may be lost; then the job and the unit themselves are looked at.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pystemd.dbuslib import path_encode

from ..errors import SyscontainersError
from ..files import sync_directory
from .bus import (
    MANAGER,
    MANAGER_PATH,
    PRIVATE_SOCKET,
    PROPERTIES,
    Connection,
    NoSuchUnitError,
    NoSystemdError,
    SystemdError,
    UnitMaskedError,
)
from .unitstatus import UnitProcess, UnitStatus, UnitSummary, read_status

__all__ = [
    "JobError",
    "LinkChange",
    "Manager",
    "NoSuchUnitError",
    "NoSystemdError",
    "SystemdError",
    "UnitMaskedError",
    "connect",
]

JOB_TIMEOUT = 600.0
"""Seconds to wait for a job; units limit themselves (TimeoutStartSec=), this is for queues that never move."""

_UNIT = "org.freedesktop.systemd1.Unit"
_JOB = "org.freedesktop.systemd1.Job"
_KINDS = {"service", "mount", "socket", "slice", "scope", "swap"}  # those with processes or a Result of their own
_POLL_SECONDS = 0.05
# The reverse of Requires=, Requisite=, BindsTo=, PartOf= and StopPropagatedFrom= (systemd.unit(5))
_STOPPED_WITH = ("RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo")


@dataclass(frozen=True)
class LinkChange:
    """What enabling or disabling did to one link: ``symlink`` or ``unlink``, or why it did nothing."""

    kind: str
    link: str
    target: str


class JobError(SyscontainersError):
    """A job did not end well.

    ``result`` is systemd's word (``failed``, ``timeout``, ``canceled``, ``dependency``, …) or ``deadline`` if we
    stopped waiting; ``status`` is what the unit looked like just after.
    """

    def __init__(self, unit: str, verb: str, result: str, status: UnitStatus) -> None:
        reason = _JOB_RESULTS.get(result) or status.describe_failure()
        super().__init__(f"{unit}: {verb} failed: {reason}", f"see: journalctl -u {unit}")
        self.unit = unit
        self.verb = verb
        self.result = result
        self.status = status


_JOB_RESULTS = {
    "canceled": "the job was cancelled by another one",
    "dependency": "a unit that it needs failed",
    "assert": "an Assert…= of the unit does not hold",
    "unsupported": "this kind of unit is not supported here",
    "deadline": "the job has not ended in time",
    "once": "the unit was started once and may not be again",
}


class Manager:
    """PID 1. Not thread-safe: one per thread, and a new one after fork(2)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def version(self) -> str:
        """The version of systemd, like ``252.39-1~deb12u2``."""
        return str(self._connection.call_object(MANAGER_PATH, PROPERTIES, "Get", "ss", MANAGER, "Version"))

    def reload(self) -> None:
        """Make systemd read all unit files again (daemon-reload). Takes a tenth of a second and more."""
        self._connection.call("Reload")

    # Unit files.

    def enable_units(self, units: Iterable[str | Path]) -> tuple[LinkChange, ...]:
        """Make the links that the units' [Install] sections ask for; an absolute path also links the file itself.

        Takes effect at the next ``reload``. Raises NoSuchUnitError, UnitMaskedError, SystemdError.
        """
        names = [os.fspath(unit) for unit in units]
        with _about(" ".join(names)):
            _carries_install, changes = self._connection.call("EnableUnitFiles", "asbb", names, False, False)
        return _synced(tuple(LinkChange(*change) for change in changes))

    def disable_units(self, units: Iterable[str]) -> tuple[LinkChange, ...]:
        """Remove all links to the units, also of units whose files are gone. Takes effect at the next ``reload``."""
        changes: list[LinkChange] = []
        for unit in units:  # one at a time: systemd stops at the first name it has no file for
            with contextlib.suppress(NoSuchUnitError), _about(unit):  # no file and no link: nothing to remove
                reply = self._connection.call("DisableUnitFiles", "asb", [unit], False)
                changes.extend(LinkChange(*change) for change in reply)
        return _synced(tuple(changes))

    def unit_file_state(self, unit: str) -> str:
        """``enabled``, ``disabled``, ``static``, ``masked``, …; ``bad`` if systemd cannot read it, empty without one.

        systemd reads the links for it. The property of the same name is what they were when it last looked, which
        after enabling or disabling may be before.
        """
        try:
            return str(self._connection.call("GetUnitFileState", "s", unit))
        except NoSuchUnitError:
            return ""
        except SystemdError:
            return "bad"

    def is_enabled(self, unit: str) -> bool:
        """Boot starts the unit: the links that its [Install] section asks for are there."""
        return self.unit_file_state(unit) == "enabled"

    def is_masked(self, unit: str) -> bool:
        """A link to /dev/null keeps the unit from ever starting."""
        return self.unit_file_state(unit) in ("masked", "masked-runtime")

    # Jobs.

    def start(self, unit: str, timeout: float = JOB_TIMEOUT) -> None:
        """Start a unit and wait for the outcome, as its Type= defines it. Raises JobError and bus.py's errors."""
        self._run_job("StartUnit", "start", unit, timeout)

    def queue_start(self, unit: str) -> None:
        """Ask for a start and do not wait: for boot, when what the unit is ordered after may be waiting for us."""
        self._connection.call("StartUnit", "ss", unit, "replace")

    def queue_restart(self, unit: str) -> None:
        """Ask for a restart and do not wait, as ``queue_start``."""
        self._connection.call("RestartUnit", "ss", unit, "replace")

    def stop(self, unit: str, timeout: float = JOB_TIMEOUT) -> None:
        """Stop a unit and wait until it is down; one that is not loaded is down already. Raises JobError."""
        with contextlib.suppress(NoSuchUnitError):
            self._run_job("StopUnit", "stop", unit, timeout)

    def restart(self, unit: str, timeout: float = JOB_TIMEOUT) -> None:
        """Stop a unit if it runs, then start it. Raises JobError."""
        self._run_job("RestartUnit", "restart", unit, timeout)

    def start_scope(self, unit: str, description: str, slice_name: str, pid: int) -> None:
        """Put a process that is there already into a control group of its own, delegated to it (systemd.scope(5)).

        The scope ends with its last process. Raises JobError, SystemdError.
        """
        properties = [
            ("Description", "s", description),
            ("Slice", "s", slice_name),
            ("Delegate", "b", True),
            ("CollectMode", "s", "inactive-or-failed"),
            ("PIDs", "au", [pid]),
        ]
        job = self._connection.start_transient(unit, properties)
        result = self._wait_for_job(job, unit, "start", time.monotonic() + JOB_TIMEOUT)
        if result != "done":
            raise JobError(unit, "start", result, self.status(unit))

    def kill(self, unit: str, signal: int, whom: str = "main") -> None:
        """Send a signal to the unit's ``main`` process or to ``all``. Raises NoSuchUnitError, SystemdError."""
        with _about(unit):
            self._connection.call("KillUnit", "ssi", unit, whom, signal)

    def reset_failed(self, unit: str) -> None:
        """Forget that a unit failed, and how often it was started; one that is not loaded has nothing to forget."""
        with contextlib.suppress(NoSuchUnitError), _about(unit):
            self._connection.call("ResetFailedUnit", "s", unit)

    def _run_job(self, member: str, verb: str, unit: str, timeout: float) -> None:
        with _about(unit):
            job = self._connection.call(member, "ss", unit, "replace")
        result = self._wait_for_job(job, unit, verb, time.monotonic() + timeout)
        if result not in ("done", "skipped"):
            raise JobError(unit, verb, result, self.status(unit))

    def _wait_for_job(self, job: str, unit: str, verb: str, deadline: float) -> str:
        while (result := self._connection.job_result(job)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return "deadline"
            # At most a second: sd-bus handles some messages without telling, and then poll(2) cannot know that
            # the one we wait for is already in its queue.
            if not self._connection.wait_for_signal(min(left, 1.0)) and not self._job_exists(job):
                return self._connection.job_result(job) or self._infer_result(unit, verb)
        return result

    def _job_exists(self, job: str) -> bool:
        try:
            self._connection.get_properties(job, _JOB)
        except SystemdError:  # UnknownObject: it has ended
            return False
        return True

    def _infer_result(self, unit: str, verb: str) -> str:
        status = self.status(unit)
        return "done" if (status.is_down if verb == "stop" else status.is_running) else "failed"

    # Questions.

    def status(self, unit: str) -> UnitStatus:
        """All about one unit; one that does not exist has the load state ``not-found``. Raises SystemdError."""
        path = _object_path(unit)
        kind = unit.rpartition(".")[2]
        properties = self._connection.get_properties(path, _UNIT)
        of_kind = (
            self._connection.get_properties(path, f"org.freedesktop.systemd1.{kind.capitalize()}")
            if kind in _KINDS
            else {}
        )
        return read_status(unit, properties, of_kind)

    def settled_status(self, unit: str) -> UnitStatus:
        """As ``status``; a unit that is being stopped, or restarted, is waited for until it is down, or up again."""
        deadline = time.monotonic() + JOB_TIMEOUT
        status = self.status(unit)
        waits = status.active_state == "deactivating"
        while waits and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            status = self.status(unit)
            waits = status.active_state == "deactivating" or status.has_job
        return status

    def list_units_by_names(self, names: Iterable[str]) -> dict[str, UnitSummary]:
        """The named units, in one call.

        systemd reads the files of those that it does not have in memory, which costs it a millisecond for each: without
        that nobody could tell one that is down from one that cannot be read.
        """
        rows = self._connection.call("ListUnitsByNames", "as", list(names))
        return {row[0]: UnitSummary(*row[:5]) for row in rows}

    def list_dependencies(self, unit: str, kind: str = "Requires") -> tuple[str, ...]:
        """Names in one of the unit's lists: ``Requires``, ``Wants``, ``After``, ``RequiredBy`` and so on."""
        path = _object_path(unit)
        return tuple(self._connection.call_object(path, PROPERTIES, "Get", "ss", _UNIT, kind))

    def list_stopped_with(self, unit: str) -> tuple[str, ...]:
        """The units that a stop job for ``unit`` stops too, without those that depend on these in turn."""
        path = _object_path(unit)
        properties = self._connection.get_properties(path, _UNIT)
        return tuple(name for kind in _STOPPED_WITH for name in properties.get(kind, ()))

    def unit_processes(self, unit: str) -> tuple[UnitProcess, ...]:
        """All processes in the unit's control group and below; none for a unit that is not loaded."""
        try:
            return tuple(UnitProcess(*row) for row in self._connection.call("GetUnitProcesses", "s", unit))
        except NoSuchUnitError:
            return ()


def _object_path(unit: str) -> str:
    return str(path_encode(b"/org/freedesktop/systemd1/unit", unit.encode()).decode())


@contextlib.contextmanager
def _about(unit: str) -> Iterator[None]:
    """Errors say which unit they are about, and what may help: PID 1's own text is often no more than an errno's."""
    try:
        yield
    except SystemdError as error:
        if type(error) is not SystemdError:
            raise
        message = error.message if unit in error.message else f"{unit}: {error.message}"
        hint = error.hint or f"systemd-analyze verify {unit} may say what is wrong"
        raise SystemdError(message, hint, error.name) from None


def _synced(changes: tuple[LinkChange, ...]) -> tuple[LinkChange, ...]:
    """Make links durable: PID 1 does not, and a service that a power cut has disabled is a half state."""
    for directory in {Path(change.link).parent for change in changes}:
        # An emptied directory of wants goes with its last link.
        sync_directory(next(each for each in (directory, *directory.parents) if each.is_dir()))
    return changes


@contextlib.contextmanager
def connect(private_socket: Path = PRIVATE_SOCKET) -> Iterator[Manager]:
    """A manager for the length of a ``with``. Raises NoSystemdError."""
    connection = Connection(private_socket)
    try:
        connection.open()
        yield Manager(connection)
    finally:
        connection.close()
