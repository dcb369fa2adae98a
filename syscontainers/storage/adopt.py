"""Taking layers over from another store on this host, podman's for instance, without downloading them.

On one file system the files are hard-linked: no data is copied, and the layer stays whole when the other store drops
it. Elsewhere they are copied. Either way every file is read again and compared with the layer's digest: what the
other store has may have suffered a power cut, before which containers/storage syncs nothing.

A hard link shares the file with the other store, whose owner can go on writing to it. So that owner must be root, and
nobody else may be able to exchange a directory on the way (``check_owner``). A file that an image gives to others
could be written to by them there, if they can get at it: in a store that is not closed to them such files are copied.

What we would not have unpacked does not come in this way: an archive that the tar reader refuses, device nodes, and
extended attributes that are the host's or overlayfs' own (``xattrs.is_wanted``), which podman sets as the image says.

The other store's locks are not taken, because linking many files would make every podman command wait. Whoever
removes a layer there takes it off the records first: one that is still listed after the last link was whole all
the time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .. import kernel
from ..errors import HostileArchiveError, NotFoundError, RefusedError
from . import xattrs
from .directories import is_whiteout
from .layers import Layer
from .staged import StagedLayer
from .store import Store
from .verify import verify_tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM)
_SHOWN = 5


def check_owner(root: Path) -> Path:
    """The store at ``root`` by a path without links, on which root alone decides what lies where.

    Raises RefusedError where others could exchange a directory on the way or in it.
    """
    real = Path(os.path.realpath(root))
    inside = [real / name for name in ("overlay", "overlay-layers", "overlay-images")]
    for path in (*reversed(real.parents), real, *inside):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        # In a sticky directory (/tmp) others can add names but not exchange root's.
        open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid != 0 or stat.S_ISLNK(status.st_mode) or open_to_all:
            raise RefusedError(
                f"{root}: {path} is not root's alone, so others could change what a service of root runs",
                "podman save --format oci-archive -o FILE IMAGE as its owner, then oci-archive:FILE",
            )
    return real


def _is_closed(root: Path) -> bool:
    """Whether only root gets at the layers in the store at ``root``, a path without links."""
    return any(path.stat().st_mode & 0o011 == 0 for path in (root / "overlay", root, *root.parents))


def adopt_layer(other: Store, layer: Layer, directory: Path) -> StagedLayer:
    """Make ``layer`` of the ``other`` store a staged one in the new ``directory``, compared with its digest.

    ``check_owner`` gave the store's root. Raises NotFoundError if the other store drops it meanwhile, RefusedError if
    it is not what it should be, and OSError.
    """
    try:
        _copy_layer(other, layer, directory)
    except FileNotFoundError as error:
        raise _gone(other, layer) from error
    if other.find_layer(layer.id) is None:
        raise _gone(other, layer)
    try:
        findings = verify_tree(directory / "tar-split.gz", directory / "diff", layer.id, layer.diff_id, strict=True)
    except HostileArchiveError as error:
        raise HostileArchiveError(f"{other.root}: layer {layer.id[:12]}: {error.message}", error.hint) from None
    if findings:
        raise RefusedError(
            f"{other.root}: layer {layer.id[:12]} is damaged",
            "remove the image there and pull it again",
            [str(finding) for finding in findings[:_SHOWN]],
        )
    return StagedLayer(
        directory=directory,
        diff_id=layer.diff_id,
        diff_size=layer.diff_size,
        digest=layer.digest,
        size=layer.size,
        compression=layer.compression,
        uids=layer.uids,
        gids=layer.gids,
        implied=(),
    )


def _gone(other: Store, layer: Layer) -> NotFoundError:
    return NotFoundError(
        f"{other.root}: layer {layer.id[:12]} is not whole, or just being removed", "podman images lists what is there"
    )


def _copy_layer(other: Store, layer: Layer, directory: Path) -> None:
    (directory / "diff").mkdir(parents=True)
    with _same_mount(other.paths.diff(layer.id), directory / "diff") as (source, target):
        _Copy(target, closed=_is_closed(other.root)).copy_directory(source, target)
    shutil.copyfile(other.paths.tar_split(layer.id), directory / "tar-split.gz")


@contextlib.contextmanager
def _same_mount(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    """Both directories opened through one mount, so that link(2) may connect them (see ``moves``)."""
    common = os.path.commonpath([source, target])
    with contextlib.ExitStack() as stack:
        base = kernel.open_tree(common, kernel.OPEN_TREE_CLONE)
        stack.callback(os.close, base)
        pair = []
        for path in (source, target):
            visible = _opened(stack, path, None)
            try:
                beneath = _opened(stack, os.path.relpath(path, common), base)
            except FileNotFoundError:
                pair.append(visible)  # on another file system, mounted on the way
                continue
            same = os.path.samestat(os.fstat(beneath), os.fstat(visible))
            pair.append(beneath if same else visible)
        yield pair[0], pair[1]


def _opened(stack: contextlib.ExitStack, path: Path | str, directory: int | None) -> int:
    descriptor = os.open(path, _DIRECTORY, dir_fd=directory)
    stack.callback(os.close, descriptor)
    return descriptor


class _Copy:
    """Makes the same tree again, of links where that is possible."""

    def __init__(self, target: int, *, closed: bool) -> None:
        self._root = target
        self._closed = closed
        """Whether only root gets at what is copied."""
        self._copied: dict[int, str] = {}
        """Files of several names, by inode: where the first of them was copied to."""

    def copy_directory(self, source: int, target: int, path: str = "") -> None:
        """Fill ``target``, which is ``path`` below the root, with what is in ``source``."""
        for entry in list(os.scandir(source)):
            inner = os.path.join(path, entry.name)
            status = entry.stat(follow_symlinks=False)
            if _is_device(status):
                continue
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(entry.name, 0o700, dir_fd=target)
                with contextlib.ExitStack() as stack:
                    below = [_opened(stack, entry.name, directory) for directory in (source, target)]
                    self.copy_directory(below[0], below[1], inner)
            elif not (self._may_share(source, entry.name, status) and _link(entry.name, source, entry.name, target)):
                self._copy(entry.name, source, target, inner)
        _copy_metadata(_path(source, "."), _path(target, "."))

    def _may_share(self, directory: int, name: str, status: os.stat_result) -> bool:
        if not (self._closed or _only_root_writes(status)):
            return False
        # A link would bring along all of its attributes.
        return all(map(_may_stay, os.listxattr(_path(directory, name), follow_symlinks=False)))

    def _copy(self, name: str, source: int, target: int, path: str) -> None:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if status.st_nlink > 1:
            first = self._copied.setdefault(status.st_ino, path)
            if first != path and _link(first, self._root, name, target):
                return
        if stat.S_ISREG(status.st_mode):
            _copy_contents(name, source, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:  # a whiteout or a FIFO
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        _copy_metadata(_path(source, name), _path(target, name))


def _path(directory: int, name: str) -> str:
    """For the calls that take no directory descriptor."""
    return f"/proc/self/fd/{directory}/{name}"


def _is_device(status: os.stat_result) -> bool:
    is_node = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return is_node and not is_whiteout(status)


def _only_root_writes(status: os.stat_result) -> bool:
    # With an ACL the bits of the group are the most that it gives to anybody (acl(5)).
    return status.st_uid == 0 and (stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022)


def _may_stay(attribute: str) -> bool:
    # The label is the host's policy's, and the same for both stores.
    return attribute == "security.selinux" or xattrs.is_wanted(os.fsencode(attribute))


def _link(name: str, source: int, new: str, target: int) -> bool:
    try:
        os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    return True


def _copy_contents(name: str, source: int, target: int) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    with open(reader, "rb") as data:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        with open(writer, "wb") as copy:
            shutil.copyfileobj(data, copy, _CHUNK)


def _copy_metadata(source: str, target: str) -> None:
    """Owner, mode, attributes and time of what may be a link itself; in the one order in which nothing is lost."""
    status = os.stat(source, follow_symlinks=False)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        value = os.getxattr(source, name, follow_symlinks=False)
        opaque = name == xattrs.OPAQUE.decode() and value == b"y" and stat.S_ISDIR(status.st_mode)
        if opaque or xattrs.is_wanted(os.fsencode(name)):
            os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
