"""Where on the host a generation's files go, and the changes that put them there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import SyscontainersError
from ..systemd import dropin, unitfile
from . import hostfiles
from .changes import Change, Content, change_to, edited_name
from .context import Context
from .generation import Generation
from .names import service_unit


def drop_in_file(context: Context, name: str) -> Path:
    """The drop-in that ties the unit of ``name`` to its current generation."""
    return context.settings.units / f"{service_unit(name)}.d" / dropin.FILE_NAME


def declared_file(context: Context, name: str) -> Path:
    """The drop-in that ``apply`` writes for a declared container; it goes when the container is uninstalled."""
    return context.settings.units / f"{service_unit(name)}.d" / "60-declared.conf"


def mount_unit_name(generation: Generation) -> str:
    """The unit that mounts the root of ``generation``; systemd demands that it is named after its path."""
    return unitfile.mount_unit_name(generation.rootfs)


def mount_file(context: Context, generation: Generation) -> Path:
    """The file of that unit. It lives as long as its generation, not as long as the container."""
    return context.unit_file(mount_unit_name(generation))


def saved_names(generation: Generation) -> dict[str, str]:
    """Under which name the generation's directory keeps each published file: role → file name."""
    name = generation.name
    return {
        "unit": f"{name}.service",
        "drop-in": f"{name}.service.conf",
        "mount": "rootfs.mount",
        "tmpfiles": f"tmpfiles-{name}.conf",
        "host files": hostfiles.SAVED_NAME,
    }


def published_places(context: Context, generation: Generation) -> dict[str, Path]:
    """Where on the host each of them goes, but for host files: role → path. In this order they are published."""
    return {
        "mount": mount_file(context, generation),
        "unit": context.unit_file(service_unit(generation.name)),
        "drop-in": drop_in_file(context, generation.name),
        "tmpfiles": context.tmpfiles_file(generation.name),
    }


def wanted_host_files(generation: Generation, contents: Mapping[str, bytes]) -> hostfiles.HostFiles:
    """The host files among a generation's saved files. Raises DocumentError."""
    saved = contents.get(hostfiles.SAVED_NAME)
    return hostfiles.load_host_files(saved, f"{generation}: {hostfiles.SAVED_NAME}") if saved else {}


def read_saved(generation: Generation) -> dict[str, bytes]:
    """The saved files of a generation that is on the disk. Raises SyscontainersError if its unit is not among them."""
    found = {}
    for name in saved_names(generation).values():
        path = generation.directory / name
        if path.is_file():
            found[name] = path.read_bytes()
    if saved_names(generation)["unit"] not in found and generation.read_info().has_service:
        raise SyscontainersError(f"{generation}: its saved unit is missing", "choose another generation")
    return found


def is_published(context: Context, generation: Generation) -> bool:
    """Whether everything of a generation is on the host, edited or not."""
    names = saved_names(generation)
    return all(
        os.path.lexists(path) or not (generation.directory / names[role]).exists()
        for role, path in published_places(context, generation).items()
    )


def edits_to_keep(
    context: Context, current: Generation, target: Generation, changes: Iterable[Change]
) -> tuple[Change, ...]:
    """Copies of what ``changes`` would overwrite although somebody else wrote it, as changes to carry out with them."""
    ours = {
        path: _read_saved_file(generation, role)
        for generation in (target, current)  # a generation that is gone back to may have its mount unit in place
        for role, path in published_places(context, generation).items()
    }
    edited = (change for change in changes if change.path in ours and _is_edited(change.before, ours[change.path]))
    return tuple(change_to(edited_name(change.path), change.before) for change in edited)


def tell_edits(context: Context, name: str, edits: Iterable[Change]) -> None:
    """Where each is kept now."""
    for change in edits:
        context.progress.warn(f"{name}: somebody had changed a file of ours; that is kept as {change.path}")


def _read_saved_file(generation: Generation, role: str) -> bytes | None:
    try:
        return (generation.directory / saved_names(generation)[role]).read_bytes()
    except OSError:  # what is not known to be ours is kept
        return None


def _is_edited(content: Content | None, ours: bytes | None) -> bool:
    return content is not None and (content.target is not None or content.data != ours)


def publishing_changes(context: Context, generation: Generation, contents: Mapping[str, bytes]) -> tuple[Change, ...]:
    """What has to change on the host so that ``generation`` is the current one.

    ``contents`` are the generation's saved files by name, as ``saved_names`` calls them; one that is not among them
    is removed from the host. The link NAME comes last: who sees it finds everything else in place. Host files are not
    among the changes: who owns them is decided when the transaction begins.
    """
    saved = saved_names(generation)
    changes = []
    for role, path in published_places(context, generation).items():
        data = contents.get(saved[role])
        changes.append(change_to(path, None if data is None else Content(data)))
    link = context.settings.containers / generation.name
    changes.append(change_to(link, Content(target=generation.directory.name)))
    return tuple(change for change in changes if change.before != change.after)
