"""After boot: deciding about every generation that had yet to prove itself.

Runs from syscontainers-settle.service, which starts nothing at all where ``trials`` is empty. A generation has proved
itself when its service runs and keeps running as after any start, or has done its work as a ``Type=oneshot``; it has
failed when the service is ``failed``, ended by itself, or is still on its way when the time is over. Then the
generation before runs again, and the journal and ``list`` say why. A service that nothing has started, or that
somebody has stopped, says nothing about its generation: that stays on trial.

What a container requires is judged before it, and what boot could not start because it requires one that failed is
started once that one runs again. Nobody is kept from changing a container while we look on; so each decision is made
under the container's lock, and only if nobody has made it by then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..containers.context import Context
from ..containers.dependents import walk
from ..containers.generation import container_names, current_generation, generation_at
from ..containers.health import check_health, failure_of
from ..containers.lock import container_lock
from ..containers.names import service_unit
from ..containers.rejection import Attempt, Rejection, write_rejection
from ..containers.rollback import go_back
from ..containers.transaction import changing
from ..containers.trial import (
    Trial,
    end_trial,
    names_half_noted,
    names_on_trial,
    read_trial,
    sweep_note,
    write_fallback,
)
from ..errors import SyscontainersError, UnhealthyError, from_os_error
from ..systemd.manager import Manager, connect
from ..systemd.unitstatus import UnitStatus
from ..typed import DocumentError

DEADLINE = 300.0
"""Seconds for all of them together, more than a start with its own timeout and some tries takes. What settle itself
starts, after it went back with something else, has as long from then on."""
_POLL_SECONDS = 2.0


def settle(context: Context) -> Iterator[tuple[str, str | SyscontainersError]]:
    """Decide about each container on trial; yields what was decided, or why that was not possible."""
    for name in names_half_noted(context):
        yield from _attempt(name, partial(_sweep, context, name))
    with connect() as manager:
        names = _sort_by_needs(manager, names_on_trial(context))
        limits = dict.fromkeys(names, time.monotonic() + DEADLINE)
        for name in names:
            yield from _attempt(name, partial(_settle_one, context, manager, limits, name))


def _attempt(name: str, decide: Callable[[], str]) -> Iterator[tuple[str, str | SyscontainersError]]:
    """What goes wrong with one does not keep the others from being decided about."""
    try:
        told = decide()
    except SyscontainersError as error:
        yield name, error
    except OSError as error:
        yield name, from_os_error(error)
    else:
        if told:
            yield name, told


def _sweep(context: Context, name: str) -> str:
    with container_lock(context, name, "settle"):
        sweep_note(context, name)
    return ""


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


def _settle_one(context: Context, manager: Manager, limits: dict[str, float], name: str) -> str:
    trial = _read_or_drop(context, name)
    if trial is None:
        return ""
    if current_generation(context, name).number != trial.generation:
        return _drop(context, name, trial)  # somebody has decided otherwise
    if not manager.is_enabled(service_unit(name)):
        return _drop(context, name, trial, f"{name}: boot does not start it, so nothing decides about {_at(trial)}")
    try:
        proved = _wait_until_proved(context, manager, name, trial, limits[name])
    except UnhealthyError as error:
        return _fall_back(context, limits, name, trial, error)
    if not proved:
        return f"{name}: {_at(trial)} was not started, or was stopped; the next boot decides about it"
    return _drop(context, name, trial, f"{name}: {_at(trial)} has come up")


def _at(trial: Trial) -> str:
    return f"generation {trial.generation}"


def _read_or_drop(context: Context, name: str) -> Trial | None:
    """The note. Raises DocumentError for a damaged one, which is gone then: no boot could read it either."""
    try:
        return read_trial(context, name)
    except DocumentError:
        with container_lock(context, name, "settle"):
            end_trial(context, name)
        raise


def _drop(context: Context, name: str, trial: Trial, told: str = "") -> str:
    """End this very trial; ``told``, or nothing where it is another one by now."""
    with container_lock(context, name, "settle"):
        if read_trial(context, name) != trial:
            return ""
        end_trial(context, name)
    return told


def _is_undecided(context: Context, name: str, trial: Trial) -> bool:
    return read_trial(context, name) == trial and current_generation(context, name).number == trial.generation


def _wait_until_proved(context: Context, manager: Manager, name: str, trial: Trial, limit: float) -> bool:
    """Whether it has come up; False if nothing has started it, or somebody has stopped it. Raises UnhealthyError.

    A service that systemd starts again by itself may have waited for another one: it is given its tries.
    """
    while _is_undecided(context, name, trial):
        status = manager.status(service_unit(name))
        if not status.has_job and status.active_state == "inactive":
            return _judge_ended(manager, name, status)
        if not status.has_job and status.active_state in ("active", "failed") and _is_well(context, manager, name):
            return True
        if time.monotonic() > limit:
            if not status.invocation_id:
                return False
            raise UnhealthyError(f"{name} has not come up in time: it is {status.active_state}")
        time.sleep(_POLL_SECONDS)
    return True  # decided by somebody else: whoever asks next will see


def _judge_ended(manager: Manager, name: str, status: UnitStatus) -> bool:
    if status.service_type == "oneshot" and status.invocation_id and status.result == "success":
        return True
    if status.invocation_id and status.ended_by_itself:
        raise failure_of(manager, name, "did not keep running")
    return False


def _is_well(context: Context, manager: Manager, name: str) -> bool:
    """False while systemd tries again. Raises UnhealthyError once it does not any more."""
    try:
        check_health(context, manager, name)
    except UnhealthyError:
        now = manager.status(service_unit(name))
        if now.active_state == "failed" and not now.has_job:
            raise
        return False
    return True


def _fall_back(context: Context, limits: dict[str, float], name: str, trial: Trial, error: UnhealthyError) -> str:
    with changing(context, name, "settle") as manager:
        if not _is_undecided(context, name, trial):
            return ""
        outcome, current = _go_back(context, manager, name, trial)
        write_fallback(context, name, trial, current, error.message)
        if current == trial.generation:
            end_trial(context, name)
        else:
            _reject(context, name, trial, error)
            started = _start_dependents(context, manager, name)
            limits.update(dict.fromkeys(started, time.monotonic() + DEADLINE))
    return f"{name}: {_at(trial)} did not come up, {outcome}: {error.message}"


def _go_back(context: Context, manager: Manager, name: str, trial: Trial) -> tuple[str, int]:
    """Run the generation before, if there is one: what became of that, and the one that is current then."""
    if trial.previous is None:
        return "and there is none before it", trial.generation
    try:
        go_back(context, manager, name, trial.previous, start=True)
    except SyscontainersError as error:
        return f"nor did the one before it ({error.message})", trial.generation
    return f"generation {trial.previous} runs again", trial.previous


def _reject(context: Context, name: str, trial: Trial, error: UnhealthyError) -> None:
    with contextlib.suppress(SyscontainersError):  # damaged: what it was made from cannot be compared with anything
        info = generation_at(context, name, trial.generation).read_info()
        attempt = Attempt(info.image, info.digest, info.runtime, dict(info.user_values))
        write_rejection(context, name, Rejection(attempt, error.message))


def _start_dependents(context: Context, manager: Manager, name: str) -> list[str]:
    """Let boot go on where it gave up (job result ``dependency``): systemd does not try again by itself."""
    installed = {service_unit(each): each for each in container_names(context)}

    def given_up(unit: str) -> list[str]:
        requiring = manager.list_dependencies(unit, "RequiredBy")
        return [each for each in requiring if each in installed and _should_run(manager, each)]

    started = []
    for unit in walk(service_unit(name), given_up):
        manager.queue_start(unit)
        started.append(installed[unit])
    return started


def _should_run(manager: Manager, unit: str) -> bool:
    return manager.status(unit).active_state == "inactive" and manager.is_enabled(unit)
