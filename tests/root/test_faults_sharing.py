"""Faults while an image is taken over, while it is held for a generation, and while storage.conf is edited."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from syscontainers.storage.check import check_store
from syscontainers.storage.store import Store
from tests.faults import CRASHES, FAILURES, Campaign, DirectoryBench, DiskBench, Fault, Run, Sample, Watch
from tests.root import store_actions
from tests.root.store_actions import NEW, open_store
from tests.root.test_faults_storage import fingerprint

pytestmark = pytest.mark.root

FAULTS: dict[str, tuple[Fault, ...]] = {"crash": CRASHES, "error": FAILURES, "power cut": (Fault.POWER_CUT,)}
USERS_CONF = '[storage]\ndriver = "overlay" # ours\n\n[storage.options]\nadditionalimagestores = ["/a"]\n'


def run_campaign(
    place: Path,
    kind: str,
    prepare: Callable[[Path], None],
    command: Callable[[Path], list[str]],
    check: Callable[[Path, Run], str],
    env: Mapping[str, str] | None = None,
) -> None:
    report = Campaign(
        DiskBench(place, prepare) if kind == "power cut" else DirectoryBench(place, prepare),
        command,
        check,
        Watch((str(place / "state"),)),
        FAULTS[kind],
        env=env,
    ).run(Sample.from_environment(24))
    print(report.table(), report.summary(), sep="\n")
    report.require_good()
    assert not report.missed


def syscontainer(state: Path, *words: str) -> list[str]:
    config = state.parent / "config.toml"
    config.write_text(f'state = "{state}"\n')
    return [sys.executable, "-B", "-m", "syscontainers", "--config", str(config), *words]


def store_problems(store: Store) -> list[str]:
    return [str(finding) for finding in check_store(store)]


# Taking an image over


def theirs(state: Path) -> Store:
    return Store(state / "theirs/storage", state / "theirs/staging")


def make_theirs(state: Path) -> None:
    """Another store with an image, in the place that no command writes to."""
    from syscontainers.images.pull import PullRequest, pull
    from syscontainers.images.reference import Reference
    from syscontainers.progress import Progress
    from syscontainers.settings import Settings
    from tests import images

    images.write_oci_layout(state / "layout", {"": NEW})
    name = Reference.parse(f"oci:{state}/layout")
    image = pull(name, theirs(state), PullRequest(), Settings(), Progress(quiet=True))
    theirs(state).tag(image, "registry.example/test:1")


def adopt_command(state: Path) -> list[str]:
    return syscontainer(state, "pull", f"containers-storage:[overlay@{state}/theirs/storage]registry.example/test:1")


@pytest.mark.parametrize("kind", FAULTS)
def test_taking_over_survives(tmp_path: Path, kind: str) -> None:
    def check(state: Path, run: Run) -> str:
        store = open_store(state)
        found = [image.id for image in store.images()]
        assert found in ([], [NEW.image_id]), found
        assert run.status or found, "it said it was done"
        assert "Traceback" not in run.errors
        before = fingerprint(state / "theirs")
        store.create()  # what the next command does first
        assert store_problems(store) == []
        assert os.spawnv(os.P_WAIT, sys.executable, adopt_command(state)) == 0
        assert [image.id for image in store.images()] == [NEW.image_id]
        assert store_problems(store) == []
        assert list(store.staging.iterdir()) == []
        assert fingerprint(state / "theirs") == before
        assert store_problems(theirs(state)) == []
        return "new" if found else "old"

    run_campaign(tmp_path / "bench", kind, make_theirs, adopt_command, check)


# Holding an image in a store that podman uses too


def act(state: Path, action: str) -> list[str]:
    return [sys.executable, "-B", "-m", "tests.root.store_actions", action, str(state)]


@pytest.mark.parametrize("action", ["hold", "release"])
@pytest.mark.parametrize("kind", FAULTS)
def test_holding_survives(tmp_path: Path, kind: str, action: str) -> None:
    def prepare(state: Path) -> None:
        make_theirs(state)
        (state / "theirs").rename(state / "gone")
        (state / "gone/storage").rename(state / "storage")
        (state / "gone/staging").rename(state / "staging")
        if action == "release":
            store_actions.hold(state)

    def check(state: Path, run: Run) -> str:
        store = open_store(state)
        held = len(store.containers())
        wanted = 1 if action == "hold" else 0
        assert held in (0, 1)
        assert run.status or held == wanted, "it said it was done"
        store.create()
        assert store_problems(store) == []
        store_actions.ACTIONS[action](state)
        assert store_problems(store) == []
        assert len(store.containers()) == wanted
        # The layer of a container, and nothing besides those of the image.
        assert len(store.layers()) == len(NEW.layers) + wanted
        assert list(store.staging.iterdir()) == []
        return "new" if held == wanted else "old"

    run_campaign(tmp_path / "bench", kind, prepare, lambda state: act(state, action), check)


# Editing storage.conf


@pytest.mark.parametrize(("before", "action"), [(None, "export"), (USERS_CONF, "undo")], ids=["made", "taken back"])
@pytest.mark.parametrize("kind", FAULTS)
def test_editing_survives(tmp_path: Path, kind: str, before: str | None, action: str) -> None:
    place = tmp_path / "bench"
    conf = place / "state/etc/storage.conf"
    # A PATH without podman: that is asked on a real systemd (tests/machine/test_sharing.py).
    env = {"CONTAINERS_STORAGE_CONF": str(conf), "PATH": "/nowhere", "PYTHONPATH": str(Path(__file__).parents[2])}

    def call(state: Path, *words: str) -> int:
        return os.spawnve(os.P_WAIT, sys.executable, syscontainer(state, "storage", "export", *words), env)

    def prepare(state: Path) -> None:
        (state / "etc").mkdir()
        if before is not None:
            conf.write_text(before)
        if action == "undo":
            assert call(state) == 0

    def text() -> str | None:
        return conf.read_text() if conf.exists() else None

    def check(state: Path, run: Run) -> str:
        storage = f'"{state}/storage"'
        found = text()
        exported = found is not None and storage in found
        assert exported or found == before, f"neither: {found}"
        assert run.status or exported == (action == "export"), "it said it was done"
        assert "Traceback" not in run.errors
        # Whichever it was: both ways are open, and lead to the very same.
        assert call(state) == 0
        assert storage in str(text())
        assert call(state, "--undo") == 0
        assert text() == before
        assert [path.name for path in (state / "etc").iterdir() if path.name != "storage.conf"] == []
        assert not (state / "exported.json").exists()
        return "exported" if exported else "not"

    words = ["--undo"] if action == "undo" else []
    run_campaign(place, kind, prepare, lambda state: syscontainer(state, "storage", "export", *words), check, env)
