"""One pass from the blob's bytes to a staged layer: nothing is stored twice, nothing is read back.

Two threads work on a layer. The caller's takes the compressed bytes, counts, hashes and inflates them; a thread of
its own takes the tar, hashes it, writes the files and the tar-split beside them. Between them is a pipe of a few
megabytes, so memory does not depend on the layer. The second thread is confined by Landlock and has its own umask;
it ends with the layer.

Whatever goes wrong, the staging directory is gone afterwards. Nothing here is synced: committing does that once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import files, kernel
from ..errors import DigestError, HostileArchiveError, SyscontainersError
from .blob import PromisedBlob
from .inflate import Inflater
from .landlock import confine_thread
from .limits import Expansion, FreeSpace, Limits
from .pipe import AbandonedError, BytePipe
from .staged import LayerPromise, StagedLayer
from .tar import TarReader
from .tarsplit import TarSplitWriter
from .tarstream import TarStream
from .tree import TreeWriter
from .xattrs import drop_default_acl

_PIPE_CAPACITY = 2 << 20
_REFUSED_BY_KERNEL = (errno.EACCES, errno.EXDEV, errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ, errno.EMLINK)
"""What an entry meets that tries to leave its directory, or that no file system here can hold."""
_HINT = "do not use this image; nothing of the layer was kept"
_DIFF, _TAR_SPLIT = "diff", "tar-split.gz"


def _no_progress(_count: int) -> None:
    pass


def unpack_layer(
    chunks: Iterable[bytes],
    promise: LayerPromise,
    directory: Path,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    advance: Callable[[int], None] = _no_progress,
) -> StagedLayer:
    """Unpack the layer whose compressed bytes are ``chunks`` into ``directory``/diff, with tar-split beside it.

    ``directory`` is made if it is missing and must be empty. ``advance`` hears of each chunk's bytes. Raises
    DigestError, HostileArchiveError, or SyscontainersError when the disk is full; ``directory`` is gone then.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(_discard, directory)
        _make_private(directory)
        blob = PromisedBlob(chunks, promise, advance)
        expansion = Expansion(limits)
        space = FreeSpace(directory, limits, lambda: expansion.estimate_rest(promise.size))
        writer = _LayerWriter(directory, promise, limits, space)
        compression = _inflate_into(writer, blob, expansion)
        layer = writer.result()
        if layer.diff_id != promise.diff_id:
            raise DigestError(
                f"layer {promise.digest}: unpacks to {layer.diff_id}, the image's config says {promise.diff_id}", _HINT
            )
        undo.pop_all()
        return _stage(directory, promise, layer, compression)


def _stage(directory: Path, promise: LayerPromise, layer: _WrittenLayer, compression: int) -> StagedLayer:
    return StagedLayer(
        directory=directory,
        diff_id=layer.diff_id,
        diff_size=layer.diff_size,
        digest=promise.digest,
        size=promise.size,
        compression=compression,
        uids=tuple(sorted(layer.uids)),
        gids=tuple(sorted(layer.gids)),
        implied=layer.implied,
        skipped=layer.skipped,
    )


def _inflate_into(writer: _LayerWriter, blob: PromisedBlob, expansion: Expansion) -> int:
    """Feed the writer and return the kind of compression; the writer's error comes before that of the pipe it broke."""
    with writer.running() as pipe:
        try:
            inflater = Inflater(blob)
            for piece in inflater:
                expansion.add(len(piece), blob.consumed)
                pipe.put(piece)
        except HostileArchiveError as error:
            raise HostileArchiveError(f"layer {writer.digest}: {error.message}", _HINT) from None
        blob.verify()
        pipe.finish()
    return inflater.compression


@dataclass(frozen=True)
class _WrittenLayer:
    """What the writing thread knows at its end."""

    diff_id: str
    diff_size: int
    uids: frozenset[int]
    gids: frozenset[int]
    implied: tuple[bytes, ...]
    skipped: tuple[bytes, ...]


class _LayerWriter:
    """The thread that turns tar bytes into a tree, and what comes out of it."""

    def __init__(self, directory: Path, promise: LayerPromise, limits: Limits, space: FreeSpace) -> None:
        self.digest = promise.digest
        self._directory = directory
        self._pipe = BytePipe(_PIPE_CAPACITY)
        self._limits = limits
        self._space = space
        self._layer: _WrittenLayer | None = None
        self._error: BaseException | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[BytePipe]:
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

    def result(self) -> _WrittenLayer:
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

    def _write_layer(self) -> _WrittenLayer:
        stream = TarStream(self._pipe)
        reader = TarReader(stream, self._limits)
        try:
            tree = self._write_files(reader)
        except HostileArchiveError as error:
            raise HostileArchiveError(f"layer {self.digest}: {reader.place}: {error.message}", _HINT) from None
        except OSError as error:
            raise self._explain(error, reader.place) from error
        uids, gids = frozenset(owner.uid for owner in tree.owners), frozenset(owner.gid for owner in tree.owners)
        return _WrittenLayer(stream.diff_id, stream.position, uids, gids, tree.implied, tuple(tree.skipped))

    def _write_files(self, reader: TarReader) -> TreeWriter:
        with contextlib.ExitStack() as stack:
            split_file = stack.enter_context(open(self._directory / _TAR_SPLIT, "xb"))
            root = stack.enter_context(_layer_root(self._directory / _DIFF))
            confine_thread(root)
            # The umask belongs to the process unless a thread leaves the sharing (unshare(2)).
            kernel.unshare(kernel.CLONE_FS)
            os.umask(0)
            tree = stack.enter_context(TreeWriter(root, self._limits, self._space))
            split = TarSplitWriter(split_file)
            _write_members(reader, tree, split)
            for piece in reader.trailer():
                split.add_segment(piece)
            split.finish()
        return tree

    def _explain(self, error: OSError, place: str) -> SyscontainersError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._space.shortage()
        if error.errno in _REFUSED_BY_KERNEL:
            return HostileArchiveError(f"layer {self.digest}: {place}: {error.strerror}", _HINT)
        return SyscontainersError(f"layer {self.digest}: {place}: {error.strerror}", "see whether the disk is sound")


def _write_members(reader: TarReader, tree: TreeWriter, split: TarSplitWriter) -> None:
    for member in reader:
        raw = reader.take_raw()
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


def _make_private(directory: Path) -> None:
    try:
        files.make_directories(directory, 0o700)
    except OSError as error:
        raise SyscontainersError(f"{directory}: {error.strerror}", "see whether the disk is full or sound") from None


def _discard(directory: Path) -> None:
    # What cannot be removed now lies in the staging directory, which the next command sweeps.
    with contextlib.suppress(OSError):
        files.remove_tree(directory)
