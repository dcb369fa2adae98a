"""In which order declared containers come: what others need comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..errors import UsageError
from .declaration import Declaration

Needs = Mapping[str, Sequence[str]]


def sort_by_needs(declarations: Sequence[Declaration], installed: Needs | None = None) -> list[Declaration]:
    """Each container after all that it needs; otherwise by name.

    ``installed`` has what each installed container was once declared to need: as long as it is not declared anew, that
    holds. Raises UsageError, with file, line and key, for a need that is neither declared nor installed, and for a
    circle, which systemd would break by leaving one of them out of the boot.
    """
    by_name = {declaration.name: declaration for declaration in declarations}
    needs = {**(installed or {}), **{name: declaration.needs for name, declaration in by_name.items()}}
    ordered: dict[str, None] = {}
    for name in sorted(by_name):
        _visit(by_name, needs, ordered, [name])
    return [by_name[name] for name in ordered if name in by_name]


def _visit(by_name: Mapping[str, Declaration], needs: Needs, ordered: dict[str, None], path: list[str]) -> None:
    """Add what the last of ``path`` needs, then itself; ``path`` is how we came here."""
    name = path[-1]
    if name in ordered:
        return
    for need in needs[name]:
        if need in path:
            _refuse_circle(by_name, [*path[path.index(need) :], need])
        elif need in needs:
            _visit(by_name, needs, ordered, [*path, need])
        elif name in by_name:
            raise _refuse(by_name[name], need, f"names {need!r}, which is no container of this host")
    ordered[name] = None


def _refuse_circle(by_name: Mapping[str, Declaration], circle: list[str]) -> None:
    # One in which nothing is declared is there already, and not to be mended here.
    for name, need in reversed([*pairwise(circle)]):
        if name in by_name:
            raise _refuse(by_name[name], need, f"makes a circle: {' needs '.join(circle)}")


def _refuse(declaration: Declaration, need: str, problem: str) -> UsageError:
    lists = {"requires": declaration.requires, "wants": declaration.wants, "after": declaration.after}
    key = next(key for key, names in lists.items() if need in names)
    return declaration.refuse((key,), problem)
