"""A pull's memory is bounded whatever the image: many layers, large ones, compressions that look far back."""

from __future__ import annotations

import lzma
import random
import sys
from pathlib import Path

import pytest
import zstandard

from benchmarks.common import measure
from tests.images import Layer, build_image, make_tar, write_oci_layout

pytestmark = pytest.mark.root

MEBIBYTE = 1 << 20
MOST = 120_000_000
NOISE = random.Random(1).randbytes(10 * MEBIBYTE)


def tar_of(number: int) -> bytes:
    """70 MiB that no library can shorten without having seen them ten MiB before."""
    return make_tar({f"{number}-{part}": NOISE for part in range(7)})


def xz_layer(number: int) -> Layer:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 * MEBIBYTE}]
    tar = tar_of(number)
    return Layer(tar, lzma.compress(tar, filters=filters), "plain")


def zstd_layer(number: int, window_log: int) -> Layer:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    tar = tar_of(number)
    return Layer(tar, compressor.compress(tar) + compressor.flush(), "zstd")


def test_all_that_needs_memory_at_once(tmp_path: Path) -> None:
    layers = [zstd_layer(1, 23), xz_layer(2), zstd_layer(3, 23), xz_layer(4), zstd_layer(5, 25), zstd_layer(6, 23)]
    write_oci_layout(tmp_path / "layout", {"": build_image(layers)})
    config = tmp_path / "config.toml"
    config.write_text(f'state = "{tmp_path}/state"\n')
    program = Path(sys.executable).with_name("syscontainer")
    cost = measure([[program, "--config", config, "pull", "--quiet", f"oci:{tmp_path}/layout"]])
    assert 60_000_000 < cost.memory < MOST  # less than one xz layer takes would mean that nobody looked
