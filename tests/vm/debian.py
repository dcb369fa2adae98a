"""Debian in a directory, by debootstrap: only packages, nothing of ours. Two minutes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "libsystemd0", "kmod", "e2fsprogs", "util-linux"),
    *("linux-image-cloud-amd64", "python3", "runc", "crun", "busybox-static"),
    *("iproute2", "procps", "acct", "ca-certificates"),
)
# Nothing that is only for reading, and no package lists: a smaller image is written and read faster.
USELESS = (
    *("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale"),
    *("usr/lib/udev/hwdb.d", "usr/lib/udev/hwdb.bin", "var/log", "usr/share/zoneinfo"),
)


def make_debian(root: Path) -> None:
    """Fill the empty directory ``root``."""
    include = ",".join(PACKAGES)
    # initramfs-tools would spend a minute on a RAM disk that we do not use.
    argv = ["debootstrap", "--variant=minbase", f"--include={include}", "--exclude=initramfs-tools", SUITE]
    log = root.with_suffix(".log")
    with log.open("wb") as output:
        done = subprocess.run([*argv, str(root), MIRROR], stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"debootstrap failed:\n{log.read_text()[-2000:]}")
    log.unlink()
    for name in USELESS:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
