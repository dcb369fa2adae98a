"""An image that somebody is making a container of is not removed under their hands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers.containers import garbage
from syscontainers.containers.context import Context
from syscontainers.containers.garbage import prune, prune_layers, remove_image
from syscontainers.containers.generation import generation_at, write_generation
from syscontainers.containers.holds import kept_image
from syscontainers.containers.info import Info
from syscontainers.containers.obtain import SourceOptions, obtain_image
from syscontainers.containers.retention import pinned_layers
from syscontainers.errors import SyscontainersError
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.storage.images import Image
from tests import images

pytestmark = pytest.mark.root


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings = Settings(state=tmp_path / "state", storage=tmp_path / "state/storage", host=tmp_path / "host")
    return Context(settings, Progress(io.StringIO()))


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    image = images.build_image([images.layer({"a": "a"}), images.layer({"b": "b"})])
    images.write_oci_layout(tmp_path / "image", {"": image})
    return Reference.parse(f"oci:{tmp_path / 'image'}")


def take(context: Context, reference: Reference) -> Image:
    return obtain_image(context, reference, SourceOptions())


@pytest.fixture
def image(context: Context, reference: Reference) -> Iterator[Image]:
    """It is being installed."""
    with kept_image(context, lambda: take(context, reference)) as image:
        yield image


def make_generation(context: Context, image: Image) -> None:
    layers = tuple(layer.id for layer in context.store.chain(image))
    info = Info("x", image.digest, image.id, layers=layers, values={})
    write_generation(generation_at(context, "x", 0), {"info": info.to_bytes()}, writable=False)


def test_neither_prune_nor_rm_removes_it(context: Context, image: Image) -> None:
    freed = prune(context, unused=True)
    assert (freed.images, freed.layers) == ((), ())
    with pytest.raises(SyscontainersError, match="about to be used by another command"):
        remove_image(context, image.id)
    assert len(context.store.chain(image)) == 2


def test_afterwards_its_generation_does(context: Context, reference: Reference) -> None:
    with kept_image(context, lambda: take(context, reference)) as image:
        make_generation(context, image)
    assert prune(context, unused=True).images == ()
    # Even without the image its layers stay.
    remove_image(context, image.id)
    assert prune(context, unused=True).layers == ()
    assert len(context.store.layers()) == 2


def test_without_a_generation_it_goes_afterwards(context: Context, reference: Reference) -> None:
    with kept_image(context, lambda: take(context, reference)) as image:
        pass
    freed = prune(context, unused=True)
    assert freed.images == (image.id,)
    assert len(freed.layers) == 2


def test_one_that_was_made_while_prune_was_looking(
    context: Context, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prune finds the image unused; before it removes it, a whole install comes by."""
    kept = kept_image(context, lambda: take(context, reference))
    image = kept.__enter__()
    claim_image = type(context.store.area).claim_image

    def install_then_claim(area: object, image_id: str, **how: bool) -> object:
        if not generation_at(context, "x", 0).directory.exists():
            make_generation(context, image)
            kept.__exit__(None, None, None)
        return claim_image(area, image_id, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(type(context.store.area), "claim_image", install_then_claim)
    freed = prune(context, unused=True)
    assert (freed.images, freed.layers) == ((), ())
    assert context.store.find_image(image.id) == image


def test_one_that_was_made_while_layers_were_pruned(
    context: Context, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what is pinned and what is removed nothing can become needed."""
    kept = kept_image(context, lambda: take(context, reference))
    image = kept.__enter__()

    def look_then_install(context: Context) -> frozenset[str]:
        pinned = pinned_layers(context)
        if not generation_at(context, "x", 0).directory.exists():
            make_generation(context, image)
            kept.__exit__(None, None, None)
        return pinned

    monkeypatch.setattr(garbage, "pinned_layers", look_then_install)
    assert prune_layers(context).layers == ()
    assert len(context.store.chain(image)) == 2


def test_one_that_was_removed_first_is_obtained_anew(context: Context, reference: Reference) -> None:
    removed: list[str] = []

    def obtain_then_lose() -> Image:
        image = take(context, reference)
        if not removed:
            removed.append(image.id)
            assert prune(context, unused=True).images == (image.id,)
        return image

    with kept_image(context, obtain_then_lose) as image:
        assert removed == [image.id]
        assert len(context.store.chain(image)) == 2


def test_claims_leave_nothing_behind(context: Context, reference: Reference) -> None:
    with kept_image(context, lambda: take(context, reference)), kept_image(context, lambda: take(context, reference)):
        pass
    assert list(context.settings.storage_staging.iterdir()) == []
