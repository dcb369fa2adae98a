"""What is installed and how it does, for people and programs.

One damaged container never hides the others: it is listed as broken, with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import NotFoundError, SyscontainersError
from .context import Context
from .generation import Generation, container_names, current_generation, generation_names, list_generations
from .info import Info
from .journal import names_with_records
from .names import check_name, service_unit
from .trial import read_fallback

if TYPE_CHECKING:  # PID 1's client costs 60 ms; a host with nothing installed never needs it
    from ..systemd.manager import Manager
    from ..systemd.unitstatus import UnitStatus, UnitSummary

# ActiveState of org.freedesktop.systemd1(5), in the words of Project Atomic's clients where there is one
_STATES = {"active": "running", "reloading": "running", "activating": "starting", "deactivating": "stopping"}


@dataclass(frozen=True)
class Row:
    """One container as listed."""

    name: str
    state: str
    generation: int | None
    info: Info | None
    problem: str = ""

    def to_json(self) -> dict[str, object]:
        """The row of ``list --json``; its keys are a contract."""
        info = self.info
        return {
            "name": self.name,
            "state": self.state,
            "image": info.image if info else None,
            "digest": info.digest if info else None,
            "generation": self.generation,
            "created": info.created if info else None,
            "runtime": info.runtime if info else None,
            "unit": service_unit(self.name),
            "problem": self.problem or None,
        }


@dataclass(frozen=True)
class UnitState:
    """What PID 1 says about a service."""

    active_state: str
    problem: str = ""
    """Why it cannot read the unit."""
    masked: bool = False


@dataclass(frozen=True)
class GenerationRow:
    """One generation as ``show --generations`` lists it."""

    generation: Generation
    is_current: bool
    info: Info | None
    problem: str = ""

    def to_json(self) -> dict[str, object]:
        """For ``show --generations --json``; the keys are a contract."""
        info = self.info
        return {
            "number": self.generation.number,
            "current": self.is_current,
            "directory": str(self.generation.directory),
            "image": info.image if info else None,
            "digest": info.digest if info else None,
            "created": info.created if info else None,
            "runtime": info.runtime if info else None,
            "user_values": {name: info.shown_value(name) for name in info.user_values} if info else {},
            "problem": self.problem or None,
        }


def describe_generations(context: Context, name: str) -> list[GenerationRow]:
    """The generations of a container that are kept, oldest first. Raises NotFoundError, UsageError."""
    check_name(name)
    if name not in container_names(context) and not list_generations(context, name):
        raise NotFoundError(f"{name}: no such container", "syscontainer list shows what is installed")
    try:
        current = current_generation(context, name).number
    except NotFoundError:  # its link leads astray; the generations are there all the same
        current = None
    return [_generation_row(generation, current) for generation in list_generations(context, name)]


def _generation_row(generation: Generation, current: int | None) -> GenerationRow:
    is_current = generation.number == current
    try:
        return GenerationRow(generation, is_current, generation.read_info())
    except SyscontainersError as error:
        return GenerationRow(generation, is_current, None, error.message)


def list_containers(context: Context) -> list[Row]:
    """Every container of this host, by name."""
    names = container_names(context)
    states = _read_states(names) if names else {}
    rows = [make_row(context, name, states[service_unit(name)]) for name in names]
    return sorted([*rows, *_remains(context, names)], key=lambda row: row.name)


def _remains(context: Context, names: Sequence[str]) -> list[Row]:
    """Containers of which there are generations but no link to one, unless an operation is under way."""
    strays = sorted({*generation_names(context)} - {*names})
    busy = names_with_records(context) if strays else []
    return [_stray_row(name) for name in strays if name not in busy]


def _stray_row(name: str) -> Row:
    return Row(name, "broken", None, None, f"no link leads to a generation; syscontainer uninstall {name} removes them")


@dataclass(frozen=True)
class Details:
    """One container with its generations and, where systemd runs, what that says."""

    row: Row
    generations: Sequence[Generation]
    status: UnitStatus | None
    unit_file_state: str
    """``enabled``, ``disabled``, ``static``, …; empty without a unit or without systemd."""


def read_container(context: Context, name: str) -> Details:
    """All about one container. Raises NotFoundError, UsageError."""
    from ..systemd.manager import NoSystemdError, connect

    generations = list_generations(context, check_name(name))
    if name not in container_names(context) and not generations:
        raise NotFoundError(f"{name}: no such container", "syscontainer list shows what is installed")
    try:
        with connect() as manager:
            status, state = manager.status(service_unit(name)), manager.unit_file_state(service_unit(name))
    except NoSystemdError:
        return Details(make_row(context, name, UnitState("unknown")), generations, None, "")
    return Details(make_row(context, name, _state_of(status)), generations, status, state)


def make_row(context: Context, name: str, state: UnitState) -> Row:
    """The row of ``name`` whose unit is in ``state``; damage shows in the row instead of being raised."""
    number = None
    if not os.path.lexists(context.settings.containers / name):
        return _stray_row(name)
    try:
        generation = current_generation(context, name)
        number = generation.number
        info = generation.read_info()
    except SyscontainersError as error:
        return Row(name, "broken", number, None, error.message)
    if not info.has_service:
        return Row(name, "no service", number, info)
    path = context.unit_file(service_unit(name))
    if not os.path.lexists(path):
        return Row(name, "broken", number, info, f"{path} is gone; syscontainer update {name} puts it back")
    if state.problem:
        return Row(name, "broken", number, info, state.problem)
    word = _STATES.get(state.active_state, state.active_state)
    return Row(name, word, number, info, "its unit is masked" if state.masked else _note(context, name, number))


def _note(context: Context, name: str, number: int) -> str:
    fallback = read_fallback(context, name, number)
    return "" if fallback is None else fallback.describe()


def _read_states(names: Sequence[str]) -> Mapping[str, UnitState]:
    """The state by unit: one call for all, and one more for each that is not simply loaded."""
    from ..systemd.manager import NoSystemdError, connect

    units = [service_unit(name) for name in names]
    try:
        with connect() as manager:
            rows = manager.list_units_by_names(units)
            return {unit: _state_now(manager, unit, rows.get(unit)) for unit in units}
    except NoSystemdError:  # a chroot, or an image being built: what is installed can be listed all the same
        return dict.fromkeys(units, UnitState("unknown"))


def _state_now(manager: Manager, unit: str, row: UnitSummary | None) -> UnitState:
    if row is not None and row.load_state == "loaded":
        return UnitState(row.active_state)
    return _state_of(manager.status(unit))  # it says more, and finds one that is listed by another name, as an alias is


def _state_of(status: UnitStatus) -> UnitState:
    if status.load_state in ("loaded", "masked"):
        return UnitState(status.active_state, masked=status.load_state == "masked")
    return UnitState(status.active_state, status.load_error or f"{status.name}: {status.load_state}")
