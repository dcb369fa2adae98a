"""Debian in a directory, by mmdebstrap: only packages, nothing of ours. Half a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
# What a machine boots from.
MACHINE = (
    *("systemd", "systemd-sysv", "dbus", "udev", "libsystemd0", "kmod", "e2fsprogs", "util-linux"),
    *("linux-image-cloud-amd64", "python3", "runc", "crun", "busybox-static"),
    *("iproute2", "procps", "acct", "ca-certificates"),
)
# Building: pystemd is compiled against libsystemd.
BUILDER = ("python3-pip", "python3-dev", "gcc", "libc6-dev", "pkg-config", "libsystemd-dev", "ca-certificates")
# Nothing that is only for reading: a smaller image is written and read faster.
USELESS = (
    *("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/zoneinfo"),
    *("usr/lib/udev/hwdb.d", "usr/lib/udev/hwdb.bin", "var/log"),
)


@dataclass(frozen=True)
class Release:
    """One of Debian's."""

    suite: str
    python: str
    """The version of its Python that names directories."""
    more: Sequence[str] = ()
    """Packages that hold what older releases have in others."""

    @property
    def libraries(self) -> str:
        """Where its Python looks for what no package of Debian's has brought; without a leading slash."""
        return f"usr/local/lib/python{self.python}/dist-packages"


BOOKWORM = Release("bookworm", "3.11")
"""Debian 12: systemd 252, Linux 6.1."""
TRIXIE = Release("trixie", "3.13", more=("util-linux-extra",))
"""Debian 13: systemd 257, Linux 6.12."""


def install_debian(release: Release, packages: Sequence[str], target: Path, *options: str) -> None:
    """Install apt, ``packages`` and what they need into the empty directory ``target``; /dev/null is for none."""
    argv = ["mmdebstrap", "--variant=apt", f"--include={','.join(packages)}", *options]
    done = subprocess.run([*argv, release.suite, str(target), MIRROR], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"mmdebstrap failed:\n{done.stderr[-2000:]}")


def make_machine(release: Release, root: Path) -> None:
    """Fill the empty directory ``root`` with what a machine boots from."""
    # A RAM disk that we do not use would be made by this script; what is there already, dpkg keeps.
    hook = 'mkdir -p "$1/etc/kernel/postinst.d" && touch "$1/etc/kernel/postinst.d/initramfs-tools"'
    install_debian(release, [*MACHINE, *release.more], root, "--dpkgopt=force-confold", f"--essential-hook={hook}")
    for name in USELESS:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_libraries(release: Release, requirements: Sequence[str], root: Path) -> None:
    """Install ``requirements`` from PyPI as that release has them, compiled there, into the tree ``root``."""
    target = root / release.libraries
    target.mkdir(parents=True)
    pip = 'chroot "$1" python3 -m pip install --quiet --root-user-action=ignore --target /libraries'
    quoted = " ".join(f"'{requirement}'" for requirement in requirements)
    hooks = ("copy-in /etc/ssl/certs /etc/ssl", f"{pip} {quoted}", f"sync-out /libraries {target}")
    install_debian(release, BUILDER, Path("/dev/null"), *(f"--customize-hook={hook}" for hook in hooks))


def compile_python(debian: Path, tree: Path) -> None:
    """Compile the modules in ``tree``, which is to lie over the tree ``debian``, for the Python there."""
    script = 'mount --bind "$2" "$1/mnt" && exec chroot "$1" python3 -m compileall -q -s /mnt -p / /mnt/usr'
    subprocess.run(["unshare", "--mount", "sh", "-euc", script, "sh", debian, tree], check=True)
