"""Who may import what: data flows one way through the rows, and a light verb loads nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import syscontainers

PACKAGE = Path(syscontainers.__file__).parent
# Each row imports from itself and from those before it. Modules in no row's directory are the ground.
ROWS = ("ground", "systemd", "storage", "images", "exports", "containers", "boot", "cli")
SAME_ROW_AS = {"dbus": "cli", "__main__": "cli"}
# Behind which door each of the libraries stands that others would have to be protected from.
DOORS = {
    "pystemd": {"systemd"},
    "dbus_next": {"dbus"},
    "urllib3": {"images"},
    "requests": {"images"},
    "psutil": {"cli", "containers"},
}

# What argparse, dataclasses, json and threading bring along, and the ground itself.
LIGHT = {
    *("argparse", "ast", "collections", "contextlib", "copy", "ctypes", "dataclasses", "datetime", "dis", "enum"),
    *("errno", "fcntl", "fnmatch", "functools", "gettext", "glob", "importlib", "inspect", "io", "itertools", "json"),
    *("keyword", "linecache", "locale", "opcode", "operator", "os", "pathlib", "posixpath", "pwd", "re", "secrets"),
    *("shlex", "shutil", "signal", "stat", "string", "struct", "textwrap", "threading", "time", "token", "tokenize"),
    *("types", "typing", "urllib", "warnings", "weakref", "ntpath", "ipaddress", "grp", "ctypes", "syscontainers"),
    # shutil knows archive formats and run.py child processes; both are of the interpreter and quick.
    *("bz2", "compression", "lzma", "zlib", "select", "selectors", "subprocess"),
    # secrets takes these for its tokens.
    *("base64", "binascii", "bisect", "hashlib", "hmac", "math", "numbers", "random"),
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def row_of(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    part = SAME_ROW_AS.get(part, part)
    return ROWS.index(part) if part in ROWS else 0


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that ``path`` names in an import anywhere in it, in functions as well, absolute."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*above, *(node.module or "").split(".")]).rstrip(".")
            # `from .. import settings` names modules, `from ..settings import Settings` does not.
            yield from (f"{base}.{alias.name}" for alias in node.names) if node.module is None else (base,)


@pytest.mark.parametrize("path", python_files(), ids=module_name)
def test_imports_point_down(path: Path) -> None:
    mine = row_of(module_name(path))
    ours = [name for name in imports(path) if name.split(".")[0] == "syscontainers"]
    assert [name for name in ours if row_of(name) > mine] == []


@pytest.mark.parametrize("library", DOORS)
def test_a_library_stands_behind_one_door(library: str) -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in python_files()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= DOORS[library]


def modules_loaded_by(arguments: list[str], config: Path) -> set[str]:
    script = (
        "import json, sys; before = set(sys.modules); sys.argv[:2] = sys.argv[1:2];"
        "from syscontainers.__main__ import main;"
        "code = main();"
        "print(json.dumps([code, sorted(set(sys.modules) - before)]), file=sys.stderr)"
    )
    done = subprocess.run(
        # Isolated from the user's site and from the path; site-packages is needed to find the package itself.
        [sys.executable, "-s", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"SYSCONTAINERS_CONFIG": str(config), "PYTHONPATH": str(PACKAGE.parent)},
    )
    code, names = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    return set(names)


OURS = [["--version"], ["--help"], ["list"], ["list", "--json"]]


@pytest.mark.parametrize(
    "arguments", [*(["syscontainer", *words] for words in OURS), ["atomic", "containers", "list"]], ids=" ".join
)
def test_light_verbs_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'state = "{tmp_path}/state"\n')
    # Only because this test has a settings file, which no machine with nothing installed has.
    light = LIGHT | {"tomllib"} if "list" in arguments else LIGHT
    loaded = {name.split(".")[0].removeprefix("_") for name in modules_loaded_by(arguments, config)}
    heavy = loaded - light - {name.removeprefix("_") for name in sys.builtin_module_names} - {"weakrefset"}
    assert heavy == set()
    assert not (tmp_path / "state").exists()


# Each of them takes as long to load as unpacking a small layer, and most pulls have no use for them.
SLOW = {"requests", "urllib3", "zstandard", "certifi", "pickle", "subprocess"}


def test_a_pull_loads_nothing_slow_for_rare_cases() -> None:
    script = (
        "import json, sys, syscontainers.cli.pull, syscontainers.images.pull, syscontainers.images.registry;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "http" in loaded
    assert loaded & SLOW == set()
