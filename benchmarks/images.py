"""The images that are pulled: made of this machine's /usr and of generated text, the same each time.

Each case is an image in two versions, which differ in their last, small layer. They are kept as OCI layouts, with each
layer's tar beside for GNU tar, and made once for a machine.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import random
import tarfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import zstandard

from tests.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of, to_json

RECIPE = "2"
"""To be counted up when images are made in another way: those of before are then made anew."""
VERSIONS = ("1", "2")
_MIB = 1 << 20
_MTIME = 1_700_000_000
_LARGEST = 8 * _MIB
_LARGE = 16 << 10


@dataclass(frozen=True)
class Entry:
    """A file of an image: of this machine, or generated."""

    name: str
    source: Path | None = None
    data: bytes = b""


@dataclass(frozen=True)
class Layer:
    """A layer on disk. ``blob`` and ``tar`` are file names below the images' directory; sizes are bytes."""

    digest: str
    diff_id: str
    size: int
    unpacked: int
    files: int
    compression: str

    @property
    def blob(self) -> str:
        return f"blobs/sha256/{self.digest.removeprefix('sha256:')}"

    @property
    def tar(self) -> str:
        return f"tars/{self.diff_id.removeprefix('sha256:')}.tar"


@dataclass(frozen=True)
class Case:
    """An image in two versions; the layers are the first version's, ``top`` the second's last one."""

    name: str
    title: str
    layers: tuple[Layer, ...]
    top: Layer

    def versions(self) -> dict[str, tuple[Layer, ...]]:
        return {"1": self.layers, "2": (*self.layers[:-1], self.top)}

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)

    @property
    def unpacked(self) -> int:
        return sum(layer.unpacked for layer in self.layers)

    @property
    def files(self) -> int:
        return sum(layer.files for layer in self.layers)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def _gzip() -> _Compressor:
    return zlib.compressobj(6, zlib.DEFLATED, 31)


def _zstd() -> _Compressor:
    # podman and buildah push with windows of 8 MiB (github.com/klauspost/compress), four times libzstd's.
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=23)
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()


_COMPRESSORS: dict[str, Callable[[], _Compressor]] = {
    "gzip": _gzip,  # what buildah, docker and skopeo write
    "zstd": _zstd,
}


class _LayerFile(io.RawIOBase):
    """What a tar is written to: the tar, the blob, and both digests come of it."""

    def __init__(self, directory: Path, compression: str, number: int) -> None:
        self._paths = [directory / f"{kind}-{compression}-{number}" for kind in ("tar", "blob")]
        self._tar, self._blob = (path.open("wb") for path in self._paths)
        self._compressor = _COMPRESSORS[compression]()
        self._hashes = hashlib.sha256(), hashlib.sha256()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._hashes[0].update(data)
        self._tar.write(data)
        self._put(self._compressor.compress(data))
        return len(data)

    def _put(self, data: bytes) -> None:
        self._hashes[1].update(data)
        self._blob.write(data)

    def finish(self, files: int, compression: str) -> Layer:
        self._put(self._compressor.flush())
        sizes = self._tar.tell(), self._blob.tell()
        self._tar.close()
        self._blob.close()
        diff_id, digest = (f"sha256:{each.hexdigest()}" for each in self._hashes)
        layer = Layer(digest, diff_id, sizes[1], sizes[0], files, compression)
        for path, name in zip(self._paths, (layer.tar, layer.blob), strict=True):
            path.rename(path.parent / name)
        return layer


def _write_layer(directory: Path, entries: Sequence[Entry], compression: str, number: int) -> Layer:
    """In the order of the names, with an entry for each directory, as all builders write them."""
    file = _LayerFile(directory, compression, number)
    seen: set[str] = set()
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=256 << 10) as tar:
        for entry in sorted(entries, key=lambda entry: entry.name.split("/")):
            for depth in range(1, entry.name.count("/") + 1):
                parent = "/".join(entry.name.split("/")[:depth])
                if parent not in seen:
                    seen.add(parent)
                    tar.addfile(_header(parent, 0, tarfile.DIRTYPE, 0o755))
            data = entry.source.read_bytes() if entry.source else entry.data
            mode = entry.source.stat().st_mode & 0o777 if entry.source else 0o644
            tar.addfile(_header(entry.name, len(data), tarfile.REGTYPE, mode), io.BytesIO(data))
    return file.finish(len(entries), compression)


