"""podman of Debian 13 in a root of its own: younger than this host's, and with ``podman system check``.

The root is made once, in ``.cache`` of the checkout. Commands run in it by pivot_root(2): podman
unpacks layers in a child that wants to remount its root, which a chroot does not let it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from examples.locked import locked
from syscontainers import files
from tests.debian import TRIXIE, install_debian

ROOT = Path(__file__).parents[2] / ".cache/trixie-podman"

# Everything is mounted in a namespace that ends with the command.
_ENTER = """
set -e
root=$1 shared=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/shared"
mount --bind "$shared" "$root/shared"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
cd "$root"
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; cd /shared; exec "$@"' sh "$@"
"""


def make_root() -> Path:
    """The root; made if it is not there yet, which takes half a minute and is done by one process at a time."""
    with locked(ROOT.with_suffix(".lock")):
        if not ROOT.is_dir():
            _make_root()
    return ROOT


def _make_root() -> None:
    temporary = files.temporary_name(ROOT)
    install_debian(TRIXIE, ("podman", "crun", "ca-certificates"), temporary)
    temporary.rename(ROOT)


def run_inside(shared: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the root, with ``shared`` of this host as its /shared."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PODMAN_IGNORE_CGROUPSV1_WARNING": "1", "HOME": "/root"}
    command: list[str | Path] = ["unshare", "-m", "sh", "-c", _ENTER, "sh", make_root(), shared, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)


def podman_inside(shared: Path, root: str, *words: str, additional: str = "") -> subprocess.CompletedProcess[str]:
    """podman on the store ``root``, a path below /shared."""
    options = ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    if additional:
        options += ["--storage-opt", f"additionalimagestore={additional}"]
    return run_inside(shared, "podman", "--root", root, "--runroot", "/run/podman", *options, *words)
