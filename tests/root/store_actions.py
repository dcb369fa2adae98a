"""Small works on an image store, some as a command of their own: ``python -m tests.root.store_actions WHAT STATE``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.images import Image
from syscontainers.storage.store import Store
from tests import images

BASE = images.layer({"etc/os-release": "ID=test\n", "bin/tool": images.program("#!/bin/true\n")})
OLD_TOP = images.layer({"etc/version": "1\n"})
NEW_MIDDLE = images.layer({"srv/data": "x" * 5000, "srv/link": images.symlink("data")}, compression="zstd")
# Without an entry for etc/, so that committing copies what the layer below says of it.
NEW_TOP = images.layer(images.make_tar({"etc/version": "2\n", "srv/.wh.data": ""}, parents=False))
OLD = images.build_image([BASE, OLD_TOP], {"Cmd": ["/bin/tool"]})
# The same config with another manifest, as a registry gives it after a second push with another tool.
PUSHED_AGAIN = images.build_image([BASE, OLD_TOP], {"Cmd": ["/bin/tool"]}, change={"annotations": {"push": "2"}})
NEW = images.build_image([BASE, NEW_MIDDLE, NEW_TOP], {"Cmd": ["/bin/tool"]})
OTHER_NAME = "registry.example/test:old"


def open_store(state: Path) -> Store:
    return Store(state / "storage", state / "staging")


def pull(state: Path, name: str) -> None:
    from syscontainers.images.pull import PullRequest
    from syscontainers.images.pull import pull as pull_image
    from syscontainers.images.reference import Reference

    settings = replace(Settings(), state=state, storage=state / "storage")
    request = PullRequest(plain_http=True)
    pull_image(Reference.parse(name), open_store(state), request, settings, Progress(quiet=True))


def _find(store: Store, image: images.Image) -> Image | None:
    return next((found for found in store.images() if found.id == image.image_id), None)


def _give_other_name(state: Path, image: images.Image) -> None:
    store = open_store(state)
    found = _find(store, image)
    assert found
    store.tag(found, OTHER_NAME)


def name_old(state: Path) -> None:
    _give_other_name(state, OLD)


def move_name(state: Path) -> None:
    _give_other_name(state, NEW)


def remove_old(state: Path) -> None:
    store = open_store(state)
    found = _find(store, OLD)
    if found:
        store.remove_image(found)
    store.prune_layers()


def prune(state: Path) -> None:
    open_store(state).prune_layers()


def hold(state: Path) -> None:
    store = open_store(state)
    store.hold_image(store.images()[0], "/containers/test.0", "syscontainers-test.0")


def release(state: Path) -> None:
    open_store(state).release_image("/containers/test.0")


ACTIONS: dict[str, Callable[[Path], None]] = {
    action.__name__: action for action in (name_old, move_name, remove_old, prune, hold, release)
}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](Path(sys.argv[2]))
