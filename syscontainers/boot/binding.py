"""``NAME.service.d/60-declared.conf``: what a declaration says about the unit rather than about the container.

A drop-in of its own, so that a limit can change without a new generation: systemd applies it to the running service
when it reads its files again. It also marks the containers that ``apply`` put there, which alone ``--prune`` removes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..containers.changes import Content, apply_changes, change_to
from ..containers.context import Context
from ..containers.generation import container_names, current_generation
from ..containers.names import service_unit
from ..containers.publish import declared_file
from ..errors import SyscontainersError
from ..files import sweep_temporaries
from ..systemd import verify
from ..systemd.unitfile import UnitSyntaxError, make_unit, parse
from .declaration import Declaration

_HEAD = "[Service]\nExecStart=/bin/true\n"
_MARK = "# Made by `syscontainer apply` from "


def binding_text(declaration: Declaration) -> str:
    """The drop-in of a declaration. Raises UnitSyntaxError."""
    relations = (
        ("Requires", declaration.requires),
        ("Wants", declaration.wants),
        ("After", declaration.needs),
    )
    unit = [(key, service_unit(name)) for key, names in relations for name in names]
    # As they are: systemd expands no specifiers in these settings, and 50% is a quota.
    service = [(key, value) for key, values in declaration.limits.items() for value in values]
    text = make_unit(("Unit", unit), ("Service", service)).to_text()
    return f"{_MARK}{declaration.source}\n{text}"


def read_binding(context: Context, name: str) -> str:
    """The drop-in that is there, or nothing."""
    path = declared_file(context, name)
    return path.read_text(errors="replace") if path.is_file() else ""


def read_needs(context: Context, name: str) -> tuple[str, ...]:
    """The containers that the drop-in has come before it; none where systemd could not read it either."""
    try:
        drop_in = parse(read_binding(context, name))
    except UnitSyntaxError:
        return ()
    units = [unit for key in ("Requires", "Wants", "After") for unit in drop_in.get_all("Unit", key)]
    return tuple(dict.fromkeys(unit.removesuffix(".service") for unit in units))


def check_needs(context: Context, declaration: Declaration) -> None:
    """Refuse what can never start: a need of a container without a service. Raises UsageError.

    What is to be installed first is there by now, and what could not be is told about with itself.
    """
    installed = container_names(context)
    for key, names in (("requires", declaration.requires), ("wants", declaration.wants)):
        for name in names:
            if name in installed and not _has_service(context, name):
                raise declaration.refuse((key,), f"names {name!r}, which has no service that could be started")


def _has_service(context: Context, name: str) -> bool:
    try:
        return current_generation(context, name).read_info().has_service
    except SyscontainersError:  # damaged, which is not this one's fault
        return True


def check_bindings(context: Context, declarations: Sequence[Declaration]) -> None:
    """Let systemd itself judge limits that are new. Raises UsageError with the file, line and key it does not take."""
    fresh = [each for each in declarations if each.limits and binding_text(each) != read_binding(context, each.name)]
    if not fresh:
        return
    # Whole units of their own, of which every line but the limits is known to be good.
    texts = {service_unit(each.name): _HEAD + "".join(_limit_lines(each)) for each in fresh}
    by_unit = {service_unit(each.name): each for each in fresh}
    for finding in verify.verify_texts(texts):
        position = finding.line - _HEAD.count("\n") - 1
        declaration = by_unit.get(finding.unit)
        if declaration is not None and position >= 0:
            key = _limit_lines(declaration)[position].partition("=")[0]
            raise declaration.refuse(("limits", key), f"is not what systemd takes: {finding.text}")


def _limit_lines(declaration: Declaration) -> list[str]:
    return [f"{key}={value}\n" for key, values in declaration.limits.items() for value in values]


def write_binding(context: Context, name: str, text: str) -> None:
    """Put the drop-in in place; takes effect at the next reload. Durable on return. Raises OSError.

    The caller is the only one to do so: what an earlier one left half-written goes.
    """
    sweep_temporaries(declared_file(context, name))
    apply_changes([change_to(declared_file(context, name), Content(text.encode()))])


def declared_names(context: Context) -> list[str]:
    """The containers that ``apply`` installed or took over."""
    suffix = f".service.d/{declared_file(context, '').name}"
    found = [path.parent.name.removesuffix(".service.d") for path in context.settings.units.glob(f"*{suffix}")]
    return sorted(name for name in found if read_binding(context, name).startswith(_MARK))
