"""One pass from the blob's bytes to a staged layer: nothing is stored twice, nothing is read back.

Two threads work on a layer. The caller's takes the compressed bytes, counts, hashes and inflates them; a thread of
its own takes the tar, writes the files and the tar-split beside them. Between them is a pipe of a megabyte, so
memory does not depend on the layer; the tar is hashed by whoever would have to wait for the other. What depends on it
is how far its compression looks back: of layers for which that is much, only one at a time is unpacked.

Whatever goes wrong, the staging directory is gone afterwards. Nothing here is synced: committing does that once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from .. import files
from ..errors import DigestError, HostileArchiveError, SyscontainersError
from .blob import PromisedBlob
from .inflate import PLAIN, Inflater
from .layerwriter import HINT, LayerWriter, WrittenLayer
from .limits import Expansion, FreeSpace, Limits
from .staged import LayerPromise, StagedLayer

_MUCH_MEMORY = 8 << 20
"""What podman's and Buildah's zstd needs unless told otherwise (github.com/klauspost/compress, SpeedDefault)."""


def unpack_layer(
    chunks: Iterable[bytes],
    promise: LayerPromise,
    directory: Path,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> StagedLayer:
    """Unpack the layer whose compressed bytes are ``chunks`` into ``directory``/diff, with tar-split beside it.

    ``directory`` is made if it is missing and must be empty. Raises DigestError, HostileArchiveError, or
    SyscontainersError when the disk is full; ``directory`` is gone then.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(_discard, directory)
        _make_private(directory)
        blob = PromisedBlob(chunks, promise)
        expansion = Expansion(limits)
        space = FreeSpace(directory, limits, lambda: expansion.estimate_rest(promise.size))
        writer = LayerWriter(directory, promise.digest, limits.narrowed(promise.size), space)
        compression, diff_id = _inflate_into(writer, blob, expansion)
        if diff_id != promise.diff_id:
            raise DigestError(
                f"layer {promise.digest}: unpacks to {diff_id}, the image's config says {promise.diff_id}", HINT
            )
        undo.pop_all()
        return _stage(directory, promise, compression, writer.result())


def _inflate_into(writer: LayerWriter, blob: PromisedBlob, expansion: Expansion) -> tuple[int, str]:
    """Feed the writer; the kind of compression and the digest of the tar."""
    with writer.running() as pipe, contextlib.ExitStack() as alone:
        try:
            inflater = Inflater(blob)
            if inflater.memory > _MUCH_MEMORY:
                alone.enter_context(files.lock_directory(writer.directory.parent))
            pipe.is_wanted = inflater.compression != PLAIN
            for piece in inflater:
                expansion.add(len(piece), blob.consumed)
                pipe.put(piece)
        except HostileArchiveError as error:
            if blob.has_ended:
                blob.verify()  # cut short on its way, rather than made so
            raise HostileArchiveError(f"layer {writer.digest}: {error.message}", HINT) from None
        digest = blob.verify()
        pipe.finish()
    # What came uncompressed has been hashed as it came.
    return inflater.compression, pipe.digest if pipe.is_wanted else digest


def _stage(directory: Path, promise: LayerPromise, compression: int, layer: WrittenLayer) -> StagedLayer:
    return StagedLayer(
        directory=directory,
        diff_id=promise.diff_id,
        diff_size=layer.diff_size,
        digest=promise.digest,
        size=promise.size,
        compression=compression,
        uids=tuple(sorted(layer.uids)),
        gids=tuple(sorted(layer.gids)),
        implied=layer.implied,
        skipped=layer.skipped,
    )


def _make_private(directory: Path) -> None:
    try:
        files.make_directories(directory, 0o700)
    except OSError as error:
        raise SyscontainersError(f"{directory}: {error.strerror}", "see whether the disk is full or sound") from None


def _discard(directory: Path) -> None:
    # What cannot be removed now lies in the staging directory, which the next command sweeps.
    with contextlib.suppress(OSError):
        files.remove_tree(directory)
