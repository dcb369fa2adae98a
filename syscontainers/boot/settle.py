"""After boot: deciding about every generation that had yet to prove itself.

Runs from syscontainers-settle.service, which starts nothing at all where ``trials`` is empty. A generation has proved
itself when its service runs and keeps running as after any start; it has failed when the service is in the state
``failed``, or when the time is over. Then the generation before runs again, and the journal and ``list`` say why.

What a container requires is judged before it, and what boot could not start because it requires one that failed is
started once that one runs again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ..containers.context import Context
from ..containers.generation import container_names, current_generation
from ..containers.health import check_health
from ..containers.names import service_unit
from ..containers.rollback import rollback
from ..containers.trial import Trial, end_trial, names_on_trial, read_trial, sweep_notes, write_fallback
from ..errors import SyscontainersError, UnhealthyError
from ..systemd.manager import Manager, connect

DEADLINE = 300.0
"""Seconds, counted from the first look at a service: more than a start with its own timeout and some tries takes."""
_POLL_SECONDS = 2.0


def settle(context: Context) -> Iterator[tuple[str, str | SyscontainersError]]:
    """Decide about each container on trial; yields what was decided, or why that was not possible."""
    sweep_notes(context)
    with connect() as manager:
        for name in _sort_by_needs(manager, names_on_trial(context)):
            try:
                told = _settle_one(context, manager, name)
            except SyscontainersError as error:
                yield name, error
            else:
                if told:
                    yield name, told


def _sort_by_needs(manager: Manager, names: Sequence[str]) -> list[str]:
    """Each container after all of ``names`` that it requires; systemd knows best, units may say more than we wrote."""
    ordered: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        for need in manager.list_dependencies(service_unit(name), "Requires"):
            required = need.removesuffix(".service")
            if required in names and required not in (*path, *ordered):
                visit(required, (*path, name))
        ordered[name] = None

    for name in names:
        visit(name, ())
    return list(ordered)


def _settle_one(context: Context, manager: Manager, name: str) -> str:
    trial = read_trial(context, name)
    if trial is None or current_generation(context, name).number != trial.generation:
        end_trial(context, name)  # somebody has decided otherwise
        return ""
    if not manager.is_enabled(service_unit(name)):
        return ""  # boot does not start it; whoever does will see
    try:
        _wait_until_proved(context, manager, name)
    except UnhealthyError as error:
        return _fall_back(context, manager, name, trial, error)
    end_trial(context, name)
    return f"{name}: generation {trial.generation} has come up"


def _wait_until_proved(context: Context, manager: Manager, name: str) -> None:
    """Raises UnhealthyError. A service that systemd starts again by itself may have waited for another one."""
    deadline = time.monotonic() + DEADLINE
    while True:
        status = manager.status(service_unit(name))
        try:
            if status.active_state in ("active", "failed"):
                return check_health(context, manager, name)
        except UnhealthyError:
            if status.active_state == "failed":
                raise
        if time.monotonic() > deadline:
            raise UnhealthyError(f"{name} has not come up within {DEADLINE:.0f} seconds: it is {status.active_state}")
        time.sleep(_POLL_SECONDS)


def _fall_back(context: Context, manager: Manager, name: str, trial: Trial, error: UnhealthyError) -> str:
    if trial.previous is None:
        write_fallback(context, name, trial, error.message)
        end_trial(context, name)
        return f"{name}: generation {trial.generation} did not come up, and there is none before it: {error.message}"
    try:
        rollback(context, name, trial.previous, start=True)
    except SyscontainersError as second:
        write_fallback(context, name, Trial(trial.generation, None), error.message)
        end_trial(context, name)
        return f"{name}: generation {trial.generation} did not come up, nor did the one before it: {second.message}"
    write_fallback(context, name, trial, error.message)
    _start_dependents(context, manager, name)
    return (
        f"{name}: generation {trial.generation} did not come up, generation {trial.previous} runs again: "
        f"{error.message}"
    )


def _start_dependents(context: Context, manager: Manager, name: str) -> None:
    """Let boot go on where it gave up (job result ``dependency``): systemd does not try again by itself."""
    installed, waiting, seen = container_names(context), [name], {name}
    while waiting:
        for unit in manager.list_dependencies(service_unit(waiting.pop()), "RequiredBy"):
            dependent = unit.removesuffix(".service")
            if dependent in installed and dependent not in seen and _should_run(manager, dependent):
                manager.queue_start(unit)
                waiting.append(dependent)
            seen.add(dependent)


def _should_run(manager: Manager, name: str) -> bool:
    unit = service_unit(name)
    return manager.status(unit).active_state == "inactive" and manager.is_enabled(unit)
