"""The thread that takes a layer's tar and writes its tree and its tar-split.

It is confined by Landlock and has an umask of its own, and ends with the layer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import kernel
from ..errors import HostileArchiveError, SyscontainersError
from .landlock import confine_thread
from .limits import FreeSpace, Limits
from .pipe import AbandonedError, HashedPipe
from .tar import TarReader
from .tarsplit import TarSplitWriter
from .tarstream import TarStream
from .tree import TreeWriter
from .xattrs import drop_default_acl

HINT = "do not use this image; nothing of the layer was kept"
_PIPE_CAPACITY = 1 << 20
_DIFF, _TAR_SPLIT = "diff", "tar-split.gz"
_REFUSED_BY_KERNEL = (errno.EACCES, errno.EXDEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ, errno.EMLINK)
"""What an entry meets that tries to leave its directory, or that no file system here can hold."""


@dataclass(frozen=True)
class WrittenLayer:
    """What the writing thread knows at its end."""

    diff_size: int
    uids: frozenset[int]
    gids: frozenset[int]
    implied: tuple[bytes, ...]
    skipped: tuple[bytes, ...]


class LayerWriter:
    """The thread that turns tar bytes into a tree, and what comes out of it."""

    def __init__(self, directory: Path, digest: str, limits: Limits, space: FreeSpace) -> None:
        self.digest = digest
        """Of the blob: how the layer is called in messages."""
        self.directory = directory
        """Where the layer is staged."""
        self._pipe = HashedPipe(_PIPE_CAPACITY)
        self._limits = limits
        self._space = space
        self._layer: WrittenLayer | None = None
        self._error: BaseException | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[HashedPipe]:
        """The thread runs while the block feeds the pipe, and has ended afterwards; its error comes first."""
        self._space.check()
        thread = threading.Thread(target=self._run, name="unpack")
        thread.start()
        try:
            yield self._pipe
        except AbandonedError:
            pass  # the thread broke the pipe; its own error is raised below
        except BaseException:
            self._pipe.abandon()
            raise
        finally:
            thread.join()
        if self._error is not None:
            raise self._error

    def result(self) -> WrittenLayer:
        """What was written; only after ``running``."""
        assert self._layer is not None
        return self._layer

    def _run(self) -> None:
        try:
            self._layer = self._write_layer()
        except AbandonedError:
            pass  # the feeding thread has failed and raises its own error
        except BaseException as error:  # noqa: BLE001 - every error belongs to the thread that waits for this one
            self._error = error
            self._pipe.abandon()

    def _write_layer(self) -> WrittenLayer:
        stream = TarStream(self._pipe, is_hashed=False)
        reader = TarReader(stream, self._limits)
        try:
            tree = self._write_files(reader)
        except HostileArchiveError as error:
            raise HostileArchiveError(f"layer {self.digest}: {reader.place}: {error.message}", HINT) from None
        except OSError as error:
            raise self._explain(error, reader.place) from error
        uids, gids = frozenset(owner.uid for owner in tree.owners), frozenset(owner.gid for owner in tree.owners)
        return WrittenLayer(stream.position, uids, gids, tree.implied, tuple(tree.skipped))

    def _write_files(self, reader: TarReader) -> TreeWriter:
        with contextlib.ExitStack() as stack:
            split_file = stack.enter_context(open(self.directory / _TAR_SPLIT, "xb"))
            root = stack.enter_context(_layer_root(self.directory / _DIFF))
            confine_thread(root)
            # The umask belongs to the process unless a thread leaves the sharing (unshare(2)).
            kernel.unshare(kernel.CLONE_FS)
            os.umask(0)
            tree = stack.enter_context(TreeWriter(root, self._limits, self._space))
            split = TarSplitWriter(split_file)
            _write_members(reader, tree, split, self._space)
            for piece in reader.trailer():
                split.add_segment(piece)
            split.finish()
        return tree

    def _explain(self, error: OSError, place: str) -> SyscontainersError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._space.shortage()
        if error.errno in _REFUSED_BY_KERNEL:
            return HostileArchiveError(f"layer {self.digest}: {place}: {error.strerror}", HINT)
        return SyscontainersError(f"layer {self.digest}: {place}: {error.strerror}", "see whether the disk is sound")


def _write_members(reader: TarReader, tree: TreeWriter, split: TarSplitWriter, space: FreeSpace) -> None:
    for member in reader:
        raw = reader.take_raw()
        space.take(len(raw))  # if it does not compress
        crc = tree.write(member, reader.contents(member))
        split.add_member(raw, member.raw_name, member.size, crc)
    split.add_segment(reader.take_raw())


@contextlib.contextmanager
def _layer_root(path: Path) -> Iterator[int]:
    path.mkdir(mode=0o755)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        drop_default_acl(descriptor)
        os.fchown(descriptor, 0, 0)
        # containers/storage has 0555 for a base layer's root; committing copies the parent's for the others.
        os.fchmod(descriptor, 0o555)
        yield descriptor
    finally:
        os.close(descriptor)
