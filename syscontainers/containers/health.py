"""Whether a service that was started is well.

``Type=forking`` and ``exec`` report success as soon as the process exists; a payload that fails at once would
count as started. So after the start job the service has to keep running, as the same process, for a grace time.
"""

from __future__ import annotations

import time

from ..errors import UnhealthyError
from ..systemd import journal
from ..systemd.manager import Manager
from .context import Context
from .names import service_unit

_POLL_SECONDS = 0.05
_JOURNAL_LINES = 10


def check_health(context: Context, manager: Manager, name: str) -> None:
    """Wait out the grace time. Raises UnhealthyError with the journal's last lines."""
    unit = service_unit(name)
    first = manager.status(unit)
    if first.service_type == "oneshot" and first.result == "success":
        return
    deadline = time.monotonic() + context.settings.grace_seconds
    while True:
        now = manager.status(unit)
        if now.active_state != "active" or now.n_restarts != first.n_restarts or now.main_pid != first.main_pid:
            raise failure_of(manager, name, "did not keep running")
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)


def failure_of(manager: Manager, name: str, what: str) -> UnhealthyError:
    """The error that says how ``name`` failed, with its last journal lines as evidence."""
    status = manager.status(service_unit(name))
    lines = journal.last_lines(service_unit(name), status.invocation_id, _JOURNAL_LINES)
    return UnhealthyError(
        f"{name} {what}: {status.describe_failure()}", f"journalctl -u {service_unit(name)} has the rest", lines
    )
