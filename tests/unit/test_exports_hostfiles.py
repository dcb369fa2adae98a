from __future__ import annotations

import os
from pathlib import Path

import pytest

from syscontainers.containers.hostfiles import read_host_files
from syscontainers.errors import RefusedError
from syscontainers.exports.contract import ExportsManifest
from syscontainers.exports.describe import describe_variables
from syscontainers.exports.hostfiles import HostFile, plan_host_files, read_template, rename_path
from syscontainers.exports.render import MissingValueError
from tests.unit.exports_image import make_image, open_image
from tests.unit.test_exports_contract import read

VALUES = {"CONF_DIRECTORY": "/etc", "NAME": "etcd2"}


def plan(root: Path, manifest: ExportsManifest | None = None) -> dict[str, HostFile]:
    with open_image(root) as tree:
        return {file.path: file for file in plan_host_files(tree, manifest or ExportsManifest(), VALUES)}


def test_an_image_without_host_files(tmp_path: Path) -> None:
    assert plan(make_image(tmp_path, {})) == {}


def test_files_links_and_empty_directories_are_listed(tmp_path: Path) -> None:
    root = make_image(
        tmp_path,
        {
            "exports/hostfs/top": "",
            "exports/hostfs/usr/local/bin/etcdctl": "x",
            "exports/hostfs/etc/etcd/empty": None,
            "exports/hostfs/usr/lib/link": "-> /usr/local/bin",
        },
    )
    (root / "exports/hostfs/usr/local/bin/etcdctl").chmod(0o4755)
    found = plan(root)
    assert {path: file.kind for path, file in found.items()} == {
        "/etc/etcd/empty": "directory",
        "/top": "file",
        "/usr/lib/link": "link",
        "/usr/local/bin/etcdctl": "file",
    }
    assert found["/usr/local/bin/etcdctl"].mode == 0o4755
    assert found["/usr/local/bin/etcdctl"].source == "/exports/hostfs/usr/local/bin/etcdctl"
    assert found["/usr/lib/link"].target == "/usr/local/bin"


@pytest.mark.parametrize(
    ("path", "renamed"),
    [
        ("etc/a", "/etc/a"),
        ("etc/old.conf", "/etc/new.conf"),
        ("etc/dir/x/y", "/opt/d/x/y"),
        ("etc/dir/x/z", "/opt/d/x/renamed"),
        ("etc/directory", "/etc/directory"),
    ],
)
def test_renaming_a_directory_moves_what_is_in_it(path: str, renamed: str) -> None:
    renames = {"/etc/old.conf": "/etc/new.conf", "/etc/dir": "/opt/d", "/opt/d/x/z": "/opt/d/x/renamed"}
    assert rename_path(path, renames) == renamed


def test_templates_are_known_by_their_new_name_and_rendered(tmp_path: Path) -> None:
    files = {"exports/hostfs/etc/a": "I am $NAME", "exports/hostfs/etc/b": "$"}
    manifest = ExportsManifest(
        rename_files={"/etc/a": "$CONF_DIRECTORY/$NAME.conf"}, installed_files_template=("/etc/etcd2.conf", "/etc/a")
    )
    root = make_image(tmp_path, files)
    found = plan(root, manifest)
    assert {path: file.template for path, file in found.items()} == {"/etc/etcd2.conf": True, "/etc/b": False}
    with open_image(root) as tree:
        assert read_template(tree, found["/etc/etcd2.conf"], VALUES) == b"I am etcd2"


def test_a_missing_value_in_a_host_file_names_it(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/hostfs/etc/a": "$WANTED"})
    file = plan(root, ExportsManifest(installed_files_template=("/etc/a",)))["/etc/a"]
    with open_image(root) as tree, pytest.raises(MissingValueError, match="'/exports/hostfs/etc/a' still"):
        read_template(tree, file, VALUES)


@pytest.mark.parametrize("target", ["relative", "/etc/../passwd", "", "/a\nb"])
def test_new_names_have_to_be_plain_paths(tmp_path: Path, target: str) -> None:
    with pytest.raises(RefusedError, match="is not a plain absolute path"):
        plan(make_image(tmp_path, {}), ExportsManifest(rename_files={"/etc/a": target}))


def test_two_files_may_not_become_one(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/hostfs/a": "", "exports/hostfs/b": ""})
    with pytest.raises(RefusedError, match="two files at /b"):
        plan(root, ExportsManifest(rename_files={"/a": "/b"}))


def test_devices_are_refused(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/hostfs": None})
    os.mkfifo(root / "exports/hostfs/fifo")
    with pytest.raises(RefusedError, match="is neither a file"):
        plan(root)


def test_more_than_the_memory_should_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"exports/hostfs/a": "", "exports/hostfs/b": ""})
    for name in ("a", "b"):
        os.truncate(root / "exports/hostfs" / name, 32 << 20)
    assert len(plan(root)) == 2
    os.truncate(root / "exports/hostfs/b", (32 << 20) + 1)
    with pytest.raises(RefusedError, match=r"/exports/hostfs: more than 67\.1 MB of files for the host"):
        plan(root)


def test_more_files_than_anybody_installs_are_refused(tmp_path: Path) -> None:
    root = make_image(tmp_path, {f"exports/hostfs/{number}": "" for number in range(10_000)})
    assert len(plan(root)) == 10_000
    (root / "exports/hostfs/last").touch()
    with pytest.raises(RefusedError, match="more than 10000 files for the host"):
        plan(root)


def test_templates_that_grow_too_long_together_are_refused(tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(5)]
    root = make_image(tmp_path, {f"exports/hostfs{name}": "$LONG" * 15 for name in names})
    manifest = ExportsManifest(installed_files_template=tuple(names))
    with open_image(root) as tree:
        assert len(read_host_files(tree, manifest, {"LONG": "x" * 500_000})) == 5
        with pytest.raises(RefusedError, match="of files for the host"):
            read_host_files(tree, manifest, {"LONG": "x" * 1_000_000})


def test_variables_are_described_before_anything_is_installed(tmp_path: Path) -> None:
    root = make_image(
        tmp_path,
        {
            "exports/config.json.template": "$PORT $WANTED $RUN_DIRECTORY $NAME $UUID",
            "exports/service.template": "$EXEC_START",
            "exports/manifest.json": '{"defaultValues": {"PORT": 80, "RUN_DIRECTORY": "/vain", "SPARE": ""},'
            ' "parameters": {"PORT": {"type": "integer", "help": "listens there"}}}',
        },
    )
    found = {each.name: (each.origin, each.default, each.required) for each in describe_variables(read(root))}
    assert found == {
        "EXEC_START": ("forced", None, False),
        "NAME": ("forced", None, False),
        "PORT": ("image", "80", False),
        "RUN_DIRECTORY": ("os", None, False),
        "SPARE": ("image", "", False),
        "UUID": ("os", None, False),
        "WANTED": ("user", None, True),
    }


def test_our_own_parameters_are_described_where_our_templates_are_used(tmp_path: Path) -> None:
    found = {each.name: each for each in describe_variables(read(make_image(tmp_path, {})))}
    assert found["NETWORK"].parameter.allowed == ("host", "none")
    assert (found["MEMORY"].origin, found["MEMORY"].default) == ("default", "infinity")
    assert all(each.parameter.help for each in found.values())
    only_config = describe_variables(read(make_image(tmp_path / "x", {"exports/service.template": "$EXEC_START"})))
    names = {each.name for each in only_config}
    assert "ARGS" in names
    assert "MEMORY" not in names
