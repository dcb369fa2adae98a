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
_LONGEST_PATH = 4095  # PATH_MAX without its NUL


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
    is out of sight, so names there are taken literally. Raises RefusedError for link loops, for a file where a
    directory would have to be and for a path that no system call takes.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise RefusedError(f"{path[:80]}…: a path longer than {_LONGEST_PATH} bytes")
    walk = _Walk(tree, path, covered)
    while walk.waiting:
        walk.step()
    done, hidden = walk.done, walk.is_hidden
    return Place("/" + "/".join(done), None if hidden else _stat_in_tree(tree, done, path), hidden)


class _Walk:
    """A path of which the beginning is resolved."""

    def __init__(self, tree: int, path: str, covered: Collection[str]) -> None:
        self._tree = tree
        self._path = path
        self._covered = covered
        self._links = 0
        self._hidden = ["/" in covered]
        """Whether the root is hidden, and so on for each of the parts that are done."""
        self.done: list[str] = []
        self.waiting = _parts(path)[::-1]

    @property
    def is_hidden(self) -> bool:
        return self._hidden[-1]

    def step(self) -> None:
        """Take in the next part."""
        part = self.waiting.pop()
        if part == "..":
            self._go_up_to(max(len(self.done) - 1, 0))
            return
        status = None if self.is_hidden else _stat_in_tree(self._tree, [*self.done, part], self._path)
        if status is not None and stat.S_ISLNK(status.st_mode):
            self._follow(part)
        else:
            self.done.append(part)
            self._hidden.append(self.is_hidden or "/" + "/".join(self.done) in self._covered)

    def _follow(self, part: str) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise RefusedError(f"{self._path[:80]}: too many symbolic links in the image")
        target = os.readlink("/".join([*self.done, part]), dir_fd=self._tree)
        if target.startswith("/"):
            self._go_up_to(0)
        self.waiting += _parts(target)[::-1]

    def _go_up_to(self, depth: int) -> None:
        del self.done[depth:], self._hidden[depth + 1 :]


def stat_in_tree(tree: int, path: str) -> os.stat_result | None:
    """What is at ``path``, a ``Place``'s or a part of one; None for nothing. Raises RefusedError."""
    return _stat_in_tree(tree, _parts(path), path)


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
