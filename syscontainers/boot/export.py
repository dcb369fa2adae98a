"""An installed container as the declaration that would install it."""

from __future__ import annotations

from typing import Any

from ..containers.context import Context
from ..containers.generation import current_generation
from ..containers.names import service_unit
from ..errors import SyscontainersError
from ..images.reference import Reference
from ..systemd.manager import connect
from ..systemd.unitfile import UnitFile, parse
from .binding import read_binding
from .declaration import LIMITS
from .lockfile import write_toml


def export_container(context: Context, name: str) -> str:
    """The text of ``NAME.toml``. Raises NotFoundError, and SyscontainersError for values that TOML's writer mangles."""
    info = current_generation(context, name).read_info()
    if info.remote:
        raise SyscontainersError(f"{name}: its root is {info.remote}, which no declaration can say")
    with connect() as manager:
        starts = manager.is_enabled(service_unit(name))
    table: dict[str, Any] = {"image": info.image}
    if name != Reference.parse(info.image).container_name:
        table["name"] = name
    table["start"] = starts
    table["runtime"] = info.runtime
    table |= _relations(_read_drop_in(context, name))
    if info.user_values:
        table["values"] = dict(info.user_values)
    if limits := _limits(_read_drop_in(context, name)):
        table["limits"] = limits
    return write_toml(table)


def _read_drop_in(context: Context, name: str) -> UnitFile:
    return parse(read_binding(context, name))


def _relations(unit: UnitFile) -> dict[str, list[str]]:
    found = {key: _containers(unit.get_all("Unit", key.title())) for key in ("requires", "wants", "after")}
    # Both of the others say After= too.
    found["after"] = [each for each in found["after"] if each not in (*found["requires"], *found["wants"])]
    return {key: names for key, names in found.items() if names}


def _containers(units: tuple[str, ...]) -> list[str]:
    return [unit.removesuffix(".service") for unit in units]


def _limits(unit: UnitFile) -> dict[str, str | list[str]]:
    found = {key: list(unit.get_all("Service", key)) for key in LIMITS}
    return {key: values if len(values) > 1 else values[0] for key, values in found.items() if values}
