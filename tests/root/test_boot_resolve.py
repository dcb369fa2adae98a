"""What a pinned digest is taken for, where podman's images, or seeds, of other platforms are known by it too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from syscontainers.boot.declaration import Declaration
from syscontainers.boot.lock import LockRequest, lock
from syscontainers.boot.lockfile import Lock
from syscontainers.boot.places import Places
from syscontainers.boot.resolve import NotHereError, Sources, expect_digest, fetch_image
from syscontainers.boot.seeds import read_seeds
from syscontainers.containers.context import Context
from syscontainers.containers.obtain import SourceOptions, obtain_image
from syscontainers.errors import NotFoundError
from syscontainers.images.platforms import wished_platform
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.images import Image
from tests.images import (
    build_image,
    build_index,
    digest_of,
    layer,
    layout_files,
    make_tar,
    push,
    to_json,
    write_oci_layout,
)
from tests.registry import real_registry
from tests.root.storage_tools import podman_on

pytestmark = pytest.mark.root

ARCHITECTURE = "amd64" if os.uname().machine == "x86_64" else "arm64"
OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"
OURS = build_image([layer({"ours": ""})], architecture=ARCHITECTURE)
FOREIGN = build_image([layer({"foreign": ""})], architecture=OTHER)
INDEX = build_index({f"linux/{OTHER}": FOREIGN, f"linux/{ARCHITECTURE}": OURS})
ONLY_FOREIGN = build_index({f"linux/{OTHER}": FOREIGN})
OPTIONS = SourceOptions(plain_http=True)


@dataclass(frozen=True)
class Host:
    """A host whose storage podman writes to, and what its lock file pins."""

    context: Context
    top: Path
    name: str

    def sources(self, digest: str, *, online: bool = False) -> Sources:
        pinned = Lock(self.top / "containers.lock", {self.name: digest})
        seeds = tuple(read_seeds(self.context, [self.top / "seeds"], wished_platform(OPTIONS.platform)))
        return Sources(pinned, seeds, OPTIONS, online)

    def declared(self, name: str = "") -> Declaration:
        return Declaration("x", Reference.parse(name or self.name), ())

    def fetch(self, digest: str, name: str = "", *, online: bool = False) -> Image:
        return fetch_image(self.context, self.sources(digest, online=online), self.declared(name))

    def expects(self, digest: str) -> str | None:
        return expect_digest(self.context, self.sources(digest), self.declared())

    def podman(self, *commands: tuple[str, ...]) -> list[Image]:
        """What is in the storage afterwards."""
        with podman_on(self.context.settings.storage) as podman:
            for words in commands:
                podman(*words)
        return self.context.store.images()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as host:
        push(INDEX, host, "x", "1")
        push(ONLY_FOREIGN, host, "x", "foreign")
        yield host


@pytest.fixture
def host(tmp_path: Path, registry: str) -> Host:
    settings = Settings(state=tmp_path / "state", storage=tmp_path / "state/storage", host=tmp_path / "host")
    return Host(Context(settings, Progress(quiet=True)), tmp_path, f"{registry}/x:1")


def pull_foreign(name: str) -> tuple[str, ...]:
    return ("pull", "-q", "--tls-verify=false", "--platform", f"linux/{OTHER}", name)


def test_of_an_index_only_what_it_names_for_this_platform_is_taken(host: Host) -> None:
    (foreign,) = host.podman(pull_foreign(host.name))
    assert (foreign.id, INDEX.digest in foreign.digests) == (FOREIGN.image_id, True)
    with pytest.raises(NotHereError):
        host.fetch(INDEX.digest)
    assert host.expects(INDEX.digest) == INDEX.digest
    assert host.fetch(INDEX.digest, online=True).id == OURS.image_id
    assert [image.id for image in host.context.store.images()] == [FOREIGN.image_id, OURS.image_id]
    assert host.fetch(INDEX.digest).id == OURS.image_id
    assert host.expects(INDEX.digest) == OURS.digest
    found = host.context.store.find_image(host.name)
    assert found is not None
    assert found.id == OURS.image_id


def test_a_declared_index_is_found_again_under_its_name(host: Host) -> None:
    name = f"{host.name.removesuffix(':1')}@{INDEX.digest}"
    host.podman(pull_foreign(host.name), pull_foreign(name))
    assert host.fetch(INDEX.digest, name, online=True).id == OURS.image_id
    never = SourceOptions(policy="never")
    assert obtain_image(host.context, Reference.parse(name), never).id == OURS.image_id


def test_an_index_without_this_platform_is_told(host: Host) -> None:
    host.podman(pull_foreign(host.name.replace(":1", ":foreign")))
    with pytest.raises(NotFoundError, match=f"has no image for linux/{ARCHITECTURE}"):
        host.fetch(ONLY_FOREIGN.digest)


def test_a_list_that_podman_made_is_not_taken_for_an_image(host: Host) -> None:
    obtain_image(host.context, Reference.parse(host.name), OPTIONS)
    made = ("manifest", "create", "localhost/list:1", f"containers-storage:{host.name}")
    (listed,) = [image for image in host.podman(made) if "localhost/list:1" in image.names]
    # podman's record keeps the digest of the list as it was before anything was added to it.
    assert listed.digest != digest_of(host.context.store.read_plain_manifest(listed))
    with pytest.raises(NotHereError):
        host.fetch(listed.digest)


def test_a_seed_is_not_known_by_what_it_has_for_other_platforms(host: Host) -> None:
    write_oci_layout(host.top / "seeds", {"": INDEX})
    with pytest.raises(NotHereError):
        host.fetch(FOREIGN.digest)
    assert host.expects(INDEX.digest) == OURS.digest
    assert host.fetch(INDEX.digest).id == OURS.image_id


def test_a_seed_that_this_host_cannot_use_hides_none_beside_it(host: Host) -> None:
    write_oci_layout(host.top / "seeds", {"foreign": ONLY_FOREIGN, host.name: OURS})
    assert host.fetch(OURS.digest).id == OURS.image_id


def test_a_seed_in_an_archive_by_the_name_that_containerd_gives(host: Host) -> None:
    files = layout_files({"": OURS})
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"] = {"io.containerd.image.name": host.name}
    (host.top / "seeds").mkdir()
    (host.top / "seeds/one.tar").write_bytes(make_tar({**files, "index.json": to_json(index)}, parents=False))
    (seed,) = read_seeds(host.context, [host.top / "seeds"], wished_platform(None))
    assert (seed.stored_name, seed.manifest) == (host.name, OURS.digest)
    assert host.fetch(OURS.digest).id == OURS.image_id


def test_an_empty_layout_among_the_seeds_is_nothing_to_tell(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    write_oci_layout(host.top / "seeds", {})
    assert read_seeds(host.context, [host.top / "seeds"], wished_platform(None)) == []
    assert capsys.readouterr().err == ""


def test_a_seed_is_pinned_for_the_platform_that_is_wanted(host: Host) -> None:
    """An operating system is built on one kind of machine for another."""
    write_oci_layout(host.top / "seeds", {host.name: INDEX})
    declared = host.top / "x.toml"
    declared.write_text(f'image = "{host.name}"\n')
    places = Places((), (host.top / "seeds",), (host.top / "containers.lock",), host.top / "applied")
    wanted = SourceOptions(platform=f"linux/{OTHER}")
    assert lock(host.context, places, LockRequest((declared,), source=wanted)) == {host.name: FOREIGN.digest}


def test_what_another_platforms_image_is_called_is_not_pinned(host: Host) -> None:
    host.podman(pull_foreign(host.name))
    declared = host.top / "x.toml"
    declared.write_text(f'image = "{host.name}"\n')
    places = Places((), (), (host.top / "containers.lock",), host.top / "applied")
    assert lock(host.context, places, LockRequest((declared,), source=OPTIONS)) == {host.name: OURS.digest}
