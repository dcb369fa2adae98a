"""Verifying what is on disk: each kind of damage is found and named, and nothing else is."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from syscontainers.storage.check import check_store
from syscontainers.storage.images import Image
from syscontainers.storage.staged import LayerPromise
from syscontainers.storage.store import Store
from syscontainers.storage.unpack import unpack_layer
from syscontainers.storage.verify import verify_image
from tests import images
from tests.images import Entry
from tests.root.storage_tools import make_image, podman_on, read_split, tree_of

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
BASE: dict[str, Entry | str | bytes] = {
    "etc/": Entry(kind=b"5", mode=0o755, uid=3),
    "etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "etc/link": images.symlink("passwd"),
    "etc/same": images.hardlink("etc/passwd"),
    "etc/pipe": Entry(kind=b"6"),
    "bin/tool": Entry(b"tool" * 100_000, mode=0o4755, uid=7, gid=8, mtime=1_700_000_000.25),
    "bin/able": Entry(b"able", mode=0o755, xattrs={"user.note": "1"}),
    "old/file": "old",
    "gone": "gone",
    "ümlaut": "ü",
}
TOP: dict[str, Entry | str | bytes] = {"etc/new": "new", "old/.wh..wh..opq": "", "old/other": "other", ".wh.gone": ""}


def add(store: Store, *trees: dict[str, Entry | str | bytes], parents: bool = True) -> Image:
    """Through the real unpacker."""
    with store.staging_directory() as staging:
        staged = []
        for number, tree in enumerate(trees):
            layer = images.layer(images.make_tar(tree, parents=parents))
            promise = LayerPromise(layer.digest, len(layer.blob), layer.diff_id)
            staged.append(unpack_layer([layer.blob], promise, staging.path / str(number)))
        return store.commit_image(make_image(staged, [NAME]), staged, staging)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours", tmp_path / "staging")


def problems(store: Store, image: Image) -> list[str]:
    return [f"{finding.path}: {finding.problem}" for finding in verify_image(store, image)]


@pytest.mark.parametrize("parents", [True, False])
def test_nothing_is_wrong(store: Store, parents: bool) -> None:
    assert problems(store, add(store, BASE, TOP, parents=parents)) == []


def replace(path: Path, data: bytes) -> None:
    """Change contents and nothing else."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def keeping_time(directory: Path, work: Callable[[], object]) -> None:
    status = directory.stat()
    work()
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def instead_of(path: Path, make: Callable[[Path], object]) -> None:
    def work() -> None:
        path.unlink()
        make(path)

    keeping_time(path.parent, work)


DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "contents": (
        lambda base: replace(base / "bin/tool", b"tooL" + b"tool" * 99_999),
        ["bin/tool: has other contents"],
    ),
    "truncated": (lambda base: replace(base / "bin/able", b"abl"), ["bin/able: has 3 bytes, not 4"]),
    "longer": (lambda base: replace(base / "bin/able", b"able!"), ["bin/able: has 5 bytes, not 4"]),
    "emptied by a power cut": (lambda base: replace(base / "bin/able", b""), ["bin/able: has 0 bytes, not 4"]),
    "hard link": (lambda base: replace(base / "etc/same", b"x"), ["etc/passwd: has 1 bytes, not 22"]),
    "mode": (lambda base: os.chmod(base / "bin/able", 0o4755), ["bin/able: has the mode 4755, not 755"]),
    "setuid lost": (lambda base: os.chmod(base / "bin/tool", 0o755), ["bin/tool: has the mode 755, not 4755"]),
    "owner": (lambda base: os.chown(base / "bin/able", 9, 0), ["bin/able: belongs to 9:0, not 0:0"]),
    "owner of a link": (lambda base: os.lchown(base / "etc/link", 9, 0), ["etc/link: belongs to 9:0, not 0:0"]),
    "owner of a directory": (lambda base: os.chown(base / "etc", 0, 0), ["etc: belongs to 0:0, not 3:0"]),
    "time": (
        lambda base: os.utime(base / "bin/able", (5, 5)),
        ["bin/able: is from 5, not 1700000000 (seconds since 1970)"],
    ),
    "attribute of a file with two names": (
        lambda base: os.setxattr(base / "etc/same", "user.x", b"1"),
        ["etc/passwd: has an additional extended attribute user.x"],
    ),
    "mode of a file with two names": (
        lambda base: os.chmod(base / "etc/same", 0o600),
        ["etc/passwd: has the mode 600, not 644"],
    ),
    "attribute lost": (
        lambda base: os.removexattr(base / "bin/able", "user.note"),
        ["bin/able: has no extended attribute user.note"],
    ),
    "attribute changed": (
        lambda base: os.setxattr(base / "bin/able", "user.note", b"2"),
        ["bin/able: has other extended attribute user.note"],
    ),
    "capability": (
        lambda base: os.setxattr(
            base / "bin/able", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
        ),
        ["bin/able: has an additional extended attribute security.capability"],
    ),
    "link": (
        lambda base: instead_of(base / "etc/link", lambda path: path.symlink_to("elsewhere")),
        ["etc/link: points elsewhere"],
    ),
    "another kind": (
        lambda base: instead_of(base / "etc/pipe", Path.mkdir),
        ["etc/pipe: is not a FIFO"],
    ),
    "missing": (
        lambda base: keeping_time(base / "bin", (base / "bin/able").unlink),
        ["bin/able: is missing", "bin/able: cannot be read: No such file or directory"],
    ),
    "replaced by a link": (
        lambda base: instead_of(base / "bin/able", lambda path: path.symlink_to("tool")),
        ["bin/able: is not a regular file", "bin/able: cannot be read: Too many levels of symbolic links"],
    ),
    "additional": (
        lambda base: keeping_time(base / "etc", lambda: (base / "etc/shadow").write_text("x")),
        ["etc/shadow: was not in the layer"],
    ),
    "additional directory": (lambda base: (base / "srv/deep").mkdir(parents=True), ["srv: was not in the layer"]),
    "name with umlaut": (lambda base: replace(base / "ümlaut", b"xx"), ["ümlaut: has other contents"]),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named(store: Store, kind: str) -> None:
    image = add(store, BASE, TOP)
    base, _ = store.chain(image)
    damage, expected = DAMAGES[kind]
    damage(store.paths.diff(base.id))
    assert sorted(problems(store, image)) == sorted(expected)
    assert {finding.layer for finding in verify_image(store, image)} == {base.id}


def test_what_hides_the_layers_below_is_checked(store: Store) -> None:
    image = add(store, BASE, TOP)
    top = store.paths.diff(store.chain(image)[1].id)
    os.removexattr(top / "old", "trusted.overlay.opaque")
    keeping_time(top, (top / "gone").unlink)
    assert problems(store, image) == [
        "old: no longer hides what the layers below have there",
        "gone: no longer hides what the layers below have there",
    ]


def test_documents_are_checked(store: Store) -> None:
    image = add(store, BASE)
    config = store.paths.big_data(image.id, f"sha256:{image.id}")
    config.write_bytes(config.read_bytes() + b" ")
    store.paths.big_data(image.id, "manifest").unlink()
    found = problems(store, image)
    assert len(found) == 2
    assert "its manifest cannot be read" in found[0]
    assert "its config has the digest" in found[1]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read"),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "cannot be read"),
        (lambda path: path.write_bytes(gzip.compress(b"{}\n")), "type is missing"),
        (lambda path: path.write_bytes(gzip.compress(b"[]\n")), "must be an object"),
        (lambda path: path.write_bytes(gzip.compress(b"")), "does not give the archive"),
    ],
)
def test_damaged_tar_split(store: Store, damage: Callable[[Path], object], expected: str) -> None:
    image = add(store, BASE)
    damage(store.paths.tar_split(image.layer or ""))
    found = problems(store, image)
    assert any(expected in problem for problem in found), found


