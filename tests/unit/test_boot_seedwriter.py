"""Adding seeds to a layout that is there already, whoever wrote it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from syscontainers import files
from syscontainers.boot.seedwriter import add_seed
from syscontainers.cli.main import main
from syscontainers.containers.context import Context
from syscontainers.containers.obtain import SourceOptions
from syscontainers.images.reference import Reference
from syscontainers.progress import Progress
from syscontainers.settings import Settings
from syscontainers.typed import DocumentError
from tests import images

ONE = images.build_image([images.layer({"one": "1"})])
OTHER = images.build_image([images.layer({"other": "2"})])


@pytest.fixture
def source(tmp_path: Path) -> str:
    images.write_oci_layout(tmp_path / "source", {"registry.example/one:1": ONE})
    return f"oci:{tmp_path / 'source'}:registry.example/one:1"


def add(source: str, layout: Path) -> None:
    context = Context(Settings(state=layout.parent / "state"), Progress(io.StringIO()))
    add_seed(context, layout, Reference.parse(source), SourceOptions())


def blobs(layout: Path) -> set[str]:
    return {path.name for path in (layout / "blobs/sha256").iterdir()}


def test_what_another_tool_put_there_stays(tmp_path: Path, source: str) -> None:
    images.write_oci_layout(tmp_path / "layout", {"registry.example/other:1": OTHER})
    (tmp_path / "layout/blobs/sha256" / ("0" * 64)).write_text("of no image")
    before = blobs(tmp_path / "layout")
    add(source, tmp_path / "layout")
    index = json.loads((tmp_path / "layout/index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [OTHER.digest, ONE.digest]
    added = {digest.removeprefix("sha256:") for digest in (ONE.digest, *ONE.blobs)}
    assert blobs(tmp_path / "layout") == (before | added) - {"0" * 64}


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        ('{"schemaVersion":2}', "manifests is missing"),
        ("not json", "not valid JSON"),
        ('{"manifests":[1]}', "manifests[0]: must be an object"),
        ('{"manifests":[{"digest":"sha256:../../x","size":1}]}', "manifests[0].digest must be sha256:"),
        ('{"manifests":[{"digest":1,"size":1}]}', "manifests[0].digest must be a string"),
    ],
)
def test_an_index_that_is_none_is_told_and_nothing_is_changed(
    tmp_path: Path, source: str, index: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = tmp_path / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "index.json").write_text(index)
    config = tmp_path / "config.toml"
    config.write_text(f'state = "{tmp_path / "state"}"\n')
    assert main(["--config", str(config), "seed", "add", "--to", str(layout), source]) == 5
    said = capsys.readouterr().err
    assert f"{layout}/index.json: " in said
    assert problem in said
    assert "Traceback" not in said
    assert (layout / "index.json").read_text() == index
    assert blobs(layout) == set()


def test_a_manifest_of_another_seed_that_is_none_is_told(tmp_path: Path, source: str) -> None:
    images.write_oci_layout(tmp_path / "layout", {"registry.example/other:1": OTHER})
    manifest = tmp_path / "layout/blobs/sha256" / OTHER.digest.removeprefix("sha256:")
    manifest.write_text("[]")
    with pytest.raises(DocumentError, match="must be an object, not a list"):
        add(source, tmp_path / "layout")
    assert "one:1" not in (tmp_path / "layout/index.json").read_text()


def test_commands_that_add_to_one_layout_at_once_wait_for_each_other(tmp_path: Path) -> None:
    built = {f"registry.example/n{n}:1": images.build_image([images.layer({"n": str(n)})]) for n in range(4)}
    images.write_oci_layout(tmp_path / "source", built)
    (tmp_path / "config.toml").write_text(f'state = "{tmp_path / "state"}"\n')
    layout = tmp_path / "layout"
    layout.mkdir()
    command = [sys.executable, "-m", "syscontainers", "--config", str(tmp_path / "config.toml"), "seed", "add"]
    with files.lock_directory(layout):
        adding = [
            subprocess.Popen([*command, "--to", layout, f"oci:{tmp_path / 'source'}:{name}"], stderr=subprocess.PIPE)
            for name in built
        ]
        for process in adding:
            assert process.stderr is not None
            assert b"waiting for another command that adds seeds" in process.stderr.readline()
        assert [*layout.iterdir()] == []
    for process in adding:
        told = process.communicate()[1]
        assert process.returncode == 0, told
    index = json.loads((layout / "index.json").read_bytes())
    assert {entry["digest"] for entry in index["manifests"]} == {image.digest for image in built.values()}
    made_of = {digest for image in built.values() for digest in (image.digest, *image.blobs)}
    assert blobs(layout) == {digest.removeprefix("sha256:") for digest in made_of}
    assert {path.name for path in layout.iterdir()} == {"blobs", "index.json", "oci-layout"}
