"""Renaming between the staging area and a store that its owner has mounted on itself.

podman, skopeo and CRI-O bind-mount ``overlay`` of the store they write to on itself while they run, to make it private
(containers/storage, ``mount.MakePrivate``). rename(2) refuses to cross a mount point even where both sides are one file
system; beneath the mounts it works.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from .. import kernel


def move(source: Path, target: Path) -> None:
    """rename(2), also where the file system is mounted a second time on the way. Raises OSError."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_beneath(source, target)


def _move_beneath(source: Path, target: Path) -> None:
    """Through a private copy of the one mount that both lie on, without the mounts on top of it."""
    common = os.path.commonpath([source.parent, target.parent])
    base = kernel.open_tree(common, kernel.OPEN_TREE_CLONE)
    try:
        for path in (source.parent, target.parent):
            _check_same(base, common, path)
        os.rename(os.path.relpath(source, common), os.path.relpath(target, common), src_dir_fd=base, dst_dir_fd=base)
    finally:
        os.close(base)


def _check_same(base: int, common: str, path: Path) -> None:
    """Another file system may be mounted there instead; what it covers must not be touched."""
    beneath = os.stat(os.path.relpath(path, common), dir_fd=base)
    if not os.path.samestat(beneath, path.stat()):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