def test_a_missing_layer_is_told(store: Store) -> None:
    image = add(store, BASE)
    store.paths.layers_json.write_text("[]")
    assert [str(finding) for finding in verify_image(store, image)] == [
        f"image {image.id[:12]}: layer {str(image.layer)[:12]} is not in this store"
    ]


def test_a_store_in_order(store: Store) -> None:
    assert list(check_store(store)) == []
    add(store, BASE, TOP)
    assert list(check_store(store)) == []
    (store.paths.overlay / "staging").mkdir()  # podman's own
    assert list(check_store(store)) == []


DISORDER: dict[str, tuple[Callable[[Store, str], object], str]] = {
    "stray layer": (lambda store, top: (store.paths.overlay / ("e" * 64)).mkdir(), "belongs to no layer"),
    "stray image": (lambda store, top: (store.paths.image_records / ("e" * 64)).mkdir(), "belongs to no image"),
    "no link": (lambda store, top: next(store.paths.links.iterdir()).unlink(), "link in overlay/l is missing"),
    "lower": (lambda store, top: (store.paths.layer(top) / "lower").write_text("l/X"), "list of lower layers is wrong"),
    "no lower": (lambda store, top: (store.paths.layer(top) / "lower").unlink(), "list of lower layers is wrong"),
    "no content": (
        lambda store, top: store.paths.diff(top).rename(store.root / "away"),
        "layer TOP: its directory is missing",
    ),
    "no tar-split": (lambda store, top: store.paths.tar_split(top).unlink(), "tar-split.gz: cannot be read"),
    "big data": (
        lambda store, top: store.paths.big_data(store.images()[0].id, "manifest").write_text("{}"),
        "manifest is missing or has another size",
    ),
}


@pytest.mark.parametrize("kind", DISORDER)
def test_disorder_is_told(store: Store, kind: str) -> None:
    image = add(store, BASE, TOP)
    assert image.layer is not None
    work, expected = DISORDER[kind]
    work(store, image.layer)
    found = [str(finding) for finding in check_store(store)]
    assert any(expected.replace("TOP", image.layer[:12]) in problem for problem in found), found


def test_a_parent_that_is_gone(store: Store) -> None:
    image = add(store, BASE, TOP)
    records = json.loads(store.paths.layers_json.read_text())
    store.paths.layers_json.write_text(json.dumps(records[1:]))
    found = [str(finding) for finding in check_store(store, contents=False)]
    assert f"layer {str(image.layer)[:12]}: layer {records[0]['id'][:12]} is not in this store" in found
    assert f"{store.paths.layer(records[0]['id'])}: belongs to no layer" in found


def test_what_podman_wrote_is_whole_and_equal_to_ours(store: Store, tmp_path: Path) -> None:
    """A real tree with links, set-id bits and odd names, unpacked by both."""
    image_file = tmp_path / "image"
    layers = [
        images.layer(images.make_tar(BASE)),
        images.layer(images.tar_of_directory(Path("/etc"))),
        images.layer(images.make_tar(TOP)),
    ]
    image = images.build_image(layers)
    images.write_oci_layout(image_file, {"1": image})
    with podman_on(tmp_path / "theirs") as podman, store.staging_directory() as staging:
        podman("pull", "-q", f"oci:{image_file}:1")
        theirs = Store(podman.root, tmp_path / "staging")
        (found,) = theirs.images()
        assert problems(theirs, found) == []
        podman("create", found.id, "/bin/tool")
        assert list(check_store(theirs)) == []
        for number, layer in enumerate(layers):
            promise = LayerPromise(layer.digest, len(layer.blob), layer.diff_id)
            staged = unpack_layer([layer.blob], promise, staging.path / str(number))
            their_layer = theirs.chain(found)[number]
            assert sorted(tree_of(staged.directory / "diff")) == sorted(tree_of(theirs.paths.diff(their_layer.id)))
            split = theirs.paths.tar_split(their_layer.id)
            assert read_split(staged.directory / "tar-split.gz") == read_split(split)
