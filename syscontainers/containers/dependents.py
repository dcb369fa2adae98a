"""What systemd stops together with a service, and starting it again.

A stop job takes along everything that requires the service or is bound to it; a start job brings nothing of that
back. So whoever stops a service only to start it again remembers what ran, in the record of the operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..errors import SyscontainersError
from ..systemd.manager import Manager
from .context import Context
from .journal import Switch


def walk(unit: str, following: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """Every unit to which ``following`` leads from ``unit``, each once, the nearest first.

    What follows a unit is asked after that has been given: the caller may start it before.
    """
    found = [unit]
    for each in found:
        for name in following(each):
            if name not in found:
                found.append(name)
                yield name


def running_dependents(manager: Manager, unit: str) -> tuple[str, ...]:
    """The running units that stop when ``unit`` is stopped, those first that depend on it directly."""
    return tuple(name for name in walk(unit, manager.list_stopped_with) if manager.status(name).is_running)


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
