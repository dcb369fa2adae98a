from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from syscontainers.errors import DigestError, HostileArchiveError, SyscontainersError
from syscontainers.files import remove_tree
from syscontainers.storage import landlock
from syscontainers.storage.limits import Limits
from syscontainers.storage.staged import StagedLayer
from syscontainers.storage.unpack import unpack_layer
from tests.archive import END, base256, directory, file, hard_link, header, pax, promise, symlink
from tests.listing import Facts, list_tree

pytestmark = pytest.mark.root
WHITEOUT = "0o20000"
# Version 2; user::rwx, user:1000:rwx, group::rwx, mask::rwx, other::r-x (linux/posix_acl_xattr.h)
_NOBODY = "ffffffff"
_ACL = f"02000000 01000700{_NOBODY} 02000700e8030000 04000700{_NOBODY} 10000700{_NOBODY} 20000500{_NOBODY}"
DEFAULT_ACL = bytes.fromhex(_ACL)
DEFAULT = Limits()


CHANGES: dict[str, Callable[[Path], object]] = {
    "create": lambda where: (where / "new").touch(),
    "write": lambda where: (where / "file").write_text("y"),
    "truncate": lambda where: os.truncate(where / "file", 0),
    "link": lambda where: os.link(where / "file", where / "sub/link"),
    "mkdir": lambda where: (where / "made").mkdir(),
    "symlink": lambda where: (where / "s").symlink_to("x"),
    "mknod": lambda where: os.mknod(where / "n", stat.S_IFCHR, 0),
    "rename": lambda where: (where / "file").rename(where / "renamed"),
    "unlink": lambda where: (where / "sub/link").unlink(),
}


def unpack(tmp_path: Path, *members: bytes, limits: Limits = DEFAULT) -> dict[bytes, Facts]:
    unpack_staged(tmp_path, *members, limits=limits)
    return list_tree(tmp_path / "staging/diff")


def unpack_staged(tmp_path: Path, *members: bytes, limits: Limits = DEFAULT) -> StagedLayer:
    tar = b"".join(members) + END
    return unpack_layer([tar], promise(tar), tmp_path / "staging", limits=limits)


def opaque(facts: Facts) -> bool:
    return ("trusted.overlay.opaque", b"y") in facts.xattrs


def test_staged_layer(tmp_path: Path) -> None:
    tar = directory(b"usr/") + file(b"usr/local/bin/a", b"x", uid=5, gid=6) + file(b"b", uid=1) + END
    blob = gzip.compress(tar)
    chunks = [blob[at : at + 100] for at in range(0, len(blob), 100)]
    staged = unpack_layer(chunks, promise(blob, tar), tmp_path / "staging")
    assert staged == StagedLayer(
        directory=tmp_path / "staging",
        diff_id=promise(blob, tar).diff_id,
        diff_size=len(tar),
        digest=promise(blob).digest,
        size=len(blob),
        compression=2,
        uids=(0, 1, 5),
        gids=(0, 6),
        implied=(b"usr/local", b"usr/local/bin"),
    )
    assert (tmp_path / "staging").stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "staging/diff").stat().st_mode & 0o7777 == 0o555


@pytest.mark.parametrize("size", [1, 511, 100_000])
def test_chunks_of_any_size(size: int, tmp_path: Path) -> None:
    tar = b"".join(file(b"d%d/f%d" % (n % 50, n), os.urandom(n * 7)) for n in range(200)) + END
    blob = gzip.compress(tar)
    unpack_layer((blob[at : at + size] for at in range(0, len(blob), size)), promise(blob, tar), tmp_path / "a")
    unpack_layer([tar], promise(tar), tmp_path / "b")
    first, second = list_tree(tmp_path / "a/diff"), list_tree(tmp_path / "b/diff")
    assert {name: facts.content for name, facts in first.items()} == {name: f.content for name, f in second.items()}


