"""Fuzzes the tar reader, the writer of trees and tar-split together, on archives whose checksums are right.

For each input one of two things holds: it is refused with a reason, or it is unpacked, and then the pieces make the
archive again, nothing beside the tree has changed, and Python's tarfile sees the same members.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from syscontainers.errors import HostileArchiveError, SyscontainersError
from syscontainers.storage.limits import FreeSpace, Limits
from syscontainers.storage.names import normalise
from syscontainers.storage.tar import GLOBAL, Member, TarReader
from syscontainers.storage.tarheader import parse_number
from syscontainers.storage.tarsplit import TarSplitWriter
from syscontainers.storage.tarstream import BLOCK, TarStream
from syscontainers.storage.tree import TreeWriter
from tests.hostile import Place, cases

LIMITS = Limits(entries=500, depth=64, implied=100, extension=1 << 16, padding=1 << 16)
_REFUSED_BY_KERNEL = {1, 13, 18, 22, 31, 36, 40, 84, 95}
_LARGEST_SEED = 100_000


def repair(data: bytes) -> bytes:
    """The same with the checksum of every header right; else nearly all inputs would end there."""
    blocks = bytearray(data)
    at = 0
    while at + BLOCK <= len(blocks):
        header = blocks[at : at + BLOCK]
        if any(header):
            header[148:156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        try:
            size = max(parse_number(bytes(header[124:136]), "size"), 0)
        except HostileArchiveError:
            size = 0
        at += BLOCK + -(-size // BLOCK) * BLOCK
    return bytes(blocks)


class Workshop:
    """A directory with a canary in it, where inputs are unpacked one after the other."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.canary = top / "canary"
        self._tree = top / "diff"
        (self.canary / "tools").mkdir(parents=True)
        (self.canary / "secret").write_text("untouched")
        self._before = self._state()

    def _state(self) -> list[tuple[object, ...]]:
        # The change time shows what even setting the modification time back would hide.
        paths = [self.canary, self.canary / "tools", self.canary / "secret"]
        states = [(status.st_ctime_ns, status.st_mode, status.st_nlink) for status in map(os.lstat, paths)]
        names = sorted({*os.listdir(self.top), *os.listdir(self.canary)} - {"diff"})
        return [*states, tuple(names)]

    def unpack(self, data: bytes, size: int) -> None:
        """Unpack and check one archive. Raises SyscontainersError where it is refused."""
        self._tree.mkdir()
        root = os.open(self._tree, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._unpack(data, size, root)
        finally:
            os.close(root)
            shutil.rmtree(self._tree)
            assert self._state() == self._before, "something beside the tree has changed"

    def _unpack(self, data: bytes, size: int, root: int) -> None:
        stream = TarStream(data[at : at + size] for at in range(0, len(data), size))
        reader, file = TarReader(stream, LIMITS), io.BytesIO()
        split, members, contents = TarSplitWriter(file), [], []
        with TreeWriter(root, LIMITS, FreeSpace(self._tree, LIMITS)) as tree:
            for member in reader:
                raw = reader.take_raw()
                views = [bytes(view) for view in reader.contents(member)]
                crc = tree.write(member, map(memoryview, views))
                split.add_member(raw, member.raw_name, member.size, crc)
                members.append(member)
                contents.append(b"".join(views))
        split.add_segment(reader.take_raw())
        for piece in reader.trailer():
            split.add_segment(piece)
        split.finish()
        assert b"".join(_assemble(file.getvalue(), contents)) == data, "the archive cannot be made again"
        _compare(data, members)


def _assemble(split: bytes, contents: Sequence[bytes]) -> Iterator[bytes]:
    bodies = iter(contents)
    for line in gzip.decompress(split).splitlines():
        entry = json.loads(line)
        yield next(bodies) if entry["type"] == 1 else base64.b64decode(entry["payload"])


def _compare(data: bytes, members: Sequence[Member]) -> None:
    """Where Python's tarfile reads the archive as well, it reads the same members."""
    if b"ustar  \0" in data:
        return  # Python takes the times that GNU tar has in such headers for a part of the name
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            others = archive.getmembers()
    except (tarfile.TarError, ValueError, OverflowError, EOFError):
        return
    theirs = []
    for other in others:
        try:
            theirs.append((normalise(os.fsencode(other.name)), other.size, other.isdir(), other.issym(), other.islnk()))
        except HostileArchiveError:
            return
    ours = [
        (member.name, member.size, member.kind == b"5", member.kind == b"2", member.kind == b"1")
        for member in members
        if member.kind != GLOBAL
    ]
    # It takes a header that it cannot read for the end.
    assert ours[: len(theirs)] == theirs, f"Python reads {theirs} and we {ours}"


def run(workshop: Workshop, data: bytes) -> None:
    """One input: its first byte chooses the size of the pieces, the rest is the archive."""
    if not data:
        return
    try:
        workshop.unpack(repair(data[1:]), data[0] * 7 + 1)
    except SyscontainersError:
        pass  # refused, which is one of the two good ends
    except OSError as error:
        # What the kernel refuses, unpack_layer turns into a refusal as well.
        if error.errno not in _REFUSED_BY_KERNEL:
            raise


def seeds(workshop: Workshop) -> Iterator[bytes]:
    """The corpus of hostile archives, as far as it is small."""
    for case in cases():
        blob = case.blob(Place(os.fsencode(workshop.canary), b"../canary"))
        if len(blob) < _LARGEST_SEED:
            yield b"\x49" + blob


@contextlib.contextmanager
def target(corpus: Path) -> Iterator[Callable[[bytes], None]]:
    """What to call with each input, after ``corpus`` has been filled with seeds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        workshop = Workshop(Path(name))
        for number, seed in enumerate(seeds(workshop)):
            (corpus / str(number)).write_bytes(seed)
        os.umask(0)
        yield lambda data: run(workshop, data)
