"""The directories of a tree that is being written: found without following names outside, held open while in use.

A member is made relative to the descriptor of its directory. Descriptors are kept for the directories used last, which
makes one ``openat2`` per directory and not one per member, since archives go directory by directory. A directory gets
its modification time when its descriptor is closed; opened again, it is read first, and restored at the next
closing. So memory does not grow with the number of directories.

Nothing in the tree is ever replaced but whiteouts, which no path leads through: an open directory stays right.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from .. import kernel
from ..errors import HostileArchiveError
from . import xattrs
from .limits import COST_OF_AN_ENTRY, FreeSpace, Limits
from .names import WHITEOUT
from .tar import Owner

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS | kernel.RESOLVE_NO_XDEV
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_HELD = 32
"""Descriptors per layer; six layers at once stay far below the usual limit of 1024."""
_IMPLIED_MODE = 0o755
_OPAQUE = b"y"


class Directory:
    """One open directory of the tree."""

    __slots__ = ("descriptor", "inherits", "mtime", "path")

    def __init__(self, path: bytes, descriptor: int, mtime: int, *, inherits: bool) -> None:
        self.path = path
        self.descriptor = descriptor
        self.mtime = mtime
        """What it will have when closed, in nanoseconds."""
        self.inherits = inherits
        """Whether new entries may get group, mode or access control list from it: set-group-ID, an ACL, bsdgroups."""


def is_whiteout(status: os.stat_result) -> bool:
    """Whether it is overlayfs' mark for "not here": character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Directories:
    """Opens, makes and closes the directories below one root descriptor, which the caller keeps open."""

    def __init__(self, root: int, limits: Limits, space: FreeSpace) -> None:
        self._limits = limits
        self._space = space
        self._root = Directory(b"", root, os.stat(root).st_mtime_ns, inherits=self._would_inherit(root))
        self._open: dict[bytes, Directory] = {}
        self._last = self._root
        self._last_path = b""
        self._acls = False
        self._made = 0
        self._implied_bytes = 0
        self.implied: dict[bytes, None] = {}
        """Directories that no header has named so far, in order."""
        self.any_opaque = False

    def _would_inherit(self, descriptor: int, *, acls: bool = True) -> bool:
        status = os.stat(descriptor)
        return bool(status.st_gid or status.st_mode & stat.S_ISGID or (acls and xattrs.has_default_acl(descriptor)))

    def get(self, path: bytes) -> Directory:
        """The directory ``path``, made together with its parents where missing. Raises HostileArchiveError."""
        if path == self._last_path:
            return self._last
        directory = self.find(path) or self._make_implied(path)
        self._last, self._last_path = directory, path
        return directory

    def find(self, path: bytes) -> Directory | None:
        """The directory ``path`` if there is one. Raises HostileArchiveError where the path leads nowhere good."""
        if not path:
            return self._root
        directory = self._open.pop(path, None)
        if directory is None:
            return self._reopen(path)
        self._open[path] = directory  # now the most recently used
        return directory

    def add(self, parent: Directory, name: bytes, owner: Owner, mtime: int, attributes: Mapping[bytes, bytes]) -> None:
        """Make the directory that a header names, or give one that was implied so far what the header says."""
        path = _join(parent.path, name)
        explicit = parent.inherits
        if path in self.implied:
            del self.implied[path]
            directory, explicit = self.get(path), True
        else:
            directory = self._make(parent, name, owner.mode)
        descriptor = directory.descriptor
        if owner.uid or owner.gid or explicit:
            os.fchown(descriptor, owner.uid, owner.gid)
        if owner.mode & 0o6000 or explicit:
            os.fchmod(descriptor, owner.mode)
        if attributes:
            xattrs.set_xattrs(descriptor, attributes, self._space)
            self._acls = self._acls or xattrs.ACL_DEFAULT in attributes
        directory.mtime = mtime
        directory.inherits = bool(owner.gid or owner.mode & stat.S_ISGID or xattrs.ACL_DEFAULT in attributes)

    def make_opaque(self, directory: Directory) -> None:
        """Let nothing of the layers below show through ``directory``."""
        self.any_opaque = True
        os.setxattr(directory.descriptor, xattrs.OPAQUE, _OPAQUE)

    def close(self) -> None:
        """Close all, each with its modification time; the root has none of its own."""
        self._last, self._last_path = self._root, b""
        while self._open:
            self._release(next(iter(self._open)))

    def _release(self, path: bytes) -> None:
        directory = self._open.pop(path)
        try:
            os.utime(directory.descriptor, ns=(directory.mtime, directory.mtime))
        finally:
            os.close(directory.descriptor)

    def _hold(self, directory: Directory) -> Directory:
        self._open[directory.path] = directory
        while len(self._open) > _HELD:
            oldest = next(iter(self._open))
            if self._open[oldest] is self._last:
                self._open[oldest] = self._open.pop(oldest)  # get() does not count as use, and its caller has it
            else:
                self._release(oldest)
        return directory

    def _reopen(self, path: bytes) -> Directory | None:
        try:
            descriptor = kernel.openat2(
                self._root.descriptor, path, _OPEN, resolve=_INSIDE | kernel.RESOLVE_NO_SYMLINKS
            )
        except OSError as error:
            if error.errno == errno.ELOOP:
                return self._reopen_through_links(path)
            _refuse_unless_absent(error)
            return None
        return self._hold(self._read(path, descriptor))

    def _reopen_through_links(self, path: bytes) -> Directory | None:
        # Whatever name leads to it, a directory is held once, because it has one modification time.
        try:
            descriptor = kernel.openat2(self._root.descriptor, path, _OPEN, resolve=_INSIDE)
        except OSError as error:
            _refuse_unless_absent(error)
            return None
        root = os.readlink(b"/proc/self/fd/%d" % self._root.descriptor)
        real = os.readlink(b"/proc/self/fd/%d" % descriptor)[len(root) + 1 :]
        if real and real not in self._open:
            return self._hold(self._read(real, descriptor))
        os.close(descriptor)
        return self.find(real)

    def _read(self, path: bytes, descriptor: int) -> Directory:
        mtime = os.stat(descriptor).st_mtime_ns
        return Directory(path, descriptor, mtime, inherits=self._would_inherit(descriptor, acls=self._acls))

    def _make_implied(self, path: bytes) -> Directory:
        missing: list[bytes] = []
        directory = None
        while directory is None:
            path, _, name = path.rpartition(b"/")
            missing.append(name)
            directory = self.find(path)
        for name in reversed(missing):
            if name.startswith(WHITEOUT):
                raise HostileArchiveError("its directory has the name of a whiteout")
            self._space.take(COST_OF_AN_ENTRY)
            directory = self._make(directory, name, _IMPLIED_MODE)
            self.implied[directory.path] = None
            self._implied_bytes += len(directory.path)
        if self._implied_bytes > self._limits.names:
            raise HostileArchiveError(f"the names of directories without an entry exceed {self._limits.names} bytes")
        if len(self.implied) > self._limits.implied:
            raise HostileArchiveError(f"more than {self._limits.implied} directories without an entry of their own")
        return directory

    def _make(self, parent: Directory, name: bytes, mode: int) -> Directory:
        path = _join(parent.path, name)
        self._check_limits(path)
        whiteout = self._mkdir(parent, name, mode)
        descriptor = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=parent.descriptor)
        try:
            if parent.inherits:
                xattrs.drop_default_acl(descriptor)
                os.fchown(descriptor, 0, 0)
                os.fchmod(descriptor, mode)
            directory = self._read(path, descriptor)
            if whiteout:
                self.make_opaque(directory)
        except BaseException:
            os.close(descriptor)
            raise
        return self._hold(directory)

    def _check_limits(self, path: bytes) -> None:
        self._made += 1
        if self._made > self._limits.entries:
            raise HostileArchiveError(f"more than {self._limits.entries} directories")
        if path.count(b"/") >= self._limits.depth:
            raise HostileArchiveError(f"directories nested deeper than {self._limits.depth}")

    def _mkdir(self, parent: Directory, name: bytes, mode: int) -> bool:
        """Whether a whiteout had to give way: then the directory hides the one below instead of joining it."""
        try:
            os.mkdir(name, mode & 0o1777, dir_fd=parent.descriptor)
        except FileExistsError:
            make_room(parent, name)
            os.mkdir(name, mode & 0o1777, dir_fd=parent.descriptor)
            return True
        return False


def _refuse_unless_absent(error: OSError) -> None:
    if error.errno not in _ABSENT:
        raise HostileArchiveError(f"its directory cannot be reached: {error.strerror}") from None


def make_room(parent: Directory, name: bytes) -> None:
    """Remove a whiteout that stands where something is to be made; anything else there is a duplicate.

    A whiteout speaks of the layers below, never of its own. Raises HostileArchiveError.
    """
    if not is_whiteout(os.stat(name, dir_fd=parent.descriptor, follow_symlinks=False)):
        raise HostileArchiveError("the name was in the archive before, or is that of a directory on its way")
    os.unlink(name, dir_fd=parent.descriptor)


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name
