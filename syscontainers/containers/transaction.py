"""Carrying out a switch from one generation to another so that it is done whole or not at all.

::

    write record ─ stage the generation ─ quiesce ─ publish files ─ mark published ─ register ─ health ─ drop record
         └──────────────────── any failure: take back, in reverse ────────────────────────────────┘

A process that dies leaves the record; ``finish`` decides by its phase. Every step may be repeated: both ways
begin by assuming that any part of the step before has happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from ..errors import RolledBackError, SyscontainersError, UnhealthyError
from ..files import remove_file, remove_tree, sweep_temporaries, sync_directory
from ..shield import deferred, shielded
from ..systemd import tmpfiles
from ..systemd.cgroups import remove_empty_groups
from ..systemd.manager import Manager, connect
from .changes import apply_changes, undo_changes
from .claims import begin
from .context import Context
from .dependents import running_dependents, start_dependents
from .enablement import find_links, remove_links, restore_links, switch_links
from .generation import Generation, generation_at, note_number, write_generation
from .holds import hold_image, release_image
from .hostfiles import HostFiles
from .journal import (
    DONE,
    PUBLISHED,
    PUBLISHING,
    UNDOING,
    Switch,
    drop_record,
    mark_published,
    read_record,
    rename_record,
    write_record,
)
from .lock import container_lock
from .names import service_unit
from .plan import Plan
from .publish import mount_file, mount_unit_name, read_saved, wanted_host_files
from .starting import start_one
from .trial import Trial, begin_trial


@contextlib.contextmanager
def changing(context: Context, name: str, verb: str) -> Iterator[Manager]:
    """Hold the lock of container ``name`` and a connection to PID 1, with an interrupted operation ended first."""
    with container_lock(context, name, verb), connect() as manager:
        told = finish_interrupted(context, manager, name)
        if told is not None:
            context.progress.say(told)
        yield manager


def carry_out(context: Context, manager: Manager, switch: Switch, plan: Plan | None = None) -> None:
    """Do the switch; on any failure the machine is as before. ``plan`` is the new generation, if it is to be made.

    Raises UnhealthyError when the service did not come up, RolledBackError when something else failed on the way.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(deferred())
        switch = begin(context, _with_surroundings(context, manager, switch), _wanted_host_files(context, switch, plan))
        try:
            stack.close()  # an interrupt that came since there is a record strikes here
            if plan is not None:
                if plan.info.layers:
                    hold_image(context, plan.generation, plan.info.image_id)
                write_generation(
                    plan.generation,
                    plan.contents,
                    writable=plan.info.writable,
                    mount_points=plan.mount_points,
                    remote=plan.info.remote,
                )
            _quiesce(context, manager, switch)
            apply_changes(switch.changes)
            switch = mark_published(context, switch)
            _register(context, manager, switch)
            with shielded():  # decided and known to be decided, or neither
                switch = rename_record(context, switch, DONE)
        except BaseException as error:
            take_back(context, manager, switch)
            raise _told(switch, error) from error
    _clear_up(context, manager, switch)


def _with_surroundings(context: Context, manager: Manager, switch: Switch) -> Switch:
    """With what others made of the service, and must find again: who depends on it, and the links to it."""
    dependents = running_dependents(manager, service_unit(switch.name)) if switch.was_active else ()
    return replace(switch, dependents=dependents, links=find_links(context, switch.name))


def _wanted_host_files(context: Context, switch: Switch, plan: Plan | None) -> HostFiles:
    if switch.new is None:
        return {}
    target = generation_at(context, switch.name, switch.new)
    return wanted_host_files(target, plan.contents if plan is not None else read_saved(target))


def finish_interrupted(context: Context, manager: Manager, name: str) -> str | None:
    """Bring an operation that was cut off to an end, whichever is right. Returns what was done, for the user."""
    switch = read_record(context, name)
    if switch is None:
        return None
    _sweep(context, switch)
    if switch.phase == PUBLISHED:
        try:
            _register(context, manager, switch)
            switch = rename_record(context, switch, DONE)
        except (SyscontainersError, OSError):
            take_back(context, manager, switch)
            return f"{name}: an interrupted {switch.verb} could not be completed and was undone"
    elif switch.phase != DONE:
        take_back(context, manager, switch)
        return f"{name}: an interrupted {switch.verb} was undone"
    _clear_up(context, manager, switch)
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
    with shielded():
        touched = _is_touched(manager, switch)
        if touched:
            _remember_number(context, switch)
        switch = rename_record(context, switch, UNDOING)
        unit = service_unit(switch.name)
        if switch.new is not None and touched:
            manager.stop(unit)
        relinked = find_links(context, switch.name) != switch.links
        if relinked:  # while the unit is still there that says which they are
            remove_links(context, manager, switch.name)
        for kept in undo_changes(switch.changes):
            context.progress.warn(f"{switch.name}: {kept}")
        if relinked:
            restore_links(context, manager, switch)
        manager.reload()
        manager.reset_failed(unit)
        if switch.was_active:
            _start_again(context, manager, switch)
            start_dependents(context, manager, switch)
        if switch.new is not None and switch.makes_new and not _is_removed(context, manager, switch.name, switch.new):
            # Everything is back; only this is left to try again, and must not stop the service again for it.
            write_record(context, Switch(switch.name, switch.verb, switch.old, None, remove=(switch.new,), phase=DONE))
        drop_record(context, switch)


