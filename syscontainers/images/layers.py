"""The layers of one image on their way into the storage: several at once, all or none."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import SyscontainersError
from ..progress import Progress, human_size
from ..storage.layers import layer_id
from ..storage.staged import LayerPromise, StagedLayer
from ..storage.unpack import unpack_layer
from ..storage.writeback import WriteBack
from .config import ImageConfig
from .digests import hex_of
from .documents import Descriptor, Manifest
from .sources import Source
from .transfers import Transfers

if TYPE_CHECKING:  # loaded by who has much to unpack
    from ..storage.unpackers import Unpack

_WATCH_SECONDS = 1.0
_LITTLE = 256 << 10
"""Compressed bytes that are unpacked sooner than a process for it is made."""


@dataclass(frozen=True)
class PlannedLayer:
    """A layer as manifest and config promise it, and the ID it has in the storage because of those below it."""

    id: str
    descriptor: Descriptor
    promise: LayerPromise

    @property
    def label(self) -> str:
        """How it is called to the user."""
        return f"layer {hex_of(self.descriptor.digest)[:12]}"


def plan_layers(manifest: Manifest, config: ImageConfig) -> tuple[PlannedLayer, ...]:
    """The layers, base first; ``config`` has been compared with ``manifest``."""
    planned: list[PlannedLayer] = []
    for descriptor, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        parent = planned[-1].id if planned else None
        promise = LayerPromise(descriptor.digest, descriptor.size, diff_id)
        planned.append(PlannedLayer(layer_id(parent, diff_id), descriptor, promise))
    return tuple(planned)


def check_space(missing: Iterable[PlannedLayer], directory: Path) -> None:
    """Refuse what cannot fit even compressed; the unpacker watches the rest. Raises SyscontainersError."""
    needed = sum(layer.descriptor.size for layer in missing)
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if needed > free:
        raise SyscontainersError(
            f"{directory}: not enough space: more than {human_size(needed)} needed, {human_size(free)} free",
            "free some (syscontainer prune), or move the storage to a larger file system",
        )


@contextlib.contextmanager
def _unpacking(layers: Iterable[PlannedLayer], count: int) -> Iterator[Unpack]:
    if sum(layer.descriptor.size for layer in layers) <= _LITTLE:
        yield unpack_layer
    else:
        from ..storage.unpackers import Unpackers

        with Unpackers(count, unpack_layer) as unpackers:
            yield unpackers.unpack


@runtime_checkable
class Fetcher(Protocol):
    """Whatever brings layers into a staging directory."""

    def fetch(self, missing: Sequence[PlannedLayer], directory: Path) -> dict[str, StagedLayer]:
        """Put ``missing`` layers below ``directory``, verified, by ID; all or none. Raises SyscontainersError."""
        ...


@dataclass(frozen=True)
class LayerFetcher:
    """Brings layers from a source into a staging directory.

    Each has a thread that downloads and a process that unpacks, or, if there is little to unpack, only the thread.
    """

    source: Source
    transfers: Transfers
    progress: Progress
    parallel: int

    def fetch(self, missing: Sequence[PlannedLayer], directory: Path) -> dict[str, StagedLayer]:
        """Unpack ``missing`` below ``directory``, by ID; whatever stops one of them stops all.

        Raises DigestError, HostileArchiveError, SyscontainersError; no thread and no process runs any more then.
        """
        if not missing:
            return {}
        check_space(missing, directory)
        # The largest first: the others fit beside it, and the last one to end is then a small one.
        ordered = sorted(missing, key=lambda layer: -layer.descriptor.size)
        count = min(self.parallel, len(ordered))
        with (
            _unpacking(ordered, count) as unpack,
            WriteBack(directory) as write_back,
            ThreadPoolExecutor(count, "layer") as pool,
        ):
            fetch_one = functools.partial(self._fetch_one, unpack, write_back)
            futures = [pool.submit(fetch_one, layer, directory / layer.id) for layer in ordered]
            try:
                self._watch(futures)
            except BaseException:  # KeyboardInterrupt too: the pool's end waits for its threads
                pool.shutdown(wait=False, cancel_futures=True)
                self.transfers.cancel()
                raise
        return {layer.id: future.result() for layer, future in zip(ordered, futures, strict=True)}

    def _watch(self, futures: Iterable[Future[StagedLayer]]) -> None:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, _WATCH_SECONDS, FIRST_EXCEPTION)
            self.transfers.stop_stalled()
            for future in done:
                future.result()

    def _fetch_one(self, unpack: Unpack, write_back: WriteBack, layer: PlannedLayer, directory: Path) -> StagedLayer:
        self.transfers.check()
        with self.source.open_blob(layer.descriptor) as chunks:
            staged = unpack(self._watched(chunks, layer, write_back), layer.promise, directory)
        self.progress.finish(layer.label, f"{layer.label}: {human_size(layer.descriptor.size)}")
        if staged.skipped:
            self.progress.say(f"{layer.label}: left out {len(staged.skipped)} device nodes or leftovers of AUFS")
        return staged

    def _watched(self, chunks: Iterable[bytes], layer: PlannedLayer, write_back: WriteBack) -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            self.transfers.check()
            done += len(chunk)
            self.progress.advance(layer.label, done, layer.descriptor.size)
            write_back.note(len(chunk))
            yield chunk
