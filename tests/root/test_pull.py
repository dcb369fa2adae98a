"""Pulling from a real registry into a real store, and what podman then says about it."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from syscontainers.errors import (
    DigestError,
    HostileArchiveError,
    NotFoundError,
    RefusedError,
    SyscontainersError,
    UsageError,
)
from syscontainers.images import download, transfers
from syscontainers.images import layers as image_layers
from syscontainers.images.pull import PullRequest, pull
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.images import Image as StoredImage
from syscontainers.storage.store import Store
from tests.images import (
    Entry,
    Image,
    Layer,
    Tree,
    build_image,
    build_index,
    digest_of,
    directory,
    hardlink,
    layer,
    make_config,
    program_from,
    push,
    symlink,
    write_directory,
    write_docker_archive,
    write_oci_archive,
    write_oci_layout,
)
from tests.registry import FaultyRegistry, Reply, Request, blob_reply, error_reply, real_registry
from tests.root.storage_tools import podman_on, tree_of
from tests.waiting import wait_for

pytestmark = pytest.mark.root

BASE: Tree = {
    "etc/config": "one\n",
    "etc/gone": "away",
    "var/lib/data": directory(0o700, 10, 20),
    "var/lib/data/file": Entry(b"x" * 70_000, 0o640, 10, 20),
    "bin/busybox": program_from("/bin/busybox"),
    "bin/sh": symlink("busybox"),
    "bin/again": hardlink("bin/busybox"),
}
TOP: Tree = {"etc/config": "two\n", "etc/.wh.gone": "", "srv": directory(), "srv/new": "new"}
LAST: Tree = {"srv/.wh..wh..opq": "", "srv/newer": "newer"}
PLATFORM = f"linux/{'amd64' if os.uname().machine == 'x86_64' else 'arm64'}"
ARCHITECTURE = PLATFORM.rpartition("/")[2]


def image_of(compressions: tuple[str, ...], *, docker: bool = False) -> Image:
    trees = [layer(tree, kind) for tree, kind in zip((BASE, TOP, LAST), compressions, strict=True)]
    return build_image(trees, {"Cmd": ["/bin/sh"], "Env": ["A=b"]}, docker=docker, architecture=ARCHITECTURE)


@dataclass(frozen=True)
class Host:
    """A host of ours with an empty store, and what it has said."""

    settings: Settings
    store: Store
    said: io.StringIO

    def pull(self, name: str, **request: object) -> StoredImage:
        options = replace(PullRequest(plain_http=True), **request)  # type: ignore[arg-type]
        return pull(Reference.parse(name), self.store, options, self.settings, Progress(self.said))

    def listing(self) -> list[str]:
        """Everything on its disk, apart from lock files, which stay."""
        found = sorted(str(path.relative_to(self.settings.state)) for path in self.settings.state.rglob("*"))
        return [name for name in found if not name.endswith(".lock")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    state = tmp_path / "state"
    settings = Settings(state=state, storage=state / "storage")
    return Host(settings, Store(settings.storage, settings.storage_staging), io.StringIO())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def faulty() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as server:
        yield server


# What is right


@pytest.mark.parametrize(
    ("docker", "compressions"),
    [
        (False, ("gzip", "gzip", "gzip")),
        (False, ("zstd", "zstd", "zstd")),
        (False, ("zstd", "plain", "gzip")),
        (True, ("gzip", "gzip", "gzip")),
        (True, ("gzip", "plain", "gzip")),
    ],
)
def test_podman_sees_what_we_pulled(
    registry: str, host: Host, tmp_path: Path, docker: bool, compressions: tuple[str, ...]
) -> None:
    image = image_of(compressions, docker=docker)
    name = push(image, registry, f"kinds/{'-'.join(compressions)}", "docker" if docker else "oci")
    pulled = host.pull(name)
    assert (pulled.digest, pulled.id, pulled.names) == (image.digest, image.image_id, (name,))
    with podman_on(tmp_path / "theirs", host.store.root) as podman:
        (row,) = podman.json("images", "--format", "json", "--digests")
        assert (row["Id"], row["Digest"], row["Names"], row["ReadOnly"]) == (image.image_id, image.digest, [name], True)
        assert podman.json("inspect", name)[0]["RootFS"]["Layers"] == [each.diff_id for each in image.layers]
        # podman compares what it exports with the layers' digests
        podman("save", "--format", "oci-dir", "-o", tmp_path / "saved", name)
        podman("create", "--name", "c", name)
        mounted = Path(podman("mount", "c").strip())
        assert (mounted / "etc/config").read_text() == "two\n"
        assert not (mounted / "etc/gone").exists()
        assert sorted(path.name for path in (mounted / "srv").iterdir()) == ["newer"]
        assert (mounted / "bin/again").samefile(mounted / "bin/busybox")
        podman("rm", "-f", "c")


def test_zstd_in_docker_manifests_is_refused(registry: str, host: Host) -> None:
    # podman reads no store any more in which there is one.
    with pytest.raises(RefusedError, match=r"layers\[0\].mediaType"):
        host.pull(push(image_of(("zstd", "gzip", "gzip"), docker=True), registry, "docker/zstd", "1"))


def test_our_tree_is_the_one_podman_makes(registry: str, host: Host, tmp_path: Path) -> None:
    name = push(image_of(("gzip", "zstd", "plain")), registry, "same/tree", "1")
    pulled = host.pull(name)
    with podman_on(tmp_path / "theirs") as podman:
        podman("pull", "--tls-verify=false", name)
    for mine in host.store.chain(pulled):
        trees = [
            sorted(tree_of(root / "overlay" / mine.id / "diff")) for root in (host.store.root, tmp_path / "theirs")
        ]
        assert trees[0] == trees[1]


def test_pushed_again_it_has_the_same_manifest_digest(host: Host, tmp_path: Path) -> None:
    # Pushing compresses again, so what is pushed must be the work of the same compressor. Both registries are new,
    # because podman and skopeo would rather re-use a blob that they have seen in one.
    write_oci_layout(tmp_path / "layout", {"1": image_of(("plain", "plain", "plain"))})
    with real_registry(tmp_path / "one") as one, real_registry(tmp_path / "two") as two:
        name = f"{one}/x:1"
        copy = ("skopeo", "copy", "--dest-tls-verify=false", "--digestfile", tmp_path / "digest")
        subprocess.run([*copy, f"oci:{tmp_path}/layout:1", f"docker://{name}"], check=True, capture_output=True)
        digest = (tmp_path / "digest").read_text()
        assert host.pull(name).digest == digest
        with podman_on(tmp_path / "theirs", host.store.root) as podman:
            podman("push", "--tls-verify=false", "--digestfile", tmp_path / "pushed", name, f"{two}/x:1")
    assert (tmp_path / "pushed").read_text() == digest


def test_podman_saves_the_same_from_our_store_as_from_its_own(registry: str, host: Host, tmp_path: Path) -> None:
    name = push(image_of(("gzip", "gzip", "zstd")), registry, "same/save", "1")
    host.pull(name)
    manifests = []
    for number, additional in enumerate([[host.store.root], []]):
        with podman_on(tmp_path / f"theirs{number}", *additional) as podman:
            if not additional:
                podman("pull", "--tls-verify=false", name)
            podman("save", "--format", "oci-dir", "-o", tmp_path / f"saved{number}", name)
        manifests.append(json.loads((tmp_path / f"saved{number}/index.json").read_text())["manifests"][0]["digest"])
    assert manifests[0] == manifests[1]


def test_podman_pulls_no_layer_that_we_have(registry: str, host: Host, tmp_path: Path) -> None:
    name = push(image_of(("gzip", "zstd", "plain")), registry, "same/layers", "1")
    host.pull(name)
    with podman_on(tmp_path / "theirs", host.store.root) as podman:
        podman("pull", "--tls-verify=false", name)
        assert json.loads((podman.root / "overlay-images/images.json").read_text())
        assert list((podman.root / "overlay").glob("*/diff")) == []


def test_an_index_is_found_by_its_own_digest(registry: str, host: Host, tmp_path: Path) -> None:
    image = image_of(("gzip", "gzip", "gzip"))
    other = build_image([layer({"other": ""})], architecture="mips")
    index = build_index({"linux/mips": other, PLATFORM: image})
    name = push(index, registry, "indexed", "1")
    by_digest = f"{registry}/indexed@{index.digest}"
    pulled = host.pull(by_digest)
    assert (pulled.digest, pulled.names) == (image.digest, (by_digest,))
    assert host.pull(name).names == (by_digest, name)
    found = host.store.find_image(by_digest)
    assert found is not None
    assert found.id == image.image_id
    with podman_on(tmp_path / "theirs", host.store.root) as podman:
        assert podman.json("inspect", by_digest)[0]["Id"] == image.image_id


def test_another_platform(registry: str, host: Host) -> None:
    other = build_image([layer({"other": ""})], architecture="mips")
    name = push(build_index({"linux/mips": other}), registry, "foreign", "1")
    with pytest.raises(NotFoundError) as caught:
        host.pull(name)
    assert "linux/mips" in caught.value.hint
    single = push(other, registry, "foreign", "2")
    with pytest.raises(NotFoundError, match="is for linux/mips"):
        host.pull(single)
    assert host.store.images() == []
    assert host.pull(name, platform="linux/mips").id == other.image_id


def test_one_line_for_each_layer(registry: str, host: Host) -> None:
    image = image_of(("gzip", "zstd", "plain"))
    host.pull(push(image, registry, "lines", "1"))
    lines = host.said.getvalue().splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(
        f"layer {each.digest[7:19]}" for each in image.layers
    )
    assert all(line.endswith("B") for line in lines)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive", "dir"])
def test_from_files(host: Host, tmp_path: Path, transport: str) -> None:
    image = image_of(("gzip", "zstd", "plain"))
    path = tmp_path / "image"
    if transport == "oci":
        write_oci_layout(path, {"r.example/x:1": image})
    elif transport == "oci-archive":
        write_oci_archive(path, {"r.example/x:1": image})
    elif transport == "docker-archive":
        write_docker_archive(path, image, ["r.example/x:1"])
    else:
        write_directory(path, image)
    pulled = host.pull(f"{transport}:{path}")
    assert pulled.id == image.image_id
    assert pulled.names == ("localhost/image:latest" if transport == "dir" else "r.example/x:1",)
    assert pulled.digest == image.digest or transport == "docker-archive"


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "docker-dir", "oci-dir"])
def test_from_what_podman_saved(host: Host, registry: str, tmp_path: Path, form: str) -> None:
    image = image_of(("gzip", "gzip", "gzip"))
    name = push(image, registry, "saved", "1")
    with podman_on(tmp_path / "theirs") as podman:
        podman("pull", "--tls-verify=false", name)
        podman("save", "--format", form, "-o", tmp_path / "saved", name)
    transport = {"docker-dir": "dir", "oci-dir": "oci"}.get(form, form)
    assert host.pull(f"{transport}:{tmp_path}/saved").id == image.image_id


# What is there already


def test_pulling_again_fetches_no_blob(faulty: FaultyRegistry, host: Host) -> None:
    image = image_of(("gzip", "gzip", "gzip"))
    faulty.add(image, "1")
    first = host.pull(f"{faulty.host}/x:1")
    before = host.listing()
    faulty.requests.clear()
    assert host.pull(f"{faulty.host}/x:1") == first
    assert faulty.paths("/blobs/") == []
    assert host.listing() == before
    # another name for the same
    assert host.pull(f"{faulty.host}/y:1").names == (f"{faulty.host}/x:1", f"{faulty.host}/y:1")
    assert faulty.paths("/blobs/") == []


def test_a_tag_that_moved(faulty: FaultyRegistry, host: Host) -> None:
    name = f"{faulty.host}/x:1"
    faulty.add(old := image_of(("gzip", "gzip", "gzip")), "1")
    host.pull(name)
    faulty.add(new := build_image([*old.layers[:2], layer({"other": "top"})], architecture=ARCHITECTURE), "1")
    faulty.requests.clear()
    assert host.pull(name).id == new.image_id
    # only the config and the one layer that differs
    assert len(faulty.paths("/blobs/")) == 2
    assert {image.id: image.names for image in host.store.images()} == {old.image_id: (), new.image_id: (name,)}
    # and back again, without any
    faulty.add(old, "1")
    faulty.requests.clear()
    assert host.pull(name).id == old.image_id
    assert faulty.paths("/blobs/") == []


def test_no_process_is_made_for_a_little_layer(
    faulty: FaultyRegistry, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks: list[int] = []
    fork = os.fork

    def counted() -> int:
        forks.append(1)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    base, top = layer({"large": os.urandom(300_000)}), layer(TOP)
    faulty.add(build_image([base], architecture=ARCHITECTURE), "1")
    host.pull(f"{faulty.host}/x:1")
    assert len(forks) == 1
    faulty.add(build_image([base, top], architecture=ARCHITECTURE), "1")
    host.pull(f"{faulty.host}/x:1")
    assert len(forks) == 1
    assert len(host.store.layers()) == 2


def test_one_layer_several_times(registry: str, host: Host) -> None:
    same = layer(TOP)
    image = build_image([same, same, layer(LAST), same], architecture=ARCHITECTURE)
    pulled = host.pull(push(image, registry, "twice", "1"))
    assert len(host.store.chain(pulled)) == 4


def test_an_image_without_layers(registry: str, host: Host) -> None:
    image = build_image([], architecture=ARCHITECTURE)
    assert host.pull(push(image, registry, "empty", "1")).layer is None


def test_two_pulls_at_once_share_the_download(faulty: FaultyRegistry, host: Host) -> None:
    shared = [layer(BASE), layer(TOP)]
    names = []
    for number in range(4):
        top = layer({"number": str(number)})
        faulty.add(build_image([*shared, top], architecture=ARCHITECTURE), str(number))
        names.append(f"{faulty.host}/x:{number}")
    # Each forks processes that unpack, so none may be a thread of another (``Unpackers``): that hung now and then.
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(host.pull, names * 2))
    assert len({image.id for image in found}) == 4
    asked = faulty.paths("/blobs/")
    for each in shared:
        assert sum(each.digest in path for path in asked) == 1


# What is wrong: each leaves the disk as it was


@pytest.fixture(params=[0, 1 << 30], ids=["by a process", "in place"])
def empty(host: Host, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose store exists, unpacking in each way; afterwards it must hold what it held before."""
    monkeypatch.setattr(image_layers, "_LITTLE", request.param)
    host.store.create()
    before = host.listing()
    yield host
    assert host.listing() == before


