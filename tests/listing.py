"""Everything a directory tree consists of, as a value that can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple


class Facts(NamedTuple):
    """One entry of a tree."""

    mode: str
    owner: tuple[int, int]
    mtime: int
    content: bytes | str | int
    """Hash of a file, text of a link, number of a device."""
    xattrs: tuple[tuple[str, bytes], ...]
    first: bytes
    """The first name of the same inode."""


def _content(path: bytes, status: os.stat_result) -> bytes | str | int:
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    return b"" if stat.S_ISDIR(status.st_mode) else status.st_rdev


def _facts(path: bytes, name: bytes, links: dict[tuple[int, int], bytes]) -> Facts:
    status = os.lstat(path)
    keys = sorted(os.listxattr(path, follow_symlinks=False))
    return Facts(
        mode=oct(status.st_mode),
        owner=(status.st_uid, status.st_gid),
        mtime=status.st_mtime_ns,
        content=_content(path, status),
        xattrs=tuple((key, os.getxattr(path, key, follow_symlinks=False)) for key in keys),
        first=links.setdefault((status.st_dev, status.st_ino), name),
    )


def list_tree(root: Path) -> dict[bytes, Facts]:
    """Everything below ``root``, by name relative to it."""
    found: dict[bytes, Facts] = {}
    links: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    for above, directories, names in os.walk(top):
        directories.sort()
        for name in sorted([*directories, *names]):
            path = os.path.join(above, name)
            relative = os.path.relpath(path, top)
            found[relative] = _facts(path, relative, links)
    return found
