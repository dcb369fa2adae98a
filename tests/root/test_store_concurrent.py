"""Pulls of ours and podman's commands at once, in podman's own store, and what either waits for."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from syscontainers.storage.store import Store
from syscontainers.storage.verify import verify_image
from tests import images
from tests.registry import FaultyRegistry, Reply, Request, real_registry
from tests.root.newer_podman import podman_inside
from tests.root.storage_tools import Podman, podman_on
from tests.waiting import wait_for

pytestmark = pytest.mark.root

IMAGES, EACH = 18, 12
CHECKOUT = Path(__file__).parents[2]


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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """podman's, and our settings for it, written once: a command that starts during a write would find none."""
    store = Store(tmp_path / "primary", tmp_path / ".syscontainers-staging")
    settings(store).write_text(f'state = "{tmp_path}/state"\nstorage = "{store.root}"\n')
    return store


def settings(store: Store) -> Path:
    return store.root.parent / "config.toml"


def syscontainer(store: Store, *words: str) -> list[str]:
    """The command, with podman's store as its own."""
    return [sys.executable, "-m", "syscontainers", "--config", str(settings(store)), *words]


def start(words: Sequence[str | Path]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=CHECKOUT)


def pull_all(podman: Podman, store: Store, host: str) -> None:
    """Six images by each alone, and six by both."""
    processes = []
    for mine, number in enumerate(reversed(range(IMAGES - EACH, IMAGES))):
        processes.append(start(podman.argv("pull", "-q", "--tls-verify=false", f"{host}/many:{number}")))
        processes.append(start(syscontainer(store, "pull", "--plain-http", f"{host}/many:{mine}")))
    for process in processes:
        error = process.communicate(timeout=300)[1].decode()
        assert process.returncode == 0, error


def check_nothing_is_astray(store: Store) -> None:
    """Each directory and link belongs to a layer that is listed."""
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


def check_with_newer_podman(store: Store) -> None:
    """``podman system check``, which this host's podman has not."""
    shutil.rmtree(store.root / "libpod")  # it knows the store by the path that it has outside
    done = podman_inside(store.root.parent, f"/shared/{store.root.name}", "system", "check")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def blobs_fetched_by_ours(log: Path) -> Counter[str]:
    fetched = re.findall(r'"GET /v2/many/blobs/(sha256:[0-9a-f]+) HTTP/1.1" 200 .*"syscontainers/', log.read_text())
    return Counter(fetched)


def test_pulls_of_both_at_once(store: Store, registry: tuple[str, Path]) -> None:
    host, log = registry
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
    check_with_newer_podman(store)
    fetched = blobs_fetched_by_ours(log)
    assert fetched
    assert set(fetched.values()) == {1}


def test_podman_works_while_ours_unpacks(tmp_path: Path, store: Store) -> None:
    """No lock of the store is held: podman's commands end while the layer is still coming in."""
    layer, hold = random_layer(1), threading.Event()

    def stall(request: Request, honest: Reply) -> Reply | None:
        if layer.digest not in request.path:
            return None
        return replace(honest, cut=len(layer.blob) * 9 // 10, hang=hold, length=True)

    with FaultyRegistry(stall) as registry, podman_on(store.root) as podman:
        other = images.build_image([random_layer(2)])
        images.write_oci_layout(tmp_path / "other", {"": other})
        registry.add(images.build_image([layer]), "1")
        podman("images")
        process = start(syscontainer(store, "pull", "--plain-http", f"{registry.host}/x:1"))
        try:
            wait_for(lambda: any(store.staging.glob("storage-*/*/diff/d1/f1")), "no file comes")
            # Reading, writing layers and images, making and removing containers.
            podman("pull", "-q", f"oci:{tmp_path / 'other'}")
            podman("tag", other.image_id, "localhost/other:1")
            podman("rm", podman("create", "localhost/other:1", "/x").strip())
            podman("rmi", "--force", other.image_id)
            assert podman.json("images", "--format", "json") == []
            assert process.poll() is None
            assert any(store.staging.glob("storage-*/*/diff/d1/f1"))
        finally:
            registry.answer = None
            hold.set()
            error = process.communicate(timeout=300)[1].decode()
        assert process.returncode == 0, error
        assert len(podman.json("images", "--format", "json")) == 1
        check_nothing_is_astray(store)


# strace -y writes descriptors with their paths.
LOCKED = re.compile(r"fcntl\(\d+<[^>]*/layers\.lock>, F_OFD_SETLKW, \{l_type=F_WRLCK")
RELEASED = re.compile(r"close\(\d+<[^>]*/layers\.lock>")


def calls_under_lock(trace: Path) -> list[str]:
    """The system calls that touch the disk between taking layers.lock and giving it back."""
    held, calls = False, []
    for line in trace.read_text().splitlines():
        if LOCKED.search(line):
            held = True
        elif RELEASED.search(line):
            held = False
        elif held:
            calls.append(line)
    assert calls
    return calls


@pytest.mark.parametrize("files", [3, 3000])
def test_under_the_lock_is_only_what_does_not_grow_with_the_image(tmp_path: Path, store: Store, files: int) -> None:
    """Renames and two small files for an image of three layers, whatever is in them; nobody waits for more."""
    layers = [images.layer({f"d{number}/f{n}": "x" * 1000 for n in range(files)}) for number in range(3)]
    images.write_oci_layout(tmp_path / "image", {"": images.build_image(layers)})
    store.create()
    traced = "trace=fcntl,close,openat,write,pwrite64,rename,renameat,link,symlink,mkdir,unlink,fsync,fdatasync,syncfs"
    words: list[str | Path] = ["strace", "-f", "-y", "-e", traced, "-o", tmp_path / "trace"]
    process = start([*words, *syscontainer(store, "pull", f"oci:{tmp_path / 'image'}")])
    error = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 0, error
    calls = calls_under_lock(tmp_path / "trace")
    assert [line for line in calls if "/diff/" in line or "syncfs" in line] == []
    assert len(calls) < 100
