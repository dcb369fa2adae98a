"""Removing a container: its service, units, rules and generations; never its data or its image."""

from __future__ import annotations

from ..errors import NotFoundError
from ..systemd.manager import Manager, connect
from .changes import Change, change_to
from .context import Context
from .generation import list_generations, number_file
from .journal import Switch
from .lock import container_lock
from .names import check_name, service_unit
from .publish import declared_file, drop_in_file, mount_file
from .transaction import carry_out, finish_interrupted
from .trial import note_files


def uninstall(context: Context, name: str) -> None:
    """Remove container ``name``, running or not, broken or not. Raises NotFoundError."""
    check_name(name)
    with container_lock(context, name, "uninstall"), connect() as manager:
        told = finish_interrupted(context, manager, name)
        if told:
            context.progress.say(told)
            if not list_generations(context, name) and not (context.settings.containers / name).is_symlink():
                return  # what was interrupted was this very uninstall
        carry_out(context, manager, _plan(context, manager, name))


def _plan(context: Context, manager: Manager, name: str) -> Switch:
    generations = list_generations(context, name)
    link = context.settings.containers / name
    if not generations and not link.is_symlink():
        raise NotFoundError(f"{name}: no such container", "syscontainer list shows what is installed")
    status = manager.status(service_unit(name))
    return Switch(
        name=name,
        verb="uninstall",
        old=generations[-1].number if generations else None,
        new=None,
        changes=tuple(_removals(context, name)),
        was_active=status.is_running,
        was_enabled=manager.is_enabled(service_unit(name)),
        invocation=status.invocation_id,
        remove=tuple(generation.number for generation in generations),
    )


def _removals(context: Context, name: str) -> list[Change]:
    paths = [context.settings.containers / name, context.unit_file(service_unit(name)), drop_in_file(context, name)]
    paths += [context.tmpfiles_file(name), declared_file(context, name), *note_files(context, name)]
    paths += [number_file(context, name)]
    paths += [mount_file(context, generation) for generation in list_generations(context, name)]
    return [change for change in (change_to(path, None) for path in paths) if change.before is not None]
