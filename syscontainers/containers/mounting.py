"""Looking at the files of an image or a container, mounted read-only where the user says.

What is mounted where stands in a file below /run for each mount, so that only what was mounted here is unmounted, and
so that its layers stay in the storage as long. The file is there before the mount, and goes after it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import files, kernel
from ..errors import NotFoundError, SyscontainersError
from ..storage.mounts import overlay_options
from ..systemd.unitfile import escape_path
from ..typed import Document
from .context import Context
from .generation import container_names, current_generation
from .inventory import find_image
from .lock import host_lock
from .roots import lower_directories

_FLAGS = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
_LIMIT = 1 << 20


@dataclass(frozen=True)
class MountRequest:
    """What is to be mounted where."""

    target: str
    """A container, else an image: its name or the beginning of its ID."""
    directory: Path


@dataclass(frozen=True)
class _Root:
    """A root to look at: the directory itself, or an overlay of several."""

    directories: list[Path]
    layers: tuple[str, ...]


def mount(context: Context, request: MountRequest) -> None:
    """Mount it. Of a container that can write into its root, what it writes is seen while it runs.

    Raises NotFoundError, OSError, and SyscontainersError for a directory on which something is mounted already.
    """
    directory = request.directory.resolve()
    with host_lock(context, "mounts"):
        if not directory.is_dir():
            raise NotFoundError(f"{request.directory}: no such directory", f"mkdir {request.directory}")
        if kernel.is_mount_point(directory):
            raise SyscontainersError(f"{directory}: something is mounted there", "choose an empty directory")
        root = _find_root(context, request.target)
        record = _record(context, directory)
        document = {"directory": str(directory), "target": request.target, "layers": list(root.layers)}
        files.make_directories(record.parent, 0o700)
        files.replace_file(record, json.dumps(document).encode() + b"\n")
        try:
            _mount_root(root, str(directory))
        except BaseException:
            files.remove_file(record)
            raise


def unmount(context: Context, directory: Path) -> None:
    """Unmount what ``mount`` has mounted. Raises NotFoundError for anything else, OSError where it is in use."""
    final = directory.resolve()
    with host_lock(context, "mounts"):
        record = _record(context, final)
        if not record.exists():
            raise NotFoundError(f"{directory}: nothing that syscontainer mount has mounted", "umount unmounts the rest")
        if kernel.is_mount_point(final):
            kernel.umount2(str(final), kernel.UMOUNT_NOFOLLOW)
        files.remove_file(record)


def mounted_layers(context: Context) -> frozenset[str]:
    """The layers of everything that is mounted so; one with a damaged record is known by its mount alone."""
    return frozenset(layer for document in _records(context) for layer in document.get_strings("layers", []))


def _find_root(context: Context, target: str) -> _Root:
    if target in container_names(context):
        generation = current_generation(context, target)
        info = generation.read_info()
        if info.remote:
            return _Root([Path(info.remote)], ())
        if info.writable and generation.is_mounted:
            return _Root([generation.rootfs], info.layers)
        return _Root(lower_directories(context, generation), info.layers)
    image = find_image(context, target)
    layers = tuple(layer.id for layer in context.store.chain(image))
    return _Root(context.store.lower_directories(image), layers)


def _mount_root(root: _Root, target: str) -> None:
    if len(root.directories) > 1:
        kernel.mount("overlay", target, "overlay", _FLAGS, overlay_options(root.directories))
        return
    kernel.mount(str(root.directories[0]), target, "", kernel.MS_BIND, "")
    kernel.mount("", target, "", kernel.MS_BIND | kernel.MS_REMOUNT | _FLAGS, "")


def _record(context: Context, directory: Path) -> Path:
    return context.settings.run / "mounts" / escape_path(directory)


def _records(context: Context) -> Iterator[Document]:
    for path in (context.settings.run / "mounts").glob("[!.]*"):
        with contextlib.suppress(SyscontainersError, OSError):
            yield Document.parse(files.read_bounded(path, _LIMIT), str(path))
