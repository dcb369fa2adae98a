"""Uninstalling what was declared once and is not any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..containers.context import Context
from ..containers.generation import container_names
from ..containers.names import service_unit
from ..containers.uninstall import uninstall
from ..errors import RefusedError
from ..systemd.manager import Manager
from .binding import declared_names, read_needs
from .declaration import Declaration
from .report import Report

_BINDING = ("RequiredBy", "BoundBy")  # what stops when the other does


def prune(context: Context, manager: Manager, declarations: Sequence[Declaration], report: Report) -> None:
    """Uninstall every stray but those that something needs that stays; it would stop, or the next apply refuse it."""
    strays, needed = find_strays(context, manager, declarations)
    for name, users in needed.items():
        text = f"{name}: not uninstalled, because {', '.join(users)} needs it"
        report.failed[name] = RefusedError(text, f"declare {name}, or take it out of what the other needs")
    for name in strays:
        with report.catch(name):
            uninstall(context, name)
            report.note(name, "uninstalled")


def find_strays(
    context: Context, manager: Manager, declarations: Sequence[Declaration]
) -> tuple[list[str], Mapping[str, Sequence[str]]]:
    """What ``apply`` made and nobody declares: that which can go, and that which cannot, with by whom it is needed."""
    declared = {declaration.name: declaration for declaration in declarations}
    strays = [name for name in declared_names(context) if name not in declared]
    needed: dict[str, Sequence[str]] = {}
    while True:  # one that has to stay may need another
        staying = {*container_names(context), *needed} - {name for name in strays if name not in needed}
        users = {name: _users(context, manager, declared, name, staying) for name in strays if name not in needed}
        found = {name: by for name, by in users.items() if by}
        if not found:
            return list(users), needed
        needed |= found


def _users(
    context: Context, manager: Manager, declared: Mapping[str, Declaration], name: str, staying: Collection[str]
) -> list[str]:
    units = [unit for kind in _BINDING for unit in manager.list_dependencies(service_unit(name), kind)]
    bound = {unit.removesuffix(".service") for unit in units} & {*staying}
    # What an older declaration said, and systemd may not have forgotten yet, says nothing any more.
    outdated = {user for user in bound if user in declared and name in read_needs(context, user)}
    return sorted(bound - outdated | {user for user, declaration in declared.items() if name in declaration.needs})
