"""Going back to a generation that is kept. Nothing is rendered: its saved files are published as they were."""

from __future__ import annotations

from ..errors import NotFoundError
from ..systemd.manager import Manager
from .context import Context
from .enablement import refuse_masked
from .generation import Generation, current_generation, list_generations
from .journal import Switch
from .names import service_unit
from .publish import edits_to_keep, publishing_changes, read_saved, tell_edits
from .transaction import carry_out, changing
from .trial import trial_changes


def rollback(context: Context, name: str, number: int | None = None) -> Generation:
    """Switch to generation ``number``, by default the newest one that is not current. Returns it.

    The service is restarted if it runs. A second rollback goes forward again. Raises NotFoundError, UnhealthyError,
    RolledBackError, UnitMaskedError.
    """
    current_generation(context, name)
    with changing(context, name, "rollback") as manager:
        return go_back(context, manager, name, number, start=False)


def go_back(context: Context, manager: Manager, name: str, number: int | None, *, start: bool) -> Generation:
    """``rollback`` for who holds the container's lock already; ``start`` has it run in any case."""
    refuse_masked(manager, name)
    current = current_generation(context, name)
    target = _choose_target(context, current, number)
    if target != current:
        _switch_to(context, manager, current, target, start=start)
    return target


def _choose_target(context: Context, current: Generation, number: int | None) -> Generation:
    kept = list_generations(context, current.name)
    hint = f"syscontainer show {current.name} lists the generations"
    if number is None:
        others = [generation for generation in kept if generation != current]
        if not others:
            raise NotFoundError(f"{current.name}: there is no other generation to go back to", hint)
        return others[-1]
    for generation in kept:
        if generation.number == number:
            return generation
    raise NotFoundError(f"{current.name}: there is no generation {number}", hint)


def _switch_to(context: Context, manager: Manager, current: Generation, target: Generation, *, start: bool) -> None:
    status = manager.settled_status(service_unit(current.name))
    enabled = manager.is_enabled(service_unit(current.name))
    info = target.read_info()
    published = publishing_changes(context, target, read_saved(target))
    edits = edits_to_keep(context, current, target, published)
    switch = Switch(
        name=current.name,
        verb="rollback",
        old=current.number,
        new=target.number,
        changes=(*edits, *published, *trial_changes(context, current.name, None)),
        was_active=status.is_running,
        was_enabled=enabled,
        start=(start or status.is_running) and info.has_service,
        enable=enabled and info.has_service,
        invocation=status.invocation_id,
        stop_first=not info.has_service or info.runtime != current.read_info().runtime,
    )
    carry_out(context, manager, switch)
    tell_edits(context, current.name, edits)
