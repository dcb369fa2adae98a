"""What an operating system's builder copies from us: units, snippets and the published schema."""

from __future__ import annotations

import json
import tomllib
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from syscontainers import errors
from syscontainers.boot.declaration import make_declarations
from syscontainers.boot.fragments import read_declared
from syscontainers.boot.order import sort_by_needs
from syscontainers.cli.apply import MISSING
from syscontainers.cli.guard import INTERRUPTED
from syscontainers.containers.names import check_name
from syscontainers.errors import UsageError
from syscontainers.systemd.unitfile import parse
from syscontainers.systemd.verify import verify_texts

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "boot"
DIRECTORY = "/etc/syscontainers/containers.d/"


def cloud_init() -> dict[str, str]:
    document = yaml.safe_load((EXAMPLES / "cloud-init.yaml").read_text())
    return {each["path"]: each["content"] for each in document["write_files"]}


def ignition() -> dict[str, str]:
    document = json.loads((EXAMPLES / "ignition.json").read_text())
    files = document["storage"]["files"]
    return {each["path"]: urllib.parse.unquote(each["contents"]["source"].removeprefix("data:,")) for each in files}


def butane() -> dict[str, str]:
    document = yaml.safe_load((EXAMPLES / "butane.yaml").read_text())
    return {each["path"]: each["contents"]["inline"] for each in document["storage"]["files"]}


def test_the_snippets_drop_declarations_that_work(tmp_path: Path) -> None:
    for path, text in cloud_init().items():
        (tmp_path / path.removeprefix(DIRECTORY)).write_text(text)
    ordered = sort_by_needs(make_declarations(read_declared([tmp_path])))
    assert [each.name for each in ordered] == ["etcd", "apiserver"]


def test_all_snippets_drop_the_same_files() -> None:
    assert cloud_init() == ignition() == butane()
    assert all(path.startswith(DIRECTORY) for path in cloud_init())


@pytest.mark.parametrize(
    "text",
    [
        'image = "a.b/x"',
        'image = "a.b/x"\nname = "n"\nupdate = "never"\nstart = false\nruntime = "crun"\nrequires = ["a"]',
        'image = "a.b/x"\nwants = ["a"]\nafter = ["b"]\n[values]\nA = 1\nB = "x"\n[limits]\nTasksMax = 3',
        'image = "a.b/x"\n[limits]\nIODeviceWeight = ["/dev/sda 100", "/dev/sdb 200"]',
        "start = true",
        'image = "a.b/x"\nimgae = "y"',
        "image = 3",
        'image = "a.b/x"\nname = "no/name"',
        'image = "a.b/x"\nupdate = "daily"',
        'image = "a.b/x"\nstart = "yes"',
        'image = "a.b/x"\nrequires = "etcd"',
        'image = "a.b/x"\nafter = ["a b"]',
        'image = "a.b/x"\nvalues = 3',
        'image = "a.b/x"\n[values]\nA = true',
        'image = "a.b/x"\n[values]\nA = ["1"]',
        'image = "a.b/x"\n[limits]\nExecStart = "/bin/sh"',
        'image = "a.b/x"\n[limits]\nTasksMax = 1.5',
        'image = "a.b/x"\n[limits]\nTasksMax = ""',
        'image = "a.b/x"\n[limits]\nIODeviceWeight = [""]',
        'image = ""',
        'image = "a.b/x"\nruntime = ""',
    ],
)
def test_the_schema_takes_what_we_take(tmp_path: Path, text: str) -> None:
    schema = json.loads((ROOT / "docs" / "declaration.schema.json").read_text())
    (tmp_path / "a.toml").write_text(text)
    try:
        make_declarations(read_declared([tmp_path]))
        taken = True
    except UsageError:
        taken = False
    assert _is_valid(schema, tomllib.loads(text)) == taken


NAMES = (
    *("a", "7", "a-b", "a.b_c", "A0", "d", "x.dd", "service", "x" * 100),
    *("", "a-", "a.", "a_", "-a", ".a", "_a", "a b", "a/b", "a@b", "a:b", "ä", "x" * 101),
    *("x.service", "x.mount", "x.d", "x.service.d"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["name", "requires", "wants", "after"])
def test_the_schema_takes_the_names_that_we_take(key: str, name: str) -> None:
    schema = json.loads((ROOT / "docs" / "declaration.schema.json").read_text())
    try:
        check_name(name)
        taken = True
    except UsageError:
        taken = False
    assert _is_valid(schema, {"image": "a.b/x", key: name if key == "name" else [name]}) == taken


def _is_valid(schema: Mapping[str, Any], document: object) -> bool:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(document)


def test_only_a_missing_image_has_the_fetching_tried_again() -> None:
    unit = parse((ROOT / "units" / "syscontainers-fetch.service").read_text())
    assert unit.get("Service", "ExecStart") == "syscontainer apply --fetch"
    assert unit.get("Service", "Restart") == "on-failure"
    final = {int(number) for number in unit.get("Service", "RestartPreventExitStatus").split()}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert final == {INTERRUPTED, *(kind.exit_code for kind in kinds if issubclass(kind, errors.SyscontainersError))}
    assert MISSING not in final


def test_systemd_takes_the_units_that_we_ship() -> None:
    units = {path.name: path.read_text() for path in (ROOT / "units").iterdir()}
    assert len(units) >= 4
    # The command is found in PID 1's own search path, which need not lead to us here.
    texts = {name: text.replace("ExecStart=syscontainer ", "ExecStart=/bin/true ") for name, text in units.items()}
    assert not [str(finding) for finding in verify_texts(texts)]
