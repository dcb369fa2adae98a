"""How much an archive may ask for before it is refused.

Every limit is checked while the bytes stream past, never after the fact.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import HostileArchiveError, SyscontainersError
from ..progress import human_size

_MIB = 1 << 20
_LOOK_EVERY = 8 * _MIB
"""Bytes; so often that several layers at once do not use up the reserve between two looks."""
COST_OF_AN_ENTRY = 4096
"""What a file takes beside its contents, and a directory."""


@dataclass(frozen=True)
class Limits:
    """Bounds for one layer; sizes are bytes."""

    entries: int = 2_000_000
    """Headers, and directories that only follow from a name."""
    depth: int = 512
    """Components of a name. A deeper tree exhausts the descriptors of everything that removes trees."""
    unpacked: int = 64 << 30
    """The whole tar."""
    ratio: int = 1000
    """Unpacked bytes per compressed byte, once there are more than ``ratio_grace`` of them."""
    ratio_grace: int = 64 * _MIB
    reserve: int = 64 * _MIB
    """Space that unpacking leaves free on the file system."""
    reserve_inodes: int = 1024
    extension: int = _MIB
    """One pax or GNU extension record; they are held in memory."""
    padding: int = 64 * _MIB
    """Zeros after the end of the archive."""
    implied: int = 100_000
    """Directories that no header named; the list of them is held in memory."""
    names: int = 8 * _MIB
    """Bytes of the names of such directories, and as many of members that make no file."""
    keep_devices: bool = False
    """Make the archive's device nodes, as podman does. The runtime provides /dev, so nothing needs them."""

    def narrowed(self, packed: int) -> Limits:
        """The same for a layer of ``packed`` compressed bytes, of which no entry can be longer than ``ratio`` lets it.

        A header may claim any size. One that no such layer can keep is a lie, and not a disk that is too small.
        """
        return replace(self, unpacked=min(self.unpacked, max(self.ratio_grace, self.ratio * packed)))


class FreeSpace:
    """What the file system below a directory can still take.

    ``outlook`` estimates how many bytes are still to come, for the error message.
    """

    def __init__(self, directory: Path, limits: Limits, outlook: Callable[[], int] = int) -> None:
        self._directory = directory
        self._limits = limits
        self._outlook = outlook
        self._taken = 0

    def take(self, size: int) -> None:
        """Count ``size`` bytes that are about to be written; every few of them it is checked whether there is space."""
        self._taken += size
        if self._taken > _LOOK_EVERY:
            self.check(size)
            self._taken = 0

    def check(self, wanted: int = 0) -> None:
        """Raise SyscontainersError unless ``wanted`` more bytes fit and the reserve stays free."""
        status = os.statvfs(self._directory)
        free = status.f_bavail * status.f_frsize
        if free - wanted < self._limits.reserve:
            raise self.shortage(wanted)
        # f_files is 0 on file systems that make inodes as needed (btrfs).
        if status.f_files and status.f_favail < self._limits.reserve_inodes:
            raise SyscontainersError(
                f"{self._directory}: no inodes left on the file system", "remove files there, or make a larger one"
            )

    def shortage(self, wanted: int = 0) -> SyscontainersError:
        """The error for ``wanted`` bytes, or those still to come, that do not fit."""
        status = os.statvfs(self._directory)
        free = status.f_bavail * status.f_frsize
        needed = human_size(max(wanted, self._outlook()) + self._limits.reserve)
        return SyscontainersError(
            f"{self._directory}: no space left: about {needed} needed, {human_size(free)} free",
            "free some space (syscontainer prune) or move the storage to a larger file system",
        )


class Expansion:
    """Watches that decompressed bytes stay in proportion to the compressed ones."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._consumed = 0
        self.total = 0

    def add(self, produced: int, consumed: int) -> None:
        """Count ``produced`` more bytes, ``consumed`` compressed bytes having been read so far.

        Raises HostileArchiveError when they are too many, at all or for what they were made from.
        """
        self._consumed = consumed
        self.total = total = self.total + produced
        limits = self._limits
        if total > limits.unpacked:
            raise HostileArchiveError(f"unpacks to more than {human_size(limits.unpacked)}")
        if total > limits.ratio_grace and total > consumed * limits.ratio:
            raise HostileArchiveError(
                f"{human_size(consumed)} unpack to more than {human_size(total)}: a decompression bomb"
            )

    def estimate_rest(self, size: int) -> int:
        """About how many bytes the rest of ``size`` compressed bytes makes, going by those seen so far."""
        return self.total * (size - self._consumed) // max(self._consumed, 1)
