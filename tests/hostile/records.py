"""Headers and records that are broken, or that readers disagree about."""

from __future__ import annotations

from collections.abc import Iterator

from tests.archive import BLOCK, GNU, V7, base256, file, gnu_long, header, pax, record, symlink

from .case import Case, bytes_of, tar_of


def _pax_records() -> Iterator[Case]:
    attack = "pax records, CVE-2022-2879"
    for label, data, why in (
        ("no-length", b"path=a\n", "no length"),
        ("negative-length", b"-5 path=a\n", "no length"),
        ("zero-length", b"0 path=a\n", "length is wrong"),
        ("short-length", b"3 path=a\n", "length is wrong"),
        ("long-length", b"99 path=a\n", "length is wrong"),
        ("huge-length", b"1073741824 path=a\n", "no length"),
        ("endless-length", b"9" * 100 + b" path=a\n", "no length"),
        ("no-newline", b"9 path=ab", "length is wrong"),
        ("no-equals", b"8 patha\n", "malformed"),
        ("no-key", b"5 =a\n", "malformed"),
        ("underscore-length", b"1_0 path=a\n", "no length"),
        ("nul-padding", record(b"path", b"a") + bytes(8), "no length"),
    ):
        yield Case(f"pax-{label}", attack, tar_of(pax(data), file(b"f")), why)
    endless = header(b"x", b"x", size=1 << 30)
    yield Case(
        "pax-gigabyte", "CVE-2022-2879: a header of a gigabyte", bytes_of(endless + bytes(BLOCK)), "extended header of"
    )
    yield Case("gnu-gigabyte", "CVE-2022-2879", bytes_of(header(b"L", b"L", size=1 << 30)), "extended header of")
    yield Case("pax-truncated", attack, bytes_of(header(b"x", b"x", size=900) + bytes(BLOCK)), "ends too early")
    yield Case("pax-negative", attack, tar_of(header(b"x", b"x", size=base256(-1, 12))), "extended header of")
    for key, value in (
        (b"size", b"-1"),
        (b"size", b"1e9"),
        (b"size", b"0x10"),
        (b"size", b"9" * 30),
        (b"uid", b"-1"),
        (b"gid", b" 1"),
        (b"mtime", b"now"),
        (b"mtime", b"1.-5"),
        (b"mtime", b"--1"),
    ):
        label = f"pax-{key.decode()}-{value.decode().strip()[:6]}"
        yield Case(label, attack, tar_of(pax({key: value}), file(b"f")), f"pax record {key.decode()} is not")
    yield Case(
        "pax-size-larger", "sizes that differ", tar_of(pax({b"size": b"99999"}), file(b"f", b"x")), "ends in the middle"
    )
    hidden = pax({b"size": b"1536"}) + header(b"f") + b"".join((file(b"hidden", b"x"), bytes(BLOCK)))
    yield Case("pax-size-hides", "a member inside another's contents", tar_of(hidden), None, absent=(b"hidden",))
    yield Case(
        "pax-huge-size",
        "sizes",
        tar_of(pax({b"size": b"%d" % (1 << 60)}), file(b"f")),
        "claims .* more than the whole layer",
    )


