from __future__ import annotations

import os
from pathlib import Path

import pytest

from syscontainers.errors import RefusedError
from syscontainers.exports.contract import Exports, ExportsManifest, read_exports
from syscontainers.exports.health import HealthCheck
from syscontainers.exports.parameters import Parameter
from syscontainers.typed import DocumentError
from tests.unit.exports_image import make_image, open_image


def read(root: Path) -> Exports:
    with open_image(root) as tree:
        return read_exports(tree)


def test_an_image_without_exports(tmp_path: Path) -> None:
    assert read(make_image(tmp_path, {})) == Exports()


def test_every_part_is_read(tmp_path: Path) -> None:
    exports = read(
        make_image(
            tmp_path,
            {
                "exports/config.json": "C",
                "exports/config.json.template": "T",
                "exports/service.template": "S",
                "exports/tmpfiles.template": "",
                "exports/manifest.json": '{"version": "1.0"}',
            },
        )
    )
    assert exports == Exports("C", "T", "S", "", ExportsManifest("1.0"), present=True)


def test_exports_behind_a_link_stay_inside_the_image(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/service.template").write_text("the host's")
    root = make_image(tmp_path / "root", {"exports": f"-> {tmp_path}/outside", "secret": "x"})
    assert read(root) == Exports()


def test_a_template_that_is_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports": None})
    os.mkfifo(root / "exports/service.template")
    with pytest.raises(RefusedError, match=r"service\.template"):
        read(root)


def test_a_template_that_is_too_long_is_refused(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports": None})
    with open(root / "exports/service.template", "wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(RefusedError, match="larger than"):
        read(root)


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="not UTF-8 text at byte 1"):
        read(make_image(tmp_path, {"exports/service.template": b"a\xff"}))


def test_a_bad_manifest_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"^/exports/manifest\.json: not valid JSON"):
        read(make_image(tmp_path, {"exports/manifest.json": "{"}))


def test_defaults_become_text_as_they_always_did() -> None:
    manifest = ExportsManifest.parse('{"defaultValues": {"A": "x", "B": 1, "C": true, "D": 1.5}}', "M")
    assert manifest.default_values == {"A": "x", "B": "1", "C": "True", "D": "1.5"}


@pytest.mark.parametrize("version", ['"1.0"', "1.0", "1"])
def test_the_version_may_be_a_number(version: str) -> None:
    assert ExportsManifest.parse(f'{{"version": {version}}}', "M").version.startswith("1")


def test_all_fields_of_a_manifest() -> None:
    manifest = ExportsManifest.parse(
        """{
            "renameFiles": {"/etc/a": "$CONF_DIRECTORY/b"},
            "installedFilesTemplate": ["/etc/b"],
            "useLinks": false,
            "noContainerService": true,
            "parameters": {
                "PORT": {"type": "integer", "help": "h", "allowed": [1, 2], "secret": true, "required": true}
            },
            "health": {"command": ["etcdctl", "health"], "timeout": 5, "interval": 0.5}
        }""",
        "M",
    )
    assert manifest == ExportsManifest(
        rename_files={"/etc/a": "$CONF_DIRECTORY/b"},
        installed_files_template=("/etc/b",),
        use_links=False,
        no_container_service=True,
        parameters={"PORT": Parameter("PORT", "integer", "h", ("1", "2"), secret=True, required=True)},
        health=HealthCheck(("etcdctl", "health"), 5.0, 0.5),
    )


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"defaultValues": {"A": null}}',
        '{"defaultValues": {"A": ["x"]}}',
        '{"defaultValues": []}',
        '{"renameFiles": {"/a": 1}}',
        '{"installedFilesTemplate": "/a"}',
        '{"useLinks": "yes"}',
        '{"parameters": {"A": {"type": "colour"}}}',
        '{"parameters": {"not a name": {}}}',
        '{"health": {"command": []}}',
        '{"health": {}}',
        '{"health": {"command": ["x"], "timeout": 0}}',
        '{"health": {"command": ["x"], "interval": "1s"}}',
    ],
)
def test_a_manifest_of_the_wrong_shape_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match=r"^M"):
        ExportsManifest.parse(text, "M")
