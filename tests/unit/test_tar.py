from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

import pytest

from syscontainers.errors import HostileArchiveError
from syscontainers.storage.limits import Limits
from syscontainers.storage.names import normalise, show
from syscontainers.storage.pax import parse_records, parse_time
from syscontainers.storage.tar import DIRECTORY, FILE, Member, TarReader
from syscontainers.storage.tarheader import parse_number, parse_octal
from syscontainers.storage.tarstream import TarStream
from tests.archive import (
    BLOCK,
    END,
    GNU,
    V7,
    base256,
    directory,
    file,
    gnu_long,
    hard_link,
    header,
    octal,
    padded,
    pax,
    record,
    symlink,
)


def read(data: bytes, size: int = 1 << 20) -> list[tuple[Member, bytes]]:
    stream = TarStream(data[at : at + size] for at in range(0, len(data), size))
    reader = TarReader(stream, Limits())
    found = [(member, b"".join(map(bytes, reader.contents(member)))) for member in reader]
    for _ in reader.trailer():
        pass
    return found


def one(*parts: bytes) -> Member:
    [(member, _)] = read(b"".join(parts) + END)
    return member


@pytest.mark.parametrize("size", [1, 100, 512, 513, 4096, 1 << 20])
def test_pieces_of_any_size(size: int) -> None:
    data = b"".join(file(b"f%d" % n, b"%d" % n * n * 37) for n in range(60)) + END
    assert [(member.name, contents) for member, contents in read(data, size)] == [
        (b"f%d" % n, b"%d" % n * n * 37) for n in range(60)
    ]


@pytest.mark.parametrize("size", [1, 700, 1 << 20])
def test_raw_bytes_and_contents_are_the_archive(size: int) -> None:
    data = directory(b"d/") + pax({b"path": b"x" * 300}) + file(b"a", b"abc") + gnu_long(b"L", b"y" * 600) + file(b"b")
    data += pax({b"comment": b"c"}, b"g") + file(b"c", b"z" * 1024) + END + bytes(10240)
    stream = TarStream(data[at : at + size] for at in range(0, len(data), size))
    reader = TarReader(stream, Limits())
    seen = b""
    for member in reader:
        seen += reader.take_raw() + b"".join(map(bytes, reader.contents(member)))
    seen += reader.take_raw() + b"".join(reader.trailer())
    assert seen == data
    assert stream.position == len(data)


def test_fields() -> None:
    member = one(header(b"./a//b", mode=0o104755, uid=1, gid=2, mtime=5, size=0))
    assert member.raw_name == b"./a//b"
    assert (member.name, member.kind, member.owner, member.mtime) == (b"a/b", FILE, (0o4755, 1, 2), 5_000_000_000)
    assert one(header(b"a", mtime=base256(1 << 40, 12))).mtime == 0, "beyond what 64 bits of nanoseconds hold"
    assert one(header(b"a", uid=base256(3_000_000_000, 8))).owner.uid == 3_000_000_000
    assert one(header(b"dev", b"3", device=(7, 9))).device == (7, 9)
    assert one(symlink(b"a", b"../../etc")).link == b"../../etc"
    assert one(hard_link(b"a", b"/./b//c")).link == b"b/c"


def test_kinds_of_old() -> None:
    assert one(header(b"a", b"\0", magic=V7)).kind == FILE
    assert one(header(b"a/", b"\0", magic=V7)).kind == DIRECTORY
    assert one(header(b"a", b"7", size=0)).kind == FILE
    assert one(directory(b"a")).kind == DIRECTORY


def test_prefixes() -> None:
    assert one(header(b"c", prefix=b"a/b")).name == b"a/b/c"
    assert one(header(b"c", prefix=b"a/b", magic=GNU)).name == b"c", "GNU has times there"
    assert one(header(b"c", magic=V7)).name == b"c"
    for magic in (V7, b"ustar\x01\x01\x01", b"UstarFmt"):
        with pytest.raises(HostileArchiveError, match="no known format"):
            one(header(b"c", prefix=b"a/b", magic=magic))
    odd = one(header(b"c", magic=b"ustar\x0001"))
    assert odd.raw_name == b"c", "an empty prefix adds no slash, whatever the version"
    star = header(b"c", prefix=b"p" * 131 + octal(1, 12) + octal(2, 12), tail=bytes(8) + b"tar\0")
    assert one(star).name == b"p" * 131 + b"/c"


def test_extensions() -> None:
    member = one(
        pax({b"path": b"n" * 500, b"mtime": b"12.5", b"uid": b"4000000000", b"gid": b"7", b"comment": b"x"}),
        header(b"short"),
    )
    assert (member.name, member.mtime) == (b"n" * 500, 12_500_000_000)
    assert member.owner[1:] == (4_000_000_000, 7)
    assert one(gnu_long(b"K", b"t" * 300), gnu_long(b"L", b"n" * 300), symlink(b"a", b"b"))[1:2] == (b"n" * 300,)
    assert one(pax({b"path": b""}), file(b"kept")).name == b"kept"
    member, contents = read(pax({b"size": b"3"}) + header(b"a", size=0) + padded(b"abc") + END)[0]
    assert (member.size, contents) == (3, b"abc")
    assert one(pax({b"SCHILY.xattr.user.a": b"1=\n", b"LIBARCHIVE.xattr.user.b": b"2"}), file(b"f")).xattrs == {
        b"user.a": b"1=\n"
    }
    assert one(pax({b"path": b"same"}), gnu_long(b"L", b"same"), file(b"x")).name == b"same"


