"""Whether a service that was started is well.

``Type=forking`` and ``exec`` report success as soon as the process exists; a payload that fails at once would
count as started. So after the start job the service has to keep running, as the same process, for a grace time;
and where the image declares a check, that has to succeed once within its own time.
"""

from __future__ import annotations

import time

from ..errors import SyscontainersError, UnhealthyError
from ..exports.health import HealthCheck
from ..run import run
from ..systemd import journal
from ..systemd.manager import Manager
from ..systemd.unitstatus import UnitStatus
from .context import Context
from .generation import current_generation
from .names import service_unit

_POLL_SECONDS = 0.05
_JOURNAL_LINES = 10


def check_health(context: Context, manager: Manager, name: str) -> None:
    """Wait until the service has proved well. Raises UnhealthyError with the journal's last lines."""
    first = manager.status(service_unit(name))
    if first.service_type == "oneshot" and first.result == "success":
        return
    if first.is_down and not first.condition_result:
        raise failure_of(manager, name, "was not started")
    info = current_generation(context, name).read_info()
    # Who speaks the readiness protocol has said that it is ready: there is nothing to wait for.
    _watch(manager, name, first, 0.0 if first.service_type.startswith("notify") else context.settings.grace_seconds)
    if info.health is not None:
        _ask(manager, first, name, info.runtime, info.health)


def failure_of(manager: Manager, name: str, what: str) -> UnhealthyError:
    """The error that says how ``name`` failed, with its last journal lines as evidence."""
    status = manager.status(service_unit(name))
    lines = journal.last_lines(service_unit(name), status.invocation_id, _JOURNAL_LINES)
    text = f"{name} {what}: {status.describe_failure()}"
    return UnhealthyError(text, f"journalctl -u {service_unit(name)} has the rest", lines)


def _watch(manager: Manager, name: str, first: UnitStatus, seconds: float) -> None:
    """Look on for so many seconds. Raises UnhealthyError if the service ends or is another process."""
    deadline = time.monotonic() + seconds
    while True:
        now = manager.status(service_unit(name))
        if not _is_up(now) or (now.n_restarts, now.main_pid) != (first.n_restarts, first.main_pid):
            raise failure_of(manager, name, "did not keep running")
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)


def _is_up(status: UnitStatus) -> bool:
    """Up, be it that it reads its configuration anew at this moment, as administrators and timers make it."""
    return status.active_state in ("active", "reloading", "refreshing")


def _ask(manager: Manager, first: UnitStatus, name: str, runtime: str, check: HealthCheck) -> None:
    deadline = time.monotonic() + check.timeout
    answer = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            done = run([runtime, "exec", name, *check.command], check=False, timeout=left)
        except SyscontainersError as error:  # it takes longer than all the time that is left
            answer = answer or error.message
            break
        if done.returncode == 0:
            return
        answer = f"exit status {done.returncode}: {(done.stdout + done.stderr).decode(errors='replace').strip()[-200:]}"
        _watch(manager, name, first, min(check.interval, max(0.0, deadline - time.monotonic())))
    failure = failure_of(manager, name, "did not become healthy")
    text = f"{name} did not become healthy within {check.timeout:.0f} seconds: {' '.join(check.command)}: {answer}"
    raise UnhealthyError(text, failure.hint, failure.details)
