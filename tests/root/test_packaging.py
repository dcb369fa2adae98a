"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from syscontainers import __version__
from tests.wheel import CHECKOUT, build_wheel, install_wheel

pytestmark = pytest.mark.root
HINTED = re.compile(r"([a-z-]+\.md) in share/doc/syscontainers")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def contents(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as archive:
        yield archive


def files_below(directory: str) -> set[str]:
    found = [path for path in (CHECKOUT / directory).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(CHECKOUT)) for path in found}


def metadata(contents: zipfile.ZipFile, name: str) -> str:
    (path,) = [each for each in contents.namelist() if each.endswith(f".dist-info/{name}")]
    return contents.read(path).decode()


@pytest.mark.parametrize(
    ("directory", "place"),
    [
        ("syscontainers", ""),
        ("templates", "syscontainers/"),
        ("units", f"syscontainers-{__version__}.data/data/lib/systemd/system/"),
    ],
)
def test_every_file_is_in_it(contents: zipfile.ZipFile, directory: str, place: str) -> None:
    # A sub-package or a suffix that pyproject.toml does not list would be missing without a word.
    expected = {place + name.removeprefix("units/") for name in files_below(directory)}
    assert expected
    assert expected <= set(contents.namelist())


def test_nothing_else_is_in_it(contents: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in contents.namelist()}
    stem = f"syscontainers-{__version__}"
    assert tops <= {"syscontainers", f"{stem}.dist-info", f"{stem}.data"}
    assert not [name for name in contents.namelist() if "test" in name or name.endswith(".pyc")]


def test_the_manual_and_the_completion_are_in_it(contents: zipfile.ZipFile) -> None:
    ends = ("data/share/man/man8/syscontainer.8", "data/share/bash-completion/completions/syscontainer")
    assert [end for end in ends if not any(name.endswith(end) for name in contents.namelist())] == []


def test_every_document_that_a_hint_names_is_in_it(contents: zipfile.ZipFile) -> None:
    named = {name for path in files_below("syscontainers") for name in HINTED.findall((CHECKOUT / path).read_text())}
    assert named >= {"settings.md", "declarations.md"}
    shipped = {Path(name).name for name in contents.namelist() if "/share/doc/syscontainers/" in name}
    assert named - shipped == set()


def test_its_metadata(contents: zipfile.ZipFile) -> None:
    told = email.message_from_string(metadata(contents, "METADATA"))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert told["Version"] == __version__
    assert told["License-Expression"] == "Apache-2.0"
    required = [line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(required) == sorted(project["dependencies"])
    # setuptools would drop the command with a mere warning if setup.cfg and pyproject.toml both had a say in it.
    scripts = configparser.ConfigParser()
    scripts.read_string(metadata(contents, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == project["scripts"]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the wheel and what it requires."""
    directory = tmp_path_factory.mktemp("environment") / "venv"
    install_wheel(wheel, directory)
    return directory


def run_in(environment: Path, *argv: str) -> str:
    """Run in ``/``, where no checkout can lend a hand."""
    done = subprocess.run(
        [str(environment / "bin" / argv[0]), *argv[1:]],
        cwd="/",
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_works(environment: Path) -> None:
    assert run_in(environment, "syscontainer", "--version") == f"syscontainer {__version__}\n"
    assert "install" in run_in(environment, "syscontainer", "--help")
    assert run_in(environment, "python", "-m", "syscontainers", "--version") == f"syscontainer {__version__}\n"


def test_atomic_is_there_only_for_whoever_links_it(environment: Path) -> None:
    link = environment / "bin/atomic"
    assert not link.exists()
    link.symlink_to("syscontainer")
    try:
        assert run_in(environment, "atomic", "--version") == f"{__version__}\n"
        assert "--system-package" in run_in(environment, "atomic", "install", "--help")
    finally:
        link.unlink()


def test_every_verb_can_be_loaded(environment: Path) -> None:
    script = "from syscontainers.cli.verbs import VERBS; print(*VERBS)"
    for verb in run_in(environment, "python", "-c", script).split():
        assert f"syscontainer {verb}" in run_in(environment, "syscontainer", verb, "--help")


def test_it_finds_its_templates(environment: Path) -> None:
    module = "from syscontainers.exports.templates import find_template"
    for path in (CHECKOUT / "templates").glob("*.template"):
        assert run_in(environment, "python", "-c", f"{module}; print(find_template({path.name!r}), end='')") == (
            path.read_text()
        )


def test_systemd_enables_its_units(environment: Path, tmp_path: Path) -> None:
    # An environment's data lie in itself as those of a package do in /usr or, installed by pip, in /usr/local.
    shutil.copytree(environment / "lib/systemd/system", tmp_path / "usr/local/lib/systemd/system")
    units = [f"syscontainers-{name}.service" for name in ("recover", "apply", "settle")]
    subprocess.run(["systemctl", f"--root={tmp_path}", "enable", *units], check=True)
    wanted = tmp_path / "etc/systemd/system/multi-user.target.wants"
    assert {link.name: str(link.readlink()) for link in wanted.iterdir()} == {
        name: f"/usr/local/lib/systemd/system/{name}" for name in units
    }
