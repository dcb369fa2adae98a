"""A disk that forgets, on a power cut, what it was never asked to keep.

Killing qemu is not a power cut: whatever the guest has written lies in this machine's page cache and survives. So
every write and every flush of the guest goes through qemu's ``blklogwrites`` driver, which records them in order,
in the format of the kernel's dm-log-writes. After the kill the disk is made anew from its state before the boot and
that record:

- what was written before the last completed flush is there: that is what a flush promises;
- of what was written after it each request is, by a seeded throw, there, or lost, or torn: only its first sectors
  are there. A disk's cache may write back in any order, and promises to be atomic for one sector only.

So a program that forgets an fsync, or relies on the order of two unsynced writes, is found out. Flushes are free
here (``cache.no-flush``), which also means that next to no write can slip in between a flush and its record.

Each boot writes to a qcow2 layer of its own over those before; ``fork`` gives any number of disks that share a past.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.nbd import NbdImage, open_image

_SECTOR = 512
# drivers/md/dm-log-writes.c
_MAGIC, _VERSION = 0x6A736677736872, 1
_FLUSH, _DISCARD = 1, 4
_LONGEST = 16 << 20  # qemu-nbd takes 32 MiB in one request


@dataclass(frozen=True)
class Write:
    """One request of the guest, as recorded. ``data`` is None for a discard."""

    offset: int
    length: int
    data: bytes | None
    is_flush: bool


@dataclass(frozen=True)
class Cut:
    """What a power cut did to a disk: how many requests were safe, and what became of the others."""

    flushed: int
    kept: int
    lost: int
    torn: int

    def __str__(self) -> str:
        return (
            f"{self.flushed} flushed; of {self.kept + self.lost + self.torn} others {self.lost} lost, {self.torn} torn"
        )


class Disk:
    """A row of qcow2 layers over a raw image that never changes."""

    def __init__(self, image: Path, directory: Path, name: str, *, layers: Sequence[Path] = ()) -> None:
        self.name = name
        self._image = image
        self._directory = directory
        self._layers = list(layers)
        self._number = 0
        self._seen = _Seen()

    def begin(self) -> list[str]:
        """A fresh layer for one boot. Returns the options that give the disk to qemu."""
        layer = self._add_layer()
        log = self._log()
        log.unlink(missing_ok=True)
        log.touch()
        self._seen = _Seen()
        node = {
            "driver": "blklogwrites",
            "node-name": self.name,
            "log-sector-size": _SECTOR,
            "file": {"driver": "qcow2", "discard": "unmap", "file": _host_file(layer)},
            "log": _host_file(log),
        }
        device = f"virtio-blk-pci,drive={self.name},serial={self.name},write-cache=on"
        return ["-blockdev", json.dumps(node), "-device", device]

    def end(self) -> None:
        """The guest shut down in order: everything it wrote is there."""
        self._log().unlink()

    def lose_unsynced(self, seed: int, *, sooner: bool = False, most: int | None = None) -> Cut:
        """The power was cut: replace the boot's layer by what a real disk may hold now.

        ``sooner`` has it happen at some moment, by a throw, since the last flush but one. Writes and the flush that
        saves them come in one burst, so the moment of a kill is hardly ever between them. ``most`` has it happen just
        when the disk had got so many requests.
        """
        self._layers.pop().unlink()
        dice = random.Random(seed)
        writes = list(read_log(self._log()))[:most]
        if sooner:
            writes = writes[: dice.randint(_end_of_flush(writes, 2), len(writes))]
        safe = _end_of_flush(writes, 1)
        with open_image(self._add_layer()) as image:
            for write in writes[:safe]:
                _replay(image, write)
            cut = _replay_some(image, writes[safe:], dice, safe)
        self._log().unlink()
        return cut

    def fork(self, directory: Path) -> Disk:
        """Another disk with the same content, which goes its own way. This one must not be booted any more."""
        return Disk(self._image, directory, self.name, layers=self._layers)

    def flushes(self) -> int:
        """How many flushes the running guest has asked for in this boot."""
        self._seen.look(self._log())
        return self._seen.flushes

    def requests(self) -> int:
        """How many requests of every kind the running guest has made in this boot."""
        self._seen.look(self._log())
        return self._seen.requests

    def _log(self) -> Path:
        return self._directory / f"{self.name}.writes"

    def _add_layer(self) -> Path:
        below, kind = (self._layers[-1], "qcow2") if self._layers else (self._image, "raw")
        self._number += 1
        layer = self._directory / f"{self.name}.{self._number}.qcow2"
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below.resolve()), "-F", kind, str(layer)]
        subprocess.run(argv, check=True)
        self._layers.append(layer)
        return layer


@dataclass
class _Seen:
    """How far a log that still grows was read."""

    offset: int = _SECTOR
    requests: int = 0
    flushes: int = 0

    def look(self, path: Path) -> None:
        """Count what has been added; data is skipped, and an entry that is being written comes next time."""
        size = path.stat().st_size
        with path.open("rb") as file:
            while self.offset + _SECTOR <= size:
                file.seek(self.offset)
                _sector, count, flags, _ = struct.unpack_from("<QQQQ", file.read(_SECTOR))
                length = 0 if flags & _DISCARD else count * _SECTOR
                if not (count or flags) or self.offset + _SECTOR + length > size:
                    return
                self.offset += _SECTOR + length
                self.requests += 1
                self.flushes += bool(flags & _FLUSH)


def _host_file(path: Path) -> dict[str, object]:
    return {"driver": "file", "filename": str(path), "cache": {"no-flush": True}}


def read_log(path: Path) -> Iterator[Write]:
    """The record of one boot, in order, up to where the kill has cut it off."""
    with path.open("rb") as file:
        header = file.read(_SECTOR)
        if len(header) < _SECTOR:
            return
        magic, version, promised, sector = struct.unpack_from("<QQQI", header)
        # Still empty before the first flush.
        if any(header) and (magic, version, sector) != (_MAGIC, _VERSION, _SECTOR):
            raise ValueError(f"{path}: not a log of writes")
        count = 0
        while write := _read_write(file.read(_SECTOR), file.read):
            yield write
            count += 1
    # The header is rewritten with each flush; less than it counts would mean that flushed data is missing.
    if count < promised:
        raise ValueError(f"{path}: {promised} entries were recorded and {count} can be read")


def _read_write(header: bytes, read: Callable[[int], bytes]) -> Write | None:
    if len(header) < _SECTOR:
        return None
    sector, count, flags, _ = struct.unpack_from("<QQQQ", header)
    if not (count or flags):
        return None
    data = None if flags & _DISCARD else read(count * _SECTOR)
    if data is not None and len(data) < count * _SECTOR:
        return None
    return Write(sector * _SECTOR, count * _SECTOR, data, bool(flags & _FLUSH))


def _end_of_flush(writes: Sequence[Write], number: int) -> int:
    """How many requests there are up to and with the last flush, or the one ``number`` - 1 before it."""
    return next(iter([position + 1 for position, write in enumerate(writes) if write.is_flush][-number:]), 0)


def _replay(image: NbdImage, write: Write, length: int | None = None) -> None:
    data = (write.data or b"")[:length]
    for start in range(0, len(data), _LONGEST):
        image.write(write.offset + start, data[start : start + _LONGEST])
    if write.data is None:
        image.write_zeroes(write.offset, write.length)


def _replay_some(image: NbdImage, writes: Sequence[Write], dice: random.Random, safe: int) -> Cut:
    # One throw for the cut, too: sometimes nearly everything arrived, sometimes nearly nothing.
    luck = dice.random()
    kept = lost = torn = 0
    for write in writes:
        if dice.random() < luck:
            kept += 1
            _replay(image, write)
        elif write.data is not None and len(write.data) > _SECTOR and dice.random() < 0.3:
            torn += 1
            _replay(image, write, dice.randrange(1, len(write.data) // _SECTOR) * _SECTOR)
        else:
            lost += 1
    return Cut(safe, kept, lost, torn)
