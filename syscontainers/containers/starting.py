"""Starting one service: what a start, a restart, an install and an update have in common."""

from __future__ import annotations

from ..systemd.manager import JobError, Manager
from .context import Context
from .health import check_health, failure_of
from .names import service_unit
from .trial import end_trial


def start_one(context: Context, manager: Manager, name: str, *, restart: bool) -> None:
    """Start one service afresh, past any start limit, and wait until it is healthy. Raises UnhealthyError."""
    unit = service_unit(name)
    manager.reset_failed(unit)
    try:
        if restart:
            manager.restart(unit)
        else:
            manager.start(unit)
    except JobError:
        raise failure_of(manager, name, "did not start") from None
    check_health(context, manager, name)
    end_trial(context, name)
