"""Images that podman pulled or built, taken over without downloading them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers.errors import NotFoundError, SyscontainersError
from syscontainers.storage.adopt import adopt_image
from syscontainers.storage.store import Store
from syscontainers.storage.verify import verify_image
from tests import images
from tests.images import Entry
from tests.root.storage_tools import Podman, podman_on, tree_of

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
BASE: dict[str, Entry | str | bytes] = {
    "bin/tool": Entry(b"tool" * 1000, mode=0o4755, uid=7),
    "bin/same": images.hardlink("bin/tool"),
    "bin/link": images.symlink("tool"),
    "bin/able": Entry(b"able", mode=0o755, xattrs={"user.note": "1"}),
    "run/pipe": Entry(kind=b"6"),
    "gone": "gone",
    "old/file": "old",
}
TOP: dict[str, Entry | str | bytes] = {"old/.wh..wh..opq": "", "old/new": "new", ".wh.gone": "", "etc/top": "top"}


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Podman]:
    """podman with an image whose name in an OCI layout it keeps."""
    image = images.build_image([images.layer(BASE), images.layer(TOP)])
    images.write_oci_layout(tmp_path / "image", {"": image})
    with podman_on(tmp_path / "theirs") as podman:
        podman("pull", "-q", f"oci:{tmp_path / 'image'}")
        podman("tag", image.image_id, NAME)
        yield podman


def other_store(podman: Podman) -> Store:
    return Store(podman.root, podman.root.parent / "unused")


def check_equal(ours: Store, theirs: Store) -> None:
    for layer in theirs.layers().values():
        assert ours.layers()[layer.id].diff_size == layer.diff_size
        own, their = (sorted(tree_of(store.paths.diff(layer.id))) for store in (ours, theirs))
        assert own == their
    (image,) = ours.images()
    assert [str(finding) for finding in verify_image(ours, image)] == []


@pytest.mark.parametrize("place", ["same file system", "another one"])
def test_an_image_of_podman(tmp_path: Path, theirs: Podman, place: str) -> None:
    other = other_store(theirs)
    found = other.find_image(NAME)
    assert found is not None
    with another_file_system(tmp_path / "ours", place != "same file system"):
        ours = Store(tmp_path / "ours/storage", tmp_path / "ours/staging")
        image = adopt_image(ours, other, found, [NAME])
        assert (image.id, image.digest, image.names) == (found.id, found.digest, (NAME,))
        assert ours.read_config(image) == other.read_config(found)
        check_equal(ours, other)
        tool, same = (ours.paths.diff(ours.chain(image)[0].id) / name for name in ("bin/tool", "bin/same"))
        assert tool.samefile(same)
        assert tool.samefile(other.paths.diff(other.chain(found)[0].id) / "bin/tool") == (place == "same file system")

        # When podman drops it, ours stays whole.
        theirs("rmi", "-f", "-a")
        assert other.layers() == {}
        assert [str(finding) for finding in verify_image(ours, image)] == []
        with podman_on(tmp_path / "third", ours.root) as third:
            assert third.json("image", "inspect", NAME)[0]["Id"] == image.id
        assert list(ours.staging.iterdir()) == []


class another_file_system:  # noqa: N801
    """Mount a tmpfs, or nothing."""

    def __init__(self, path: Path, wanted: bool) -> None:
        self.path, self.wanted = path, wanted

    def __enter__(self) -> None:
        self.path.mkdir()
        if self.wanted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", self.path], check=True)

    def __exit__(self, *_: object) -> None:
        if self.wanted:
            subprocess.run(["umount", self.path], check=True)


def test_while_podman_has_its_store_mounted_on_itself(tmp_path: Path, theirs: Podman) -> None:
    container = theirs("create", NAME, "/bin/true").strip()
    theirs("mount", container)
    subprocess.run(["mount", "--bind", theirs.root / "overlay", theirs.root / "overlay"], check=True)
    try:
        other, ours = other_store(theirs), Store(tmp_path / "ours", tmp_path / "staging")
        found = other.find_image(NAME)
        assert found is not None
        adopt_image(ours, other, found, [NAME])
        (base,) = (layer for layer in ours.layers().values() if layer.parent is None)
        assert os.stat(ours.paths.diff(base.id) / "bin/able").st_nlink == 2
    finally:
        subprocess.run(["umount", theirs.root / "overlay"], check=True)
        theirs("umount", container)
        theirs("rm", container)


def test_layers_that_are_there_are_used(tmp_path: Path, theirs: Podman) -> None:
    other, ours = other_store(theirs), Store(tmp_path / "ours", tmp_path / "staging")
    found = other.find_image(NAME)
    assert found is not None
    first = adopt_image(ours, other, found, [NAME])
    before = ours.paths.layers_json.read_bytes()
    second = adopt_image(ours, other, found, ["registry.example/again:2"])
    assert ours.paths.layers_json.read_bytes() == before
    assert second.names == (*first.names, "registry.example/again:2")


def test_what_is_removed_meanwhile_is_not_taken(
    tmp_path: Path, theirs: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, ours = other_store(theirs), Store(tmp_path / "ours", tmp_path / "staging")
    found = other.find_image(NAME)
    assert found is not None
    link = os.link
    changed: list[bool] = []

    def remove_then_link(*arguments: object, **options: object) -> None:
        if not changed:
            changed.append(True)
            records = json.loads(other.paths.layers_json.read_text())
            records[0]["flags"] = {"incomplete": True}
            other.paths.layers_json.write_text(json.dumps(records))
        link(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", remove_then_link)
    with pytest.raises(NotFoundError, match="being removed"):
        adopt_image(ours, other, found, [NAME])
    assert changed
    assert (ours.images(), ours.layers()) == ([], {})
    assert list(ours.staging.iterdir()) == []


def test_a_layer_without_a_digest_is_refused(tmp_path: Path, theirs: Podman) -> None:
    other, ours = other_store(theirs), Store(tmp_path / "ours", tmp_path / "staging")
    found = other.find_image(NAME)
    assert found is not None
    records = json.loads(other.paths.layers_json.read_text())
    for record in records:
        del record["diff-digest"]
    other.paths.layers_json.write_text(json.dumps(records))
    with pytest.raises(SyscontainersError, match="zstd:chunked"):
        adopt_image(ours, other, found, [NAME])
