"""The hostile corpus through the real ``pull``: exit code 5, the reason on one line, nothing kept, nothing touched."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from syscontainers.cli.main import main
from syscontainers.images import layers as image_layers
from syscontainers.storage.limits import Limits
from syscontainers.storage.unpack import unpack_layer
from tests.hostile import Case, Place, cases
from tests.hostile.canary import Canary, contains_secret
from tests.hostile.images import ImageCase
from tests.hostile.images import cases as image_cases
from tests.images import (
    OCI_LAYER,
    Entry,
    Layer,
    Tree,
    build_image,
    digest_of,
    directory,
    layer,
    make_config,
    to_json,
    write_docker_archive,
    write_oci_archive,
    write_oci_layout,
)
from tests.listing import list_tree

pytestmark = pytest.mark.root
ARCHIVES = {case.name: case for case in cases()}
REJECTED = [name for name, case in ARCHIVES.items() if case.rejected is not None]
CONTAINED = [name for name, case in ARCHIVES.items() if case.rejected is None]
IMAGES = {case.name: case for case in image_cases()}
ARCHITECTURE = "amd64" if os.uname().machine == "x86_64" else "arm64"


@dataclass(frozen=True)
class Host:
    """A host with one good image in its storage, and a canary."""

    top: Path
    canary: Canary

    def pull(self, reference: str) -> int:
        return main(["--config", str(self.top / "config.toml"), "pull", reference])

    def kept(self) -> dict[bytes, tuple[object, ...]]:
        """Everything on its disk. Lock files stay, and the time of what holds them changes."""
        tree = list_tree(self.top / "state")
        return {name: facts._replace(mtime=0) for name, facts in tree.items() if not name.endswith(b".lock")}

    def place(self) -> Place:
        # A layer is unpacked in staging/storage-XXXX/ID/diff, five levels below what also holds the canary.
        return Place(os.fsencode(self.canary.path), b"../../../../../canary")


def make_host(top: Path) -> Host:
    state = top / "state"
    (top / "config.toml").write_text(f'state = "{state}"\nstorage = "{state}/storage"\n')
    host = Host(top, Canary(top / "canary"))
    write_oci_layout(top / "good", {"": build_image([layer({"a": "b"})], architecture=ARCHITECTURE)})
    assert host.pull(f"oci:{top / 'good'}") == 0
    return host


@pytest.fixture(scope="module", autouse=True)
def process() -> Iterator[None]:
    """``main`` believes that the process is its own."""
    umask, handlers = os.umask(0o022), {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def rejecting(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """One for all that is rejected, because each leaves it as it was."""
    return make_host(tmp_path_factory.mktemp("host"))


def write_archive(case: Case, host: Host, path: Path) -> str:
    """The archive as the only layer of an image."""
    blob = case.blob(host.place())
    tar = case.tar() if case.tar else blob
    config = make_config([Layer(tar, blob, "plain")], architecture=ARCHITECTURE)
    media_type = OCI_LAYER if tar is blob else f"{OCI_LAYER}+gzip"
    described = {"mediaType": media_type, "digest": digest_of(blob), "size": len(blob)}
    image = build_image([Layer(tar, blob, "plain")], config=config, change={"layers": [described]})
    write_oci_layout(path, {"": image})
    return f"oci:{path}"


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[Limits], None]:
    """Some limits are too large to reach in a test."""

    def limit(limits: Limits) -> None:
        monkeypatch.setattr(image_layers, "unpack_layer", functools.partial(unpack_layer, limits=limits))

    return limit


def assert_refused(host: Host, reference: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, canary = host.kept(), host.canary.state()
    capsys.readouterr()
    assert host.pull(reference) == 5
    said = capsys.readouterr()
    assert said.out == ""
    message, *more = said.err.splitlines()
    assert re.search(reason, message, re.IGNORECASE), message
    assert all(line.startswith("hint: ") for line in more)
    assert said.err.replace("\n", "").isprintable()
    assert host.canary.state() == canary
    assert host.kept() == before


@pytest.mark.parametrize("name", REJECTED)
def test_a_rejected_layer_leaves_nothing_of_its_image(
    name: str,
    rejecting: Host,
    tmp_path: Path,
    limited: Callable[[Limits], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = ARCHIVES[name]
    limited(case.limits)
    assert_refused(rejecting, write_archive(case, rejecting, tmp_path / "image"), case.rejected or "", capsys)


@pytest.mark.parametrize("name", CONTAINED)
def test_a_harmless_layer_stays_in_the_storage(name: str, tmp_path: Path, limited: Callable[[Limits], None]) -> None:
    case, host = ARCHIVES[name], make_host(tmp_path)
    limited(case.limits)
    reference = write_archive(case, host, tmp_path / "image")
    canary = host.canary.state()
    assert host.pull(reference) == 0
    assert host.canary.state() == canary
    assert contains_secret(host.top / "state") == []


@pytest.mark.parametrize("name", IMAGES)
def test_hostile_documents(name: str, rejecting: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case: ImageCase = IMAGES[name]
    assert_refused(rejecting, case.write(tmp_path, rejecting.canary.path), case.rejected, capsys)


def test_what_is_printed_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host, nasty = make_host(tmp_path), "\x1b[2J\x1b]0;owned\x07\nNames: other\u202e"
    manifest = {"defaultValues": {"A": nasty}, "parameters": {"A": {"help": nasty}}, "version": nasty}
    tree: Tree = {
        "exports/manifest.json": to_json(manifest),
        "exports/service.template": f"[Service]\nExecStart=$A{nasty}",
    }
    run = {"Labels": {nasty: nasty}, "Entrypoint": ["/bin/true", nasty], "Cmd": [nasty]}
    write_oci_layout(tmp_path / "image", {"evil:1": build_image([layer(tree)], run, architecture=ARCHITECTURE)})
    assert host.pull(f"oci:{tmp_path / 'image'}") == 0
    for words in (["images"], ["image", "show", "evil:1"], ["image", "verify", "--all"]):
        capsys.readouterr()
        assert main(["--config", str(tmp_path / "config.toml"), *words]) == 0, words
        said = capsys.readouterr()
        lines = (said.out + said.err).split("\n")
        assert all(line.isprintable() for line in lines), lines
        assert len([line for line in lines if line.lstrip().startswith("Names:")]) <= 1


def test_a_file_that_takes_a_name_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = make_host(tmp_path)
    for number, name in enumerate(("registry.example/etcd:3.5", "registry.example/etcd:3.5", "localhost/a:1")):
        image = build_image([layer({"a": str(number)})], architecture=ARCHITECTURE)
        write_oci_layout(tmp_path / str(number), {name: image})
        capsys.readouterr()
        assert host.pull(f"oci:{tmp_path / str(number)}") == 0
        assert ("warning: registry.example/etcd:3.5 meant the image" in capsys.readouterr().err) == (number == 1)


def test_no_two_cases_share_a_name() -> None:
    assert len(REJECTED) >= 80
    assert len(IMAGES) == len(list(image_cases())), "two cases of one name"


def test_nobody_but_root_reaches_what_was_unpacked(tmp_path: Path) -> None:  # CVE-2021-41091, CVE-2021-41103
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path.parent, 0o755)
    host = make_host(tmp_path)
    tree: Tree = {"bin/su": Entry(b"#!/bin/sh\n", 0o6755), "open": directory(0o777)}
    write_oci_layout(tmp_path / "image", {"": build_image([layer(tree)], architecture=ARCHITECTURE)})
    assert host.pull(f"oci:{tmp_path / 'image'}") == 0
    programs = [path for path in (tmp_path / "state").rglob("su") if path.stat().st_mode & 0o6000 == 0o6000]
    assert programs
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "state/storage", tmp_path / "state/staging")} == {0}
    for path in (*programs, programs[0].parent.parent / "open"):
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "stat", path], capture_output=True, check=False
        )
        assert b"Permission denied" in done.stderr


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("name", ["symlink-absolute-secret", "dots-first", "link-through-symlink"])
def test_through_archives(
    name: str, transport: str, rejecting: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # CVE-2025-11395
    case = ARCHIVES[name]
    tar = case.blob(rejecting.place())
    image = build_image([layer(tar, "plain")], architecture=ARCHITECTURE)
    path = tmp_path / "image.tar"
    if transport == "oci-archive":
        write_oci_archive(path, {"": image})
    else:
        write_docker_archive(path, image, ["localhost/x:1"])
    assert_refused(rejecting, f"{transport}:{path}", case.rejected or "", capsys)
