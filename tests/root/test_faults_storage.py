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
from pathlib import Path

import pytest

from syscontainers.storage.images import Image
from syscontainers.storage.store import Store
from tests.faults import CRASHES, FAILURES, Campaign, DirectoryBench, DiskBench, Fault, Run, Sample, Watch
from tests.root import store_actions
from tests.root.store_actions import OLD, open_store

pytestmark = pytest.mark.root

SCENARIOS = {
    # action: what comes before it
    "add_old": [],
    "add_new": ["add_old"],
    "remove_old": ["add_old", "add_new"],
    "move_name": ["add_old", "add_new"],
    "prune": ["add_old", "add_new"],
}
TREES = {
    layer.diff_id: sorted(entries)
    for layer, entries in (
        (store_actions.BASE, ["bin", "bin/tool", "etc", "etc/os-release"]),
        (store_actions.OLD_TOP, ["etc", "etc/version"]),
        (store_actions.NEW_MIDDLE, ["srv", "srv/data", "srv/link"]),
        (store_actions.NEW_TOP, ["etc", "etc/version"]),
    )
}


def act(action: str, state: Path) -> None:
    store_actions.ACTIONS[action](state)


def fingerprint(state: Path) -> dict[str, str]:
    """Every file with its mode and content, times of records left out, and no locks that are nobody's any more."""
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
        assert (store.root / "overlay-layers" / f"{layer.id}.tar-split.gz").exists()
        if layer.diff_id == store_actions.NEW_MIDDLE.diff_id:
            assert (content / "srv/data").read_text() == "x" * 5000
    config = json.loads(store.read_config(image))
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in chain]
    assert f"sha256:{hashlib.sha256(store.read_manifest(image)).hexdigest()}" == image.digest


def view(store: Store) -> frozenset[tuple[str, str]]:
    """What is listed, by image and name; all of it whole."""
    images = store.images()
    for image in images:
        check_whole(store, image)
    return frozenset((image.id, name) for image in images for name in image.names or ("<none>",))


def podman_view(state: Path) -> frozenset[tuple[str, str]]:
    """The same as podman sees it, with ours as an additional store of a fresh one of its own."""
    # Not below pytest's directory: podman refuses a run root of more than 50 characters.
    with tempfile.TemporaryDirectory() as own:
        command = ["podman", "--root", f"{own}/root", "--runroot", f"{own}/run", "--storage-driver", "overlay"]
        command += ["--storage-opt", f"overlay.imagestore={state / 'storage'}", "images", "-a", "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman: {done.stderr}"
    assert "error" not in done.stderr.lower(), f"podman: {done.stderr}"
    return frozenset(
        (image["Id"], name) for image in json.loads(done.stdout) for name in image.get("Names") or ("<none>",)
    )


@pytest.mark.parametrize("action", SCENARIOS)
@pytest.mark.parametrize("kind", ["crash", "error", "power cut"])
def test_store_survives(tmp_path: Path, action: str, kind: str) -> None:
    def prepare(state: Path) -> None:
        for before in SCENARIOS[action]:
            act(before, state)

    old_state, new_state = tmp_path / "old", tmp_path / "new"
    for each in (old_state, new_state):
        each.mkdir()
        prepare(each)
    act(action, new_state)
    old, new, expected = view(open_store(old_state)), view(open_store(new_state)), fingerprint(new_state)

    def check(state: Path, run: Run) -> str:
        store = open_store(state)
        found = view(store)
        if (state / "storage/overlay-images/images.lock").exists():
            assert podman_view(state) == found
        allowed = {old, new}
        if action == "remove_old":
            allowed.add(frozenset(pair for pair in old if pair[0] != OLD.image_id))
        assert found in allowed, f"neither old nor new: {found}"
        assert run.status or found == new, "it said it was done"
        try:
            act(action, state)
        except StopIteration:
            # The old image is gone already; what is left to do is to prune.
            act("prune", state)
        got = fingerprint(state)
        wrong = sorted(name for name in {*got, *expected} if got.get(name) != expected.get(name))
        assert not wrong, f"not the new state after doing it again: {wrong}"
        return "new" if found == new else "old"

    faults: dict[str, tuple[Fault, ...]] = {"crash": CRASHES, "error": FAILURES, "power cut": (Fault.POWER_CUT,)}
    bench = (DiskBench if kind == "power cut" else DirectoryBench)(tmp_path / "bench", prepare)
    report = Campaign(
        bench,
        lambda state: [sys.executable, "-B", "-m", "tests.root.store_actions", action, str(state)],
        check,
        Watch((str(tmp_path / "bench/state"),)),
        faults[kind],
    ).run(Sample.from_environment(40))
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed
