"""Podman's own store as ours: its commands leave alone what a generation stands on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers import files
from syscontainers.errors import NotFoundError
from syscontainers.storage.check import check_store
from syscontainers.storage.garbage import ImageUsedError
from syscontainers.storage.store import Store
from tests.root.newer_podman import podman_inside
from tests.root.storage_tools import Item, Podman, add_image, base_items, podman_on, top_items
from tests.root.test_store import in_child

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
GENERATION = "/var/lib/syscontainers/containers/app.0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "primary", tmp_path / "staging")


@pytest.fixture
def primary(store: Store) -> Iterator[Podman]:
    with podman_on(store.root) as podman:
        podman("images")
        yield podman


def hold(store: Store, generation: str = GENERATION) -> None:
    image = store.find_image(NAME)
    assert image is not None
    store.hold_image(image, generation, f"syscontainers-{generation.rpartition('/')[2]}")


def problems(store: Store) -> list[str]:
    return [str(finding) for finding in check_store(store)]


def test_podman_removes_no_image_that_is_held(store: Store, primary: Podman) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    hold(store)
    assert "in use by a container" in primary("rmi", NAME, check=False)
    primary("image", "prune", "--all", "--force")
    primary("system", "prune", "--all", "--force")
    assert store.images() == [image]
    (listed,) = primary.json("ps", "--all", "--external", "--format", "json")
    assert (listed["Names"], listed["Image"], listed["Status"]) == (["syscontainers-app.0"], NAME, "Storage")
    assert problems(store) == []
    # podman goes on working with it.
    container = primary("create", NAME).strip()
    assert (Path(primary("mount", container).strip()) / "etc/motd").read_text() == "top\n"
    primary("umount", container)
    primary("rm", container)


def test_released_it_goes(store: Store, primary: Podman) -> None:
    add_image(store, NAME, base_items(), top_items())
    hold(store)
    store.release_image(GENERATION)
    store.release_image(GENERATION)
    assert store.containers() == []
    primary("image", "prune", "--all", "--force")
    assert (store.images(), store.layers()) == ([], {})
    assert problems(store) == []
    assert primary.json("ps", "--all", "--external", "--format", "json") == []


def test_several_generations_hold_one_image(store: Store, primary: Podman) -> None:
    add_image(store, NAME, base_items())
    for generation in (GENERATION, f"{GENERATION}1", GENERATION):
        hold(store, generation)
    assert len(store.containers()) == 2
    store.release_image(GENERATION)
    primary("image", "prune", "--all", "--force")
    assert len(store.images()) == 1


def test_an_image_that_podman_has_built(store: Store, primary: Podman, tmp_path: Path) -> None:
    add_image(store, NAME, base_items())
    (tmp_path / "Containerfile").write_text(f"FROM {NAME}\nCOPY Containerfile /made\n")
    primary("build", "-q", "--network", "none", "-t", "localhost/made", "-f", tmp_path / "Containerfile", tmp_path)
    image = store.find_image("localhost/made:latest")
    assert image is not None
    store.hold_image(image, GENERATION, "syscontainers-app.0")
    primary("image", "prune", "--all", "--force")
    assert [found.id for found in store.images()] == [image.id]
    assert problems(store) == []


def test_ours_is_not_removed_by_us_either(store: Store) -> None:
    image = add_image(store, NAME, base_items())
    hold(store)
    with pytest.raises(ImageUsedError, match=r"used by container syscontainers-app\.0"):
        store.remove_image(image)


def test_what_podman_was_forced_to_remove_is_gone_wholly(store: Store, primary: Podman) -> None:
    image = add_image(store, NAME, base_items(), top_items())
    hold(store)
    primary("rmi", "--force", NAME)
    assert (store.images(), store.containers(), store.layers()) == ([], [], {})
    store.release_image(GENERATION)
    with pytest.raises(NotFoundError, match="not in"):
        store.hold_image(image, GENERATION, "again")
    assert problems(store) == []
    assert list(store.staging.iterdir()) == []


def test_check_of_podman_5_has_nothing_to_say(store: Store, tmp_path: Path) -> None:
    add_image(store, NAME, [Item("a/", mode=0o755), Item("a/x", b"x")], [Item("b", b"b")])
    hold(store)
    done = podman_inside(tmp_path, "/shared/primary", "system", "check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    pruned = podman_inside(tmp_path, "/shared/primary", "image", "prune", "--all", "--force")
    assert pruned.returncode == 0, pruned.stderr
    assert len(store.images()) == 1


@pytest.mark.parametrize("act", ["hold", "release"])
@pytest.mark.parametrize("step", range(2))
def test_killed_between_the_records(
    store: Store, primary: Podman, monkeypatch: pytest.MonkeyPatch, act: str, step: int
) -> None:
    """Layers' and containers' records change one after the other; killed after either, all is well the next time."""
    add_image(store, NAME, base_items(), top_items())
    if act == "release":
        hold(store)
    replace_file = files.replace_file
    written: list[str] = []

    def replace_then_die(path: Path, data: bytes, mode: int = 0o644) -> None:
        replace_file(path, data, mode)
        written.append(path.name)
        if len([name for name in written if name.endswith(".json")]) > step:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        if act == "hold":
            hold(store)
        else:
            store.release_image(GENERATION)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace_file", replace_then_die)
        assert in_child(work) == -signal.SIGKILL
    primary("images")
    store.create()
    assert problems(store) == []
    work()
    assert problems(store) == []
    assert len(store.containers()) == (1 if act == "hold" else 0)
    assert json.loads(primary("images", "--format", "json"))
