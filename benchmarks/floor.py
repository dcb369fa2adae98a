"""What no program could be quicker than: the work that a pull cannot do without, done by the best tools for each part.

Decompressing and hashing may use all cores at once and overlap with the writing of files; so the larger of the two
counts. What has been written must then reach the disk.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard
from isal import isal_zlib

from .common import LoopFileSystem, call
from .images import Case, Layer

_INPUT, _OUTPUT = 128 << 10, 512 << 10


@dataclass(frozen=True)
class Floor:
    """Seconds."""

    inflate_and_hash: float
    """CPU time of all layers, divided by the cores."""
    tar: float
    """GNU tar writing the uncompressed layers one after another."""
    sync: float

    @property
    def total(self) -> float:
        """The floor."""
        return max(self.inflate_and_hash, self.tar) + self.sync


def measure_floor(case: Case, images: Path, system: LoopFileSystem, cores: int) -> Floor:
    """On an empty ``system``."""
    cpu = sum(_inflate_and_hash(images, layer) for layer in case.layers)
    start = time.perf_counter()
    for number, layer in enumerate(case.layers):
        target = system.path / str(number)
        target.mkdir()
        call("tar", "--extract", "--numeric-owner", "--file", images / layer.tar, "--directory", target)
    tar = time.perf_counter() - start
    return Floor(cpu / cores, tar, system.sync())


def _inflate_and_hash(images: Path, layer: Layer) -> float:
    """CPU seconds for inflating and both digests; none for reading the file."""
    blob = (images / layer.blob).read_bytes()
    unpacked = hashlib.sha256()
    start = time.thread_time()
    digest = hashlib.sha256(blob).hexdigest()
    for piece in _INFLATE[layer.compression](blob):
        unpacked.update(piece)
    seconds = time.thread_time() - start
    if (f"sha256:{digest}", f"sha256:{unpacked.hexdigest()}") != (layer.digest, layer.diff_id):
        raise RuntimeError(f"{layer.blob} is damaged; remove {images}")
    return seconds


def _inflate_gzip(blob: bytes) -> Iterator[bytes]:
    inflater = isal_zlib.decompressobj(wbits=31)
    for at in range(0, len(blob), _INPUT):
        piece = inflater.decompress(blob[at : at + _INPUT], _OUTPUT)
        while piece:
            yield piece
            piece = inflater.decompress(inflater.unconsumed_tail, _OUTPUT)


def _inflate_zstd(blob: bytes) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(blob) as reader:
        while piece := reader.read(_OUTPUT):
            yield piece


_INFLATE: dict[str, Callable[[bytes], Iterator[bytes]]] = {"gzip": _inflate_gzip, "zstd": _inflate_zstd}
