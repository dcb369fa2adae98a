"""Bundles of what runs once: ``runs/ID``, a runtime bundle that nobody but its owner knows.

::

    rootfs/ upper/ work/ points/    as in a generation; the upper directory is thrown away
    config.json start               for the runtime
    tmpfiles.conf                   rules: created before, removed after
    run.json                        what has to be cleared up: runtime, scope, layers
    lock                            held by the owner as long as it lives

Making and sweeping exclude each other by ``locks/.runs``, so a bundle whose lock can be had is one whose owner has
died. Whoever makes the next bundle, or prunes, clears it up: the scope and all in it, the runtime's own state, what
the rules mark for removal, the mount, the directory. Its layers stay in the storage until then.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files, kernel
from ..errors import SyscontainersError
from ..run import run
from ..shield import shielded
from ..storage.mounts import overlay_options
from ..systemd import startscript, tmpfiles
from ..systemd.cgroups import remove_empty_group
from ..systemd.unitfile import slice_cgroup
from ..typed import Document
from .context import Context
from .lock import host_lock

if TYPE_CHECKING:  # who only asks for the layers of bundles needs no PID 1
    from ..systemd.manager import Manager

SLICE = "system-syscontainers.slice"
_RECORD = "run.json"
_LIMIT = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """One bundle; ``id`` is what the runtime knows it as."""

    id: str
    directory: Path

    @property
    def scope(self) -> str:
        """The unit that everything of it runs in."""
        return f"{self.id}.scope"

    @property
    def cgroup(self) -> str:
        """The control group of that unit."""
        return f"{slice_cgroup(SLICE)}/{self.scope}"

    @property
    def rules(self) -> Path:
        """Its tmpfiles rules."""
        return self.directory / "tmpfiles.conf"


@contextlib.contextmanager
def temporary_bundle(context: Context, manager: Manager, name: str) -> Iterator[Bundle]:
    """A fresh bundle for running ``name`` once; cleared up on exit, whatever happened. Raises OSError."""
    bundle = Bundle(f"{name}-run-{secrets.token_hex(4)}", _runs(context))
    bundle = Bundle(bundle.id, bundle.directory / bundle.id)
    with host_lock(context, "runs"):
        _sweep(context, manager)
        lock = _make(bundle)
    try:
        yield bundle
    finally:
        with shielded():
            _clear_up(context, manager, bundle)
            os.close(lock)


def write_bundle(bundle: Bundle, config: str, rules: str | None, runtime: Path, layers: Sequence[str]) -> None:
    """Note what will have to be cleared up, and write the files. Raises OSError."""
    record = {"runtime": str(runtime), "layers": list(layers)}
    files.replace_file(bundle.directory / _RECORD, json.dumps(record).encode() + b"\n")
    (bundle.directory / startscript.FILE_NAME).write_text(startscript.SCRIPT)
    (bundle.directory / "config.json").write_text(config)
    if rules is not None:
        bundle.rules.write_text(rules)


def mount_root(bundle: Bundle, lowers: Sequence[Path], *, writable: bool) -> None:
    """Mount its root: the layers top-most first, below an upper directory that goes with it if ``writable``.

    Raises OSError, and SyscontainersError for more layers than one mount takes.
    """
    upper, work = bundle.directory / "upper", bundle.directory / "work"
    if writable:
        upper.mkdir()
        work.mkdir()
    options = overlay_options(lowers, upper, work) if writable else overlay_options(lowers)
    kernel.mount("overlay", str(bundle.directory / "rootfs"), "overlay", 0 if writable else kernel.MS_RDONLY, options)


def sweep_bundles(context: Context) -> None:
    """Clear up bundles whose owners have died. Raises NoSystemdError if there are any and nobody could end them."""
    if _bundles(context):
        from ..systemd.manager import connect

        with host_lock(context, "runs"), connect() as manager:
            _sweep(context, manager)


def dead_bundles(context: Context) -> list[str]:
    """The IDs of bundles whose owners have died."""
    return [directory.name for directory in _bundles(context) if not _is_held(directory / "lock")]


def bundle_layers(context: Context) -> frozenset[str]:
    """The layers that bundles are made of; one with a damaged record is known by its mount alone."""
    layers: set[str] = set()
    for directory in _bundles(context):
        with contextlib.suppress(SyscontainersError):
            layers.update(_read_record(directory).get_strings("layers", []))
    return frozenset(layers)


def _runs(context: Context) -> Path:
    return context.settings.state / "runs"


def _bundles(context: Context) -> list[Path]:
    directory = _runs(context)
    return sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []


def _make(bundle: Bundle) -> int:
    """Make the directory; returns the descriptor that holds its lock."""
    files.make_directories(bundle.directory.parent, 0o700)
    bundle.directory.mkdir(mode=0o755)
    (bundle.directory / "rootfs").mkdir(mode=0o555)
    descriptor = os.open(bundle.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kernel.lock_descriptor(descriptor, exclusive=True)
    return descriptor


def _sweep(context: Context, manager: Manager) -> None:
    for name in dead_bundles(context):
        context.progress.say(f"{name}: its command was cut off, clearing up after it")
        _clear_up(context, manager, Bundle(name, _runs(context) / name))


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        kernel.lock_descriptor(descriptor, exclusive=True, wait=False)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read_record(directory: Path) -> Document:
    try:
        data = files.read_bounded(directory / _RECORD, _LIMIT)
    except FileNotFoundError:  # it had not come so far: nothing was mounted or run
        data = b"{}"
    return Document.parse(data, str(directory / _RECORD))


def _clear_up(context: Context, manager: Manager, bundle: Bundle) -> None:
    """Remove all of it. What cannot go now is told and left to the next command."""
    try:
        manager.stop(bundle.scope)
        _delete_container(bundle)
        remove_empty_group(bundle.cgroup)
        _remove_by_rules(context, bundle)
        rootfs = bundle.directory / "rootfs"
        while rootfs.is_mount():
            kernel.umount2(str(rootfs), kernel.UMOUNT_NOFOLLOW)
        files.remove_tree(bundle.directory)
    except (SyscontainersError, OSError) as error:
        context.progress.warn(f"{bundle.directory} is still there, the next command tries again: {error}")


def _delete_container(bundle: Bundle) -> None:
    """Remove what the runtime keeps; with a damaged record that stays, but nothing runs any more."""
    with contextlib.suppress(SyscontainersError):
        runtime = _read_record(bundle.directory).get_str("runtime", "")
        if runtime:
            run([runtime, "delete", "--force", bundle.id], check=False)


def _remove_by_rules(context: Context, bundle: Bundle) -> None:
    try:
        tmpfiles.remove(bundle.rules)
    except SyscontainersError as error:  # the image's own rules must not keep its bundle here for ever
        context.progress.warn(f"{bundle.id}: {error.message}")
