"""Where a container's mounts come from and go to.

Destinations are resolved in the image by us, so that the runtime meets no link that it could be led astray by
(CVE-2021-30465, CVE-2023-0778, CVE-2024-45310), and so that we know which of them the image lacks: below a read-only
overlay no runtime can create them.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import RefusedError
from ..typed import Document
from .repair import Say, is_bind
from .tree import Place, normal_path, resolve_in_tree, stat_in_tree

_KERNEL_TYPES = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue")
_KERNEL_PLACES = ("/proc", "/sys", "/dev")
# What nobody but the kernel or its owner can make: such a source is waited for, never created.
_NOT_CREATABLE = ("/proc/", "/sys/", "/dev/")
_SUFFIXES = ".conf .cfg .cnf .json .yaml .yml .toml .ini .crt .cert .pem .key .env .txt .xml .sh"
_NAMES = "hosts hostname resolv.conf localtime machine-id passwd group shadow os-release timezone"
_FILE_SUFFIXES, _FILE_NAMES = frozenset(_SUFFIXES.split()), frozenset(_NAMES.split())


@dataclass(frozen=True)
class MissingSource:
    """A bind mount's source that is not on the host now."""

    path: str
    kind: str
    """``directory`` or ``file``: what to create; ``other`` for what cannot be created, such as a socket."""


_COPY = "tmpcopyup"


@dataclass(frozen=True)
class MountPoint:
    """Something that has to be in a layer above the image's, so that every mount finds its place.

    Parents come first; those that the image has are repeated with its own owner and mode, because in an overlay
    the top-most directory's attributes are the ones that show.
    """

    path: str
    directory: bool
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Destination:
    """One mount's place in the root."""

    place: Place
    directory: bool
    """What has to be there if the image has nothing."""
    mode: int = 0o755


def resolve_destinations(mounts: Sequence[Document], tree: int, host: Path, say: Say) -> list[Destination]:
    """Resolve each mount's destination and write it back without links. Raises RefusedError."""
    found: list[Destination] = []
    covered: set[str] = set()
    for mount in mounts:
        asked = normal_path(mount.get_str("destination"))
        place = resolve_in_tree(tree, asked, covered=covered)
        _check_destination(mount, asked, place)
        if place.path != asked:
            say(f"mount {asked}: is {place.path} in the image")
        mount.raw()["destination"] = place.path
        found.append(Destination(place, _wants_directory(mount, host), _mode_of(mount)))
        covered.add(place.path)
    return found


def plan_mount_points(destinations: Iterable[Destination], tree: int) -> tuple[MountPoint, ...]:
    """What a read-only root lacks for its mounts; empty for an image that has all of it."""
    points: dict[str, MountPoint] = {}
    for destination in destinations:
        if destination.place.hidden or destination.place.status is not None:
            continue
        path = destination.place.path
        for parent in _parents(path):
            if parent not in points:
                points[parent] = _existing_or_new(tree, parent)
        points[path] = MountPoint(path, destination.directory, destination.mode if destination.directory else 0o644)
    return tuple(points[path] for path in sorted(points))


def drop_idle_copies(mounts: Sequence[Document], destinations: Sequence[Destination], tree: int) -> None:
    """Take ``tmpcopyup`` from every tmpfs that it would give neither a file nor another mode.

    runc 1.1 copies by way of a directory that it makes in the host's /tmp: no such container starts while that is on
    a full disk.
    """
    for mount, destination in zip(mounts, destinations, strict=True):
        options = mount.get_strings("options", [])
        if _COPY in options and _is_idle(options, destination, tree):
            mount.raw()["options"] = [option for option in options if option != _COPY]


def _is_idle(options: Sequence[str], destination: Destination, tree: int) -> bool:
    place = destination.place
    if place.hidden or not any(option.startswith("mode=") for option in options):
        return False
    if place.status is None:
        return True
    owner_and_mode = (place.status.st_uid, place.status.st_gid, stat.S_IMODE(place.status.st_mode))
    if not place.is_directory or owner_and_mode != (0, 0, destination.mode):
        return False
    descriptor = os.open(place.path.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=tree)
    try:
        return not os.listdir(descriptor)
    finally:
        os.close(descriptor)


