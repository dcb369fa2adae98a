"""``prune`` and ``image rm`` leave the layers that other tools' stores lean on, wherever these are configured to be."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers.containers.context import Context
from syscontainers.containers.garbage import prune, remove_image
from syscontainers.errors import SyscontainersError
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from tests.root.storage_tools import Item, Podman, add_image, base_items, podman_on

pytestmark = pytest.mark.root

NAME = "registry.example/team/app:1"
PLACES = {
    "etc/containers/storage.conf": '[storage]\ngraphroot = "{}"\n',
    "usr/share/containers/storage.conf": '[storage]\ngraphroot = "{}"\n',
    "etc/containers/storage.conf.d/10-local.conf": '[storage]\ngraphroot = "{}"\n',
    "etc/crio/crio.conf": '[crio]\nroot = "{}"\n',
    "etc/crio/crio.conf.d/01-local.conf": '[crio]\nroot = "{}"\n',
}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings = Settings(state=tmp_path / "state", storage=tmp_path / "state/storage", host=tmp_path / "host")
    return Context(settings, Progress(io.StringIO()))


@pytest.fixture
def podman(context: Context, tmp_path: Path) -> Iterator[Podman]:
    """With a container on an image of ours, in a store that is not where podman has it by default."""
    add_image(context.store, NAME, base_items())
    with podman_on(tmp_path / "elsewhere", context.settings.storage) as podman:
        podman("create", "--name", "theirs", NAME, "/x")
        yield podman
        podman("rm", "theirs", check=False)


def configure(context: Context, place: str, text: str) -> None:
    path = context.settings.host / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("place", PLACES)
def test_what_a_configured_store_leans_on_stays(context: Context, podman: Podman, place: str) -> None:
    free = add_image(context.store, "registry.example/free:1", [Item("free", b"free")])
    configure(context, place, PLACES[place].format(podman.root))
    for name in (NAME, free.id):
        remove_image(context, name)
    assert prune(context, unused=True, dry_run=True).layers == (free.layer,)
    assert prune(context, unused=True).layers == (free.layer,)
    assert (Path(podman("mount", "theirs").strip()) / "etc/motd").read_text() == "base\n"
    podman("umount", "theirs")
    podman("rm", "theirs")
    assert len(prune(context, unused=True).layers) == 1
    assert context.store.layers() == {}


@pytest.mark.parametrize("place", ["etc/containers/storage.conf", "etc/crio/crio.conf"])
def test_nothing_goes_while_it_cannot_be_told(context: Context, podman: Podman, place: str) -> None:
    configure(context, place, "[broken\n")
    remove_image(context, NAME)
    with pytest.raises(SyscontainersError, match=place.rpartition("/")[2]):
        prune(context, unused=True)
    assert len(context.store.layers()) == 1
