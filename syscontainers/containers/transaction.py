"""Carrying out a switch from one generation to another so that it is done whole or not at all.

::

    write record ─ stage the generation ─ quiesce ─ publish files ─ mark published ─ register ─ health ─ drop record
         └──────────────────── any failure: take back, in reverse ────────────────────────────────┘

A process that dies leaves the record; ``finish`` decides by its phase. Every step may be repeated: both ways
begin by assuming that any part of the step before has happened.
"""

from __future__ import annotations

from ..errors import RolledBackError, SyscontainersError, UnhealthyError
from ..files import remove_tree, sweep_temporaries, sync_directory
from ..systemd import tmpfiles
from ..systemd.cgroups import remove_empty_groups
from ..systemd.manager import JobError, Manager
from .changes import apply_changes, undo_changes
from .context import Context
from .control import start_one
from .generation import Generation, generation_at, write_generation
from .journal import PUBLISHED, Switch, drop_record, mark_published, read_record, write_record
from .names import service_unit
from .plan import Plan
from .publish import mount_unit_name
from .trial import Trial, begin_trial


def carry_out(context: Context, manager: Manager, switch: Switch, plan: Plan | None = None) -> None:
    """Do the switch; on any failure the machine is as before. ``plan`` is the new generation, if it is to be made.

    Raises UnhealthyError when the service did not come up, RolledBackError when something else failed on the way.
    """
    write_record(context, switch)
    try:
        if plan is not None:
            write_generation(
                plan.generation, plan.contents, writable=plan.info.writable, mount_points=plan.mount_points
            )
        _quiesce(context, manager, switch)
        apply_changes(switch.changes)
        switch = mark_published(context, switch)
        _register(context, manager, switch)
    except BaseException as error:
        take_back(context, manager, switch)
        raise _told(switch, error) from error
    _commit(context, manager, switch)


def finish_interrupted(context: Context, manager: Manager, name: str) -> str | None:
    """Bring an operation that was cut off to an end, whichever is right. Returns what was done, for the user."""
    switch = read_record(context, name)
    if switch is None:
        return None
    _sweep(context, switch)
    if switch.phase != PUBLISHED:
        take_back(context, manager, switch)
        return f"{name}: an interrupted {switch.verb} was undone"
    try:
        _register(context, manager, switch)
    except (SyscontainersError, OSError):
        take_back(context, manager, switch)
        return f"{name}: an interrupted {switch.verb} could not be completed and was undone"
    _commit(context, manager, switch)
    return f"{name}: an interrupted {switch.verb} was completed"


def _sweep(context: Context, switch: Switch) -> None:
    """Remove the temporary names that a process killed in the middle of a write left."""
    for change in switch.changes:
        if change.path.parent.is_dir():
            sweep_temporaries(change.path)
    if switch.new is not None:
        sweep_temporaries(generation_at(context, switch.name, switch.new).directory)


def take_back(context: Context, manager: Manager, switch: Switch) -> None:
    """Bring back what was before ``switch``, however far it had come, and drop its record."""
    unit = service_unit(switch.name)
    if switch.new is not None and switch.phase == PUBLISHED:
        manager.stop(unit)  # before that phase, the service has not been touched
        if not switch.was_enabled:
            manager.disable_units([unit])
    undo_changes(switch.changes)
    manager.reload()
    if switch.was_enabled:
        manager.enable_units([unit])
    manager.reset_failed(unit)
    if switch.new is not None and switch.makes_new:
        remove_generation(manager, generation_at(context, switch.name, switch.new))
    if switch.was_active:
        _start_again(context, manager, switch)
    drop_record(context, switch)


def _start_again(context: Context, manager: Manager, switch: Switch) -> None:
    if context.early:
        if switch.was_enabled:
            manager.queue_start(service_unit(switch.name))
        return
    try:
        manager.start(service_unit(switch.name))
    except JobError as error:
        # Everything else is back; whether the old generation still runs is not ours to decide, but to tell.
        context.progress.warn(f"{switch.name}: back as it was, but it does not start again: {error.message}")


def remove_generation(manager: Manager, generation: Generation) -> None:
    """Unmount a generation's root and remove its directory; one that is gone already is no error."""
    manager.stop(mount_unit_name(generation))
    unit = service_unit(generation.name)
    if (generation.directory / unit).is_file():
        remove_empty_groups((generation.directory / unit).read_text(errors="replace"), unit)
    remove_tree(generation.directory)
    if generation.directory.parent.is_dir():
        sync_directory(generation.directory.parent)


def _told(switch: Switch, error: BaseException) -> BaseException:
    """The error as the user should get it: what failed, and that it was undone."""
    if isinstance(error, UnhealthyError) or not isinstance(error, (SyscontainersError, OSError)):
        return error
    text = error.message if isinstance(error, SyscontainersError) else f"{error.filename}: {error.strerror}"
    hint = error.hint if isinstance(error, SyscontainersError) else ""
    details = error.details if isinstance(error, SyscontainersError) else ()
    return RolledBackError(f"{switch.name}: {switch.verb} failed and was undone: {text}", hint, details)


def _quiesce(context: Context, manager: Manager, switch: Switch) -> None:
    """What has to end while its unit is still there."""
    unit = service_unit(switch.name)
    if switch.new is None or switch.stop_first:
        manager.stop(unit)
    if switch.new is None:
        manager.disable_units([unit])
        tmpfiles.remove(context.tmpfiles_file(switch.name))


def _register(context: Context, manager: Manager, switch: Switch) -> None:
    """Make PID 1 know what was published, and run it if it has to run."""
    manager.reload()
    if switch.new is None:
        manager.reset_failed(service_unit(switch.name))
        return
    tmpfiles.create(context.tmpfiles_file(switch.name))
    if switch.enable:
        manager.enable_units([service_unit(switch.name)])
    if switch.start and context.early:
        _start_on_trial(context, manager, switch)
    elif switch.start:
        start_one(context, manager, switch.name, restart=True)


def _start_on_trial(context: Context, manager: Manager, switch: Switch) -> None:
    """Let boot start the service; one that ran without being enabled stays down, as after any boot."""
    if switch.new is not None:
        begin_trial(context, switch.name, Trial(switch.new, switch.old))
    if switch.enable:
        manager.queue_start(service_unit(switch.name))


def _commit(context: Context, manager: Manager, switch: Switch) -> None:
    for number in switch.remove:
        remove_generation(manager, generation_at(context, switch.name, number))
    drop_record(context, switch)
