"""Writes a layer's members into its ``diff`` directory, as containers/storage's overlay driver has them.

Every system call is relative to a descriptor, makes something that was not there or works on what this module has
just made. Order matters: contents, owner, mode, attributes, time, because writing and chown(2) clear set-id bits and
capabilities, and everything changes the time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from ..errors import HostileArchiveError
from ..progress import human_size
from .directories import Directories, Directory, make_room
from .limits import COST_OF_AN_ENTRY, FreeSpace, Limits
from .names import WHITEOUT
from .tar import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, GLOBAL, HARD_LINK, SYMLINK, Member, Owner
from .tarsplit import checksum
from .whiteouts import Meaning, Whiteouts, interpret
from .xattrs import drop_default_acl, set_xattrs

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REOPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_OWNERS = 65_536
_SMALL_LIE = 16 << 20


class TreeWriter:
    """Makes members below one directory. The calling thread's umask must be 0."""

    def __init__(self, root: int, limits: Limits, space: FreeSpace) -> None:
        self._limits = limits
        # What is smaller and yet a lie comes to light with its bytes: for those the disk has room.
        self._largest = max(limits.unpacked, _SMALL_LIE)
        self._space = space
        self._directories = Directories(root, limits, space)
        self._whiteouts = Whiteouts(self._directories)
        self._root_seen = False
        self.owners: set[Owner] = set()
        """Of all members but whiteouts."""
        self.skipped: dict[bytes, None] = {}
        """Names of members that were left out: device nodes, and what AUFS left."""
        self._skipped_bytes = 0
        self._makers: dict[bytes, Callable[[Member, Directory, bytes], None]] = {
            HARD_LINK: self._make_hard_link,
            SYMLINK: self._make_symlink,
            CHARACTER: self._make_device,
            BLOCK_DEVICE: self._make_device,
            FIFO: self._make_node,
            DIRECTORY: self._make_directory,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directories.close()

    @property
    def implied(self) -> tuple[bytes, ...]:
        """Directories that no member named."""
        return tuple(self._directories.implied)

    def write(self, member: Member, contents: Iterable[memoryview]) -> int:
        """Make ``member`` and return the CRC-64 of its contents. Raises HostileArchiveError and OSError."""
        if member.size > self._largest:
            raise HostileArchiveError(f"claims {human_size(member.size)}, more than the whole layer can unpack to")
        self._space.take(COST_OF_AN_ENTRY + member.size)
        name = member.name
        if (not name or WHITEOUT in name) and self._is_settled(member):
            return _drain(contents)
        if member.owner not in self.owners:
            self._note_owner(member.owner)
        path, _, base = name.rpartition(b"/")
        parent = self._directories.get(path)
        if member.kind == FILE:
            return self._make_file(member, parent, base, contents)
        self._makers[member.kind](member, parent, base)
        return 0

    def _note_owner(self, owner: Owner) -> None:
        self.owners.add(owner)
        if len(self.owners) > _MOST_OWNERS:
            raise HostileArchiveError(f"more than {_MOST_OWNERS} different owners and modes")

    def _is_settled(self, member: Member) -> bool:
        """Whether ``member`` is one of those that make no entry of their name."""
        if not member.name:
            self._note_root(member)
            return True
        meaning = interpret(member)
        path = member.name.rpartition(b"/")[0]
        if meaning is Meaning.WHITEOUT:
            self._whiteouts.hide(path, member)
        elif meaning is Meaning.OPAQUE:
            self._whiteouts.make_opaque(path)
        elif meaning is Meaning.LEFTOVER:
            self._skip(member.name)
        return meaning is not Meaning.ORDINARY

    def _note_root(self, member: Member) -> None:
        # The root's own entry is ignored, as containers/storage does: / belongs to the runtime.
        if member.kind == GLOBAL:
            return
        if self._root_seen:
            raise HostileArchiveError("the root directory is in the archive twice")
        self._root_seen = True
        self._note_owner(member.owner)

    def _skip(self, name: bytes) -> None:
        if name in self.skipped:
            raise HostileArchiveError("the name was in the archive before")
        if len(self.skipped) >= self._limits.implied:
            raise HostileArchiveError(f"more than {self._limits.implied} entries that make no file")
        self._skipped_bytes += len(name)
        if self._skipped_bytes > self._limits.names:
            raise HostileArchiveError(f"the names of entries that make no file exceed {human_size(self._limits.names)}")
        self.skipped[name] = None

    def _make_file(self, member: Member, parent: Directory, base: bytes, contents: Iterable[memoryview]) -> int:
        owner = member.owner
        try:
            file = os.open(base, _CREATE, owner.mode, dir_fd=parent.descriptor)
        except FileExistsError:
            make_room(parent, base)
            file = os.open(base, _CREATE, owner.mode, dir_fd=parent.descriptor)
        try:
            crc = _write(contents, file) if member.size else 0
            if owner.uid or owner.gid or parent.inherits:
                self._set_owner(file, member, parent)
            elif owner.mode & 0o6000:
                os.fchmod(file, owner.mode)
            if member.xattrs:
                set_xattrs(file, member.xattrs, self._space)
            os.utime(file, ns=(member.mtime, member.mtime))
        finally:
            os.close(file)
        return crc

    def _set_owner(self, file: int, member: Member, parent: Directory) -> None:
        owner = member.owner
        if parent.inherits:
            drop_default_acl(file)
        os.fchown(file, owner.uid, owner.gid)
        if parent.inherits or owner.mode & 0o6000:
            os.fchmod(file, owner.mode)

    def _make_directory(self, member: Member, parent: Directory, base: bytes) -> None:
        self._directories.add(parent, base, member.owner, member.mtime, member.xattrs)

    def _make_symlink(self, member: Member, parent: Directory, base: bytes) -> None:
        if not member.link:
            raise HostileArchiveError("a symbolic link to nothing")
        try:
            os.symlink(member.link, base, dir_fd=parent.descriptor)
        except FileExistsError:
            make_room(parent, base)
            os.symlink(member.link, base, dir_fd=parent.descriptor)
        self._finish_by_name(member, parent, base)

    def _finish_by_name(self, member: Member, parent: Directory, base: bytes) -> None:
        owner = member.owner
        if owner.uid or owner.gid or parent.inherits:
            os.chown(base, owner.uid, owner.gid, dir_fd=parent.descriptor, follow_symlinks=False)
        os.utime(base, ns=(member.mtime, member.mtime), dir_fd=parent.descriptor, follow_symlinks=False)

    def _make_device(self, member: Member, parent: Directory, base: bytes) -> None:
        if member.kind == CHARACTER and member.device == (0, 0):
            raise HostileArchiveError("a device that overlayfs takes for a whiteout")
        if self._limits.keep_devices:
            self._make_node(member, parent, base)
        else:
            self._skip(member.name)

    def _make_node(self, member: Member, parent: Directory, base: bytes) -> None:
        kind = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[member.kind]
        mode, device = kind | member.owner.mode, os.makedev(*member.device)
        try:
            os.mknod(base, mode, device, dir_fd=parent.descriptor)
        except FileExistsError:
            make_room(parent, base)
            os.mknod(base, mode, device, dir_fd=parent.descriptor)
        self._finish_by_name(member, parent, base)
        if member.owner.mode & 0o6000 or parent.inherits:
            self._set_mode_of_node(member, parent, base)

    def _set_mode_of_node(self, member: Member, parent: Directory, base: bytes) -> None:
        # Opening a device or FIFO does things; a descriptor for its name alone does not (open(2), O_PATH).
        node = os.open(base, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.descriptor)
        try:
            path = f"/proc/self/fd/{node}"
            drop_default_acl(path)
            os.chmod(path, member.owner.mode)
        finally:
            os.close(node)

    def _make_hard_link(self, member: Member, parent: Directory, base: bytes) -> None:
        above, _, target = member.link.rpartition(b"/")
        place = self._directories.find(above) if target else None
        if place is None:
            self._refuse_target(member)
            return
        try:
            status = os.stat(target, dir_fd=place.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            self._refuse_target(member)
            return
        # A link to a whiteout would forge one, a link to a directory is impossible.
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
            raise HostileArchiveError("a hard link to something that is not a file")
        self._link(place, target, parent, base)
        if stat.S_ISREG(status.st_mode):
            self._reconcile(member, parent, base, status)

    def _refuse_target(self, member: Member) -> None:
        if member.link not in self.skipped:
            raise HostileArchiveError("a hard link to something that is not in the layer before it")
        self._skip(member.name)

    def _link(self, place: Directory, target: bytes, parent: Directory, base: bytes) -> None:
        source, destination = place.descriptor, parent.descriptor
        try:
            os.link(target, base, src_dir_fd=source, dst_dir_fd=destination, follow_symlinks=False)
        except FileExistsError:
            make_room(parent, base)
            os.link(target, base, src_dir_fd=source, dst_dir_fd=destination, follow_symlinks=False)

    def _reconcile(self, member: Member, parent: Directory, base: bytes, status: os.stat_result) -> None:
        """Where the link's header says something else than its target's, the later one holds, as with podman."""
        owner = member.owner
        same = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns)
        if same == (*owner, member.mtime) and not member.xattrs:
            return
        file = os.open(base, _REOPEN, dir_fd=parent.descriptor)
        try:
            os.fchown(file, owner.uid, owner.gid)
            os.fchmod(file, owner.mode)
            set_xattrs(file, member.xattrs, self._space)
            os.utime(file, ns=(member.mtime, member.mtime))
        finally:
            os.close(file)


def _write(contents: Iterable[memoryview], file: int) -> int:
    """Write it all; the CRC-64 of it."""
    crc = None
    for view in contents:
        crc = checksum(view, crc)
        written = os.write(file, view)
        while written < len(view):  # a full disk or a signal cuts a write short (write(2))
            view = view[written:]
            written = os.write(file, view)
    return crc or 0


def _drain(contents: Iterable[memoryview]) -> int:
    crc = None
    for view in contents:
        crc = checksum(view, crc)
    return crc or 0
