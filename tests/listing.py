"""Everything a directory tree consists of, as a value that can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

Facts = tuple[object, ...]


def _facts(path: bytes, status: os.stat_result, *, links: dict[tuple[int, int], bytes], name: bytes) -> Facts:
    content: object = b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif not stat.S_ISDIR(status.st_mode):
        content = status.st_rdev
    keys = os.listxattr(path, follow_symlinks=False)
    attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in keys}
    first = links.setdefault((status.st_dev, status.st_ino), name)
    owner = (status.st_uid, status.st_gid)
    return (oct(status.st_mode), owner, status.st_mtime_ns, content, tuple(sorted(attributes.items())), first)


def list_tree(root: Path, *, times: bool = True) -> dict[bytes, Facts]:
    """Name -> mode, owner, mtime, contents or link or device, xattrs, first name of the same inode."""
    found: dict[bytes, Facts] = {}
    links: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    for above, directories, names in os.walk(top):
        directories.sort()
        for name in sorted([*directories, *names]):
            path = os.path.join(above, name)
            relative = os.path.relpath(path, top)
            facts = _facts(path, os.lstat(path), links=links, name=relative)
            found[relative] = facts if times else (*facts[:2], *facts[3:])
    return found