def test_broken_promises_leave_nothing(tmp_path: Path) -> None:
    tar = file(b"a", b"x") + END
    right = promise(tar)
    for wrong in (
        replace(right, digest="sha256:" + "0" * 64),
        replace(right, size=len(tar) - 1),
        replace(right, size=len(tar) + 1),
        replace(right, diff_id="sha256:" + "0" * 64),
    ):
        with pytest.raises(DigestError) as caught:
            unpack_layer([tar], wrong, tmp_path / "staging")
        assert caught.value.exit_code == 5
        assert list(tmp_path.iterdir()) == []


def test_cut_transfer_is_no_attack(tmp_path: Path) -> None:
    tar = file(b"a", os.urandom(100_000)) + END
    blob = gzip.compress(tar)
    with pytest.raises(DigestError, match=f"50000 bytes instead of {len(blob)}"):
        unpack_layer([blob[:50_000]], promise(blob, tar), tmp_path / "staging")


def test_source_that_fails(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield file(b"a", b"x")
        raise ConnectionResetError

    before = set(threading.enumerate())
    with pytest.raises(ConnectionResetError):
        unpack_layer(chunks(), promise(file(b"a", b"x") + END), tmp_path / "staging")
    assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= before


def test_source_is_not_read_on_after_a_refusal(tmp_path: Path) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield file(b"../a", b"x")
        while True:
            taken += 1
            yield bytes(1 << 20)

    size = 1 << 40
    with pytest.raises(HostileArchiveError, match="contains"):
        unpack_layer(endless(), replace(promise(b""), size=size), tmp_path / "staging")
    assert taken < 100


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    unpack(tmp_path, *(file(b"d%d/%d/f" % (n, n)) for n in range(100)))
    with pytest.raises(HostileArchiveError):
        unpack_layer([file(b"a/b") + file(b"a/b") + END], promise(file(b"a/b") * 2 + END), tmp_path / "bad")
    assert os.listdir("/proc/self/fd") == before


def test_process_is_as_before(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        tree = unpack(
            tmp_path, file(b"open", mode=0o666), directory(b"wide", mode=0o777), header(b"fifo", b"6", mode=0o666)
        )
    finally:
        assert os.umask(old) == 0o077
    assert [tree[name].mode for name in (b"open", b"wide", b"fifo")] == ["0o100666", "0o40777", "0o10666"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("this thread is not confined")


def test_thread_is_confined(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for path in (inside, outside):
        path.mkdir()
        (path / "file").write_text("x")
        (path / "sub").mkdir()
    failed: list[tuple[str, str]] = []

    def attempt() -> None:
        descriptor = os.open(inside, os.O_RDONLY)
        assert landlock.confine_thread(descriptor)
        os.close(descriptor)
        for where in (inside, outside):
            for name, action in CHANGES.items():
                try:
                    action(where)
                except OSError:
                    failed.append((where.name, name))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert failed == [("outside", name) for name in CHANGES]
    assert list_tree(outside).keys() == {b"file", b"sub"}
    (outside / "file").write_text("the other threads are free")


def test_works_without_landlock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    assert b"a" in unpack(tmp_path, file(b"a"))


def test_times_of_directories(tmp_path: Path) -> None:
    # More directories than are held open, each written to again when its descriptor is long closed.
    names = [b"d%03d" % n for n in range(150)]
    members = [directory(name, mtime=1000 + n) for n, name in enumerate(names)]
    members += [directory(name + b"/sub", mtime=5000 + n) for n, name in enumerate(names)]
    members += [file(name + b"/sub/file", b"x") for name in names]
    members += [symlink(b"alias", b"d000")]
    members += [file(b"alias/late"), file(b"d000/later"), file(b"alias/sub/latest")]
    tree = unpack(tmp_path, *members)
    assert [tree[name].mtime for name in names] == [(1000 + n) * 10**9 for n in range(150)]
    assert [tree[name + b"/sub"].mtime for name in names] == [(5000 + n) * 10**9 for n in range(150)]


def test_header_after_the_contents(tmp_path: Path) -> None:
    late = directory(b"a/b", mode=0o2750, uid=3, gid=4, mtime=77)
    attribute = pax({b"SCHILY.xattr.user.x": b"1"})
    staged = unpack_staged(tmp_path, file(b"a/b/c", b"x"), attribute + late, file(b"a/b/d"))
    tree = list_tree(tmp_path / "staging/diff")
    assert staged.implied == (b"a",)
    assert tree[b"a/b"] == Facts("0o42750", (3, 4), 77 * 10**9, b"", (("user.x", b"1"),), b"a/b")
    assert (tree[b"a/b/c"].owner, tree[b"a/b/d"].owner) == ((0, 0), (0, 0))


def test_implied_below_a_link_are_named_for_real(tmp_path: Path) -> None:
    staged = unpack_staged(tmp_path, directory(b"usr/lib"), symlink(b"lib", b"usr/lib"), file(b"lib/a/b/f"))
    assert staged.implied == (b"usr", b"usr/lib/a", b"usr/lib/a/b")


def test_set_group_id_directories_pass_nothing_on(tmp_path: Path) -> None:
    tree = unpack(
        tmp_path,
        directory(b"s", mode=0o2775, gid=50),
        file(b"s/file", b"x", mode=0o640),
        directory(b"s/dir", mode=0o750),
        file(b"s/dir/file", mode=0o600),
        symlink(b"s/link", b"x"),
        header(b"s/fifo", b"6", mode=0o622),
        file(b"s/implied/file", mode=0o604),
    )
    assert {name: (facts.mode, facts.owner) for name, facts in tree.items()} == {
        b"s": ("0o42775", (0, 50)),
        b"s/file": ("0o100640", (0, 0)),
        b"s/dir": ("0o40750", (0, 0)),
        b"s/dir/file": ("0o100600", (0, 0)),
        b"s/link": ("0o120777", (0, 0)),
        b"s/fifo": ("0o10622", (0, 0)),
        b"s/implied": ("0o40755", (0, 0)),
        b"s/implied/file": ("0o100604", (0, 0)),
    }


def test_default_acls_pass_nothing_on(tmp_path: Path) -> None:
    tree = unpack(
        tmp_path,
        pax({b"SCHILY.xattr.system.posix_acl_default": DEFAULT_ACL}) + directory(b"a"),
        file(b"a/file", mode=0o640),
        directory(b"a/dir", mode=0o750),
        file(b"a/implied/file", mode=0o604),
        header(b"a/fifo", b"6", mode=0o622),
        *(directory(b"other%d" % n) for n in range(50)),
        file(b"a/later", mode=0o600),
    )
    assert tree.pop(b"a").xattrs == (("system.posix_acl_default", DEFAULT_ACL),)
    assert [facts.xattrs for facts in tree.values() if facts.xattrs] == []
    assert [tree[b"a/" + name].mode for name in (b"file", b"dir", b"implied", b"implied/file", b"fifo", b"later")] == [
        "0o100640",
        "0o40750",
        "0o40755",
        "0o100604",
        "0o10622",
        "0o100600",
    ]


def test_staging_below_a_set_group_id_directory_with_an_acl(tmp_path: Path) -> None:
    os.chown(tmp_path, 0, 60)
    tmp_path.chmod(0o2755)
    os.setxattr(tmp_path, "system.posix_acl_default", DEFAULT_ACL)
    tree = unpack(tmp_path, file(b"a", mode=0o640), directory(b"d", mode=0o700), file(b"d/b", mode=0o600))
    assert {name: (facts.mode, facts.owner, facts.xattrs) for name, facts in tree.items()} == {
        b"a": ("0o100640", (0, 0), ()),
        b"d": ("0o40700", (0, 0), ()),
        b"d/b": ("0o100600", (0, 0), ()),
    }


def test_set_id_and_capabilities_survive_the_owner(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    tree = unpack(
        tmp_path,
        pax({b"SCHILY.xattr.security.capability": capability}) + file(b"c", b"x", mode=0o755, uid=9),
        file(b"s", b"x", mode=0o6755, uid=9, gid=9),
    )
    assert tree[b"c"].xattrs == (("security.capability", capability),)
    assert tree[b"s"].mode == "0o106755"


def test_later_link_sets_the_file(tmp_path: Path) -> None:
    tree = unpack(tmp_path, file(b"a", b"x", mode=0o600), hard_link(b"b", b"a", mode=0o4755, uid=7, mtime=99))
    assert tree[b"a"] == tree[b"b"]._replace(first=b"a")
    assert (tree[b"a"].mode, tree[b"a"].owner, tree[b"a"].mtime) == ("0o104755", (7, 0), 99 * 10**9)


def test_links_between_far_directories(tmp_path: Path) -> None:
    members = [file(b"d%d/file" % n, b"%d" % n) for n in range(80)]
    members += [hard_link(b"e%d/deep/er/link" % n, b"d%d/file" % n) for n in range(80)]
    tree = unpack(tmp_path, *members)
    assert all(tree[b"e%d/deep/er/link" % n].first == b"d%d/file" % n for n in range(80))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([file(b".wh.a")], {b"a": (WHITEOUT, False)}),
        ([file(b"d/.wh.a", uid=4)], {b"d": ("0o40755", False), b"d/a": (WHITEOUT, False)}),
        # A whiteout speaks of the layers below, whichever comes first.
        ([file(b".wh.a"), file(b"a")], {b"a": ("0o100644", False)}),
        ([file(b"a"), file(b".wh.a")], {b"a": ("0o100644", False)}),
        ([file(b".wh.a"), symlink(b"a", b"x")], {b"a": ("0o120777", False)}),
        ([file(b"x"), file(b".wh.a"), hard_link(b"a", b"x")], {b"x": ("0o100644", False), b"a": ("0o100644", False)}),
        ([file(b".wh.a"), header(b"a", b"6")], {b"a": ("0o10644", False)}),
        # A directory would join with the one below, so it becomes opaque.
        ([file(b".wh.a"), directory(b"a")], {b"a": ("0o40755", True)}),
        ([directory(b"a"), file(b".wh.a")], {b"a": ("0o40755", True)}),
        ([file(b".wh.a"), file(b"a/b")], {b"a": ("0o40755", True), b"a/b": ("0o100644", False)}),
        # Below a whiteout nothing is left to hide.
        ([file(b".wh.a"), file(b"a/.wh.b")], {b"a": (WHITEOUT, False)}),
        ([file(b".wh.a"), file(b"a/b/c/.wh.d")], {b"a": (WHITEOUT, False)}),
        # In an opaque directory a whiteout would itself be seen.
        ([file(b"d/.wh..wh..opq"), file(b"d/.wh.a")], {b"d": ("0o40755", True)}),
        ([file(b"d/.wh.a"), file(b"d/.wh..wh..opq")], {b"d": ("0o40755", True)}),
        (
            [file(b"d/e/.wh.a"), file(b"d/e/f"), file(b"d/.wh..wh..opq"), file(b"d/e/.wh.b")],
            {b"d": ("0o40755", True), b"d/e": ("0o40755", False), b"d/e/f": ("0o100644", False)},
        ),
        ([file(b".wh..wh..opq"), file(b"a")], {b"a": ("0o100644", False)}),
        # Names that only contain the mark are names.
        ([file(b"a.wh.b"), directory(b"x.wh.")], {b"a.wh.b": ("0o100644", False), b"x.wh.": ("0o40755", False)}),
    ],
)
def test_whiteouts(members: list[bytes], expected: dict[bytes, tuple[str, bool]], tmp_path: Path) -> None:
    tree = unpack(tmp_path, *members)
    assert {name: (facts.mode, opaque(facts)) for name, facts in tree.items()} == expected


def test_opaque_root(tmp_path: Path) -> None:
    unpack(tmp_path, file(b".wh..wh..opq"))
    assert os.getxattr(tmp_path / "staging/diff", "trusted.overlay.opaque") == b"y"


def test_devices(tmp_path: Path) -> None:
    null, disk = header(b"dev/null", b"3", device=(1, 3), mode=0o666), header(b"dev/sda", b"4", device=(8, 0), uid=6)
    staged = unpack_staged(tmp_path, null, disk)
    assert staged.skipped == (b"dev/null", b"dev/sda")
    assert list_tree(tmp_path / "staging/diff").keys() == {b"dev"}
    kept = tmp_path / "kept"
    kept.mkdir()
    tree = unpack(kept, null, disk, limits=Limits(keep_devices=True))
    assert (tree[b"dev/null"].mode, tree[b"dev/null"].content) == ("0o20666", os.makedev(1, 3))
    assert (tree[b"dev/sda"].mode, tree[b"dev/sda"].owner) == ("0o60644", (6, 0))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB and 300 inodes."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=300", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("reserve", [0, 1 << 20])
def test_full_disk(small_disk: Path, reserve: int) -> None:
    limits = Limits(reserve=reserve, reserve_inodes=0)
    for members in (
        [file(b"f%d" % n, os.urandom(100_000)) for n in range(60)],
        [file(b"large", os.urandom(9 << 20))],
        [header(b"claims", size=base256(1 << 25, 12))],
    ):
        with pytest.raises(SyscontainersError, match="no space left") as caught:
            unpack(small_disk, *members, limits=limits)
        assert caught.value.exit_code == 1
        assert re.search("about [0-9.]+ [kMGT]?B needed, [0-9.]+ [kM]?B free", caught.value.message)
        assert list(small_disk.iterdir()) == []


@pytest.fixture
def small_ext4(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 MiB, as most hosts have it; attributes may be as long as on xfs or btrfs."""
    place, image = tmp_path / "disk", tmp_path / "image"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(
        ["mkfs.ext4", "-q", "-m", "0", "-b", "4096", "-N", "16384", "-O", "^has_journal,ea_inode", image], check=True
    )
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    (place / "lost+found").rmdir()
    yield place
    subprocess.run(["umount", place], check=True)


LARGE_BY_OTHER_THINGS: dict[str, Callable[[int], bytes]] = {
    "directories without an entry": lambda n: file(b"%d/" % n + b"d/" * 30 + b"f"),
    "attributes": lambda n: (
        pax({f"SCHILY.xattr.user.{k}".encode(): os.urandom(50_000) for k in range(10)}) + file(b"f%d" % n)
    ),
    "headers": lambda n: pax({b"comment": os.urandom(900_000)}) + file(b"f%d" % n),
}


@pytest.mark.parametrize("what", LARGE_BY_OTHER_THINGS)
def test_the_reserve_stays_free_whatever_takes_the_space(
    small_ext4: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []

    def discard(directory: Path) -> None:
        status = os.statvfs(directory)
        left.append(status.f_bavail * status.f_frsize)
        remove_tree(directory)

    monkeypatch.setattr("syscontainers.storage.unpack._discard", discard)
    free = os.statvfs(small_ext4).f_bavail * os.statvfs(small_ext4).f_frsize
    limits = Limits(reserve=free - (40 << 20), reserve_inodes=0)
    with pytest.raises(SyscontainersError, match="no space left") as caught:
        unpack(small_ext4, *map(LARGE_BY_OTHER_THINGS[what], range(400)), limits=limits)
    assert caught.value.exit_code == 1
    assert left[0] > limits.reserve - (10 << 20)


def test_an_attribute_that_finds_the_disk_full_is_no_attack(small_ext4: Path) -> None:
    with (small_ext4 / "rest").open("wb") as rest:
        os.posix_fallocate(rest.fileno(), 0, os.statvfs(small_ext4).f_bavail * 4096 - (32 << 10))
    attribute = pax({b"SCHILY.xattr.user.long": bytes(50_000)})
    with pytest.raises(SyscontainersError, match="no space left") as caught:
        unpack(small_ext4, attribute + file(b"f"), limits=Limits(reserve=0, reserve_inodes=0))
    assert caught.value.exit_code == 1


def test_no_inodes(small_disk: Path) -> None:
    with pytest.raises(SyscontainersError, match=r"no (space|inodes) left") as caught:
        unpack(small_disk, *(file(b"f%d" % n) for n in range(500)), limits=Limits(reserve=0, reserve_inodes=0))
    assert caught.value.exit_code == 1
    assert list(small_disk.iterdir()) == []


def test_deep_trees_are_removed(tmp_path: Path) -> None:
    deep = pax({b"path": b"d/" * 500 + b"f"}) + file(b"f")
    with pytest.raises(HostileArchiveError):
        unpack(tmp_path, deep, file(b"a"), file(b"a"))
    assert list(tmp_path.iterdir()) == []
    assert len(unpack(tmp_path, deep)) == 501


def test_swapped_directories_lead_nowhere(tmp_path: Path) -> None:
    # CVE-2018-15664: somebody who could write to the staging directory swaps directories for links meanwhile.
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("x")
    before = list_tree(canary)
    stop = threading.Event()
    diff = tmp_path / "staging/diff"

    def swap() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name in ("a", "b"):
                try:
                    (diff / name).rename(diff / f"{name}{number}")
                    (diff / name).symlink_to(canary)
                except OSError:
                    pass

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        members = [file(b"%s/d%d/f%d" % (b"ab"[n % 2 : n % 2 + 1], n, n), b"x") for n in range(3000)]
        unpack_staged(tmp_path, *members)
    except (SyscontainersError, OSError):
        pass  # refused, or found changed while it was removed; what matters is the canary
    finally:
        stop.set()
        attacker.join()
    assert list_tree(canary) == before


MEASURE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from syscontainers.storage.staged import LayerPromise
from syscontainers.storage.unpack import unpack_layer
blob, digest, diff_id, place = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
def chunks():
    with blob.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
def one(n):
    unpack_layer(chunks(), LayerPromise(digest, blob.stat().st_size, diff_id), place / str(n))
with ThreadPoolExecutor(6) as pool:
    list(pool.map(one, range(6)))
# Not ru_maxrss: that remembers the process that started this one.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_of_six_layers_at_once(tmp_path: Path) -> None:
    members = [file(b"d%d/file-%d" % (n // 50, n), b"x" * 100) for n in range(5000)]
    members += [file(b"large%d" % n, os.urandom(1 << 20) * 20) for n in range(2)]
    tar = b"".join(members) + END
    blob = gzip.compress(tar, 1)
    (tmp_path / "blob").write_bytes(blob)
    made = promise(blob, tar)
    arguments = (tmp_path / "blob", made.digest, made.diff_id, tmp_path)
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 120_000


def zstd_blob(tar: bytes, window_log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(tar) + compressor.flush()


@pytest.mark.parametrize(("window_log", "are_together"), [(23, True), (25, False)])
def test_layers_that_need_much_memory_take_turns(tmp_path: Path, window_log: int, are_together: bool) -> None:
    tar = file(b"a", os.urandom(500_000)) + END
    blob = zstd_blob(tar, window_log)
    inside, met, lock = set(), set(), threading.Condition()

    def chunks(name: str) -> Iterator[bytes]:
        yield blob[:1000]
        with lock:
            inside.add(name)
            lock.notify_all()
            if lock.wait_for(lambda: len(inside) == 2, 60 if are_together else 0.5):
                met.add(name)
        yield blob[1000:]
        if not are_together:
            inside.discard(name)

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: unpack_layer(chunks(name), promise(blob, tar), tmp_path / name), "ab"))
    assert met == ({"a", "b"} if are_together else set())
