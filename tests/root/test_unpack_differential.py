"""On archives that other readers accept, our tree equals theirs."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syscontainers.errors import HostileArchiveError
from syscontainers.storage.limits import Limits
from syscontainers.storage.unpack import unpack_layer
from tests.archive import promise
from tests.listing import Facts, list_tree

pytestmark = pytest.mark.root

Listing = dict[bytes, Facts]
_KINDS = {
    "file": tarfile.REGTYPE,
    "old": tarfile.AREGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
    "disk": tarfile.BLKTYPE,
}


@dataclass(frozen=True)
class Entry:
    name: str
    kind: str
    data: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    target: str
    xattrs: dict[str, str] = field(default_factory=dict)


# No backslash: to bsdtar it is a slash.
_letters = st.sampled_from(["a", "b", "é", " ", "-", ".", "*", "\n", "\udcff", "x" * 60, "日本"])
_component = st.lists(_letters, min_size=1, max_size=3).map("".join).filter(lambda name: name not in (".", ".."))
_ids = st.sampled_from([0, 0, 1, 65534, 0o7777777, 3_000_000_000])
_mode = st.integers(0, 0o7777)
_xattrs = st.dictionaries(
    st.sampled_from(["user.a", "user.é", "user.long." + "n" * 50]), st.text("a=\n é", max_size=9), max_size=2
)
_mtime = st.sampled_from([0, 1, 1_600_000_000, 2**31 + 5, 2**33 - 1])


@st.composite
def _trees(draw: st.DrawFn) -> list[Entry]:
    """Entries in an order in which each finds its directory and its link's target."""
    directories = [""]
    files: list[str] = []
    taken: set[str] = set()
    entries: list[Entry] = []
    for _ in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from(directories)) + draw(_component)
        kind = draw(st.sampled_from(["file", *_KINDS]))
        # A file system counts bytes, and each reader its own number of components.
        if name in taken or (kind == "link" and not files) or len(os.fsencode(name)) > 700:
            continue
        taken.add(name)
        target = draw(st.sampled_from(files)) if kind == "link" else draw(_component)
        if kind == "link":
            twin = next(entry for entry in entries if entry.name == target)
            entries.append(Entry(name, kind, b"", twin.mode, twin.uid, twin.gid, twin.mtime, target))
            continue
        data = draw(st.binary(max_size=1200)) if kind in ("file", "old") else b""
        # The kernel lets only files and directories have attributes of users (xattr(7)).
        xattrs = draw(_xattrs) if kind in ("file", "directory") else {}
        entries.append(Entry(name, kind, data, draw(_mode), draw(_ids), draw(_ids), draw(_mtime), target, xattrs))
        if kind == "directory":
            directories.append(name + "/")
        elif kind in ("file", "old"):
            files.append(name)
    return entries


def make_tar(entries: Sequence[Entry], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape", encoding="utf-8") as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.size, info.mode = _KINDS[entry.kind], len(entry.data), entry.mode
            info.uid, info.gid, info.mtime, info.linkname = entry.uid, entry.gid, entry.mtime, entry.target
            if form == tarfile.PAX_FORMAT:
                info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in entry.xattrs.items()}
            if entry.kind in ("device", "disk"):
                info.devmajor, info.devminor = 1, 7
            if entry.kind not in ("symlink", "link"):
                info.linkname = ""
            tar.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def by_us(tar: bytes, directory: Path) -> Listing:
    unpack_layer([tar], promise(tar), directory / "ours", limits=Limits(keep_devices=True))
    return list_tree(directory / "ours/diff")


def by_program(*command: str) -> Callable[[bytes, Path], Listing]:
    def unpack(tar: bytes, directory: Path) -> Listing:
        place = directory / command[0]
        place.mkdir()
        subprocess.run([*command, "-xpf", "-", "-C", place], input=tar, check=True, capture_output=True)
        return list_tree(place)

    return unpack


def by_python(tar: bytes, directory: Path) -> Listing:
    place = directory / "python"
    place.mkdir()
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
        archive.extraction_filter = staticmethod(lambda member, _path: member)  # as before Python 3.12
        archive.extractall(place, numeric_owner=True)
    return list_tree(place)


by_gnu = by_program("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--delay-directory-restore")
by_bsd = by_program("bsdtar", "--numeric-owner", "--xattrs", "--acls")


