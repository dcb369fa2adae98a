"""Links on the way, and links out of the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.archive import END, directory, file, gnu_long, hard_link, header, pax, symlink

from .case import Case, Place, placed, tar_of


def _symlink_parents() -> Iterator[Case]:
    attack = "a symbolic link as directory, CVE-2014-6407, CVE-2014-9356, CVE-2025-11395"
    why = "on its way"

    def through(link: bytes, *more: bytes) -> Callable[[Place], bytes]:
        return lambda p: symlink(link, p.canary) + b"".join(more) + END

    yield Case("symlink-absolute", attack, through(b"a", file(b"a/new", b"x")), why)
    yield Case("symlink-absolute-secret", attack, through(b"a", file(b"a/secret", b"x")), why)
    yield Case("symlink-directory", attack, through(b"a", directory(b"a/tools/", 0o777)), why)
    yield Case("symlink-symlink", attack, through(b"a", symlink(b"a/new", b"/etc")), why)
    yield Case("symlink-fifo", attack, through(b"a", header(b"a/new", b"6")), why)
    yield Case("symlink-link-name", attack, through(b"a", file(b"f"), hard_link(b"a/new", b"f")), why)
    yield Case("symlink-whiteout", attack, through(b"a", file(b"a/.wh.secret")), why)
    yield Case("symlink-opaque", attack, through(b"a", file(b"a/.wh..wh..opq")), why)
    yield Case("symlink-deep", attack, through(b"d/e/a", file(b"d/e/a/b/c/new", b"x")), why)
    up = b"../" * 40
    yield Case(
        "symlink-relative",
        attack,
        tar_of(symlink(b"a", up), file(b"a/b", b"x")),
        None,
        present=(b"b",),
        absent=(b"a/b/c",),
    )
    yield Case("symlink-to-dots", attack, placed(lambda p: symlink(b"a", p.up) + file(b"a/new", b"x")), why)
    yield Case("symlink-opaque-root", attack, tar_of(symlink(b"a", up), file(b"a/.wh..wh..opq")), None)
    yield Case("symlink-whiteout-root", attack, tar_of(symlink(b"a", up), file(b"a/.wh.etc")), None, present=(b"etc",))
    chain = b"".join(symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(60))
    yield Case(
        "symlink-chain", "CVE-2025-4517: long chains", tar_of(chain, symlink(b"l60", up), file(b"l0/x")), "cannot be"
    )
    yield Case(
        "symlink-loop", "loops", tar_of(symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x")), "cannot be reached"
    )
    yield Case("symlink-self", "loops", tar_of(symlink(b"a", b"a"), file(b"a/x")), "cannot be reached")
    nested = b"".join(directory(b"d/" * n) for n in range(1, 17)) + symlink(b"d/" * 16 + b"l", b"../" * 17)
    yield Case(
        "symlink-nested-dots", "CVE-2025-4330", tar_of(nested, file(b"d/" * 16 + b"l/x", b"x")), None, present=(b"x",)
    )
    long = b"/".join([b"d" * 247] * 16)
    step = pax({b"path": long + b"/l", b"linkpath": b"../" * 1300}) + header(b"l", b"2")
    yield Case("symlink-beyond-path-max", "CVE-2025-4517: realpath gives up", tar_of(step), None)
    for magic in ("root", "cwd", "fd/0", "../1/root"):
        link = symlink(b"p", b"/proc/self/" + magic.encode())
        yield Case(f"symlink-magic-{magic}", "magic links", tar_of(link, file(b"p/etc/new", b"x")), why)
    yield Case("symlink-empty", "symbolic links", tar_of(symlink(b"a", b"")), "to nothing")
    yield Case(
        "symlink-endless", "symbolic links", tar_of(pax({b"linkpath": b"a" * 5000}), symlink(b"a", b"x")), "too long"
    )
    inside = placed(lambda p: directory(p.canary) + symlink(b"a", p.canary) + file(b"a/new", b"x"))
    yield Case("symlink-inside", "absolute links mean the layer's root", inside, None)


def _replacing() -> Iterator[Case]:
    attack = "an entry replaced by a link, CVE-2018-15664, CVE-2026-17106"
    why = "before"

    def aimed(*order: str) -> Callable[[Place], bytes]:
        def build(place: Place) -> bytes:
            made = {
                "dir": directory(b"a"),
                "link": symlink(b"a", place.canary),
                "secret": symlink(b"a", place.canary + b"/secret"),
                "file": file(b"a", b"overwritten"),
                "below": file(b"a/new", b"x"),
                "hard": hard_link(b"a", b"b"),
                "other": file(b"b", b"overwritten"),
                "fifo": header(b"a", b"6"),
            }
            return b"".join(made[step] for step in order) + END

        return build

    for order in (
        ("dir", "link", "below"),
        ("link", "dir", "below"),
        ("secret", "file"),
        ("file", "secret"),
        ("other", "secret", "hard"),
        ("link", "fifo"),
        ("dir", "below", "link"),
        ("file", "file"),
        ("dir", "dir"),
        ("link", "link"),
        ("file", "dir"),
        ("dir", "file"),
    ):
        yield Case(f"replace-{'-'.join(order)}", attack, aimed(*order), why)
    yield Case("replace-file-by-parent", attack, aimed("file", "below"), "on its way")
    yield Case("duplicate-spelling", "duplicates", tar_of(file(b"a/b"), file(b"./a//./b")), why)
    yield Case("duplicate-absolute", "duplicates", tar_of(file(b"a"), file(b"/a")), why)
    yield Case("duplicate-by-link", "duplicates", tar_of(file(b"d/x"), symlink(b"l", b"d"), file(b"l/x")), why)


def _hard_links() -> Iterator[Case]:
    attack = "hard links out of the layer, CVE-2014-6407, CVE-2024-12718"
    why = "not in the layer"
    yield Case("link-dots", attack, placed(lambda p: hard_link(b"a", p.up + b"/secret")), "contains '..'")
    yield Case(
        "link-dots-by-pax",
        attack,
        placed(lambda p: pax({b"linkpath": p.up + b"/secret"}) + hard_link(b"a", b"b")),
        "..",
    )
    yield Case(
        "link-dots-by-gnu", attack, placed(lambda p: gnu_long(b"K", p.up + b"/secret") + hard_link(b"a", b"b")), ".."
    )
    through = "CVE-2026-17106: a planted link on the way"
    yield Case(
        "link-through-symlink", through, placed(lambda p: symlink(b"d", p.canary) + hard_link(b"a", b"d/secret")), why
    )
    yield Case(
        "link-name-through",
        through,
        placed(lambda p: symlink(b"d", p.canary) + file(b"f") + hard_link(b"d/n", b"f")),
        "on its way",
    )
    yield Case(
        "link-to-symlink",
        "CVE-2021-32760: chmod follows a link",
        placed(lambda p: symlink(b"s", p.canary + b"/secret") + hard_link(b"a", b"s", mode=0o6777, uid=1)),
        None,
        present=(b"a",),
    )
    yield Case(
        "link-to-directory-symlink",
        through,
        placed(lambda p: symlink(b"s", p.canary) + hard_link(b"a", b"s") + file(b"a/new", b"x")),
        "on its way",
    )
    yield Case("link-forward", attack, tar_of(hard_link(b"a", b"b"), file(b"b")), why)
    yield Case("link-self", attack, tar_of(hard_link(b"a", b"a")), why)
    yield Case("link-lower", "a file that only a lower layer has", tar_of(hard_link(b"a", b"etc/passwd")), why)
    yield Case("link-directory", attack, tar_of(directory(b"d"), hard_link(b"a", b"d")), "not a file")
    yield Case("link-root", attack, tar_of(hard_link(b"a", b".")), why)
    yield Case("link-nothing", attack, tar_of(hard_link(b"a", b"")), why)
    yield Case("link-whiteout", "a forged whiteout", tar_of(file(b".wh.w"), hard_link(b"a", b"w")), "not a file")
    yield Case("link-below-file", attack, tar_of(file(b"f"), hard_link(b"a", b"f/g")), why)


def cases() -> Iterator[Case]:
    yield from _symlink_parents()
    yield from _replacing()
    yield from _hard_links()