def test_checksums() -> None:
    names = b"\xff" * 100
    assert one(header(names)).name == names
    block = header(b"\xff\xfe")
    rest = block[:148] + block[156:]
    signed = sum(rest) - 256 * sum(1 for byte in rest if byte > 127) + 8 * 0x20
    assert one(header(b"\xff\xfe", checksum=signed)).name == b"\xff\xfe", "as old Suns summed"
    full = header(b"\xff" * 100, link=b"\xff" * 100, prefix=b"\xff" * 155)
    assert sum(full) > 65521, "where the quick sum would wrap around"
    assert one(full).raw_name == b"\xff" * 155 + b"/" + b"\xff" * 100
    wrapped = sum(full[:148] + full[156:]) + 256 - 65521
    with pytest.raises(HostileArchiveError, match="checksum"):
        one(header(b"\xff" * 100, link=b"\xff" * 100, prefix=b"\xff" * 155, checksum=wrapped))


@pytest.mark.parametrize("field", [b"0000017\0", b"     17\0", b"17      ", b"17\0junk!", b" 17\0    "])
def test_octal(field: bytes) -> None:
    assert parse_octal(field, "size") == 0o17


@pytest.mark.parametrize("field", [b"", b"\0" * 8, b"       \0"])
def test_octal_of_nothing(field: bytes) -> None:
    assert parse_octal(field, "size") == 0


@pytest.mark.parametrize(
    "field",
    [b"-000017\0", b"0o17\0", b"1_7\0", b"18\0", b"+17\0", b"x17", b"17 7\0", b"\00017\0", b" \00017", b"17 \0x"],
)
def test_not_octal(field: bytes) -> None:
    with pytest.raises(HostileArchiveError, match="size is not a number"):
        parse_octal(field, "size")


@pytest.mark.parametrize("value", [0, 1, 0o7777777, 1 << 62, -1, -(1 << 40)])
def test_base_256(value: int) -> None:
    assert parse_number(base256(value, 12), "size") == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", 0),
        (b"1.5", 1_500_000_000),
        (b"1.123456789999", 1_123_456_789),
        (b"-1.5", -1_500_000_000),
        (b"7.", 7_000_000_000),
    ],
)
def test_times(text: bytes, expected: int) -> None:
    assert parse_time(text) == expected


def test_records() -> None:
    assert parse_records(record(b"a", b"1") + record(b"b", b"x" * 100) + record(b"a", b"2")) == {
        b"a": b"2",
        b"b": b"x" * 100,
    }
    assert parse_records(b"") == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a", b"a"),
        (b"./a", b"a"),
        (b"/a", b"a"),
        (b"a/", b"a"),
        (b".//a/./b/.", b"a/b"),
        (b"", b""),
        (b"./", b""),
        (b"...", b"..."),
        (b"a.", b"a."),
        (b".a/..b", b".a/..b"),
        (b"a./b", b"a./b"),
        (b".../x", b".../x"),
    ],
)
def test_normalise(name: bytes, expected: bytes) -> None:
    assert normalise(name) == expected


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/..", b"a/../b", b"/..", b"./..", b"a/./../b", b"//../b"])
def test_dots(name: bytes) -> None:
    with pytest.raises(HostileArchiveError, match="contains"):
        normalise(name)


def test_names_are_shown_short_and_without_control_characters() -> None:
    assert show(b"a\n\x1b[2J\xff") == "a\\n\\x1b[2J\\xff"
    assert len(show(b"x" * 5000)) < 250
    assert show("é\u202e".encode()) == "é\\u202e"


def test_place_names_the_entry() -> None:
    reader = TarReader(TarStream([file(b"first") + header(b"bad", b"S") + END]), Limits())
    with pytest.raises(HostileArchiveError):
        list(reader)
    assert reader.place == "header 2"
    reader = TarReader(TarStream([file(b"first", b"x" * 600)[:700]]), Limits())
    with pytest.raises(HostileArchiveError):
        _ = [list(reader.contents(member)) for member in reader]
    assert reader.place == "entry 'first'"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_python_writes_it(form: int) -> None:
    buffer = io.BytesIO()
    names: Sequence[str] = ("a", "d/é" if form != tarfile.USTAR_FORMAT else "d/e", "deep/" * 18 + "file")
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    assert [(member.name.decode(), contents) for member, contents in read(buffer.getvalue())] == [
        (n, b"abc") for n in names
    ]


@pytest.mark.parametrize("end", [b"", bytes(BLOCK), END, END + bytes(9 * BLOCK), END + bytes(77)])
def test_ends(end: bytes) -> None:
    assert len(read(file(b"a", b"x") + end)) == 1
    assert read(end) == []
