"""The layers of one image on their way into the storage: several at once, all or none."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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

    Each of several has a thread that downloads. What unpacks is a process, or, for little, who downloads.
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
        with _unpacking(ordered, count) as unpack, WriteBack(directory) as write_back, self.transfers.watched():
            fetch_one = functools.partial(self._fetch_one, unpack, write_back, directory)
            if len(ordered) == 1:
                return {ordered[0].id: fetch_one(ordered[0])}
            return self._fetch_all(fetch_one, ordered, count)

    def _fetch_all(
        self, fetch_one: Callable[[PlannedLayer], StagedLayer], ordered: Sequence[PlannedLayer], count: int
    ) -> dict[str, StagedLayer]:
        # Loaded here: it takes as long as to write a little layer.
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        with ThreadPoolExecutor(count, "layer") as pool:
            try:
                futures = {layer.id: pool.submit(fetch_one, layer) for layer in ordered}
                for future in wait(futures.values(), return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:  # KeyboardInterrupt too: the pool's end waits for its threads
                pool.shutdown(wait=False, cancel_futures=True)
                self.transfers.cancel()
                raise
        return {id_: future.result() for id_, future in futures.items()}

    def _fetch_one(self, unpack: Unpack, write_back: WriteBack, directory: Path, layer: PlannedLayer) -> StagedLayer:
        self.transfers.check()
        with self.source.open_blob(layer.descriptor) as chunks:
            staged = unpack(self._counted(chunks, layer, write_back), layer.promise, directory / layer.id)
        self.progress.finish(layer.label, f"{layer.label}: {human_size(layer.descriptor.size)}")
        if staged.skipped:
            self.progress.say(f"{layer.label}: left out {len(staged.skipped)} device nodes or leftovers of AUFS")
        return staged

    def _counted(self, chunks: Iterable[bytes], layer: PlannedLayer, write_back: WriteBack) -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            self.transfers.check()
            done += len(chunk)
            self.progress.advance(layer.label, done, layer.descriptor.size)
            write_back.note(len(chunk))
            yield chunk