def find_missing_sources(
    mounts: Iterable[Document], host: Path, tree: int, made: Collection[str] = ()
) -> tuple[MissingSource, ...]:
    """The sources of bind mounts that are not on the host, or only because we ``made`` them, each once."""
    missing: dict[str, MissingSource] = {}
    for mount in mounts:
        source = mount.get_str("source", "")
        if not is_bind(mount.get("type"), mount.get_strings("options", [])) or not source.startswith("/"):
            continue
        normal = normal_path(source)
        if normal in made or not _on_host(host, normal).exists():
            kind = _kind_of_source(normal, resolve_in_tree(tree, mount.get_str("destination")))
            missing[normal] = MissingSource(normal, kind)
    return tuple(missing[path] for path in sorted(missing))


def find_intruders(mounts: Sequence[Document], host: Path) -> list[str]:
    """Paths on the host that the runtime will create because a mount lies inside a bind that has no place for it.

    Seen with runc 1.1.5 and crun 1.8.1: mounting on /run/x below a bind of /run makes /run/x on the host.
    """
    binds: dict[str, str] = {}
    created: list[str] = []
    for mount in mounts:
        destination = mount.get_str("destination")
        around = max((each for each in binds if destination.startswith(each + "/")), key=len, default=None)
        if around is not None and binds[around]:
            on_host = binds[around] + destination.removeprefix(around)
            created += [] if _on_host(host, on_host).exists() else [on_host]
        bound = is_bind(mount.get("type"), mount.get_strings("options", []))
        binds[destination] = normal_path(mount.get_str("source", "")) if bound else ""
    return created


def _check_destination(mount: Document, asked: str, place: Place) -> None:
    if place.path == "/":
        raise RefusedError(f"{mount.where}: a mount on / would hide the image's root")
    special = mount.get("type") in _KERNEL_TYPES or any(
        asked == each or asked.startswith(each + "/") for each in _KERNEL_PLACES
    )
    if special and place.path != asked:
        raise RefusedError(
            f"{mount.where}: {asked} is a symbolic link in the image, to {place.path}",
            "such images attack the runtime (CVE-2019-19921): do not use it",
        )


def _wants_directory(mount: Document, host: Path) -> bool:
    source = mount.get_str("source", "")
    if not is_bind(mount.get("type"), mount.get_strings("options", [])) or not source.startswith("/"):
        return True
    on_host = _on_host(host, source)
    return on_host.is_dir() if on_host.exists() else _looks_like_directory(source)


def _mode_of(mount: Document) -> int:
    # "tmpcopyup" gives a tmpfs the mode of what it covers, whatever mode= says (seen with runc 1.1.5).
    modes = [re.fullmatch(r"mode=0?([0-7]{3,4})", option) for option in mount.get_strings("options", [])]
    return next((int(mode[1], 8) for mode in modes if mode), 0o755)


def _kind_of_source(source: str, place: Place) -> str:
    if source.startswith(_NOT_CREATABLE) or source.endswith((".sock", ".socket")):
        return "other"
    if place.status is not None and not place.hidden:
        return "directory" if stat.S_ISDIR(place.status.st_mode) else "file"
    return "directory" if _looks_like_directory(source) else "file"


def _looks_like_directory(source: str) -> bool:
    name = posixpath.basename(source)
    _, dot, suffix = name.rpartition(".")
    return name not in _FILE_NAMES and not name.endswith((".sock", ".socket")) and dot + suffix not in _FILE_SUFFIXES


def _existing_or_new(tree: int, path: str) -> MountPoint:
    status = stat_in_tree(tree, path)
    if status is None:
        return MountPoint(path, True)
    return MountPoint(path, True, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _parents(path: str) -> list[str]:
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: length + 1]) for length in range(len(parts))]


def _on_host(host: Path, path: str) -> Path:
    return host / path.lstrip("/")
