"""podman 5 judges the store, with its own check of layers against their digests, modes and times."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from syscontainers.containers.sharing import default_conf
from syscontainers.storage.confedit import add_store
from syscontainers.storage.images import NewImage
from syscontainers.storage.staged import LayerPromise
from syscontainers.storage.storageconf import StorageConf
from syscontainers.storage.store import Store
from syscontainers.storage.unpack import unpack_layer
from tests import images
from tests.images import Entry
from tests.root.newer_podman import podman_inside, run_inside

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
BASE: dict[str, Entry | str | bytes] = {
    "bin/tool": Entry(b"tool" * 1000, mode=0o4755, uid=7),
    "bin/link": images.symlink("tool"),
    "bin/able": Entry(b"able", mode=0o755, xattrs={"user.note": "1"}),
    "gone": "gone",
    "old/file": "old",
}
TOP: dict[str, Entry | str | bytes] = {"old/.wh..wh..opq": "", "old/new": "new", ".wh.gone": "", "etc/top": "top"}
# Its tar names no directory, neither those that are below it nor those that are nowhere.
BARE: dict[str, Entry | str | bytes] = {"etc/bare": "bare", "new/deep/file": "new", "bin/.wh.able": ""}
_TIME = re.compile(r"0x[0-9a-f]+")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A store of ours, and the same image as a file."""
    layers = [
        images.layer(BASE),
        images.layer(images.tar_of_directory(Path("/etc")), "zstd"),
        images.layer(TOP),
        images.layer(images.make_tar(BARE, parents=False)),
    ]
    image = images.build_image(layers, {"Cmd": ["/bin/tool"]})
    images.write_oci_layout(tmp_path / "image", {"": image})
    store = Store(tmp_path / "ours", tmp_path / "staging")
    with store.staging_directory() as staging:
        staged = []
        for number, layer in enumerate(layers):
            promise = LayerPromise(layer.digest, len(layer.blob), layer.diff_id)
            staged.append(unpack_layer([layer.blob], promise, staging.path / str(number)))
        store.commit_image(NewImage(image.manifest, image.digest, image.config, (NAME,)), staged, staging)
    return tmp_path


def notes(done: subprocess.CompletedProcess[str]) -> set[str]:
    """What the check has to say about files, without the times."""
    return {_TIME.sub("time", line.strip()) for line in done.stdout.splitlines() if line.startswith("\t*")}


def test_check_finds_nothing_in_ours(work: Path) -> None:
    done = podman_inside(work, "/shared/empty", "system", "check", additional="/shared/ours")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # The check has looked at ours: of a damaged one it does complain.
    split = next((work / "ours/overlay-layers").glob("*.tar-split.gz"))
    split.unlink()
    done = podman_inside(work, "/shared/empty", "system", "check", additional="/shared/ours")
    assert done.returncode != 0
    assert split.name.partition(".")[0] in done.stdout + done.stderr


def test_check_as_primary_reports_nothing_that_it_does_not_report_of_its_own(work: Path) -> None:
    pulled = podman_inside(work, "/shared/theirs", "pull", "-q", "oci:/shared/image")
    assert pulled.returncode == 0, pulled.stderr
    theirs = notes(podman_inside(work, "/shared/theirs", "system", "check"))
    ours = notes(podman_inside(work, "/shared/ours", "system", "check"))
    assert ours <= theirs
    # It wants directories that a layer implies to look like those below: ours do, its own do not.
    assert any("/etc(" in note for note in theirs)
    assert not any("/etc(" in note for note in ours)


def test_it_exports_ours_and_pulls_no_layer_of_it(work: Path) -> None:
    saved = podman_inside(
        work, "/shared/empty", "save", "--format", "oci-dir", "-o", "/shared/saved", NAME, additional="/shared/ours"
    )
    assert saved.returncode == 0, saved.stderr
    pulled = podman_inside(work, "/shared/empty", "pull", "-q", "oci:/shared/image", additional="/shared/ours")
    assert pulled.returncode == 0, pulled.stderr
    assert list((work / "empty/overlay").glob("*/diff")) == []
    assert json.loads((work / "empty/overlay-images/images.json").read_text())


def test_it_takes_our_edit_of_storage_conf(work: Path) -> None:
    text = add_store(default_conf(StorageConf(graphroot=Path("/shared/own"))), Path("/shared/ours"), "storage.conf")
    (work / "storage.conf").write_text(text)
    podman = ["env", "CONTAINERS_STORAGE_CONF=/shared/storage.conf", "podman", "--events-backend", "file"]
    listed = run_inside(work, *podman, "images", "--format", "json")
    assert [row["ReadOnly"] for row in json.loads(listed.stdout)] == [True], listed.stderr
    # What the export looks for to see that podman has read it.
    info = run_inside(work, *podman, "info", "--format", "json")
    assert "/shared/ours" in str(json.loads(info.stdout)["store"]["graphOptions"])


def test_it_writes_into_ours_as_its_primary(work: Path) -> None:
    store = Store(work / "ours", work / "staging")
    tagged = podman_inside(work, "/shared/ours", "tag", NAME, "localhost/second:1")
    assert tagged.returncode == 0, tagged.stderr
    image = store.find_image("localhost/second:1")
    assert image is not None
    assert set(image.names) == {NAME, "localhost/second:1"}
    listed = podman_inside(work, "/shared/ours", "images", "--format", "json")
    assert json.loads(listed.stdout)[0]["Id"] == image.id
    removed = podman_inside(work, "/shared/ours", "rmi", "-f", image.id)
    assert removed.returncode == 0, removed.stderr
    assert (store.images(), store.layers()) == ([], {})