def _ambiguous() -> Iterator[Case]:
    attack = "readers disagree: one is shown another layer than the other"
    for key in (
        b"path",
        b"linkpath",
        b"size",
        b"uid",
        b"mtime",
        b"SCHILY.xattr.user.a",
        b"GNU.sparse.major",
        b"hdrcharset",
    ):
        data = pax({key: b"1"}, b"g") + file(b"f", b"x")
        yield Case(f"global-{key.decode()}", attack, tar_of(data), "global pax record")
    yield Case(
        "pax-twice", attack, tar_of(pax({b"path": b"a"}), pax({b"path": b"b"}), file(b"c")), "two extended headers"
    )
    yield Case(
        "gnu-twice", attack, tar_of(gnu_long(b"L", b"a"), gnu_long(b"L", b"b"), file(b"c")), "two extended headers"
    )
    yield Case(
        "gnu-and-pax", attack, tar_of(gnu_long(b"L", b"a"), pax({b"path": b"b"}), file(b"c")), "different things"
    )
    yield Case(
        "link-gnu-and-pax",
        attack,
        tar_of(gnu_long(b"K", b"a"), pax({b"linkpath": b"b"}), symlink(b"c", b"d")),
        "different",
    )
    yield Case("pax-dangling", attack, tar_of(pax({b"path": b"a"})), "describes nothing")
    yield Case("pax-cut", attack, bytes_of(pax({b"path": b"a"})), "describes nothing")
    yield Case(
        "pax-then-global", attack, tar_of(pax({b"path": b"a"}), pax({b"comment": b"c"}, b"g"), file(b"f")), "nothing"
    )
    for kind, label in ((b"5", "directory"), (b"2", "symlink"), (b"1", "link"), (b"6", "fifo"), (b"3", "device")):
        data = file(b"first") + header(b"a", kind, link=b"first", size=BLOCK, device=(1, 3)) + file(b"hidden", b"")
        yield Case(f"contents-of-{label}", attack, tar_of(data), "contents in an entry")
    yield Case(
        "contents-of-old-directory",
        attack,
        tar_of(header(b"a/", b"\0", size=BLOCK, magic=V7), file(b"b")),
        "contents in",
    )
    for unknown in b"DMNSVXA\xff8":
        yield Case(f"type-{unknown:02x}", "types", tar_of(header(b"a", bytes([unknown]), magic=GNU)), "pack the layer")


def _numbers() -> Iterator[Case]:
    attack = "numbers, CVE-2025-8194"
    yield Case("size-negative", attack, tar_of(header(b"a", size=base256(-512, 12))), "negative size")
    yield Case("size-minus", attack, tar_of(header(b"a", size=b"-0000000100")), "is not a number")
    yield Case("size-text", attack, tar_of(header(b"a", size=b"0o100")), "is not a number")
    yield Case("size-underscore", attack, tar_of(header(b"a", size=b"0000_000010")), "is not a number")
    yield Case("size-decimal", attack, tar_of(header(b"a", size=b"00000000089")), "is not a number")
    yield Case(
        "size-huge", attack, tar_of(header(b"a", size=base256(1 << 70, 12))), "claims .* more than the whole layer"
    )
    yield Case(
        "owner-minus-one", "2**32-1 means: leave it", tar_of(header(b"a", uid=base256(0xFFFFFFFF, 8))), "can belong"
    )
    yield Case("group-minus-one", attack, tar_of(pax({b"gid": b"4294967295"}), file(b"a")), "can belong")
    yield Case("owner-negative", attack, tar_of(header(b"a", uid=base256(-1, 8))), "can belong")
    yield Case(
        "owner-wraps", "CVE-2024-40635: 2**32 is root", tar_of(pax({b"uid": b"4294967296"}), file(b"a")), "can belong"
    )
    yield Case("mode-beyond", "mode bits", tar_of(header(b"a", mode=0o120777)), None, present=(b"a",))
    yield Case("time-beyond", "times", tar_of(pax({b"mtime": b"9" * 20}), file(b"a")), None, present=(b"a",))
    yield Case("time-negative", "times", tar_of(header(b"a", mtime=base256(-(1 << 40), 12))), None, present=(b"a",))
    yield Case("checksum-wrong", "damage", tar_of(header(b"a", checksum=1)), "checksum is wrong")
    yield Case("checksum-text", "damage", tar_of(header(b"a")[:148] + b"notanumb" + header(b"a")[156:]), "not a number")


def _sparse() -> Iterator[Case]:
    attack = "sparse maps, CVE-2025-58183"
    body = b"10000000\n" + b"0\n1\n" * 1000
    modern = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9" * 15}
    yield Case("sparse-1.0", attack, tar_of(pax(modern), file(b"a", body)), "sparse")
    yield Case("sparse-0.1", attack, tar_of(pax({b"GNU.sparse.map": b"0,1," * 100_000}), file(b"a", b"x")), "sparse")
    yield Case("sparse-0.0", attack, tar_of(pax({b"GNU.sparse.size": b"%d" % (1 << 62)}), file(b"a", b"x")), "sparse")
    yield Case("sparse-gnu", attack, tar_of(header(b"a", b"S", magic=GNU)), "sparse")


def cases() -> Iterator[Case]:
    yield from _pax_records()
    yield from _ambiguous()
    yield from _numbers()
    yield from _sparse()
