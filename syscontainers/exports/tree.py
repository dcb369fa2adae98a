"""Looking up names in an image's root as its own processes will see them.

The root is a read-only view of verified layers (``storage.mounts.open_tree``): nothing in it changes while we look, so
a walk by names is exact. Symbolic links are the author's text and are resolved inside the root, never on the host.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Collection
from dataclasses import dataclass

from ..errors import RefusedError

_MOST_LINKS = 40  # MAXSYMLINKS, path_resolution(7)


@dataclass(frozen=True)
class Place:
    """What a path means inside an image's root."""

    path: str
    """The absolute path without symbolic links; parts that do not exist are kept as they were written."""
    status: os.stat_result | None
    """None where nothing is, or nothing can be seen."""
    hidden: bool = False
    """At or below a path that will be covered by a mount."""

    @property
    def is_directory(self) -> bool:
        """Whether a directory is there."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)


def resolve_in_tree(tree: int, path: str, *, covered: Collection[str] = ()) -> Place:
    """Follow ``path`` inside ``tree``, a directory descriptor.

    ``covered`` are absolute paths that something else will be mounted on: below them the image's own content
    is out of sight, so names there are taken literally. Raises RefusedError for link loops and for a file where a
    directory would have to be.
    """
    waiting = _parts(path)[::-1]
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            done = done[:-1]
            continue
        status = None if _is_covered(done, covered) else _stat_in_tree(tree, [*done, part], path)
        if status is None or not stat.S_ISLNK(status.st_mode):
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise RefusedError(f"{path[:80]}: too many symbolic links in the image")
        target = os.readlink("/".join([*done, part]), dir_fd=tree)
        done = [] if target.startswith("/") else done
        waiting += _parts(target)[::-1]
    hidden = _is_covered(done, covered)
    return Place("/" + "/".join(done), None if hidden else _stat_in_tree(tree, done, path), hidden)


def normal_path(path: str) -> str:
    """An absolute path with one slash between its parts and no dots; relative ones keep what they begin with."""
    normal = posixpath.normpath(path)
    return "/" + normal.lstrip("/") if normal.startswith("/") else normal  # POSIX lets "//x" differ from "/x"


def is_symlink_in_tree(tree: int, path: str) -> bool:
    """Whether ``path`` itself is a symbolic link in the image; its parents are followed."""
    parent, _, name = path.rstrip("/").rpartition("/")
    directory = _parts(resolve_in_tree(tree, parent).path)
    status = _stat_in_tree(tree, [*directory, name], path)
    return status is not None and stat.S_ISLNK(status.st_mode)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_covered(parts: list[str], covered: Collection[str]) -> bool:
    prefixes = {"/" + "/".join(parts[:length]) for length in range(len(parts) + 1)}
    return not prefixes.isdisjoint(covered)


def _stat_in_tree(tree: int, parts: list[str], asked: str) -> os.stat_result | None:
    try:
        return os.stat("/".join(parts) or ".", dir_fd=tree, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise RefusedError(f"{asked[:80]}: the image has a file where a directory would have to be") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise RefusedError(f"{asked[:80]}…: a name too long for any file system") from None
