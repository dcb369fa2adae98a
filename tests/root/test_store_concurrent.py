"""Twelve pulls of ours and twelve of podman at once, into podman's own store."""

from __future__ import annotations

import io
import json
import multiprocessing
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers.images.pull import PullRequest, pull
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.store import Store
from syscontainers.storage.verify import verify_image
from tests import images
from tests.registry import real_registry
from tests.root.storage_tools import Podman, podman_on

pytestmark = pytest.mark.root

FORK = multiprocessing.get_context("fork")
IMAGES, EACH = 18, 12


def random_layer(seed: int) -> images.Layer:
    source = random.Random(seed)
    return images.layer({f"d{seed}/f{n}": source.randbytes(source.randrange(40_000)) for n in range(30)})


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Images that share layers in many ways, and the registry's log."""
    with real_registry(tmp_path / "registry") as host:
        for number in range(IMAGES):
            seeds = (0, 10 + number % 3, 100 + number % 6, 1000 + number)
            images.push(images.build_image([random_layer(seed) for seed in seeds]), host, "many", str(number))
        yield host, tmp_path / "registry/log"


def pull_with_ours(store: Store, name: str) -> None:
    silent = Progress(io.StringIO(), quiet=True)
    pull(Reference.parse(name), store, PullRequest(plain_http=True), Settings(), silent)


def pull_all(podman: Podman, store: Store, host: str) -> None:
    """Six images by each alone, and twelve by both."""
    ours = [FORK.Process(target=pull_with_ours, args=(store, f"{host}/many:{number}")) for number in range(EACH)]
    theirs = []
    for mine, number in zip(ours, reversed(range(IMAGES - EACH, IMAGES)), strict=True):
        words = podman.argv("pull", "-q", "--tls-verify=false", f"{host}/many:{number}")
        theirs.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        mine.start()
    for mine in ours:
        mine.join(300)
    for process in theirs:
        error = process.communicate(timeout=300)[1].decode()
        assert process.returncode == 0, error
    assert [mine.exitcode for mine in ours] == [0] * EACH


def check_nothing_is_astray(store: Store) -> None:
    """What podman's newer versions check: each directory and link belongs to a layer that is listed."""
    layers = set(store.layers())
    found = {path.name for path in (store.root / "overlay").iterdir() if path.is_dir()} - {"l"}
    assert found == layers
    links = {path.name: path.readlink().parts[1] for path in (store.root / "overlay/l").iterdir()}
    assert set(links.values()) == layers
    assert len(links) == len(layers)
    assert all((store.root / "overlay" / layer / "link").read_text() == link for link, layer in links.items())
    splits = {path.name.partition(".")[0] for path in (store.root / "overlay-layers").glob("*.tar-split.gz")}
    assert splits == layers
    assert list(store.staging.iterdir()) == []


def blobs_fetched_by_ours(log: Path) -> Counter[str]:
    fetched = re.findall(r'"GET /v2/many/blobs/(sha256:[0-9a-f]+) HTTP/1.1" 200 .*"syscontainers/', log.read_text())
    return Counter(fetched)


def test_pulls_of_both_at_once(tmp_path: Path, registry: tuple[str, Path]) -> None:
    host, log = registry
    store = Store(tmp_path / "primary", tmp_path / "staging")
    with podman_on(store.root) as podman:
        podman("images")
        pull_all(podman, store, host)
        wanted = {f"{host}/many:{number}" for number in range(IMAGES)}
        assert {name for image in store.images() for name in image.names} == wanted
        listed = podman.json("images", "--format", "json")
        assert {name for image in listed for name in image["Names"]} == wanted
        assert len(listed) == IMAGES
        check_nothing_is_astray(store)
        for image in store.images():
            assert [str(finding) for finding in verify_image(store, image)] == []
            config = json.loads(store.read_config(image))
            assert [layer.diff_id for layer in store.chain(image)] == config["rootfs"]["diff_ids"]
    fetched = blobs_fetched_by_ours(log)
    assert fetched
    assert set(fetched.values()) == {1}
