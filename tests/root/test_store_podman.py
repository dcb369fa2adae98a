"""podman and skopeo as judges: ours as their additional store, and ours as a writer in podman's own."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syscontainers.containers.context import Context
from syscontainers.containers.garbage import prune
from syscontainers.errors import SyscontainersError
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage import mounts
from syscontainers.storage.store import Store
from tests.root.storage_tools import (
    Item,
    Podman,
    add_image,
    base_items,
    podman_on,
    read_split,
    sha256,
    top_items,
    tree_of,
)

pytestmark = pytest.mark.root

LIMITS = ("--ulimit", "nofile=256:256", "--ulimit", "nproc=256:256")
NAME = "registry.example/team/app:1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours", tmp_path / "staging")


@pytest.fixture
def podman(tmp_path: Path, store: Store) -> Iterator[Podman]:
    """podman with ours as an additional store."""
    with podman_on(tmp_path / "root", store.root) as podman:
        yield podman


@pytest.fixture
def primary(store: Store) -> Iterator[Podman]:
    """podman on the store that ours writes to, too."""
    with podman_on(store.root) as podman:
        yield podman


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Podman]:
    """podman on its own."""
    with podman_on(tmp_path / "other") as podman:
        yield podman


def save_oci(podman: Podman, name: str, directory: Path) -> dict[str, Any]:
    """The manifest of an image that podman was made to export; every layer was put together from tar-split."""
    podman("save", "--format", "oci-dir", "-o", directory, name)
    index = json.loads((directory / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest: dict[str, Any] = json.loads((directory / "blobs/sha256" / digest).read_text())
    return manifest


def layer_tars(directory: Path, manifest: dict[str, Any]) -> list[str]:
    """The digests of the uncompressed layers."""
    digests = []
    for layer in manifest["layers"]:
        data = (directory / "blobs/sha256" / layer["digest"].removeprefix("sha256:")).read_bytes()
        digests.append(sha256(gzip.decompress(data)))
    return digests


def test_podman_lists_and_exports_ours(store: Store, podman: Podman, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    (listed,) = podman.json("images", "--format", "json", "--no-trunc")
    assert (listed["Id"], listed["Names"], listed["ReadOnly"]) == (image.id, [NAME], True)
    (inspected,) = podman.json("image", "inspect", NAME)
    assert inspected["Digest"] == image.digest
    assert inspected["RootFS"]["Layers"] == [layer.diff_id for layer in store.chain(image)]
    assert len(podman.json("history", "--format", "json", NAME)) == 2

    manifest = save_oci(podman, NAME, tmp_path / "export")
    assert layer_tars(tmp_path / "export", manifest) == [layer.diff_id for layer in store.chain(image)]


def test_podman_finds_it_by_every_name(store: Store, podman: Podman) -> None:
    image = add_image(store, NAME, base_items())
    for name in (NAME, f"registry.example/team/app@{image.digest}", image.id, image.id[:12]):
        assert podman.json("image", "inspect", name)[0]["Id"] == image.id
        assert store.find_image(name) == image


def test_container_of_podman_shows_the_merged_tree(store: Store, podman: Podman) -> None:
    image = add_image(store, NAME, base_items(), top_items(), implied=[b"etc"])
    container = podman("create", NAME).strip()
    mounted = Path(podman("mount", container).strip())
    theirs = sorted(tree_of(mounted))
    with mounts.open_tree(store.lower_directories(image)) as tree:
        ours = sorted(tree_of(Path(f"/proc/self/fd/{tree}")))
    assert ours == theirs
    assert [name for name, *_ in ours] == ["bin", "bin/busybox", "bin/sh", "etc", "etc/motd"]
    podman("umount", container)
    podman("rm", container)


def test_container_of_podman_runs(store: Store, podman: Podman) -> None:
    add_image(store, NAME, base_items(), top_items())
    # Nothing that a machine which is a container itself may refuse: no network, no higher limits.
    options = ("--rm", "--network", "none", *LIMITS)
    assert podman("run", *options, NAME, "/bin/busybox", "cat", "/etc/motd") == "top\n"


def test_podman_can_not_remove_ours(store: Store, podman: Podman) -> None:
    image = add_image(store, NAME, base_items())
    assert "read-only" in podman("rmi", "-f", NAME, check=False)
    podman("image", "prune", "-af")
    assert store.images() == [image]
    assert podman.json("images", "--format", "json")[0]["Id"] == image.id


def test_podman_builds_on_ours_and_reuses_layers(store: Store, podman: Podman, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    (tmp_path / "Containerfile").write_text(f"FROM {NAME}\nCOPY new /new\n")
    (tmp_path / "new").write_text("new\n")
    podman("build", "-q", "--network", "none", "-t", "localhost/child", "-f", tmp_path / "Containerfile", tmp_path)
    own = json.loads((podman.root / "overlay-layers/layers.json").read_text())
    assert [layer["parent"] for layer in own] == [image.layer]

    # Loading the same image from a file writes no layer: those of the additional store serve.
    save_oci(podman, NAME, tmp_path / "export")
    podman("pull", "-q", f"oci:{tmp_path / 'export'}")
    assert len(json.loads((podman.root / "overlay-layers/layers.json").read_text())) == 1


def test_podman_runs_commands_on_ours_while_building(store: Store, podman: Podman, tmp_path: Path) -> None:
    add_image(store, NAME, base_items(), top_items())
    lines = (f"FROM {NAME}", 'RUN ["/bin/busybox", "sh", "-c", "/bin/busybox cat /etc/motd /etc/motd > /made"]')
    (tmp_path / "Containerfile").write_text("\n".join(lines) + "\n")
    words = (*LIMITS, "--network", "none", "-t", "localhost/child", "-f", tmp_path / "Containerfile")
    podman("build", "-q", *words, tmp_path)
    options = ("--rm", "--network", "none", *LIMITS)
    assert podman("run", *options, "localhost/child", "/bin/busybox", "cat", "/made") == "top\ntop\n"


def test_skopeo_copies_out_of_ours(store: Store, podman: Podman, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    where = f"containers-storage:[overlay@{store.root}+{podman.runroot}]{NAME}"
    subprocess.run(["skopeo", "copy", "-q", where, f"dir:{tmp_path / 'out'}"], check=True)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for layer, theirs in zip(store.chain(image), manifest["layers"], strict=True):
        data = (tmp_path / "out" / theirs["digest"].removeprefix("sha256:")).read_bytes()
        assert sha256(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data) == layer.diff_id


def test_records_are_those_that_podman_writes(store: Store, podman: Podman, other: Podman, tmp_path: Path) -> None:
    add_image(store, NAME, base_items(), top_items(), implied=[b"etc"])
    save_oci(podman, NAME, tmp_path / "export")
    other("pull", "-q", f"oci:{tmp_path / 'export'}")
    for kind in ("layers", "images"):
        ours, theirs = (
            json.loads((root / f"overlay-{kind}/{kind}.json").read_text()) for root in (store.root, other.root)
        )
        # The export was compressed anew, so digests of compressed bytes and of the manifest differ.
        same = {"id", "parent", "diff-digest", "diff-size", "compression", "uidset", "gidset", "layer"}
        for own, their in zip(ours, theirs, strict=True):
            assert set(own) - {"names-history"} == set(their) - {"names-history"}
            assert {key: own[key] for key in same & set(own)} == {key: their[key] for key in same & set(their)}
    for layer in store.layers():
        # Of /etc podman makes up owner and mode, for the second layer does not name it.
        own, their = (
            [entry for entry in sorted(tree_of(root / "overlay" / layer / "diff")) if entry[0] != "etc"]
            for root in (store.root, other.root)
        )
        assert own == their
        assert read_split(store.paths.tar_split(layer)) == read_split(
            other.root / f"overlay-layers/{layer}.tar-split.gz"
        )


def test_both_write_one_store(store: Store, primary: Podman, tmp_path: Path) -> None:
    first = add_image(store, NAME, base_items(), top_items())
    with tarfile.open(tmp_path / "root.tar", "w") as archive:
        archive.add("/etc/hostname", "hostname")
    theirs = primary("import", "-q", tmp_path / "root.tar", "localhost/theirs:1").strip().removeprefix("sha256:")
    before = (store.root / "overlay-images/images.json").read_text()
    their_record = next(record for record in json.loads(before) if record["id"] == theirs)
    second = add_image(store, "registry.example/b:1", base_items(), top_items(b"other\n"))

    assert {image["Id"] for image in primary.json("images", "--format", "json", "--no-trunc")} == {
        first.id,
        second.id,
        theirs,
    }
    after = json.loads((store.root / "overlay-images/images.json").read_text())
    assert their_record in after
    found = store.find_image(theirs)
    assert found is not None
    with mounts.open_tree(store.lower_directories(found)) as tree:
        assert mounts.read_file(tree, "hostname", 1000) == Path("/etc/hostname").read_bytes()
    # podman removes ours like its own, and what both share stays.
    primary("rmi", NAME)
    assert {image.id for image in store.images()} == {second.id, theirs}
    assert len(store.chain(second)) == 2
    container = primary("create", "registry.example/b:1").strip()
    assert (Path(primary("mount", container).strip()) / "etc/motd").read_text() == "other\n"
    with pytest.raises(SyscontainersError, match="used by container"):
        store.remove_image(second)
    primary("umount", container)
    primary("rm", container)
    store.remove_image(second)
    assert [image["Id"] for image in primary.json("images", "--format", "json", "--no-trunc")] == [theirs]


def test_names_move_between_images_of_both(store: Store, primary: Podman) -> None:
    first = add_image(store, NAME, base_items())
    second = add_image(store, NAME, base_items(), top_items())
    assert primary.json("image", "inspect", NAME)[0]["Id"] == second.id
    primary("tag", first.id, NAME)
    assert store.find_image(NAME) == next(image for image in store.images() if image.id == first.id)
    store.tag(second, NAME)
    assert primary.json("image", "inspect", NAME)[0]["Id"] == second.id
    assert store.untag(second, NAME)
    assert "not known" in primary("image", "inspect", NAME, check=False)


def test_unreferenced_layers_of_others_are_left_alone_for_a_day(store: Store, primary: Podman) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    primary("create", NAME)
    primary("rm", "-a")
    store.remove_image(image)
    assert store.prune_layers().layers == ()
    file = store.root / "overlay-layers/layers.json"
    records = json.loads(file.read_text())
    for record in records:
        record["created"] = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(records))
    assert set(store.prune_layers().layers) == {layer["id"] for layer in records}
    assert primary.json("images", "--format", "json") == []


def build(podman: Podman, directory: Path, last: str) -> None:
    (directory / "Containerfile").write_text(f"FROM {NAME}\nCOPY one /one\nENV a=b\nCOPY {last} /last\n")
    for name in ("one", last):
        (directory / name).write_text(name)
    podman("build", "-q", "--layers", "--network", "none", "-t", "localhost/built", directory)


def make_old(store: Store) -> None:
    for image in store.images():
        os.utime(store.paths.image(image.id), (0, 0))


def test_prune_of_images_without_a_name_is_podmans_own_but_for_a_day(
    store: Store, primary: Podman, tmp_path: Path
) -> None:
    add_image(store, NAME, base_items())
    for last in ("two", "three"):  # the second takes the name from the first
        build(primary, tmp_path, last)
    before = {image.id for image in store.images()}
    context = Context(Settings(state=tmp_path / "state", storage=store.root), Progress(quiet=True))
    assert prune(context, dry_run=True).images == prune(context).images == ()
    make_old(store)
    freed = prune(context)
    assert len(freed.images) == 1
    after = {image.id for image in store.images()}
    assert after == before - set(freed.images)
    assert len([image for image in store.images() if not image.names]) > 0
    primary("image", "prune", "-f")
    assert {image.id for image in store.images()} == after
    primary("rmi", "localhost/built")


def test_an_image_that_podman_is_about_to_name_is_not_pruned(store: Store, primary: Podman, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items())
    primary("images")  # makes it a store that others write to
    store.untag(image, NAME)
    context = Context(Settings(state=tmp_path / "state", storage=store.root), Progress(quiet=True))
    assert prune(context, unused=True).images == ()
    primary("tag", image.id, NAME)
    assert prune(context).images == ()
    store.untag(image, NAME)
    make_old(store)
    assert prune(context).images == (image.id,)


def test_prune_keeps_what_podman_builds_on(store: Store, podman: Podman, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    free = add_image(store, "registry.example/free:1", [Item("free", b"free")])
    (tmp_path / "Containerfile").write_text(f"FROM {NAME}\nLABEL a=b\nCOPY new /new\n")
    (tmp_path / "new").write_text("new\n")
    podman("build", "-q", "--network", "none", "-t", "localhost/child", "-f", tmp_path / "Containerfile", tmp_path)
    for each in (image, free):
        store.remove_image(each)
    assert store.find_garbage(consumers=[podman.root]).layers == (free.layer,)
    assert store.prune_layers(consumers=[podman.root]).layers == (free.layer,)
    assert podman.json("images", "--format", "json")[0]["Names"] == ["localhost/child:latest"]
    container = podman("create", "localhost/child").strip()
    assert (Path(podman("mount", container).strip()) / "etc/motd").read_text() == "top\n"
    podman("umount", container)
    podman("rm", container)
    podman("rmi", "localhost/child")
    assert len(store.prune_layers(consumers=[podman.root]).layers) == 2
    assert podman.json("images", "--format", "json") == []


def test_prune_keeps_what_podman_only_tagged(store: Store, podman: Podman) -> None:
    image = add_image(store, NAME, base_items())
    podman("tag", NAME, "localhost/mine:1")
    store.remove_image(image)
    assert store.prune_layers(consumers=[podman.root]).layers == ()
    assert store.prune_layers().layers == (image.layer,)


def test_a_read_only_bind_mount_of_ours_serves_podman(store: Store, podman: Podman, tmp_path: Path) -> None:
    image = add_image(store, NAME, base_items())
    seen = tmp_path / "seen"
    seen.mkdir()
    subprocess.run(["mount", "--bind", store.root, seen], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", seen], check=True)
        other = replace(podman, additional=(seen,))
        assert other.json("images", "--format", "json")[0]["Id"] == image.id
        container = other("create", NAME).strip()
        assert (Path(other("mount", container).strip()) / "etc/motd").read_text() == "base\n"
        other("umount", container)
        other("rm", container)
    finally:
        subprocess.run(["umount", seen], check=True)
