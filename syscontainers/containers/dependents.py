"""What systemd stops together with a service, and starting it again.

A stop job takes along everything that requires the service or is bound to it; a start job brings nothing of that
back. So whoever stops a service only to start it again remembers what ran, in the record of the operation.
"""

from __future__ import annotations

from ..errors import SyscontainersError
from ..systemd.manager import Manager
from .context import Context
from .journal import Switch


def running_dependents(manager: Manager, unit: str) -> tuple[str, ...]:
    """The running units that stop when ``unit`` is stopped, those first that depend on it directly."""
    found: dict[str, bool] = {unit: False}
    waiting = [unit]
    while waiting:
        for dependent in manager.list_stopped_with(waiting.pop(0)):
            if dependent not in found:
                found[dependent] = manager.status(dependent).is_running
                waiting.append(dependent)
    return tuple(name for name, is_running in found.items() if is_running)


def start_dependents(context: Context, manager: Manager, switch: Switch) -> None:
    """Have everything run again that ran before ``switch``; tells what does not."""
    for unit in switch.dependents:
        try:
            _start(context, manager, unit)
        except SyscontainersError as error:
            context.progress.warn(f"{switch.name}: what was stopped with it does not run again: {error.message}")


def _start(context: Context, manager: Manager, unit: str) -> None:
    if context.early:
        if manager.is_enabled(unit):  # boot has given it up if there was no service to require
            manager.queue_start(unit)
    elif unit.endswith(".target"):  # what it waits for may be waiting for us
        manager.queue_start(unit)
    else:
        manager.reset_failed(unit)
        manager.start(unit)
