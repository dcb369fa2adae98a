"""What one layer's bytes must be, and a layer unpacked beside the store that nobody sees yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LayerPromise:
    """What the image's manifest and config promise of one layer."""

    digest: str
    """``sha256:`` and the hex digest of the compressed bytes."""
    size: int
    """Compressed bytes, exactly."""
    diff_id: str
    """``sha256:`` and the hex digest of the tar."""


@dataclass(frozen=True)
class StagedLayer:
    """A verified layer in a staging directory: ``diff/`` and ``tar-split.gz``, not yet synced."""

    directory: Path
    diff_id: str
    diff_size: int
    """Bytes of the tar."""
    digest: str
    """Of the compressed bytes; equals ``diff_id`` when the layer came uncompressed."""
    size: int
    """Compressed bytes."""
    compression: int
    """containers/storage's numbers: 0 none, 1 bzip2, 2 gzip, 3 xz, 4 zstd."""
    uids: tuple[int, ...]
    """Sorted owners in the tar, whiteouts excluded."""
    gids: tuple[int, ...]
    implied: tuple[bytes, ...]
    """Directories that no header named; committing gives them owner, mode, xattrs and mtime of the layers below."""
    skipped: tuple[bytes, ...] = ()
    """Members that made no file: device nodes, leftovers of AUFS."""
