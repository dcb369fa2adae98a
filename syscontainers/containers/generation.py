"""Generations on disk: ``containers/NAME.N`` directories and the link ``NAME`` to the current one.

A generation's directory holds::

    rootfs/              where its mount unit mounts the layers; a link to a root that is not of our making
    upper/ work/         only with a writable root
    points/              a layer with the mount points that the image lacks
    config.json          for the OCI runtime
    info                 what it was made from (see ``info``)
    start                the lines of shell that ``ExecStart=`` begins with (``systemd/startscript.py``)
    notify               those that wait for READY=1, where the payload says it (``systemd/readiness.py``)
    NAME.service         its unit, drop-in, mount unit, tmpfiles rules and host files as they were published,
    NAME.service.conf    so that a rollback renders nothing
    rootfs.mount
    rootfs.fstab         the same mount, for boot, which mounts all roots at once
    tmpfiles-NAME.conf
    hostfs.json

It is written under a temporary name, synced and renamed; then it never changes. Numbers only grow.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..errors import NotFoundError
from ..typed import Document
from .context import Context
from .info import Info
from .names import check_name

if TYPE_CHECKING:  # `list` comes past here and needs none of what looks into images
    from ..exports.mountpoints import MountPoint

ROOT_FSTAB = "rootfs.fstab"
"""What ``units/syscontainers-roots.service`` reads of the generations of enabled containers."""
_CONFIG_LIMIT = 16 << 20
_DIRECTORY = re.compile(r"(?P<name>.+)\.(?P<number>0|[1-9][0-9]{0,8})")


@dataclass(frozen=True, order=True)
class Generation:
    """One generation of one container; nothing is read until it is asked for."""

    name: str
    number: int
    directory: Path

    @property
    def rootfs(self) -> Path:
        """The mount point of its root."""
        return self.directory / "rootfs"

    @property
    def is_mounted(self) -> bool:
        """Whether its root is mounted here; one that is elsewhere is not ours to mount."""
        return not self.rootfs.is_symlink() and self.rootfs.is_mount()

    @property
    def points(self) -> Path:
        """The layer of mount points above the image's layers, if the image lacks some."""
        return self.directory / "points"

    def read_info(self) -> Info:
        """Its record. Raises SyscontainersError."""
        return Info.read(self.directory / "info")

    def read_command(self) -> list[str]:
        """The payload's arguments, from its runtime config; none where there is no service. Raises DocumentError."""
        try:
            data = files.read_bounded(self.directory / "config.json", _CONFIG_LIMIT)
        except FileNotFoundError:
            return []
        return Document.parse(data, f"{self}: config.json").get_object("process", {}).get_strings("args", [])

    def __str__(self) -> str:
        return f"{self.name}.{self.number}"


def generation_at(context: Context, name: str, number: int) -> Generation:
    """The generation ``number`` of ``name``, whether it exists or not."""
    return Generation(name, number, context.settings.containers / f"{name}.{number}")


def container_names(context: Context) -> list[str]:
    """Every container of this host, sorted: the links in the containers directory."""
    try:
        with os.scandir(context.settings.containers) as entries:
            return sorted(entry.name for entry in entries if entry.is_symlink() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def generation_names(context: Context) -> set[str]:
    """The names of all containers that have a generation's directory."""
    try:
        with os.scandir(context.settings.containers) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return set()
    matches = (_DIRECTORY.fullmatch(name) for name in names if not name.startswith("."))
    return {match["name"] for match in matches if match}


def list_generations(context: Context, name: str) -> list[Generation]:
    """All generations of ``name`` that are on disk, oldest first."""
    found = []
    for directory in context.settings.containers.glob(f"{glob.escape(name)}.*"):
        match = _DIRECTORY.fullmatch(directory.name)
        if match and match["name"] == name and directory.is_dir() and not directory.is_symlink():
            found.append(Generation(name, int(match["number"]), directory))
    return sorted(found)


def current_generation(context: Context, name: str) -> Generation:
    """The generation that ``name`` points to. Raises NotFoundError, and UsageError for what can be no name."""
    link = context.settings.containers / check_name(name)
    if not link.is_symlink():
        raise NotFoundError(f"{name}: no such container", "syscontainer list shows what is installed")
    match = _DIRECTORY.fullmatch(link.readlink().name)
    if match is None or match["name"] != name:
        raise NotFoundError(f"{link}: points to no generation of {name}", f"syscontainer uninstall {name} removes it")
    return generation_at(context, name, int(match["number"]))


def all_generations(context: Context) -> list[Generation]:
    """Every generation on disk, whether a link leads to its container or not: an operation may be under way."""
    found = []
    for directory in context.settings.containers.glob("[!.]*"):
        match = _DIRECTORY.fullmatch(directory.name)
        if match and directory.is_dir() and not directory.is_symlink():
            found.append(Generation(match["name"], int(match["number"]), directory))
    return sorted(found)


def number_file(context: Context, name: str) -> Path:
    """Where the number is kept of the latest generation of ``name`` that was taken back, its directory being gone."""
    return context.settings.state / "numbers" / name


def note_number(context: Context, generation: Generation) -> None:
    """Note that the number of ``generation`` is used. Durable on return."""
    path = number_file(context, generation.name)
    files.make_directories(path.parent, 0o700)
    files.sweep_temporaries(path)
    files.replace_file(path, f"{generation.number}\n".encode())


def next_number(context: Context, name: str) -> int:
    """The number of the generation to make next: one more than any that ever ran, 0 for the first."""
    numbers = [generation.number for generation in list_generations(context, name)]
    number = max([*numbers, _read_number(context, name)]) + 1
    while (context.settings.containers / f"{name}.{number}").is_symlink():  # a container may itself be called x.0
        number += 1
    return number


def _read_number(context: Context, name: str) -> int:
    try:
        return int(files.read_bounded(number_file(context, name), 20))
    except (OSError, ValueError):  # none was noted, or it is damaged: those that are there still count
        return -1


def write_generation(
    generation: Generation,
    contents: Mapping[str, bytes],
    *,
    writable: bool,
    mount_points: Sequence[MountPoint] = (),
    remote: str = "",
) -> None:
    """Make the directory whole under a temporary name, sync it and rename it. Raises OSError."""
    # 0700: a setuid program of an image must not be in reach of the host's users (CVE-2021-41091).
    files.make_directories(generation.directory.parent, 0o700)
    temporary = files.temporary_name(generation.directory)
    try:
        temporary.mkdir(mode=0o755)
        if remote:
            (temporary / "rootfs").symlink_to(remote)
        else:
            (temporary / "rootfs").mkdir(mode=0o555)  # as what is mounted on it; nothing belongs into it without that
        for name in ("upper", "work") if writable else ():
            (temporary / name).mkdir(mode=0o755)
        write_points(temporary / generation.points.name, mount_points)
        for name, data in contents.items():
            files.replace_file(temporary / name, data)
        files.sync_directory(temporary)
        temporary.rename(generation.directory)
    except BaseException:
        files.remove_tree(temporary)
        raise
    files.sync_directory(generation.directory.parent)


def write_points(directory: Path, mount_points: Sequence[MountPoint]) -> None:
    """The layer above the image's that holds nothing but places to mount on. Raises OSError."""
    if mount_points:
        directory.mkdir(mode=0o555)  # as the store gives it to a base layer
    for point in mount_points:
        path = directory / point.path.lstrip("/")
        if point.directory:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.touch()
        os.chown(path, point.uid, point.gid)
        path.chmod(point.mode)
