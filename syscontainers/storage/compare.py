"""Comparing a layer's files with the headers of the archive that they came from: types, owners, modes, times, links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import kernel
from . import tar, xattrs
from .directories import is_whiteout
from .names import OPAQUE, WHITEOUT
from .tar import Member
from .whiteouts import Meaning, interpret

_RESOLVE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
_TYPES = {
    tar.FILE: (stat.S_IFREG, "a regular file"),
    tar.SYMLINK: (stat.S_IFLNK, "a symbolic link"),
    tar.DIRECTORY: (stat.S_IFDIR, "a directory"),
    tar.CHARACTER: (stat.S_IFCHR, "a character device"),
    tar.BLOCK_DEVICE: (stat.S_IFBLK, "a block device"),
    tar.FIFO: (stat.S_IFIFO, "a FIFO"),
}
_DEVICES = (tar.CHARACTER, tar.BLOCK_DEVICE)
_SECOND = 1_000_000_000
_SHOWS = "no longer hides what the layers below have there"

Complain = Callable[[bytes, str], None]


class TreeComparison:
    """Takes the members of an archive one by one; at the end it knows what the tree has besides."""

    def __init__(self, diff: Path, complain: Complain) -> None:
        self._root = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._complain = complain
        self._names: set[bytes] = set()
        self._inodes: set[int] = set()
        self._missing_whiteouts: list[bytes] = []
        self._linked: dict[int, tuple[bytes, list[str]]] = {}
        """What is wrong with owner, mode and time of a file of several names, by inode. Some unpackers, podman
        for one, let the header of the last name decide about them."""

    def close(self) -> None:
        """Give the tree's descriptor back."""
        os.close(self._root)

    def check(self, member: Member) -> None:
        """Compare one member with what the tree has in its place."""
        if not member.name or member.kind == tar.GLOBAL:
            return  # no header decides about the root; a global record is no file
        meaning = interpret(member)
        if meaning is Meaning.ORDINARY:
            self._names.add(member.name)
            self._check_entry(member)
        elif meaning is Meaning.WHITEOUT:
            self._check_whiteout(member)
        elif meaning is Meaning.OPAQUE:
            self._check_opaque(member)

    def _open(self, name: bytes) -> int | None:
        try:
            return kernel.openat2(self._root, name or b".", os.O_PATH | os.O_NOFOLLOW, resolve=_RESOLVE)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    def _check_entry(self, member: Member) -> None:
        descriptor = self._open(member.name)
        if descriptor is None:
            # Unpackers may leave devices out: the runtime makes those that a container gets.
            if member.kind not in _DEVICES:
                self._complain(member.name, "is missing")
            return
        try:
            status = os.fstat(descriptor)
            self._inodes.add(status.st_ino)
            self._complain_of(member.name, self._differences(member, descriptor, status))
        finally:
            os.close(descriptor)

    def _complain_of(self, name: bytes, problems: Iterable[str]) -> None:
        for problem in problems:
            self._complain(name, problem)

    def _differences(self, member: Member, descriptor: int, status: os.stat_result) -> Iterator[str]:
        if member.kind == tar.HARD_LINK:
            if not self._is_same_file(member.link, status):
                yield f"is no hard link to {member.link.decode(errors='backslashreplace')}"
            elif not any(_metadata_differences(member, status)):
                self._linked.pop(status.st_ino, None)
            return
        kind, name = _TYPES[member.kind]
        if stat.S_IFMT(status.st_mode) != kind:
            yield f"is not {name}"
            return
        if member.kind == tar.FILE and status.st_nlink > 1:
            self._linked[status.st_ino] = (member.name, list(_metadata_differences(member, status)))
        else:
            yield from _metadata_differences(member, status)
        if member.kind == tar.SYMLINK and os.readlink(b"", dir_fd=descriptor) != member.link:
            yield "points elsewhere"
        if member.kind in (tar.FILE, tar.DIRECTORY):
            yield from _attribute_differences(member, descriptor)

    def _is_same_file(self, name: bytes, status: os.stat_result) -> bool:
        descriptor = self._open(name)
        if descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(descriptor), status)
        finally:
            os.close(descriptor)

    def _check_whiteout(self, member: Member) -> None:
        above, _, name = member.name.rpartition(b"/")
        hidden = name[len(WHITEOUT) :]
        path = above + b"/" + hidden if above else hidden
        descriptor = self._open(path)
        if descriptor is None:
            self._missing_whiteouts.append(path)
            return
        # Anything else there is the layer's own, which hides what is below as well.
        if is_whiteout(os.fstat(descriptor)):
            self._names.add(path)
        os.close(descriptor)

    def _check_opaque(self, member: Member) -> None:
        directory = member.name.removesuffix(OPAQUE).rstrip(b"/")
        self._names.add(directory)
        descriptor = self._open(directory)
        if descriptor is None:
            self._complain(directory, "is missing")
            return
        try:
            if not _is_opaque(descriptor):
                self._complain(directory, _SHOWS)
        finally:
            os.close(descriptor)

    def check_rest(self) -> None:
        """Report what only the whole tree can tell: whiteouts that are gone, and what the archive does not speak of."""
        for name, problems in self._linked.values():
            self._complain_of(name, problems)
        for path in self._missing_whiteouts:
            if not self._is_hidden(path):
                self._complain(path, _SHOWS)
        self._expect_parents()
        for directory, names, others, descriptor in os.fwalk(b".", dir_fd=self._root):
            for name in (*names, *others):
                path = os.path.normpath(os.path.join(directory, name))
                if path in self._names:
                    continue
                if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_ino not in self._inodes:
                    self._complain(path, "was not in the layer")
            names[:] = [name for name in names if os.path.normpath(os.path.join(directory, name)) in self._names]

    def _is_hidden(self, path: bytes) -> bool:
        """Whether a directory above ``path`` shows nothing of the layers below: no whiteout is needed there."""
        while path:
            path = path.rpartition(b"/")[0]
            descriptor = self._open(path)
            if descriptor is None:
                continue
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISDIR(status.st_mode) or _is_opaque(descriptor):
                    return True
            finally:
                os.close(descriptor)
        return False

    def _expect_parents(self) -> None:
        """Directories above a member are there whether the archive names them or not."""
        for name in list(self._names):
            while b"/" in name and (name := name.rpartition(b"/")[0]) not in self._names:
                self._names.add(name)


