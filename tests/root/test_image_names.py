"""What an image may be called: nothing that podman cannot read, and no digest that is not its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from syscontainers.containers.context import Context
from syscontainers.containers.obtain import SourceOptions, obtain_image
from syscontainers.errors import NotFoundError
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.images import Image as StoredImage
from tests.images import Image, build_image, build_index, layer, write_docker_archive, write_oci_layout
from tests.registry import FaultyRegistry
from tests.root.storage_tools import podman_on

pytestmark = pytest.mark.root

ARCHITECTURE = "amd64" if os.uname().machine == "x86_64" else "arm64"
OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"
HONEST = build_image([layer({"honest": ""})], architecture=ARCHITECTURE)
EVIL = build_image([layer({"evil": ""})], architecture=ARCHITECTURE)
FOREIGN = build_image([layer({"foreign": ""})], architecture=OTHER)
UNREADABLE = (
    *("oci:/x/y", "containers-storage:foo", "dir:/x", "docker-archive:/a/b", "Foo/bar:1", "[::1]:5000/foo:latest"),
    *("r.example/x:\x1b[2J", "LOCALHOST/x:1", f"r.example/x:1@{HONEST.digest}"),
)


@dataclass(frozen=True)
class Host:
    """A host of ours, and what it has said."""

    context: Context
    said: io.StringIO
    top: Path

    def obtain(self, name: str, **options: object) -> StoredImage:
        source = replace(SourceOptions(plain_http=True), **options)  # type: ignore[arg-type]
        return obtain_image(self.context, Reference.parse(name), source)

    def tag(self, image: StoredImage, name: str) -> subprocess.CompletedProcess[str]:
        config, settings = self.top / "config.toml", self.context.settings
        config.write_text(f'state = "{settings.state}"\nstorage = "{settings.storage}"\n')
        argv = [sys.executable, "-m", "syscontainers", "--config", str(config), "image", "tag", image.id, name]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def write_layout(self, image: Image, **annotations: str) -> str:
        """An image that calls itself anything."""
        path = self.top / "layout"
        write_oci_layout(path, {"": image})
        index = json.loads((path / "index.json").read_text())
        index["manifests"][0]["annotations"] = {key.replace("_", "."): value for key, value in annotations.items()}
        (path / "index.json").write_text(json.dumps(index))
        return f"oci:{path}"

    def podman_lists(self) -> set[str]:
        """The IDs of everything, as podman sees it."""
        with podman_on(self.top / "theirs", self.context.settings.storage) as podman:
            return {row["Id"] for row in podman.json("images", "--all", "--format", "json")}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    settings = Settings(state=tmp_path / "state", storage=tmp_path / "state/storage", host=tmp_path / "host")
    said = io.StringIO()
    return Host(Context(settings, Progress(said)), said, tmp_path)


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as server:
        server.add(HONEST, "1")
        yield server


@pytest.mark.parametrize("transport", ["oci", "docker-archive"])
def test_no_file_stands_in_for_a_digest(host: Host, registry: FaultyRegistry, transport: str) -> None:
    pinned = f"{registry.host}/x@{HONEST.digest}"
    place = host.write_layout(EVIL, io_containerd_image_name=pinned)
    if transport == "docker-archive":
        write_docker_archive(host.top / "x.tar", EVIL, [pinned])
        place = f"docker-archive:{host.top}/x.tar"
    assert host.obtain(place).names in (("localhost/layout:latest",), ("localhost/x:latest",))
    with pytest.raises(NotFoundError):
        host.obtain(pinned, policy="never")
    assert host.obtain(pinned).id == HONEST.image_id


def test_a_name_that_was_recorded_with_a_false_digest_is_not_believed(host: Host, registry: FaultyRegistry) -> None:
    """By an earlier version of ours, or by other tools that share the store."""
    pinned = f"{registry.host}/x@{HONEST.digest}"
    evil = host.obtain(host.write_layout(EVIL))
    records = host.context.store.paths.images_json
    records.write_text(records.read_text().replace(evil.names[0], pinned))
    assert host.context.store.images()[0].names == (pinned,)
    assert host.obtain(pinned).id == HONEST.image_id


def test_tag_gives_no_foreign_digest(host: Host) -> None:
    image = host.obtain(host.write_layout(EVIL))
    refused = host.tag(image, f"r.example/x@{HONEST.digest}")
    assert refused.returncode == 2
    assert "another digest" in refused.stderr
    assert host.tag(image, f"r.example/x@{EVIL.digest}").returncode == 0
    assert host.podman_lists() == {image.id}


def test_podman_reads_the_store_whatever_images_call_themselves(host: Host) -> None:
    image = host.obtain(host.write_layout(EVIL))
    for name in UNREADABLE:
        host.obtain(host.write_layout(EVIL, io_containerd_image_name=name))
        host.obtain(host.write_layout(EVIL, org_opencontainers_image_ref_name=name))
        write_docker_archive(host.top / "x.tar", HONEST, [name])
        archived = host.obtain(f"docker-archive:{host.top}/x.tar")
        assert host.tag(image, name).returncode == 2, name
    assert host.podman_lists() == {image.id, archived.id}
    assert {each.names for each in host.context.store.images()} == {
        ("localhost/layout:latest",),
        ("localhost/x:latest",),
    }


def test_the_platform_of_what_is_there_must_match(host: Host, registry: FaultyRegistry) -> None:
    registry.add(build_index({f"linux/{OTHER}": FOREIGN, f"linux/{ARCHITECTURE}": HONEST}), "2")
    name = f"{registry.host}/x:2"
    assert host.obtain(name).id == HONEST.image_id
    with pytest.raises(NotFoundError, match="for this platform"):
        host.obtain(name, platform=f"linux/{OTHER}", policy="never")
    assert host.obtain(name, platform=f"linux/{OTHER}").id == FOREIGN.image_id
    registry.requests.clear()
    assert host.obtain(name, platform=f"linux/{OTHER}").id == FOREIGN.image_id
    assert registry.requests == []
    assert host.obtain(name).id == HONEST.image_id


def test_names_that_were_not_asked_for_are_told(host: Host) -> None:
    write_docker_archive(host.top / "x.tar", HONEST, ["nginx:latest"])
    place = f"docker-archive:{host.top}/x.tar"
    host.obtain(place)
    said = f"{place}: is known here as docker.io/library/nginx:latest\n"
    assert said in host.said.getvalue()
    host.said.seek(host.said.truncate(0))
    host.obtain(f"{place}:nginx:latest")
    assert "known here" not in host.said.getvalue()
