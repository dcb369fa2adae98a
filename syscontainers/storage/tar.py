"""A strict, streaming tar reader: v7, ustar, pax, GNU and star headers.

It reads each byte once, hands out members in order, keeps the raw bytes of headers and padding for tar-split, and
refuses what readers are known to disagree about: sparse members, contents of links, effective global pax
records, unknown types, bytes after the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..errors import HostileArchiveError
from . import pax
from .limits import Limits
from .names import normalise, show
from .tarheader import parse_link, parse_name, parse_number, parse_octal, parse_time, verify_checksum
from .tarstream import BLOCK, TarStream

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
GLOBAL = b"g"
_FILE_BYTE = FILE[0]
_OLD_FILE, _CONTIGUOUS = b"\0", b"7"
_PAX, _GNU_NAME, _GNU_LINK = b"x", b"L", b"K"
_EXTENSIONS = (_PAX, _GNU_NAME, _GNU_LINK)
_MEMBERS = (FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)
_REFUSED = {b"S": "a sparse file", b"D": "a GNU directory dump", b"M": "a part of a multi-volume file"}

_ZEROS = bytes(BLOCK)
_BASE_256 = 0x80
_SLASHES = (b"/", b"/.")
_NO_DEVICE = (0, 0)
_LARGEST_ID = 0xFFFF_FFFE  # 2**32 - 1 means "leave as it is" to chown(2)
_LARGEST_TIME = (1 << 63) - 1
_OWNERS_REMEMBERED = 1024
_NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})


class Owner(NamedTuple):
    """Who may do what with a member."""

    mode: int
    """Permission bits with set-id and sticky, nothing else."""
    uid: int
    gid: int


class Member(NamedTuple):
    """One entry of the archive."""

    raw_name: bytes
    """As the archive has it, extensions applied; tar-split records this one."""
    name: bytes
    """Normalised; empty for the root directory."""
    kind: bytes
    """One of the constants above."""
    owner: Owner
    size: int
    """Bytes of contents; 0 for everything but files."""
    mtime: int
    """Nanoseconds since the epoch, never negative."""
    link: bytes
    """A symbolic link's text, a hard link's target normalised."""
    device: tuple[int, int]
    xattrs: Mapping[bytes, bytes]


class _Extensions:
    """What the records before a header say about it."""

    __slots__ = ("gnu_link", "gnu_name", "records")

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] | None = None
        self.gnu_name: bytes | None = None
        self.gnu_link: bytes | None = None


class TarReader:
    """Iterates over the members; the contents of each must be taken before going on to the next."""

    def __init__(self, stream: TarStream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._raw: list[bytes] = []
        self._padding = 0
        self._owners: dict[bytes, Owner] = {}
        self._headers = 0
        self._member: Member | None = None

    @property
    def place(self) -> str:
        """Where in the archive the reader is, for a human."""
        return f"entry '{show(self._member.raw_name)}'" if self._member else f"header {self._headers}"

    def take_raw(self) -> bytes:
        """All bytes since the last call that are not contents: one segment of tar-split."""
        raw = b"".join(self._raw)
        self._raw = []
        return raw

    def contents(self, member: Member) -> Iterable[memoryview]:
        """The member's contents, lent: a view is valid until the next is asked for."""
        return self._stream.lend(member.size)

    def __iter__(self) -> Iterator[Member]:
        """The members in order. Raises HostileArchiveError."""
        while (header := self._next_header()) is not None:
            # Nine of ten entries are plain files.
            is_file = header[156] == _FILE_BYTE
            self._member = member = self._plain_file(header) if is_file else self._read_member(header)
            self._padding += -member.size % BLOCK
            yield member

    def trailer(self) -> Iterator[bytes]:
        """After the last member, everything up to the end of the stream: zeros. Raises HostileArchiveError."""
        total = 0
        for piece in self._stream.rest():
            total += len(piece)
            if piece.count(0) != len(piece):
                raise HostileArchiveError("something follows the end of the archive")
            if total > self._limits.padding:
                raise HostileArchiveError(f"more than {self._limits.padding} zeros follow the end of the archive")
            yield piece

    def _next_header(self) -> bytes | None:
        self._member = None
        header = block = self._stream.take(self._padding + BLOCK)
        self._raw.append(block)
        if self._padding:
            header = block[self._padding :]
            self._check_padding(len(block))
        self._headers += 1
        if header == _ZEROS or not header:
            self._check_end()
            return None
        if self._headers > self._limits.entries:
            raise HostileArchiveError(f"more than {self._limits.entries} entries")
        if len(header) < BLOCK:
            raise HostileArchiveError("the archive ends in the middle of a header")
        verify_checksum(header)
        return header

    def _check_padding(self, available: int) -> None:
        if available < self._padding:
            raise HostileArchiveError("the archive ends too early")
        self._padding = 0

    def _check_end(self) -> None:
        # POSIX wants two blocks of zeros at the end; like everyone else, take fewer where the bytes end.
        second = self._stream.take(BLOCK)
        self._raw.append(second)
        if second.count(0) != len(second):
            raise HostileArchiveError("a header follows the end of the archive")

    def _take(self, count: int) -> bytes:
        data = self._stream.take(count)
        if len(data) < count:
            raise HostileArchiveError("the archive ends too early")
        return data

    def _read_member(self, header: bytes) -> Member:
        kind = header[156:157]
        if kind not in _EXTENSIONS:
            return self._read_global(header) if kind == GLOBAL else self._plain_member(header, kind)
        extensions = _Extensions()
        while kind in _EXTENSIONS:
            self._read_extension(header, kind, extensions)
            following = self._next_header()
            if following is None or following[156:157] == GLOBAL:
                raise HostileArchiveError("an extended header describes nothing")
            header, kind = following, following[156:157]
        return self._extended_member(header, kind, extensions)

    def _read_record_bytes(self, header: bytes) -> bytes:
        size = parse_number(header[124:136], "size")
        if not 0 <= size <= self._limits.extension:
            raise HostileArchiveError(f"an extended header of {size} bytes")
        data = self._take(size)
        self._raw.append(data)
        self._padding = -size % BLOCK
        return data

    def _read_extension(self, header: bytes, kind: bytes, extensions: _Extensions) -> None:
        data = self._read_record_bytes(header)
        # Of two records of one kind some readers take the first, some the last, some merge them.
        if kind == _PAX and extensions.records is None:
            extensions.records = pax.parse_records(data)
        elif kind == _GNU_NAME and extensions.gnu_name is None:
            extensions.gnu_name = _parse_gnu_string(data)
        elif kind == _GNU_LINK and extensions.gnu_link is None:
            extensions.gnu_link = _parse_gnu_string(data)
        else:
            raise HostileArchiveError("two extended headers of one kind for one entry")

    def _read_global(self, header: bytes) -> Member:
        records = pax.parse_records(self._read_record_bytes(header))
        for key in records:
            # containers/storage ignores these and GNU tar obeys them.
            if key not in pax.GLOBAL_HARMLESS:
                raise HostileArchiveError(f"the global pax record '{show(key)}'")
        return Member(parse_name(header), b"", GLOBAL, Owner(0, 0, 0), 0, 0, b"", _NO_DEVICE, _NO_XATTRS)

    def _plain_file(self, header: bytes) -> Member:
        """What ``_plain_member`` does, in a third of the time."""
        raw_name = parse_name(header)
        name = normalise(raw_name)
        size = parse_octal(header[124:136], "size") if header[124] < _BASE_256 else -1
        mtime = parse_time(header[136:148])
        if size < 0 or not 0 <= mtime <= _LARGEST_TIME or not name or raw_name.endswith(_SLASHES):
            return self._plain_member(header, FILE)
        return Member(raw_name, name, FILE, self._owner(header), size, mtime, b"", _NO_DEVICE, _NO_XATTRS)

    def _plain_member(self, header: bytes, kind: bytes) -> Member:
        size, mtime = parse_number(header[124:136], "size"), parse_time(header[136:148])
        return _make_member(header, kind, parse_name(header), parse_link(header), self._owner(header), size, mtime)

    def _owner(self, header: bytes) -> Owner:
        # Archives have few different owners and modes: looking the fields up is cheaper than parsing them.
        fields = header[100:124]
        owner = self._owners.get(fields)
        if owner is None:
            uid, gid = parse_number(fields[8:16], "owner"), parse_number(fields[16:24], "group")
            owner = _check_owner(Owner(parse_octal(fields[:8], "mode") & 0o7777, uid, gid))
            if len(self._owners) >= _OWNERS_REMEMBERED:
                self._owners.clear()
            self._owners[fields] = owner
        return owner

    def _extended_member(self, header: bytes, kind: bytes, extensions: _Extensions) -> Member:
        # POSIX: a record without a value takes the field of the header.
        records = {key: value for key, value in (extensions.records or {}).items() if value}
        if pax.is_sparse(records):
            raise HostileArchiveError("a sparse file; pack the layer without --sparse")
        name = _choose(extensions.gnu_name, records.get(b"path")) or parse_name(header)
        link = _choose(extensions.gnu_link, records.get(b"linkpath")) or parse_link(header)
        return _make_member(
            header,
            kind,
            name,
            link,
            self._extended_owner(header, records),
            pax.parse_integer(records[b"size"], "size")
            if b"size" in records
            else parse_number(header[124:136], "size"),
            pax.parse_time(records[b"mtime"]) if b"mtime" in records else parse_time(header[136:148]),
            pax.select_xattrs(extensions.records or {}),
        )

    def _extended_owner(self, header: bytes, records: Mapping[bytes, bytes]) -> Owner:
        if b"uid" not in records and b"gid" not in records:
            return self._owner(header)
        mode = parse_octal(header[100:108], "mode") & 0o7777
        ids = (
            pax.parse_integer(records[key], key.decode()) if key in records else parse_number(field, "owner")
            for key, field in ((b"uid", header[108:116]), (b"gid", header[116:124]))
        )
        return _check_owner(Owner(mode, *ids))


