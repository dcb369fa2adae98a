"""In which order declared containers come: what others need comes first."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .declaration import Declaration


def sort_by_needs(declarations: Sequence[Declaration], installed: Collection[str] = ()) -> list[Declaration]:
    """Each container after all that it needs; otherwise by name.

    Raises UsageError, with file, line and key, for a need that is neither declared nor installed, and for a circle,
    which systemd would break by leaving one of them out of the boot.
    """
    by_name = {declaration.name: declaration for declaration in declarations}
    ordered: dict[str, Declaration] = {}
    for name in sorted(by_name):
        _visit(by_name, installed, ordered, [name])
    return list(ordered.values())


def _visit(
    by_name: dict[str, Declaration], installed: Collection[str], ordered: dict[str, Declaration], path: list[str]
) -> None:
    """Add what the last of ``path`` needs, then itself; ``path`` is how we came here."""
    declaration = by_name[path[-1]]
    if declaration.name in ordered:
        return
    for need in declaration.needs:
        if need in path:
            circle = " needs ".join([*path[path.index(need) :], need])
            raise declaration.refuse((_key_of(declaration, need),), f"makes a circle: {circle}")
        if need in by_name:
            _visit(by_name, installed, ordered, [*path, need])
        elif need not in installed:
            raise declaration.refuse(
                (_key_of(declaration, need),), f"names {need!r}, which is no container of this host"
            )
    ordered[declaration.name] = declaration


def _key_of(declaration: Declaration, need: str) -> str:
    lists = {"requires": declaration.requires, "wants": declaration.wants, "after": declaration.after}
    return next(key for key, names in lists.items() if need in names)
