from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from syscontainers.boot.binding import binding_text
from syscontainers.boot.declaration import FIELDS, LIMITS, UPDATES, Declaration, make_declarations
from syscontainers.boot.fragments import find_line, read_declared, read_paths
from syscontainers.boot.order import sort_by_needs
from syscontainers.containers.names import LONGEST_NAME, NAME_PATTERN
from syscontainers.errors import UsageError

SCHEMA = Path(__file__).parents[2] / "docs" / "declaration.schema.json"


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def declarations(root: Path, *directories: str) -> dict[str, Declaration]:
    found = make_declarations(read_declared([root / name for name in directories or ("etc",)]))
    return {declaration.name: declaration for declaration in found}


def complaint(root: Path, text: str) -> str:
    write(root, {"etc/a.toml": text})
    with pytest.raises(UsageError) as caught:
        declarations(root)
    return caught.value.message.removeprefix(f"{root}/etc/")


FULL = """\
image = "registry.example/etcd:3.5"
name = "store"
update = "always"
start = false
runtime = "crun"
requires = ["disk"]
wants = ["clock"]
after = ["other"]

[values]
PORT = 2379
NAME = "one"

[limits]
MemoryMax = "64M"
TasksMax = 100
IODeviceWeight = ["/dev/sda 100", "/dev/sdb 200"]
"""


def test_every_key(tmp_path: Path) -> None:
    write(tmp_path, {"etc/a.toml": FULL})
    found = declarations(tmp_path)["store"]
    assert str(found.image) == "registry.example/etcd:3.5"
    assert (found.update, found.start, found.runtime) == ("always", False, "crun")
    assert found.needs == ("disk", "clock", "other")
    assert found.values == {"PORT": "2379", "NAME": "one"}
    assert found.limits == {
        "MemoryMax": ("64M",),
        "TasksMax": ("100",),
        "IODeviceWeight": ("/dev/sda 100", "/dev/sdb 200"),
    }
    assert set(FIELDS) == set(re.findall(r"(?m)^\[?(\w+)\]?", FULL)) & set(FIELDS)


def test_the_name_is_the_file_unless_given(tmp_path: Path) -> None:
    write(tmp_path, {"etc/web-1.toml": 'image = "a.b/x"'})
    assert list(declarations(tmp_path)) == ["web-1"]


def test_etc_replaces_run_replaces_usr(tmp_path: Path) -> None:
    write(tmp_path, {"usr/a.toml": 'image = "a.b/usr"', "usr/b.toml": 'image = "a.b/usr"'})
    write(tmp_path, {"run/a.toml": 'image = "a.b/run"', "etc/c.toml": 'image = "a.b/etc"'})
    found = declarations(tmp_path, "etc", "run", "usr")
    assert {name: each.image.repository for name, each in found.items()} == {"a": "run", "b": "usr", "c": "etc"}


@pytest.mark.parametrize("empty", ["", "\n  \n", None])
def test_an_empty_file_or_null_link_takes_away(tmp_path: Path, empty: str | None) -> None:
    write(tmp_path, {"usr/a.toml": 'image = "a.b/usr"', "etc/b.toml": 'image = "a.b/etc"'})
    if empty is None:
        (tmp_path / "etc" / "a.toml").symlink_to("/dev/null")
    else:
        write(tmp_path, {"etc/a.toml": empty})
    assert list(declarations(tmp_path, "etc", "usr")) == ["b"]


def test_drop_ins_of_all_directories_change_single_keys_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "usr/a.toml": 'image = "a.b/usr"\nafter = ["x", "y"]\n[values]\nA = "1"\nB = "1"',
            "usr/a.toml.d/10.toml": '[values]\nA = "usr10"',
            "usr/a.toml.d/20.toml": '[values]\nA = "usr20"\nC = "3"',
            "etc/a.toml.d/20.toml": 'after = ["z"]\n[values]\nA = "etc20"',
            "etc/a.toml.d/notes.txt": "not TOML",
        },
    )
    found = declarations(tmp_path, "etc", "run", "usr")["a"]
    assert found.values == {"A": "etc20", "B": "1"}
    assert found.after == ("z",)
    assert [each.path.name for each in found.fragments] == ["a.toml", "10.toml", "20.toml"]


def test_named_files_and_directories(tmp_path: Path) -> None:
    write(tmp_path, {"d/a.toml": 'image = "a.b/x"', "e/b.toml": 'image = "a.b/y"', "e/b.toml.d/1.toml": "start=false"})
    found = make_declarations(read_paths([tmp_path / "d", tmp_path / "e" / "b.toml"]))
    assert [(each.name, each.start) for each in found] == [("a", True), ("b", False)]
    with pytest.raises(UsageError, match="No such file"):
        read_paths([tmp_path / "none.toml"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start = true\n", "a.toml: image is missing"),
        ('image = "a.b/x"\nimgae = "y"', "a.toml:2: imgae is not a key of a declaration; there are: image, "),
        ("\n\nimage = 3", "a.toml:3: image must be a string of printable characters"),
        ('image = "A B"', "a.toml:1: image is wrong: 'A B' is not the name of an image"),
        ('image = "a.b/x"\nname = "no/name"', "a.toml:2: name is wrong: 'no/name' cannot be the name of a container"),
        ('image = "a.b/x"\nupdate = "daily"', "a.toml:2: update must be one of never, local, always"),
        ('image = "a.b/x"\nstart = "yes"', "a.toml:2: start must be true or false"),
        ('image = "a.b/x"\nrequires = "etcd"', "a.toml:2: requires must be a list of names"),
        ('image = "a.b/x"\nafter = ["ok", "a b"]', "a.toml:2: after is wrong: 'a b' cannot be"),
        ('image = "a.b/x"\nvalues = 3', "a.toml:2: values must be a table"),
        ('image = "a.b/x"\n[values]\nA = "1"\nB = true', "a.toml:4: values.B must be a string or an integer"),
        ('image = "a.b/x"\n[values]\nA = ["1"]', "a.toml:3: values.A must be a string or an integer"),
        ('image = "a.b/x"\n[limits]\nExecStart = "/bin/sh"', "a.toml:3: limits.ExecStart is not a resource limit"),
        ('image = "a.b/x"\n[limits]\nMemoryMax = "1\\nExecStart=x"', "a.toml:3: limits.MemoryMax must be a string"),
        ('image = "a.b/x"\nlimits.TasksMax = 1.5', "a.toml:2: limits.TasksMax must be a string"),
        ('image = "a.b/x"\n\nstart = maybe', "a.toml:3: not valid TOML: Invalid value"),
        ('image = "a.b/x"\nstart = tr', "a.toml:2: not valid TOML: Invalid value"),
        ('image = "a', "a.toml:1: not valid TOML"),
    ],
)
def test_mistakes_are_told_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(tmp_path, text).startswith(said)


