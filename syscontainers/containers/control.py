"""Starting and stopping what is installed."""

from __future__ import annotations

from collections.abc import Sequence

from ..systemd.manager import JobError, Manager, connect
from .context import Context
from .generation import current_generation
from .health import check_health, failure_of
from .names import service_unit
from .trial import end_trial


def start(context: Context, names: Sequence[str]) -> None:
    """Start each and wait until it is healthy. Raises UnhealthyError, NotFoundError."""
    _check_installed(context, names)
    with connect() as manager:
        for name in names:
            if manager.status(service_unit(name)).active_state != "active":
                start_one(context, manager, name, restart=False)


def restart(context: Context, names: Sequence[str]) -> None:
    """Restart each and wait until it is healthy. Raises UnhealthyError, NotFoundError."""
    _check_installed(context, names)
    with connect() as manager:
        for name in names:
            start_one(context, manager, name, restart=True)


def stop(context: Context, names: Sequence[str]) -> None:
    """Stop each. Raises JobError, NotFoundError."""
    _check_installed(context, names)
    with connect() as manager:
        for name in names:
            manager.stop(service_unit(name))


def enable(context: Context, names: Sequence[str]) -> None:
    """Start each at boot. Raises NotFoundError."""
    _check_installed(context, names)
    with connect() as manager:
        manager.enable_units([service_unit(name) for name in names])
        manager.reload()


def disable(context: Context, names: Sequence[str]) -> None:
    """Do not start each at boot. Raises NotFoundError."""
    _check_installed(context, names)
    with connect() as manager:
        manager.disable_units([service_unit(name) for name in names])
        manager.reload()


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


def _check_installed(context: Context, names: Sequence[str]) -> None:
    # All of them before the first is touched: a misspelt last name must not leave half the work done.
    for name in names:
        current_generation(context, name)
