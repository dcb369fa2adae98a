"""What means something to overlayfs, to the kernel or to other tools: whiteouts, devices, attributes."""

from __future__ import annotations

import lzma
from collections.abc import Iterator

from tests.archive import END, directory, file, hard_link, header, pax, symlink

from .case import Case, bytes_of, tar_of


def _whiteouts() -> Iterator[Case]:
    attack = "whiteouts that are none"
    nothing = "whiteout of nothing"
    yield Case("whiteout-empty", attack, tar_of(file(b".wh.")), nothing)
    yield Case("whiteout-dot", attack, tar_of(file(b"a/.wh..")), nothing)
    yield Case("whiteout-dots", attack, tar_of(file(b"a/.wh...")), nothing)
    yield Case("whiteout-unknown-mark", attack, tar_of(file(b".wh..wh.other")), nothing)
    yield Case("whiteout-directory", attack, tar_of(directory(b".wh.a")), "not an empty file")
    yield Case("whiteout-symlink", attack, tar_of(symlink(b".wh.a", b"/etc")), "not an empty file")
    yield Case("whiteout-with-contents", attack, tar_of(file(b".wh.a", b"x")), "not an empty file")
    yield Case("whiteout-fifo", attack, tar_of(header(b".wh.a", b"6")), "not an empty file")
    yield Case("whiteout-above", attack, tar_of(file(b".wh.a/b")), "name of a whiteout")
    yield Case("whiteout-twice", "duplicates", tar_of(file(b".wh.a"), file(b".wh.a")), "twice")
    yield Case("opaque-twice", "duplicates", tar_of(file(b"d/.wh..wh..opq"), file(b"d/.wh..wh..opq")), "twice")
    yield Case("opaque-on-file", attack, tar_of(file(b"f"), file(b"f/.wh..wh..opq")), "on its way")
    yield Case("whiteout-of-own-file", attack, tar_of(file(b"f", b"x"), file(b".wh.f")), None, present=(b"f",))
    yield Case("whiteout-device", "CVE class: overlayfs marks", tar_of(header(b"w", b"3", device=(0, 0))), "whiteout")
    leftovers = tar_of(file(b".wh..wh.aufs"), directory(b".wh..wh.orph"), file(b".wh..wh.plnk/1.2", b"x"))
    yield Case("whiteout-aufs", "leftovers", leftovers, None, absent=(b".wh..wh.aufs", b".wh..wh.plnk"))


def _devices() -> Iterator[Case]:
    attack = "device nodes"
    disk = header(b"dev/sda", b"4", device=(8, 0), mode=0o666)
    memory = header(b"dev/mem", b"3", device=(1, 1), mode=0o666)
    yield Case("device-disk", attack, tar_of(disk), None, absent=(b"dev/sda",))
    yield Case("device-memory", attack, tar_of(memory), None, absent=(b"dev/mem",))
    yield Case("device-link", attack, tar_of(disk, hard_link(b"disk", b"dev/sda")), None, absent=(b"disk",))
    yield Case("device-twice", "duplicates", tar_of(disk, disk), "before")
    yield Case("device-then-below", attack, tar_of(disk, file(b"dev/sda/x", b"x")), None)


def _attributes() -> Iterator[Case]:
    attack = "attributes that mean something to the host"
    for name in (
        b"trusted.overlay.opaque",
        b"trusted.overlay.redirect",
        b"trusted.overlay.metacopy",
        b"trusted.overlay.whiteout",
        b"user.overlay.opaque",
        b"user.containers.override_stat",
        b"user.rootlesscontainers",
        b"security.selinux",
        b"security.ima",
        b"security.evm",
        b"security.apparmor",
        b"nonsense",
        b"",
    ):
        data = pax({b"SCHILY.xattr." + name: b"y"}) + directory(b"d")
        yield Case(f"xattr-{name.decode() or 'nameless'}", attack, tar_of(data), None, present=(b"d",))
    broken = "attributes that the kernel refuses"
    for label, name, value in (
        ("acl-version", b"system.posix_acl_access", b"junk"),
        ("acl", b"system.posix_acl_access", b"\x02\0\0\0junk"),
        ("capability", b"security.capability", b"junk"),
        ("huge", b"user.a", b"x" * 70_000),
        ("long-name", b"user." + b"a" * 300, b"x"),
        ("prefix-only", b"user.", b"x"),
    ):
        data = pax({b"SCHILY.xattr." + name: value}) + file(b"f")
        yield Case(f"xattr-bad-{label}", broken, tar_of(data), "is refused")
    yield Case("xattr-nul", broken, tar_of(pax({b"SCHILY.xattr.user.a\0b": b"x"}), file(b"f")), "malformed")


def _host_programs() -> Iterator[Case]:
    fake = file(b"encodings/__init__.py", b"raise SystemExit('loaded from the image')")
    fake += file(b"usr/lib/x86_64-linux-gnu/libnss_files.so.2", b"\x7fELF")
    yield Case("fake-library", "CVE-2019-14271: code of the image loaded", tar_of(fake), None, present=(b"encodings",))
    xz = lzma.compress(b"".join((file(b"usr/bin/xz", b"#!/bin/sh\nexit 1\n", mode=0o755), END)))
    plain = lzma.decompress(xz)
    yield Case(
        "fake-xz", "CVE-2014-9357: xz of the image run", bytes_of(xz), None, tar=lambda: plain, present=(b"usr/bin/xz",)
    )


def cases() -> Iterator[Case]:
    yield from _whiteouts()
    yield from _devices()
    yield from _attributes()
    yield from _host_programs()