def _metadata_differences(member: Member, status: os.stat_result) -> Iterator[str]:
    owner = member.owner
    if (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
        yield f"belongs to {status.st_uid}:{status.st_gid}, not {owner.uid}:{owner.gid}"
    if member.kind != tar.SYMLINK and stat.S_IMODE(status.st_mode) != owner.mode:
        yield f"has the mode {stat.S_IMODE(status.st_mode):o}, not {owner.mode:o}"
    # Not every unpacker keeps fractions of seconds, nor a link's time.
    if member.kind != tar.SYMLINK and status.st_mtime_ns // _SECOND != member.mtime // _SECOND:
        yield f"is from {status.st_mtime_ns // _SECOND}, not {member.mtime // _SECOND} (seconds since 1970)"
    if member.kind in _DEVICES and (os.major(status.st_rdev), os.minor(status.st_rdev)) != member.device:
        yield "is another device"


def _attributes(descriptor: int) -> dict[str, bytes]:
    # xattr calls refuse O_PATH descriptors; through /proc they see the very same inode.
    path = f"/proc/self/fd/{descriptor}"
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def _is_opaque(descriptor: int) -> bool:
    return _attributes(descriptor).get(xattrs.OPAQUE.decode()) == b"y"


def _attribute_differences(member: Member, descriptor: int) -> Iterator[str]:
    found = {name: value for name, value in _attributes(descriptor).items() if xattrs.is_wanted(os.fsencode(name))}
    wanted = {os.fsdecode(name): value for name, value in member.xattrs.items() if xattrs.is_wanted(name)}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            state = "other" if name in found and name in wanted else "an additional" if name in found else "no"
            yield f"has {state} extended attribute {name}"
