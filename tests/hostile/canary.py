"""What an archive would like to touch: a directory beside the layer, and how to tell that it was not touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

SECRET = b"the canary sings: 7f1c9a52"
_LONG_AGO = 1_500_000_000_123456789


class Canary:
    """A directory with a file ``secret``, a directory ``tools`` with a program in it, and a link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        tools, secret = path / "tools", path / "secret"
        tools.mkdir(parents=True)
        secret.write_bytes(SECRET)
        (tools / "run").write_text("#!/bin/sh\n")
        secret.chmod(0o600)
        (path / "link").symlink_to("secret")
        os.setxattr(secret, "user.canary", b"sings")
        for each in (secret, tools / "run", tools, path):
            os.utime(each, ns=(_LONG_AGO, _LONG_AGO))

    def state(self) -> dict[str, tuple[object, ...]]:
        """All there is to know: the change time and the count of links show what everything else would hide.

        Also the time of the last access, which nothing here changes, and what is there and mounted around it.
        """
        found = {str(path): _facts(path) for path in [self.path, *self.path.rglob("*")]}
        above = self.path.parent
        return {**found, "beside": tuple(sorted(os.listdir(above))), "mounts": tuple(_mounts(above))}


def _facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content: object = None
    if path.is_symlink():
        content = path.readlink()
    elif path.is_file():
        # Reading it here must not look like somebody else's reading it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME)
        content = os.read(descriptor, 1000)
        os.close(descriptor)
    times: tuple[int, ...] = (status.st_mtime_ns, status.st_ctime_ns)
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    times += (status.st_atime_ns,) if stat.S_ISREG(status.st_mode) else ()
    return (content, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_ino, times, attributes)


def _mounts(top: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4]
        if place.startswith(f"{top}/"):
            yield place


def contains_secret(top: Path) -> list[str]:
    """The files below ``top`` that hold what stands in a canary's secret file."""
    found = []
    for above, _, names, directory in os.fwalk(os.fsencode(top)):
        for name in names:
            if stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                with open(name, "rb", opener=lambda path, flags, at=directory: os.open(path, flags, dir_fd=at)) as file:  # type: ignore[misc]
                    found += [str(above)] if SECRET in file.read() else []
    return found
