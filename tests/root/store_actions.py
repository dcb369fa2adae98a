"""Small works on an image store, each as a command of its own: ``python -m tests.root.store_actions WHAT STATE``."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from syscontainers.storage.images import Image, NewImage
from syscontainers.storage.layers import Layer, layer_ids
from syscontainers.storage.staged import StagedLayer
from syscontainers.storage.store import Store
from tests import images

BASE = images.layer({"etc/os-release": "ID=test\n", "bin/tool": images.program("#!/bin/true\n")})
OLD_TOP = images.layer({"etc/version": "1\n"})
NEW_MIDDLE = images.layer({"srv/data": "x" * 5000, "srv/link": images.symlink("data")})
NEW_TOP = images.layer({"etc/version": "2\n"})
OLD = images.build_image([BASE, OLD_TOP], {"Cmd": ["/bin/tool"]})
NEW = images.build_image([BASE, NEW_MIDDLE, NEW_TOP], {"Cmd": ["/bin/tool"]})
OLD_NAME, NEW_NAME, MOVED_NAME = (f"registry.example/test:{tag}" for tag in ("old", "new", "latest"))


def open_store(state: Path) -> Store:
    return Store(state / "storage", state / "staging")


def find(store: Store, image: images.Image) -> Image:
    return next(found for found in store.images() if found.id == image.image_id)


def stage(layer: images.Layer, directory: Path) -> StagedLayer:
    (directory / "diff").mkdir(parents=True)
    # GNU tar and not tarfile, which passes over errors in silence.
    subprocess.run(["tar", "-x", "--directory", directory / "diff"], input=layer.tar, check=True)
    (directory / "tar-split.gz").write_bytes(gzip.compress(b"", mtime=0))
    sizes = len(layer.tar), layer.digest, len(layer.blob)
    return StagedLayer(directory, layer.diff_id, *sizes, 2, (0,), (0,), ())


def add(state: Path, image: images.Image, *names: str) -> None:
    store = open_store(state)
    identities = layer_ids(layer.diff_id for layer in image.layers)
    with store.claim_layers(identities) as present, store.staging_directory() as directory:
        layers: list[StagedLayer | Layer] = [
            present.get(identity) or stage(layer, directory / identity[:8])
            for identity, layer in zip(identities, image.layers, strict=True)
        ]
        store.commit_image(NewImage(image.manifest, image.digest, image.config, names), layers)


def add_old(state: Path) -> None:
    add(state, OLD, OLD_NAME, MOVED_NAME)


def add_new(state: Path) -> None:
    add(state, NEW, NEW_NAME, MOVED_NAME)


def remove_old(state: Path) -> None:
    store = open_store(state)
    store.remove_image(find(store, OLD))
    store.prune_layers()


def move_name(state: Path) -> None:
    store = open_store(state)
    store.tag(find(store, NEW), OLD_NAME)


def prune(state: Path) -> None:
    open_store(state).prune_layers()


ACTIONS: dict[str, Callable[[Path], None]] = {
    action.__name__: action for action in (add_old, add_new, remove_old, move_name, prune)
}

if __name__ == "__main__":
    ACTIONS[sys.argv[1]](Path(sys.argv[2]))