def _remember_number(context: Context, switch: Switch) -> None:
    """A generation that may have run will be gone; the next one must not be taken for it, say in the journal."""
    if switch.makes_new and switch.new is not None and switch.old is not None:
        with contextlib.suppress(OSError):  # on a full disk going back matters more
            note_number(context, generation_at(context, switch.name, switch.new))


def _is_touched(manager: Manager, switch: Switch) -> bool:
    """Whether the service may run from the new files: we (re)started it, or PID 1 did, at a boot or after a failure."""
    return switch.phase != PUBLISHING or manager.status(service_unit(switch.name)).invocation_id != switch.invocation


def _start_again(context: Context, manager: Manager, switch: Switch) -> None:
    if context.early:
        if switch.was_enabled:
            manager.queue_start(service_unit(switch.name))
        return
    try:
        tmpfiles.create(context.tmpfiles_file(switch.name))
        manager.start(service_unit(switch.name))
    except SyscontainersError as error:
        # Everything else is back; whether the old generation still runs is not ours to decide, but to tell.
        context.progress.warn(f"{switch.name}: back as it was, but it does not start again: {error.message}")


def remove_generation(context: Context, manager: Manager, generation: Generation) -> None:
    """Unmount a generation's root and remove its directory and mount unit; one that is gone already is no error.

    Raises SyscontainersError while something uses its root, OSError, and what talking with PID 1 raises.
    """
    if generation.directory.is_symlink():
        return  # a container may itself be called x.0
    manager.stop(mount_unit_name(generation))
    if generation.is_mounted:
        raise SyscontainersError(f"{generation.rootfs}: still mounted", "see what uses it: fuser -m")
    storage = _storage_of(generation)
    unit = service_unit(generation.name)
    if (generation.directory / unit).is_file():
        remove_empty_groups((generation.directory / unit).read_text(errors="replace"), unit)
    remove_tree(generation.directory)
    if generation.directory.parent.is_dir():
        sync_directory(generation.directory.parent)
    release_image(context, generation, storage)
    if mount_file(context, generation).exists():
        remove_file(mount_file(context, generation))
        manager.reload()


def _storage_of(generation: Generation) -> str:
    try:
        return generation.read_info().storage
    except SyscontainersError:  # damaged, or gone already
        return ""


def _is_removed(context: Context, manager: Manager, name: str, number: int) -> bool:
    """Remove a generation. What cannot go now, because somebody looks into it for instance, is told and left."""
    generation = generation_at(context, name, number)
    try:
        remove_generation(context, manager, generation)
    except (SyscontainersError, OSError) as error:
        context.progress.warn(f"{generation} is still on the disk, the next command tries again: {error}")
        return False
    return True


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
        remove_links(context, manager, switch.name)
        _remove_by_rules(context, switch)


def _register(context: Context, manager: Manager, switch: Switch) -> None:
    """Make PID 1 know what was published, and run it if it has to run."""
    manager.reload()
    if switch.new is None:
        manager.reset_failed(service_unit(switch.name))
        return
    tmpfiles.create(context.tmpfiles_file(switch.name))
    switch_links(context, manager, switch)
    if switch.start and context.early:
        _start_on_trial(context, manager, switch)
    elif switch.start:
        start_one(context, manager, switch.name, restart=True)


def _start_on_trial(context: Context, manager: Manager, switch: Switch) -> None:
    """Let boot start the service; one that ran without being enabled stays down, as after any boot."""
    unit = service_unit(switch.name)
    runs = manager.status(unit).is_running  # late in boot: a start would leave the old generation running
    if switch.new is not None and (runs or switch.enable):
        begin_trial(context, switch.name, Trial(switch.new, switch.old))
    if runs:
        manager.queue_restart(unit)
    elif switch.enable:
        manager.queue_start(unit)


def _remove_by_rules(context: Context, switch: Switch) -> None:
    try:
        tmpfiles.remove(context.tmpfiles_file(switch.name))
    except SyscontainersError as error:  # rules that somebody broke must not make a container irremovable
        context.progress.warn(f"{switch.name}: {error.message}")


def _clear_up(context: Context, manager: Manager, switch: Switch) -> None:
    """Start what stopped with the service and remove what the switch made superfluous; it has succeeded already."""
    if switch.new is not None:
        start_dependents(context, manager, switch)
    with shielded():
        if switch.old is not None and switch.new is not None:
            # Nothing needs the old root any more, but systemd takes its time to see that.
            with contextlib.suppress(SyscontainersError):  # busy: whoever looks into it keeps it mounted, no more
                manager.stop(mount_unit_name(generation_at(context, switch.name, switch.old)))
        removed = [_is_removed(context, manager, switch.name, number) for number in switch.remove]
        if all(removed):
            drop_record(context, switch)
        elif switch.dependents:  # only the removal is tried again, what they do from now on is not ours
            write_record(context, replace(switch, dependents=()))
