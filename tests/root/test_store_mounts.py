"""Looking into images: one tree, nobody else's mounts, no way out."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers import files, kernel
from syscontainers.errors import HostileArchiveError, SyscontainersError
from syscontainers.storage import mounts

pytestmark = pytest.mark.root

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def lowers(tmp_path: Path) -> list[Path]:
    """Two layers, top-most first."""
    for name in ("top", "base"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "base/etc/file").write_text("base")
    (tmp_path / "base/etc/hidden").write_text("base")
    (tmp_path / "top/etc/file").write_text("top")
    os.mknod(tmp_path / "top/etc/hidden", 0o020000, os.makedev(0, 0))
    return [tmp_path / "top", tmp_path / "base"]


@pytest.fixture
def tree(lowers: list[Path]) -> Iterator[int]:
    with mounts.open_tree(lowers) as descriptor:
        yield descriptor


def mount_table() -> str:
    return Path("/proc/self/mountinfo").read_text()


def test_layers_are_merged(tree: int) -> None:
    assert mounts.read_file(tree, "etc/file", 100) == b"top"
    assert mounts.read_file(tree, "/etc/file", 100) == b"top"
    assert mounts.read_file(tree, "etc/hidden", 100) is None
    assert mounts.read_file(tree, "etc/file/below", 100) is None
    assert mounts.list_directory(tree, "etc") == ["file"]
    assert mounts.list_directory(tree, "absent") is None


def test_one_layer_will_do(lowers: list[Path]) -> None:
    with mounts.open_tree(lowers[1:]) as tree:
        assert mounts.read_file(tree, "etc/hidden", 100) == b"base"


def test_nothing_can_be_written(lowers: list[Path]) -> None:
    for some in (lowers, lowers[1:]):
        with mounts.open_tree(some) as tree, pytest.raises(OSError, match="Read-only"):
            os.open("etc/file", os.O_WRONLY, dir_fd=tree)


def test_nobody_sees_the_mount(lowers: list[Path]) -> None:
    before = mount_table()
    with mounts.open_tree(lowers):
        assert mount_table() == before
        assert os.getcwd() != str(lowers[0].parent)


def test_a_killed_process_leaves_nothing(lowers: list[Path]) -> None:
    def look_and_die() -> None:
        with mounts.open_tree(lowers) as tree:
            assert mounts.read_file(tree, "etc/file", 100) == b"top"
            os.kill(os.getpid(), signal.SIGKILL)

    before = mount_table()
    child = FORK.Process(target=look_and_die)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert mount_table() == before


def test_many_layers(tmp_path: Path) -> None:
    links = tmp_path / "l"
    links.mkdir()
    for number in range(200):
        (tmp_path / f"layers/{number}").mkdir(parents=True)
        (tmp_path / f"layers/{number}/file").write_text(str(number))
        (links / f"{number:026}").symlink_to(f"../layers/{number}")
    lowers = sorted(links.iterdir())
    with mounts.open_tree(lowers[:140]) as tree:
        assert mounts.read_file(tree, "file", 10) == b"0"
    with pytest.raises(SyscontainersError, match="200 layers"), mounts.open_tree(lowers):
        pass


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b", "a\\,b", "a\\:b,", "ä b", 'quo"te'])
def test_odd_names_of_directories(tmp_path: Path, name: str) -> None:
    for place in ("low", "up", "work"):
        (tmp_path / place / name).mkdir(parents=True)
    (tmp_path / "low" / name / "file").write_text("low")
    (tmp_path / "base").mkdir()
    with mounts.open_tree([tmp_path / "low" / name, tmp_path / "base"]) as tree:
        assert mounts.read_file(tree, "file", 10) == b"low"
    (target := tmp_path / "target").mkdir()
    lowers = [tmp_path / "low" / name, tmp_path / "base"]
    options = mounts.overlay_options(lowers, tmp_path / "up" / name, tmp_path / "work" / name)
    kernel.mount("overlay", str(target), "overlay", 0, options)
    try:
        (target / "new").write_text("new")
        assert (target / "file").read_text() == "low"
    finally:
        kernel.umount2(str(target))
    assert (tmp_path / "up" / name / "new").read_text() == "new"


def test_links_stay_inside(lowers: list[Path]) -> None:
    base = lowers[1]
    secret = base.parent / "secret"
    secret.write_text("secret")
    (base / "absolute").symlink_to(secret)
    (base / "relative").symlink_to("../../../../../../../../etc/hostname")
    (base / "inside").symlink_to("/etc/file")
    (base / "directory").symlink_to("../..")
    (base / "loop").symlink_to("loop")
    with mounts.open_tree(lowers) as tree:
        assert mounts.read_file(tree, "absolute", 100) is None
        assert mounts.read_file(tree, "relative", 100) is None
        assert mounts.read_file(tree, "directory/etc/file", 100) == b"top"
        assert mounts.read_file(tree, "../../etc/file", 100) == b"top"
        assert mounts.read_file(tree, "inside", 100) == b"top"
        with pytest.raises(HostileArchiveError):
            mounts.read_file(tree, "loop", 100)


def test_what_is_no_file_is_refused(lowers: list[Path]) -> None:
    base = lowers[1]
    os.mkfifo(base / "fifo")
    os.mknod(base / "null", 0o020666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        # The name of a socket is at most 108 bytes long.
        here = os.open(base, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    (base / "large").write_bytes(b"x" * 101)
    with mounts.open_tree(lowers) as tree:
        for name in ("fifo", "null", "socket", "etc", "large"):
            with pytest.raises(HostileArchiveError, match=name):
                mounts.read_file(tree, name, 100)
        assert mounts.read_file(tree, "large", 101) == b"x" * 101
        with pytest.raises(HostileArchiveError):
            mounts.list_directory(tree, "etc/file")


def test_redirects_of_an_image_are_not_followed(lowers: list[Path]) -> None:
    # overlayfs shows such a directory under another one's content; no layer may bring that along.
    (lowers[1] / "secret").mkdir()
    (lowers[1] / "secret/file").write_text("secret")
    (lowers[0] / "public").mkdir()
    os.setxattr(lowers[0] / "public", "trusted.overlay.redirect", b"/secret")
    # The kernel refuses what it is told not to follow.
    with mounts.open_tree(lowers) as tree, pytest.raises(HostileArchiveError):
        mounts.read_file(tree, "public/file", 100)


def test_walk(lowers: list[Path]) -> None:
    (lowers[1] / "etc/deep/er").mkdir(parents=True)
    (lowers[1] / "etc/deep/link").symlink_to("/nowhere")
    (lowers[1] / os.fsdecode(b"etc/\xff")).write_text("")
    with mounts.open_tree(lowers) as tree:
        found = list(mounts.walk(tree, "etc"))
        assert [os.fsencode(entry.path) for entry in found] == [b"deep", b"deep/er", b"deep/link", b"file", b"\xff"]
        assert [entry.target for entry in found if entry.target] == ["/nowhere"]
        assert [entry.is_directory for entry in found] == [True, True, False, False, False]
        assert next(mounts.walk(tree, "")).path == "etc"
        assert list(mounts.walk(tree, "absent")) == []


@pytest.mark.parametrize("where", ["", "deep/er"])
def test_what_is_mounted_in_a_tree_that_is_removed_stays(tmp_path: Path, where: str) -> None:
    (tmp_path / "elsewhere/kept").mkdir(parents=True)
    place = tmp_path / "tree" / where
    place.mkdir(parents=True)
    kernel.mount(str(tmp_path / "elsewhere"), str(place), "", kernel.MS_BIND, "")
    try:
        with pytest.raises(OSError, match="still mounted") as caught:
            files.remove_tree(tmp_path / "tree")
        assert caught.value.filename == str(place)
        assert (tmp_path / "elsewhere/kept").is_dir()
    finally:
        kernel.umount2(str(place))
    (tmp_path / "tree/link").symlink_to(tmp_path / "elsewhere")
    files.remove_tree(tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere/kept").is_dir()


def test_a_bind_mount_within_one_file_system_is_a_mount_point(tmp_path: Path) -> None:
    tree, place = tmp_path / "tree", tmp_path / "place"
    tree.mkdir()
    place.mkdir()
    assert not kernel.is_mount_point(place)
    kernel.mount(str(tree), str(place), "", kernel.MS_BIND, "")
    try:
        assert kernel.is_mount_point(place)
        assert not place.is_mount()  # why Python's own will not do
    finally:
        kernel.umount2(str(place))
    assert not kernel.is_mount_point(place)
    assert kernel.is_mount_point(Path("/proc"))
    assert kernel.is_mount_point(Path("/"))
