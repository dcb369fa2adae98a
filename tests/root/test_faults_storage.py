"""The image store under injected faults: nothing listed that is not whole, nothing left behind, nothing lost.

The same for each action: after any fault the store reads as before or as after it; podman agrees; the same action
once more succeeds, and then the tree is, file by file, what an undisturbed run makes of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from syscontainers.storage.images import Image
from syscontainers.storage.store import Store
from tests import images
from tests.faults import CRASHES, FAILURES, Campaign, DirectoryBench, DiskBench, Fault, Run, Sample, Watch
from tests.registry import real_registry
from tests.root import store_actions
from tests.root.store_actions import NEW, OLD, PUSHED_AGAIN, open_store

pytestmark = pytest.mark.root

SCENARIOS = {
    # action: what comes before it
    "pull_old": (),
    "pull_new": ("pull_old",),
    "pull_from_registry": ("pull_old",),
    "pull_pushed_again": ("pull_old",),
    "move_name": ("pull_old", "name_old", "pull_new"),
    "remove_old": ("pull_old", "name_old", "pull_new"),
    "prune": ("pull_old", "pull_new"),
}
FAULTS: dict[str, tuple[Fault, ...]] = {"crash": CRASHES, "error": FAILURES, "power cut": (Fault.POWER_CUT,)}
TREES = {
    layer.diff_id: sorted(names)
    for layer, names in (
        (store_actions.BASE, ["bin", "bin/tool", "etc", "etc/os-release"]),
        (store_actions.OLD_TOP, ["etc", "etc/version"]),
        (store_actions.NEW_MIDDLE, ["srv", "srv/data", "srv/link"]),
        (store_actions.NEW_TOP, ["etc", "etc/version", "srv", "srv/data"]),
    )
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """What each pull is of. Old and new have one name, which the new one takes over."""
    place = tmp_path_factory.mktemp("sources")
    images.write_oci_layout(place / "1/test", {"latest": OLD})
    images.write_oci_layout(place / "2/test", {"latest": NEW})
    images.write_oci_layout(place / "3/test", {"latest": PUSHED_AGAIN})
    with real_registry(place / "registry") as registry:
        yield {
            "pull_old": f"oci:{place}/1/test:latest",
            "pull_new": f"oci:{place}/2/test:latest",
            "pull_pushed_again": f"oci:{place}/3/test:latest",
            "pull_from_registry": images.push(NEW, registry, "test", "latest"),
        }


def act(action: str, state: Path, sources: Mapping[str, str]) -> None:
    if action in sources:
        store_actions.pull(state, sources[action])
    else:
        store_actions.ACTIONS[action](state)


def command(action: str, state: Path, sources: Mapping[str, str]) -> list[str]:
    python = [sys.executable, "-B", "-m"]
    if action not in sources:
        return [*python, "tests.root.store_actions", action, str(state)]
    config = state.parent / "config.toml"
    config.write_text(f'state = "{state}"\n')
    return [*python, "syscontainers", "--config", str(config), "pull", "--plain-http", sources[action]]


def fingerprint(state: Path) -> dict[str, str]:
    """Every file with its mode and content, times of records and contents of locks left out."""
    found = {}
    for directory, directories, names in os.walk(state):
        for path in (Path(directory, name) for name in (*directories, *names)):
            status = path.lstat()
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode) and path.suffix != ".lock":
                data = re.sub(rb'"created":"[^"]*"', b"", path.read_bytes())
                content = hashlib.sha256(data).hexdigest()[:12]
            found[str(path.relative_to(state))] = f"{status.st_mode:o} {status.st_uid} {content}"
    return found


def check_whole(store: Store, image: Image) -> None:
    """Every layer with every file, and the documents with their digests."""
    chain = store.chain(image)
    lowers = store.lower_directories(image)
    assert all(lower.is_dir() for lower in lowers), f"{image.id[:12]}: a lower directory is missing"
    for layer, link in zip(reversed(chain), lowers, strict=False):
        content = store.paths.diff(layer.id)
        names = sorted(str(path.relative_to(content)) for path in content.rglob("*"))
        assert names == TREES[layer.diff_id], f"layer {layer.id[:12]} has {names}"
        assert link.resolve() == content
        assert store.paths.tar_split(layer.id).stat().st_size
        if layer.diff_id == store_actions.NEW_MIDDLE.diff_id:
            assert (content / "srv/data").read_text() == "x" * 5000
    config = json.loads(store.read_config(image))
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in chain]
    assert images.digest_of(store.read_manifest(image)) == image.digest
    for digest in image.digests:
        assert images.digest_of(store.read_index(image, digest)) == digest
    # Of several manifests of one config the other may be there, until the next command of ours.
    assert images.digest_of(store.read_plain_manifest(image)) in image.digests


def view(store: Store) -> frozenset[tuple[str, str, str]]:
    """What is listed, by image, manifest and name; all of it whole."""
    found = store.images()
    for image in found:
        check_whole(store, image)
    return frozenset((image.id, image.digest, name) for image in found for name in image.names or ("<none>",))


def podman_view(state: Path) -> frozenset[tuple[str, str, str]]:
    """The same as podman sees it, with ours as an additional store of a fresh one of its own."""
    # Not below pytest's directory: podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory() as own:
        argv = ["podman", "--root", f"{own}/root", "--runroot", f"{own}/run", "--storage-driver", "overlay"]
        argv += ["--storage-opt", f"overlay.imagestore={state / 'storage'}", "images", "-a", "--format", "json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman: {done.stderr}"
    assert "error" not in done.stderr.lower(), f"podman: {done.stderr}"
    return frozenset(
        (image["Id"], image["Digest"], name)
        for image in json.loads(done.stdout)
        for name in image.get("Names") or ("<none>",)
    )


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("action", SCENARIOS)
def test_store_survives(tmp_path: Path, sources: Mapping[str, str], action: str, kind: str) -> None:
    def prepare(state: Path) -> None:
        for before in SCENARIOS[action]:
            act(before, state, sources)

    old_state, new_state = tmp_path / "old", tmp_path / "new"
    for each in (old_state, new_state):
        each.mkdir()
        prepare(each)
    act(action, new_state, sources)
    old, new, expected = view(open_store(old_state)), view(open_store(new_state)), fingerprint(new_state)
    allowed = {old, new}
    if action == "remove_old":  # two transactions: the image, then its layers
        allowed.add(frozenset(entry for entry in old if entry[0] != OLD.image_id))

    def check(state: Path, run: Run) -> str:
        store = open_store(state)
        found = view(store)
        if store.paths.images_lock.exists():
            assert podman_view(state) == found
        assert found in allowed, f"neither old nor new: {found}"
        assert run.status or found == new, "it said it was done"
        assert action not in sources or "Traceback" not in run.errors
        act(action, state, sources)
        got = fingerprint(state)
        wrong = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
        assert not wrong, f"not the new state after doing it again: {wrong}"
        return "old" if found != new else "new" if run.status <= 0 else "new, though it failed"

    place = tmp_path / "bench"
    report = Campaign(
        DiskBench(place, prepare) if kind == "power cut" else DirectoryBench(place, prepare),
        lambda state: command(action, state, sources),
        check,
        Watch((str(place / "state"),)),
        FAULTS[kind],
    ).run(Sample.from_environment(40))
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed
