"""Names that say what the layers below no longer show (OCI image-spec, layer.md, "Whiteouts").

Overlayfs says the same with a character device 0:0 of that name, or a mark on a directory.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import stat

from ..errors import HostileArchiveError
from . import xattrs
from .directories import Directories, Directory, is_whiteout
from .names import AUFS, OPAQUE, WHITEOUT
from .tar import FILE, HARD_LINK, Member


class Meaning(enum.Enum):
    """What a name that contains ``.wh.`` stands for."""

    ORDINARY = enum.auto()
    WHITEOUT = enum.auto()
    OPAQUE = enum.auto()
    LEFTOVER = enum.auto()


def interpret(member: Member) -> Meaning:
    """What the member's name means. Raises HostileArchiveError for names that only look like whiteouts."""
    *parents, base = member.name.split(b"/")
    marked = [part for part in parents if part.startswith(WHITEOUT)]
    if base in AUFS or any(part in AUFS for part in marked):
        return Meaning.LEFTOVER
    if marked:
        raise HostileArchiveError("its directory has the name of a whiteout")
    if not base.startswith(WHITEOUT):
        return Meaning.ORDINARY
    # AUFS made whiteouts as hard links of one file.
    if member.kind not in (FILE, HARD_LINK) or member.size:
        raise HostileArchiveError("a whiteout that is not an empty file")
    if base == OPAQUE:
        return Meaning.OPAQUE
    hidden = base[len(WHITEOUT) :]
    if hidden in (b"", b".", b"..") or hidden.startswith(WHITEOUT):
        raise HostileArchiveError("a whiteout of nothing")
    return Meaning.WHITEOUT


class Whiteouts:
    """Makes overlayfs' marks in a tree that is being written."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._any = False

    def hide(self, path: bytes, member: Member) -> None:
        """Hide the entry ``member`` speaks of in the directory ``path``, but never one of this layer."""
        if self._is_hidden_already(path):
            return
        parent = self._directories.get(path)
        hidden = member.name.rpartition(b"/")[2][len(WHITEOUT) :]
        try:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent.descriptor)
        except FileExistsError:
            self._hide_below(parent, hidden)
            return
        self._any = True
        uid, gid = member.owner.uid, member.owner.gid
        os.chown(hidden, uid, gid, dir_fd=parent.descriptor, follow_symlinks=False)

    def _hide_below(self, parent: Directory, name: bytes) -> None:
        status = os.stat(name, dir_fd=parent.descriptor, follow_symlinks=False)
        if is_whiteout(status):
            raise HostileArchiveError("the same whiteout twice")
        # A file of this layer hides what is below by itself; a directory would join with it.
        if stat.S_ISDIR(status.st_mode):
            path = parent.path + b"/" + name if parent.path else name
            self._mark(self._directories.get(path))

    def _is_hidden_already(self, path: bytes) -> bool:
        """Whether the directory shows nothing of the layers below anyway: a whiteout in it would itself be seen."""
        while path:
            directory = self._directories.find(path)
            if directory is None:
                if self._any and self._is_whiteout(path):
                    return True
            elif self._directories.any_opaque and _is_opaque(directory):
                return True
            path = path.rpartition(b"/")[0]
        return self._directories.any_opaque and _is_opaque(self._directories.get(b""))

    def _is_whiteout(self, path: bytes) -> bool:
        above, _, name = path.rpartition(b"/")
        parent = self._directories.find(above)
        if parent is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            return is_whiteout(os.stat(name, dir_fd=parent.descriptor, follow_symlinks=False))
        return False

    def make_opaque(self, path: bytes) -> None:
        """Hide all that the layers below have in the directory ``path``.

        Raises HostileArchiveError for what cannot be a directory of this layer, or is opaque already.
        """
        directory = self._directories.get(path)
        if self._directories.any_opaque and _is_opaque(directory):
            raise HostileArchiveError("the same directory made opaque twice")
        self._mark(directory)

    def _mark(self, directory: Directory) -> None:
        self._directories.make_opaque(directory)
        if self._any:
            self._clear_below(directory.path)

    def _clear_below(self, top: bytes) -> None:
        waiting = [top]
        while waiting:
            path = waiting.pop()
            directory = self._directories.get(path)
            # A list first: removing while reading a directory may skip entries (readdir(3)).
            for entry in list(os.scandir(directory.descriptor)):
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path + b"/" + name if path else name)
                elif is_whiteout(entry.stat(follow_symlinks=False)):
                    os.unlink(name, dir_fd=directory.descriptor)


def _is_opaque(directory: Directory) -> bool:
    try:
        return os.getxattr(directory.descriptor, xattrs.OPAQUE) == b"y"
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return False