def _parse_gnu_string(data: bytes) -> bytes:
    text = data.partition(b"\0")[0]
    if not text:
        raise HostileArchiveError("an empty GNU long name")
    return text


def _choose(gnu: bytes | None, posix: bytes | None) -> bytes | None:
    if gnu is not None and posix is not None and gnu != posix:
        raise HostileArchiveError("a GNU and a pax record name different things")
    return gnu if posix is None else posix


def _check_owner(owner: Owner) -> Owner:
    if not (0 <= owner.uid <= _LARGEST_ID and 0 <= owner.gid <= _LARGEST_ID):
        raise HostileArchiveError(f"no file can belong to {owner.uid}:{owner.gid}")
    return owner


def _make_member(
    header: bytes,
    kind: bytes,
    raw_name: bytes,
    link: bytes,
    owner: Owner,
    size: int,
    mtime: int,
    xattrs: Mapping[bytes, bytes] = _NO_XATTRS,
) -> Member:
    name = normalise(raw_name)
    device = _NO_DEVICE
    if kind != FILE or not name or raw_name.endswith(_SLASHES):
        if kind == _OLD_FILE:
            # Before POSIX a directory was a file whose name ends in a slash. Not all look at the extended name.
            kind = DIRECTORY if raw_name.endswith(b"/") and parse_name(header).endswith(b"/") else FILE
        kind = _settle_kind(kind, raw_name, name, size)
        if kind == HARD_LINK:
            link = normalise(link)
        elif kind in (CHARACTER, BLOCK_DEVICE):
            device = (parse_number(header[329:337], "device"), parse_number(header[337:345], "device"))
    if size < 0:
        raise HostileArchiveError("a negative size")
    # containers/storage makes these the epoch as well.
    if not 0 <= mtime <= _LARGEST_TIME:
        mtime = 0
    return Member(raw_name, name, kind, owner, size, mtime, link, device, xattrs)


def _settle_kind(kind: bytes, raw_name: bytes, name: bytes, size: int) -> bytes:
    slash = raw_name.endswith(_SLASHES)
    kind = FILE if kind == _CONTIGUOUS else kind
    if kind not in _MEMBERS:
        what = _REFUSED.get(kind, f"an entry of the unknown type '{show(kind)}'")
        raise HostileArchiveError(f"{what}; pack the layer without it")
    if kind != DIRECTORY and (slash or not name):
        raise HostileArchiveError("the name is that of a directory, the type is not")
    if kind != FILE and size:
        # Readers disagree on whether such an entry is followed by contents.
        raise HostileArchiveError("contents in an entry that is not a file")
    return kind
