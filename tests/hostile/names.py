"""Names that lead outside, and names that are none."""

from __future__ import annotations

from collections.abc import Iterator

from tests.archive import V7, directory, file, gnu_long, hard_link, header, pax, symlink

from .case import Case, placed, tar_of


def _dots() -> Iterator[Case]:
    why = "contains '..'"
    up = "directory traversal, CVE-2007-4559, CVE-2020-10696"
    yield Case("dots-first", up, placed(lambda p: file(p.up + b"/new", b"x")), why)
    yield Case("dots-middle", up, placed(lambda p: file(b"a/../" + p.up + b"/new", b"x")), why)
    yield Case("dots-last", up, tar_of(directory(b"a"), directory(b"a/..", 0o777)), why)
    yield Case("dots-after-dot", up, placed(lambda p: file(b"./" + p.up + b"/new", b"x")), why)
    yield Case("dots-in-prefix", up, placed(lambda p: header(b"new", prefix=p.up)), why)
    yield Case("dots-in-pax-path", up, placed(lambda p: pax({b"path": p.up + b"/new"}) + file(b"innocent", b"x")), why)
    yield Case("dots-in-gnu-name", up, placed(lambda p: gnu_long(b"L", p.up + b"/new") + file(b"i", b"x")), why)
    yield Case("dots-in-whiteout", up, placed(lambda p: file(p.up + b"/.wh.secret")), why)
    yield Case("dots-in-opaque", up, placed(lambda p: file(p.up + b"/.wh..wh..opq")), why)
    yield Case("dots-directory", up, placed(lambda p: directory(p.up + b"/", 0o777)), why)
    yield Case("dots-symlink", up, placed(lambda p: symlink(p.up + b"/new", b"/etc")), why)
    yield Case("dots-fifo", up, placed(lambda p: header(p.up + b"/new", b"6")), why)
    yield Case("dots-link-name", up, placed(lambda p: file(b"a") + hard_link(p.up + b"/new", b"a")), why)
    yield Case(
        "dots-look-alikes",
        "names that only look like '..'",
        tar_of(file(b".. /a"), file(b"..\\b"), file(b"...", b"x"), file(b"..c/d"), file(b"e..")),
        None,
        present=(b".. /a", b"..\\b", b"...", b"..c/d", b"e.."),
    )


def _absolute() -> Iterator[Case]:
    attack = "absolute names, CVE-2020-10696"
    yield Case("absolute-file", attack, placed(lambda p: file(p.canary + b"/new", b"x")), None)
    yield Case("absolute-secret", attack, placed(lambda p: file(p.canary + b"/secret", b"overwritten")), None)
    yield Case("absolute-doubled", attack, placed(lambda p: file(b"//" + p.canary + b"//new", b"x")), None)
    yield Case("absolute-directory", attack, placed(lambda p: directory(p.canary + b"/tools/", 0o777, uid=1)), None)
    yield Case("absolute-whiteout", attack, placed(lambda p: file(p.canary + b"/.wh.secret")), None)
    yield Case("absolute-link", attack, placed(lambda p: hard_link(b"got", p.canary + b"/secret")), "not in the layer")
    yield Case("absolute-by-pax", attack, placed(lambda p: pax({b"path": p.canary + b"/new"}) + file(b"a", b"x")), None)


def _odd_names() -> Iterator[Case]:
    names = "names that no file system or reader agrees on"
    yield Case("name-nul-in-pax", names, tar_of(pax({b"path": b"a\0b"}), file(b"a")), "malformed")
    yield Case("name-empty", names, tar_of(file(b"", b"x")), "that of a directory")
    yield Case("name-dot-file", names, tar_of(file(b".", b"x")), "that of a directory")
    yield Case("name-slash-file", names, tar_of(file(b"/", b"x")), "that of a directory")
    yield Case("name-trailing-slash", names, tar_of(file(b"a/", b"x")), "that of a directory")
    yield Case("name-trailing-dot", names, tar_of(file(b"a/.", b"x")), "that of a directory")
    old = header(b"a/.", b"\0", magic=V7)
    yield Case("name-old-dot", names, tar_of(old), "that of a directory")
    nameless = header(b"", b"\0", magic=b"ustar\x0001")
    yield Case("name-empty-ustar-01", names, tar_of(nameless), "that of a directory")
    old = pax({b"path": b"a/"}) + header(b"b", b"\0")
    yield Case("name-old-by-pax", names, tar_of(old), "that of a directory")
    yield Case("name-link-slash", names, tar_of(symlink(b"a/", b"/etc")), "that of a directory")
    yield Case("name-path-long", names, tar_of(pax({b"path": b"a/" * 2500 + b"b"}), file(b"b")), "longer than")
    yield Case("name-part-long", names, tar_of(pax({b"path": b"a" * 256}), file(b"b")), "name too long")
    yield Case("name-part-long-above", names, tar_of(pax({b"path": b"a" * 256 + b"/b"}), file(b"b")), "too long")
    yield Case("name-gnu-empty", names, tar_of(gnu_long(b"L", b""), file(b"b")), "empty GNU long name")
    yield Case(
        "name-bytes",
        "names that are not text",
        tar_of(file(b"\xff\xfe", b"x"), file(b"a\nb\x1b[2J", b"y"), file(b"$(id)`id`;", b"z")),
        None,
        present=(b"\xff\xfe", b"a\nb\x1b[2J", b"$(id)`id`;"),
    )
    yield Case(
        "name-case-and-form",
        "names equal only to a folding file system",
        tar_of(file(b"A"), file(b"a"), file("é".encode()), file("e\u0301".encode())),
        None,
        present=(b"A", b"a", "é".encode(), "e\u0301".encode()),
    )
    yield Case("depth", "directory bomb", tar_of(pax({b"path": b"a/" * 600 + b"b"}), file(b"b")), "nested deeper")
    yield Case(
        "depth-step-by-step",
        "directory bomb",
        tar_of(*(pax({b"path": b"a/" * n}) + directory(b"a") for n in range(1, 600))),
        "nested deeper",
    )


def _root_entry() -> Iterator[Case]:
    attack = "the root as something else, CVE-2021-29136"
    why = "that of a directory"
    yield Case("root-symlink", attack, placed(lambda p: symlink(b".", p.canary) + file(b"new", b"x")), why)
    yield Case("root-symlink-slash", attack, placed(lambda p: symlink(b"./", p.canary)), why)
    yield Case("root-link", attack, tar_of(file(b"a"), hard_link(b"./", b"a")), why)
    yield Case("root-fifo", attack, tar_of(header(b"./", b"6")), why)
    yield Case("root-device", attack, tar_of(header(b".", b"3", device=(1, 3))), why)
    yield Case("root-twice", "duplicates", tar_of(directory(b"./"), directory(b".")), "twice")
    yield Case("root-open", "CVE-2021-41091, CVE-2021-41103: open store", tar_of(directory(b"./", 0o7777, uid=1)), None)


def cases() -> Iterator[Case]:
    yield from _dots()
    yield from _absolute()
    yield from _odd_names()
    yield from _root_entry()