def broken(image: Image, blob: bytes) -> FaultyRegistry:
    """A registry with ``blob`` in place of the last layer."""
    wrong = image.layers[-1].digest

    def answer(request: Request, _reply: Reply) -> Reply | None:
        return blob_reply(request, blob) if wrong in request.path else None

    server = FaultyRegistry(answer)
    server.add(image, "1")
    return server


def lying(layers: list[Layer], **change: Layer) -> Image:
    """An image whose config promises other layers than its manifest has."""
    promised = [*layers[:-1], change["promised"]]
    return build_image(layers, config=make_config(promised, architecture=ARCHITECTURE))


def test_other_bytes_than_the_manifest_says(empty: Host) -> None:
    image = image_of(("gzip", "gzip", "gzip"))
    good = image.layers[-1].blob
    changed = bytearray(good)
    changed[len(good) // 2] ^= 1
    for blob in (good[::-1], bytes(changed), layer({"x" * 50: ""}).blob[: len(good)].ljust(len(good), b"\0")):
        with broken(image, blob) as server, pytest.raises(RefusedError) as caught:
            empty.pull(f"{server.host}/x:1")
        assert isinstance(caught.value, DigestError | HostileArchiveError)
        assert caught.value.exit_code == 5


@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_than_the_manifest_says(empty: Host, change: int) -> None:
    image = image_of(("gzip", "gzip", "gzip"))
    good = image.layers[-1].blob
    with broken(image, good[:change] if change < 0 else good + b"x") as server, pytest.raises(DigestError):
        empty.pull(f"{server.host}/x:1")


def test_another_tar_than_the_config_says(faulty: FaultyRegistry, empty: Host) -> None:
    faulty.add(lying([layer(BASE), layer(TOP)], promised=layer(LAST)), "1")
    with pytest.raises(DigestError, match="config says"):
        empty.pull(f"{faulty.host}/x:1")


def test_another_number_of_layers_than_the_config_says(faulty: FaultyRegistry, empty: Host) -> None:
    config = make_config([layer(BASE)], architecture=ARCHITECTURE)
    faulty.add(build_image([layer(BASE), layer(TOP)], config=config), "1")
    with pytest.raises(RefusedError, match="2 layers, its config 1"):
        empty.pull(f"{faulty.host}/x:1")


def test_a_hostile_layer(faulty: FaultyRegistry, empty: Host) -> None:
    faulty.add(build_image([layer(BASE), layer({"../escaped": "x"})], architecture=ARCHITECTURE), "1")
    with pytest.raises(HostileArchiveError):
        empty.pull(f"{faulty.host}/x:1")


def test_a_layer_that_the_registry_lost(faulty: FaultyRegistry, empty: Host) -> None:
    image = image_of(("gzip", "gzip", "gzip"))
    faulty.add(image, "1")
    faulty.answer = lambda request, _: (
        error_reply(404, "BLOB_UNKNOWN", "?") if image.layers[1].digest in request.path else None
    )
    with pytest.raises(NotFoundError):
        empty.pull(f"{faulty.host}/x:1")


def test_an_unknown_tag(registry: str, empty: Host) -> None:
    with pytest.raises(NotFoundError) as caught:
        empty.pull(f"{registry}/nothing/there:1")
    assert caught.value.exit_code == 4


def test_the_first_failure_ends_the_other_downloads(empty: Host) -> None:
    # The first layer hangs for ever; that the second is wrong must not have to wait for it.
    hanging, failing = layer(BASE), layer(TOP)
    image = build_image([hanging, failing], architecture=ARCHITECTURE)
    begun, never = threading.Event(), threading.Event()

    def answer(request: Request, reply: Reply) -> Reply | None:
        if hanging.digest in request.path:
            begun.set()
            return replace(reply, cut=1000, hang=never)
        if failing.digest in request.path:
            assert begun.wait(20)
            return Reply(body=bytes(len(failing.blob)))
        return None

    with FaultyRegistry(answer) as server:
        server.add(image, "1")
        with pytest.raises(RefusedError):
            empty.pull(f"{server.host}/x:1")
        never.set()
    assert threads_of_ours() == []


def test_a_config_that_drips_is_given_up(empty: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CHUNK_SECONDS", 0.1)
    monkeypatch.setattr(transfers, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr("syscontainers.images.transfers.Transfers.wait", lambda *_: None)
    image, never = build_image([layer(BASE)], architecture=ARCHITECTURE), threading.Event()

    def answer(request: Request, reply: Reply) -> Reply | None:
        return replace(reply, cut=10, hang=never) if digest_of(image.config) in request.path else None

    with FaultyRegistry(answer) as server:
        server.add(image, "1")
        try:
            with pytest.raises(SyscontainersError, match="slower than 2 kB/s"):
                empty.pull(f"{server.host}/x:1")
        finally:
            never.set()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C does what it does in a terminal, even where whoever started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_ends_everything(count: int, empty: Host, interruptible: None) -> None:
    never = threading.Event()
    image = build_image([layer(BASE), layer(TOP)][:count], architecture=ARCHITECTURE)
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    def interrupt(request: Request, reply: Reply) -> Reply | None:
        if image.layers[0].digest not in request.path:
            return None
        signal.pthread_kill(main_thread, signal.SIGINT)
        return replace(reply, cut=50, hang=never)

    with FaultyRegistry(interrupt) as server:
        server.add(image, "1")
        with pytest.raises(KeyboardInterrupt):
            empty.pull(f"{server.host}/x:1")
        # The pool does not wait for a thread that it was just about to start.
        wait_for(lambda: not threads_of_ours(), "still reading", 20)
        never.set()


def threads_of_ours() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith(("layer", "unpack", "watch"))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Host]:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=70m", "tmpfs", mount], check=True)
    try:
        settings = Settings(state=mount / "state", storage=mount / "state/storage")
        yield Host(settings, Store(settings.storage, settings.storage_staging), io.StringIO())
    finally:
        subprocess.run(["umount", mount], check=True)


def test_not_enough_space_is_known_beforehand(faulty: FaultyRegistry, small_disk: Host) -> None:
    small_disk.store.create()
    before = small_disk.listing()
    faulty.add(build_image([layer({"big": os.urandom(80_000_000)}, "plain")], architecture=ARCHITECTURE), "1")
    with pytest.raises(SyscontainersError, match="not enough space") as caught:
        small_disk.pull(f"{faulty.host}/x:1")
    assert caught.value.exit_code == 1
    assert len(faulty.paths("/blobs/")) == 1  # the config
    assert small_disk.listing() == before


def test_space_that_ends_while_unpacking(faulty: FaultyRegistry, small_disk: Host) -> None:
    small_disk.store.create()
    before = small_disk.listing()
    faulty.add(build_image([layer({"big": bytes(60_000_000)})], architecture=ARCHITECTURE), "1")
    with pytest.raises(SyscontainersError, match="no space left") as caught:
        small_disk.pull(f"{faulty.host}/x:1")
    assert caught.value.exit_code == 1
    assert small_disk.listing() == before


def test_a_bad_platform(host: Host) -> None:
    with pytest.raises(UsageError):
        host.pull("r.example/x", platform="windows")
    assert not host.settings.state.exists()
