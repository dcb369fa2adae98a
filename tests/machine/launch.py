"""What runs in the mount and PID namespace of a throw-away machine before its systemd does.

Everything that must vanish with the machine is mounted here and nowhere else: a tmpfs for what it writes, an
overlay of the real root over it, a loop device for the storage. Whoever dies, in whatever order, the kernel takes
them away with the namespace. Only the directory of the machine and its control groups are left to be swept.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from syscontainers.kernel import mount
from syscontainers.run import run
from tests.machine.cgroups import join_groups

HIDDEN = (
    # What the owner of the real machine enabled, in systemd's and in the older way, must not start twice.
    "etc/systemd/system",
    "etc/systemd/system-generators",
    "etc/systemd/system.conf.d",
    "etc/rc2.d",
    "etc/rc3.d",
    "etc/rcS.d",
    "etc/cron.d",
    "var/log/journal",
)
MASKED = (
    # With a writable /sys and /proc/sys these would turn the knobs of the real kernel.
    "systemd-binfmt.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    # Of no use here, and each costs time or fails for want of hardware.
    "console-getty.service",
    "getty.target",
    "kmod-static-nodes.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-tmpfiles-clean.timer",
)
GENERATORS = Path("/usr/lib/systemd/system-generators")
# Everything else is on the one file system of / on an ordinary machine; where it is not, it needs an overlay too.
MAYBE_SEPARATE = ("usr", "var", "opt", "srv", "home", "root")
DATA = ("var/lib/syscontainers", "var/lib/containers")

# systemd-nspawn mounts the hierarchies of version 1 read-only, and systemd decides at its start what it may
# write to, hence the remount before it. A plain `remount,rw` says busy: the superblock belongs to the real machine.
INIT = (
    'for each in /sys/fs/cgroup /sys/fs/cgroup/*/; do mountpoint -q "$each" && mount -o remount,rw,bind "$each"; done; '
    'exec /lib/systemd/systemd "$@"'
)


@dataclass(frozen=True)
class Blueprint:
    """What machine is wanted. ``directory`` is its own, on a real disk."""

    name: str
    directory: str
    cgroups: tuple[str, ...]
    share_network: bool
    disk_bytes: int
    files: dict[str, str]
    """Absolute path inside to content, in place before the boot."""
    unit: str
    """What to boot to."""

    def dump(self) -> str:
        return json.dumps(asdict(self))


def _overlay(lower: Path, scratch: Path, target: Path) -> None:
    work = [scratch / secrets.token_hex(4) / part for part in ("upper", "work")]
    for directory in (*work, target):
        directory.mkdir(parents=True, exist_ok=True)
    mount("overlay", str(target), "overlay", 0, f"lowerdir={lower},upperdir={work[0]},workdir={work[1]}")


def make_root(directory: Path) -> Path:
    """A writable view of the real machine; what is written stays in memory."""
    scratch = directory / "memory"
    scratch.mkdir()
    mount("tmpfs", str(scratch), "tmpfs", 0, "mode=755")
    root = scratch / "root"
    _overlay(Path("/"), scratch, root)
    for name in MAYBE_SEPARATE:
        if os.path.ismount(f"/{name}"):
            _overlay(Path(f"/{name}"), scratch, root / name)
    return root


def hide_traces() -> None:
    """systemd-nspawn's own directory becomes one of ours: it cleans up there only if it is not killed."""
    Path("/run/systemd/nspawn").mkdir(parents=True, exist_ok=True)
    mount("tmpfs", "/run/systemd/nspawn", "tmpfs", 0, "mode=755")


def quieten(root: Path) -> None:
    """Only what systemd's own package starts is started."""
    for name in HIDDEN:
        shutil.rmtree(root / name, ignore_errors=True)
    mask(root / "etc/systemd/system", MASKED)
    # They have nothing to find here, and are most of what a reload of PID 1 costs.
    mask(root / "etc/systemd/system-generators", (path.name for path in GENERATORS.iterdir()))


def mask(directory: Path, names: Iterable[str]) -> None:
    """Files of these names in places of less weight count for nothing (systemd.unit(5), systemd.generator(7))."""
    directory.mkdir(parents=True)
    for name in names:
        (directory / name).symlink_to("/dev/null")


def write_identity(root: Path, name: str) -> None:
    # An empty machine-id would mean "first boot", and that enables every unit on the disk (machine-id(5)).
    for path, text in {
        "etc/machine-id": secrets.token_hex(16),
        "etc/hostname": name,
        "etc/fstab": "",
        "etc/hosts": f"127.0.0.1 localhost {name}\n::1 localhost\n",
    }.items():
        (root / path).write_text(text)


def write_files(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def mount_disk(directory: Path, size: int) -> Path:
    """A file system of its own for container storage: overlayfs takes no upper directory on an overlay."""
    image = directory / "disk.img"
    with image.open("wb") as file:
        file.truncate(size)
    run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", image])
    disk = directory / "disk"
    disk.mkdir()
    # Detached from the loop device as soon as the mount goes, which is when the namespace goes.
    run(["mount", "-o", "loop", image, disk])
    (disk / "lost+found").rmdir()
    return disk


def nspawn_command(blueprint: Blueprint, root: Path, disk: Path) -> list[str]:
    argv = ["systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={blueprint.name}"]
    # No system bus to register with, and the groups we are in are ours to give.
    argv += ["--register=no", "--keep-unit"]
    argv += ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe"]
    # runc needs @keyring for a session keyring of its own, and the rest as on a real machine.
    argv += ["--capability=all", "--system-call-filter=@keyring @privileged bpf perf_event_open @mount"]
    for name in DATA:
        inside = disk / name.replace("/", "-")
        inside.mkdir()
        argv.append(f"--bind={inside}:/{name}")
    if not blueprint.share_network:
        argv.append("--private-network")
    return [*argv, "/bin/sh", "-c", INIT, "init", f"systemd.unit={blueprint.unit}"]


def launch(blueprint: Blueprint) -> NoReturn:
    join_groups(map(Path, blueprint.cgroups))
    directory = Path(blueprint.directory)
    hide_traces()
    root = make_root(directory)
    quieten(root)
    write_identity(root, blueprint.name)
    for name in DATA:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    write_files(root, blueprint.files)
    argv = nspawn_command(blueprint, root, mount_disk(directory, blueprint.disk_bytes))
    # Otherwise nspawn mounts /sys and /proc/sys read-only, and no runtime can set up a container.
    os.execvpe(argv[0], argv, {**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"})


if __name__ == "__main__":
    known = json.loads(sys.argv[1])
    launch(Blueprint(**{**known, "cgroups": tuple(known["cgroups"])}))