def _header(name: str, size: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.type, header.mode = size, kind, mode
    header.mtime = _MTIME + zlib.crc32(os.path.dirname(name).encode()) % 10_000_000
    return header


@functools.cache
def _usr_directories() -> tuple[tuple[tuple[Path, int], ...], ...]:
    """The plain files below /usr with their sizes, by directory; directories in an order of no meaning."""
    found = []
    for path, _, names in os.walk("/usr"):
        files = [(Path(path, name), os.lstat(f"{path}/{name}")) for name in sorted(names)]
        plain = [(file, status.st_size) for file, status in files if os.path.isfile(file) and not file.is_symlink()]
        if plain and "__pycache__" not in path:
            found.append((hashlib.sha256(path.encode()).digest(), tuple(plain)))
    return tuple(files for _, files in sorted(found))


def _usr_files(size: int, count: int, after: int) -> tuple[list[Entry], int]:
    """Whole directories of /usr from number ``after`` on, up to ``size`` bytes, then their small files up to ``count``.

    Also the number of the first directory left over. What /usr does not have is filled up with text.
    """
    chosen: list[Entry] = []
    directories = _usr_directories()
    total = 0
    while (total < size or len(chosen) < count) and after < len(directories):
        largest = _LARGEST if total < size else _LARGE
        for path, length in directories[after]:
            if length <= largest:
                chosen.append(Entry(str(path).lstrip("/"), path))
                total += length
        after += 1
    missing = max(count - len(chosen), 0)
    filling = max((size - total) // max(missing, 1), 1000)
    chosen += [Entry(f"usr/lib/filling/{after}-{n}", data=_text(n, filling)) for n in range(missing)]
    return chosen, after


@functools.cache
def _words() -> bytes:
    """A megabyte that compresses about as source code does."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkjqxz_(){};=."
    vocabulary = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(3000)]
    return " ".join(chance.choices(vocabulary, k=180_000)).encode()[:_MIB]


def _text(seed: int, size: int) -> bytes:
    start = seed * 7919 % (_MIB - 1)
    return (_words()[start:] + _words() * (size // _MIB + 1))[:size]


def _top_layer(version: str) -> list[Entry]:
    return [Entry(f"etc/application/part{n}.conf", data=_text(n + 100 * int(version), 30_000)) for n in range(20)]


def _big_layers(count: int, size: int, files: int) -> list[list[Entry]]:
    layers, after = [], 0
    for _ in range(count):
        entries, after = _usr_files(size, files, after)
        layers.append(entries)
    return layers


def _tiny_files() -> list[list[Entry]]:
    chance = random.Random(2)
    return [
        [
            Entry(f"usr/lib/modules/package{n // 100:03}/source{n // 20 % 5}/file{n % 20:02}.js", data=_text(n, size))
            for n, size in enumerate(chance.choices(range(60, 1500), k=100_000))
        ]
    ]


@dataclass(frozen=True)
class _Plan:
    title: str
    layers: Callable[[], list[list[Entry]]]
    compression: str = "gzip"


_BIG = functools.partial(_big_layers, 3, 250 * _MIB, 8400)
PLANS = {
    "big": _Plan("3 big layers", _BIG),
    "small": _Plan("30 small layers", functools.partial(_big_layers, 29, 4 * _MIB, 100)),
    "tiny": _Plan("100 000 tiny files", _tiny_files),
    "zstd": _Plan("3 big layers, zstd", _BIG, "zstd"),
}


def prepare_case(directory: Path, name: str) -> Case:
    """The case, from ``directory`` or made there."""
    record = directory / f"{name}-{RECIPE}.json"
    if not record.exists():
        for part in ("blobs/sha256", "tars"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        made = json.dumps([asdict(layer) for layer in _make_layers(directory, PLANS[name])])
        record.write_text(made)
    *layers, top = (Layer(**each) for each in json.loads(record.read_text()))
    case = Case(name, PLANS[name].title, tuple(layers), top)
    _write_layout(directory, case)
    return case


def _make_layers(directory: Path, plan: _Plan) -> list[Layer]:
    contents = [*plan.layers(), *(_top_layer(version) for version in VERSIONS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(
            pool.map(
                lambda numbered: _write_layer(directory, numbered[1], plan.compression, numbered[0]),
                enumerate(contents),
            )
        )


def _write_layout(directory: Path, case: Case) -> None:
    """One OCI layout per version, all of them sharing their blobs."""
    for version, layers in case.versions().items():
        config = to_json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/bin/true"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            }
        )
        manifest = to_json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": _descriptor(OCI_CONFIG, digest_of(config), len(config)),
                "layers": [
                    _descriptor(f"{OCI_LAYER}+{layer.compression}", layer.digest, layer.size) for layer in layers
                ],
            }
        )
        for data in (config, manifest):
            (directory / "blobs/sha256" / digest_of(data).removeprefix("sha256:")).write_bytes(data)
        layout = directory / f"{case.name}-{version}"
        layout.mkdir(exist_ok=True)
        blobs = layout / "blobs"
        if not blobs.is_symlink():
            blobs.symlink_to("../blobs")
        index = {"schemaVersion": 2, "manifests": [_descriptor(OCI_MANIFEST, digest_of(manifest), len(manifest))]}
        (layout / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
        (layout / "index.json").write_bytes(to_json(index))


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}
