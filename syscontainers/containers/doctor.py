"""What of this host stands in the way: each thing that containers need, tried out, and what to do where it fails.

Nothing is changed, but for files in a temporary directory beside the storage that overlayfs is tried with.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import kernel
from ..errors import SyscontainersError
from ..run import find_program
from ..storage.landlock import abi_version
from ..storage.mounts import open_tree
from ..systemd.manager import connect
from ..systemd.version import major_version
from .bundle import dead_bundles
from .context import Context
from .journal import names_with_records
from .listing import list_containers
from .runtime import find_runtime
from .sharing import exported_in

GOOD, ODD, BAD = "ok", "warning", "problem"
_PROGRAMS = ("systemd-analyze", "systemd-tmpfiles", "journalctl", "flock")
_UNFIT = ("overlay", "nfs", "nfs4", "cifs", "9p", "vfat", "exfat", "fuse.sshfs")  # no upper or lower layers on these
_LITTLE = 1 << 30
_WANTED_AT_BOOT = tuple(f"syscontainers-{name}.service" for name in ("recover", "apply", "roots", "settle"))
_BOOT_UNITS = (*_WANTED_AT_BOOT, "syscontainers-fetch.service")
_OLDEST_SYSTEMD = 247


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: str
    """``ok``, ``warning`` or ``problem``."""
    text: str
    hint: str = ""

    def to_json(self) -> dict[str, object]:
        """For ``doctor --json``; the keys are a contract."""
        return {"what": self.what, "level": self.level, "text": self.text, "hint": self.hint or None}


def examine(context: Context) -> list[Finding]:
    """Everything that can be looked at; what fails is a finding."""
    checks: tuple[tuple[str, Callable[[Context], Iterator[Finding]]], ...] = (
        ("systemd", _systemd),
        ("runtime", _runtime),
        ("programs", _programs),
        ("kernel", _kernel),
        ("storage", _storage),
        ("overlayfs", _overlayfs),
        ("leftovers", _leftovers),
        ("containers", _containers),
        ("export", _export),
        ("boot", _boot),
    )
    return [finding for what, check in checks for finding in _try(what, check, context)]


def _try(what: str, check: Callable[[Context], Iterator[Finding]], context: Context) -> Iterator[Finding]:
    try:
        yield from check(context)
    except SyscontainersError as error:
        yield Finding(what, BAD, error.message, error.hint)
    except OSError as error:
        yield Finding(what, BAD, f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _systemd(_context: Context) -> Iterator[Finding]:
    with connect() as manager:
        version = manager.version()
    old = major_version(version) < _OLDEST_SYSTEMD
    hint = f"older than {_OLDEST_SYSTEMD}: not tried" if old else ""
    yield Finding("systemd", ODD if old else GOOD, f"systemd {version}", hint)


def _runtime(context: Context) -> Iterator[Finding]:
    runtime = find_runtime(context.settings.runtime)
    yield Finding("runtime", GOOD, f"{runtime.path}, {runtime.name} {runtime.version}")
    for notice in runtime.notices:
        yield Finding("runtime", ODD, notice)


def _programs(_context: Context) -> Iterator[Finding]:
    missing = [name for name in _PROGRAMS if find_program(name) is None]
    if missing:
        yield Finding("programs", BAD, f"not installed: {', '.join(missing)}", "install systemd and util-linux whole")
    else:
        yield Finding("programs", GOOD, ", ".join(_PROGRAMS))


def _kernel(_context: Context) -> Iterator[Finding]:
    os.close(kernel.openat2(kernel.AT_FDCWD, "/", os.O_PATH, resolve=kernel.RESOLVE_NO_SYMLINKS))
    release = os.uname().release
    version = abi_version()
    if version:
        yield Finding("kernel", GOOD, f"Linux {release}, openat2, Landlock {version}")
    else:
        hint = "unpacking then relies on descriptors alone; add landlock to the kernel's lsm="
        yield Finding("kernel", ODD, f"Linux {release}, openat2, without Landlock", hint)


def _storage(context: Context) -> Iterator[Finding]:
    place = _existing(context.settings.storage)
    kind = _file_system(place)
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    text = f"{context.settings.storage} on {kind}, {free >> 20} MiB free"
    if kind in _UNFIT:
        yield Finding("storage", BAD, text, "overlayfs wants its layers on ext4, xfs, btrfs or the like")
    elif kind == "tmpfs":
        yield Finding("storage", ODD, text, "containers are gone after a boot")
    elif free < _LITTLE:
        yield Finding("storage", ODD, text, "syscontainer prune --all frees what no container uses")
    else:
        yield Finding("storage", GOOD, text)


def _overlayfs(context: Context) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(dir=_existing(context.settings.state), prefix=".doctor.") as scratch:
        lowers = [Path(scratch) / name for name in ("upper", "lower")]
        for lower in lowers:
            lower.mkdir()
        (lowers[1] / "seen").touch()
        with open_tree(lowers) as tree:
            os.stat("seen", dir_fd=tree)
    yield Finding("overlayfs", GOOD, "two layers can be mounted")


def _leftovers(context: Context) -> Iterator[Finding]:
    cut_off = names_with_records(context)
    for name in cut_off:
        yield Finding("leftovers", ODD, f"{name}: an operation was cut off, or is under way", "syscontainer recover")
    dead = dead_bundles(context)
    for name in dead:
        yield Finding("leftovers", ODD, f"{name}: its command was cut off", "syscontainer prune")
    if not cut_off and not dead:
        yield Finding("leftovers", GOOD, "none")


def _containers(context: Context) -> Iterator[Finding]:
    rows = list_containers(context)
    bad = [row for row in rows if row.state in ("broken", "failed")]
    for row in bad:
        hint = f"journalctl -u {row.name}.service" if row.state == "failed" else f"syscontainer verify {row.name}"
        text = f"{row.name}: {row.state}{f': {row.problem}' if row.problem else ''}"
        yield Finding("containers", BAD if row.state == "broken" else ODD, text, hint)
    if not bad:
        yield Finding("containers", GOOD, f"{len(rows)} installed, none broken or failed")


def _export(context: Context) -> Iterator[Finding]:
    file = exported_in(context)
    if file is None:
        yield Finding("export", GOOD, "podman is not told of the storage; syscontainer storage export does")
    elif file.exists():
        yield Finding("export", GOOD, f"podman is told of the storage by {file}")
    else:
        yield Finding("export", ODD, f"{file}, by which podman was told of the storage, is gone", "export it again")


def _boot(context: Context) -> Iterator[Finding]:
    """The units name the state directory in conditions, which no setting of ours reaches."""
    state = str(context.settings.state)
    with connect() as manager:
        there = [unit for unit in _BOOT_UNITS if manager.status(unit).load_state == "loaded"]
        astray = [unit for unit in there if state not in manager.list_dependencies(unit, "RequiresMountsFor")]
        off = [unit for unit in there if unit in _WANTED_AT_BOOT and manager.unit_file_state(unit) == "disabled"]
    for unit in astray:
        hint = 'see "Another state directory" in boot.md, share/doc/syscontainers'
        yield Finding("boot", BAD, f"{unit} is for another state directory than {state}", hint)
    for unit in off:
        yield Finding("boot", ODD, f"{unit} is not enabled", f"systemctl enable {unit}")
    if not astray and not off:
        yield Finding("boot", GOOD, f"{len(there)} units for {state}" if there else "its units are not installed")


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _file_system(path: Path) -> str:
    """The type of the file system that ``path`` is on (proc_pid_mountinfo(5)); of mounts on one place the last."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [line.partition(" - ")[2].split()[0] for line in _mounts() if line.split()[2] == number]
    return kinds[-1] if kinds else "an unknown file system"


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
