"""Options of overlay mounts, and who mentions a layer: pure text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from syscontainers.errors import SyscontainersError
from syscontainers.storage.layers import Layer
from syscontainers.storage.mounts import overlay_options
from syscontainers.storage.paths import StorePaths, link_name
from syscontainers.storage.references import layers_used_by, with_parents

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


HARDENED = ",redirect_dir=nofollow,metacopy=off"


def test_layers_stand_from_the_topmost_down_and_the_hardening_is_always_there() -> None:
    assert overlay_options([Path("/top"), Path("/base")]) == "lowerdir=/top:/base" + HARDENED
    assert overlay_options(["a"], Path("/u"), Path("/w")) == "lowerdir=a,upperdir=/u,workdir=/w" + HARDENED


def test_what_overlayfs_would_misread_is_escaped() -> None:
    text = overlay_options([Path("/a,b"), Path("/c:d"), Path("/e\\f")], Path("/u,:\\"), Path("/w"))
    assert text == r"lowerdir=/a\,b:/c\:d:/e\\f,upperdir=/u\,:\\,workdir=/w" + HARDENED


def test_too_much_for_one_mount_is_refused() -> None:
    lowers = [f"{number:026}" for number in range(147)]
    assert len(overlay_options(lowers)) < 4096 - 50
    with pytest.raises(SyscontainersError, match="149 layers"):
        overlay_options([*lowers, "x" * 26, "y" * 26])
    with pytest.raises(SyscontainersError):
        overlay_options(["ä" * 2000])


def make_layer(identity: str, parent: str | None = None) -> Layer:
    return Layer(identity, parent, "", 0, "", 0, "", 0, (), (), incomplete=False)


LAYERS = {A: make_layer(A), B: make_layer(B, A), C: make_layer(C, B)}


def test_parents_are_kept_with_their_children() -> None:
    assert with_parents([B], LAYERS) == {A, B}
    assert with_parents(["unknown"], LAYERS) == set()


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("overlay-layers/layers.json", [{"id": "x", "parent": B}], {B}),
        ("overlay-layers/volatile-layers.json", [{"id": "x", "parent": B}], {B}),
        ("overlay-images/images.json", [{"id": "x", "layer": C}], {C}),
        ("overlay-images/images.json", [{"id": "x", "layer": "y", "mapped-layers": [A]}], {A}),
        ("overlay-containers/containers.json", [{"id": "x", "layer": A}], {A}),
        ("overlay-containers/volatile-containers.json", [{"id": "x", "layer": A}], {A}),
        ("overlay/x/lower", f"l/{link_name(B)}:l/{'Z' * 26}", {B}),
        ("overlay/x/lower", f"/ours/overlay/l/{link_name(B)}", {B}),
        ("overlay/x/lower-layers", f"{C}:{A}", {A, C}),
        ("overlay-layers/layers.json", [{"id": B}, {"id": "x", "parent": B}], set()),
        ("overlay-layers/layers.json", [{"id": "x"}], set()),
    ],
)
def test_what_a_consumer_leans_on(tmp_path: Path, file: str, content: object, expected: set[str]) -> None:
    write(tmp_path / "consumer" / file, content)
    consumer, ours = StorePaths(tmp_path / "consumer"), StorePaths(tmp_path / "ours")
    assert layers_used_by(consumer, ours, LAYERS) == expected


def test_links_that_podman_chose_for_our_layers_are_known(tmp_path: Path) -> None:
    ours, consumer = StorePaths(tmp_path / "ours"), StorePaths(tmp_path / "consumer")
    link = "Q" * 26
    write(ours.layer(B) / "link", link)
    ours.links.mkdir(parents=True)
    ours.link(link).symlink_to(f"../{B}/diff")
    write(consumer.overlay / "x/lower", f"l/{link}")
    assert layers_used_by(consumer, ours, LAYERS) == {B}
    # Its own link of that name is its own layer.
    consumer.links.mkdir(parents=True)
    consumer.link(link).symlink_to("../y/diff")
    assert layers_used_by(consumer, ours, LAYERS) == set()