def as_python_has_it(listing: Listing) -> Listing:
    """It sets neither the times of links nor attributes."""
    bare = {name: facts._replace(xattrs=()) for name, facts in listing.items()}
    return {name: facts._replace(mtime=0) if facts.mode.startswith("0o12") else facts for name, facts in bare.items()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(entries=_trees())
def test_generated_archives(form: int, entries: list[Entry]) -> None:
    try:
        tar = make_tar(entries, form)
    except ValueError:
        return  # ustar cannot hold such a name, owner or time
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ours = by_us(tar, directory)
        assert len(ours) == len(entries)
        assert ours == by_gnu(tar, directory)
        assert ours == by_bsd(tar, directory)
        assert as_python_has_it(ours) == as_python_has_it(by_python(tar, directory))


@pytest.mark.parametrize("form", ["gnu", "posix"])
@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_are_the_exception(form: str, version: str, tmp_path: Path) -> None:
    """Others make them whole; we refuse the layer, because no two readers agree on what is in such an archive."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/holes").write_bytes(b"x")
    os.truncate(tmp_path / "in/holes", 50 << 20)
    os.utime(tmp_path / "in/holes", (0, 1_500_000_000))
    command = [
        "tar",
        "-cf",
        "-",
        f"--format={form}",
        "--sparse",
        f"--sparse-version={version}",
        "-C",
        str(tmp_path / "in"),
        ".",
    ]
    done = subprocess.run(command, check=True, capture_output=True)
    assert by_gnu(done.stdout, tmp_path)[b"holes"] == list_tree(tmp_path / "in")[b"holes"]
    with pytest.raises(HostileArchiveError, match="a sparse file"):
        by_us(done.stdout, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One of everything that a file system holds."""
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tool").write_bytes(os.urandom(700_000))
    (tree / "usr/bin/twin").hardlink_to(tree / "usr/bin/tool")
    (tree / "usr/bin/tool").chmod(0o6755)
    (tree / "bin").symlink_to("usr/bin")
    os.link(tree / "bin", tree / "bin-twin", follow_symlinks=False)
    (tree / ("long-" * 18) / ("name-" * 30)).mkdir(parents=True)
    (tree / ("long-" * 18) / ("name-" * 30) / ("file-" * 40)).write_text("deep")
    (tree / "to-far").symlink_to("long-/" * 60)
    os.mkfifo(tree / "fifo", 0o640)
    (tree / "empty").touch()
    (tree / "shared").mkdir(mode=0o2775)
    os.chown(tree / "shared", 7, 8)
    os.chmod(tree / "shared", 0o2775)
    (tree / "shared/child").write_text("x")
    os.chown(tree / "shared/child", 1, 1)
    for number, path in enumerate([*sorted(tree.rglob("*"), reverse=True)]):
        os.utime(path, ns=(0, 1_500_000_000_000_000_000 + number * 1_000_000_000), follow_symlinks=False)
    return tree


@pytest.mark.parametrize(
    "command",
    [
        *(("tar", f"--format={form}") for form in ("gnu", "oldgnu", "pax")),
        *(("bsdtar", f"--format={form}") for form in ("gnutar", "pax", "paxr")),
    ],
    ids=" ".join,
)
def test_written_by_others(command: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    done = subprocess.run([*command, "-cf", "-", "-C", tree, "."], check=True, capture_output=True)
    assert by_us(done.stdout, tmp_path) == list_tree(tree)


@pytest.mark.parametrize("command", [("tar", "--format=pax"), ("bsdtar", "--format=pax")], ids=" ".join)
def test_attributes_and_fine_times(command: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    os.setxattr(tree / "empty", "user.note", b"\0binary\n=")
    os.setxattr(tree / "usr/bin", "user.note", b"a directory's")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(tree / "shared/child", "security.capability", capability)
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, ns=(0, 1_500_000_000_123_456_789), follow_symlinks=False)
    options = ("--xattrs", "--xattrs-include=*") if command[0] == "tar" else ("--xattrs",)
    done = subprocess.run([*command, *options, "-cf", "-", "-C", tree, "."], check=True, capture_output=True)
    assert by_us(done.stdout, tmp_path) == list_tree(tree)