def test_a_mistake_in_a_drop_in_names_the_drop_in(tmp_path: Path) -> None:
    write(tmp_path, {"etc/a.toml.d/x.toml": "\nstart = 1"})
    assert complaint(tmp_path, 'image = "a.b/x"') == "a.toml.d/x.toml:2: start must be true or false"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.toml").write_bytes(b'image = "a.b/x"\n# \xff\n')
    with pytest.raises(UsageError, match=r"a\.toml:2: is not UTF-8"):
        declarations(tmp_path)


def test_two_files_for_one_container(tmp_path: Path) -> None:
    write(tmp_path, {"etc/a.toml": 'image = "a.b/x"', "etc/b.toml": 'image = "a.b/x"\nname = "a"'})
    with pytest.raises(UsageError, match=r"b\.toml:2: name 'a' is what .*/a\.toml calls its container too"):
        declarations(tmp_path)


def test_what_others_need_comes_first(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "etc/a.toml": 'image = "a.b/x"\nrequires = ["c"]',
            "etc/b.toml": 'image = "a.b/x"\nafter = ["a", "outside"]',
            "etc/c.toml": 'image = "a.b/x"\nwants = ["d"]',
            "etc/d.toml": 'image = "a.b/x"',
        },
    )
    ordered = sort_by_needs(list(declarations(tmp_path).values()), {"outside": ()})
    assert [each.name for each in ordered] == ["d", "c", "a", "b"]


def test_a_circle_and_a_stranger_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"etc/a.toml": 'image = "a.b/x"\nrequires = ["b"]', "etc/b.toml": 'image = "a.b/x"\nafter = ["a"]'})
    with pytest.raises(UsageError, match=r"b\.toml:2: after makes a circle: a needs b needs a"):
        sort_by_needs(list(declarations(tmp_path).values()))
    write(tmp_path, {"etc/b.toml": 'image = "a.b/x"\n\nwants = ["nobody"]'})
    with pytest.raises(UsageError, match=r"b\.toml:3: wants names 'nobody', which is no container of this host"):
        sort_by_needs(list(declarations(tmp_path).values()))


def test_a_circle_that_a_drop_in_makes_is_refused_with_the_drop_in(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "etc/a.toml": 'image = "a.b/x"\nrequires = ["b"]',
            "usr/b.toml": 'image = "a.b/x"',
            "run/b.toml.d/more.toml": '# by an operator\nwants = ["a"]',
        },
    )
    with pytest.raises(UsageError, match=r"run/b\.toml\.d/more\.toml:2: wants makes a circle: a needs b needs a"):
        sort_by_needs(list(declarations(tmp_path, "etc", "run", "usr").values()))


def test_the_drop_in(tmp_path: Path) -> None:
    write(tmp_path, {"etc/a.toml": FULL + '\nMemoryHigh = "50%"'})
    assert binding_text(declarations(tmp_path)["store"]).splitlines() == [
        f"# Made by `syscontainer apply` from {tmp_path}/etc/a.toml",
        "[Unit]",
        "Requires=disk.service",
        "Wants=clock.service",
        "After=disk.service",
        "After=clock.service",
        "After=other.service",
        "",
        "[Service]",
        "MemoryMax=64M",
        "TasksMax=100",
        "IODeviceWeight=/dev/sda 100",
        "IODeviceWeight=/dev/sdb 200",
        "MemoryHigh=50%",
    ]


@pytest.mark.parametrize(
    ("keys", "line"),
    [(("image",), 1), (("values", "B"), 6), (("values", "Q.X"), 7), (("limits", "M"), 8), (("none",), 0)],
)
def test_lines_of_keys(keys: tuple[str, ...], line: int) -> None:
    text = 'image = "x"\n# name = 3\n[ values ] # B = 1\n\nA = "1"\n"B" = "2"\n"Q.X" = 1\n[limits]\n'
    assert find_line(text, keys) == line


def test_the_published_schema_says_the_same() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert set(schema["properties"]) == set(FIELDS)
    assert schema["required"] == ["image"]
    assert schema["additionalProperties"] is False
    assert tuple(schema["properties"]["update"]["enum"]) == UPDATES
    assert set(schema["properties"]["limits"]["properties"]) == set(LIMITS)
    names = [
        schema["properties"]["name"],
        *(schema["properties"][key]["items"] for key in ("requires", "wants", "after")),
    ]
    assert {(name["pattern"], name["maxLength"]) for name in names} == {(NAME_PATTERN, LONGEST_NAME)}
    assert all(each.get("description") for each in schema["properties"].values())
