from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syscontainers.errors import RefusedError, UsageError
from syscontainers.exports.process import DEFAULT_PATH, Process, merge_environment, read_process
from syscontainers.exports.signals import parse_signal
from syscontainers.exports.users import User, resolve_user
from syscontainers.exports.volumes import Volume, read_volumes
from tests.unit.exports_image import make_config, make_image, open_image

PASSWD = "root:x:0:0::/root:/bin/sh\nbroken\netcd:x:250:251:,,,:/home/etcd:/bin/sh\nodd:x:4294967296:1::/:/\n"
GROUP = "root:x:0:\netcd:x:251:\nlog:x:300:other,etcd\nssl:x:301:etcd\nbad:x:-1:etcd\n"


def user_of(root: Path, text: str) -> User:
    with open_image(root) as tree:
        return resolve_user(tree, text)


def process_of(root: Path, values: dict[str, str] | None = None, **config: Any) -> Process:
    with open_image(root) as tree:
        return read_process(make_config(**config), values or {}, tree)


def volumes_of(root: Path, paths: Sequence[str]) -> tuple[Volume, ...]:
    with open_image(root) as tree:
        return read_volumes(paths, tree)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_image(tmp_path, {"etc/passwd": PASSWD, "etc/group": GROUP})


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(home="/root")),
        ("root", User(home="/root")),
        ("etcd", User(250, 251, (300, 301), "/home/etcd")),
        ("250", User(250, 251, (300, 301), "/home/etcd")),
        ("0250", User(250, 251, (300, 301), "/home/etcd")),
        ("etcd:log", User(250, 300, (), "/home/etcd")),
        ("etcd:7", User(250, 7, (), "/home/etcd")),
        ("etcd:", User(250, 251, (300, 301), "/home/etcd")),
        ("1000", User(1000)),
        ("1000:1000", User(1000, 1000)),
        (":log", User(0, 300, (), "/root")),
        ("2147483647", User(2147483647)),
    ],
)
def test_users_are_resolved_in_the_image(root: Path, text: str, user: User) -> None:
    assert user_of(root, text) == user


@pytest.mark.parametrize(
    "text",
    [
        "4294967296",  # CVE-2024-40635
        "2147483648",
        "1000000000000",
        "99999999999999999999999999",
        "0:4294967296",
        "0:0x",
        "0x0",
        "-1",
        "+1",
        "٣",
        "etcd:log:x",
        "nobody",
        "etcd:nogroup",
        "odd",
        "et cd",
        "a\nb",
    ],
)
def test_users_that_cannot_be_meant_are_refused(root: Path, text: str) -> None:
    with pytest.raises(RefusedError, match=r"the image's (user|group)"):
        user_of(root, text)


def test_an_image_without_accounts_has_root_and_numbers(tmp_path: Path) -> None:
    assert user_of(make_image(tmp_path, {}), "root:root") == User(0, 0, (), "/root")
    assert user_of(tmp_path, "5:6") == User(5, 6)


def test_accounts_behind_a_link_to_the_host_are_not_read(tmp_path: Path) -> None:  # CVE-2024-9676
    (tmp_path / "passwd").write_text("host:x:77:77::/:/\n")
    root = make_image(tmp_path / "root", {"etc/passwd": f"-> {tmp_path}/passwd"})
    with pytest.raises(RefusedError, match="not in its /etc/passwd"):
        user_of(root, "host")


def test_an_endless_group_file_is_refused(tmp_path: Path) -> None:  # CVE-2026-47262
    root = make_image(
        tmp_path, {"etc/passwd": PASSWD, "etc/group": "".join(f"g{n}:x:{n}:etcd\n" for n in range(10**5))}
    )
    with pytest.raises(RefusedError, match="larger than"):
        user_of(root, "etcd")


@pytest.mark.parametrize(
    ("text", "number", "name"),
    [
        ("", 15, "SIGTERM"),
        ("SIGINT", 2, "SIGINT"),
        ("quit", 3, "SIGQUIT"),
        ("9", 9, "SIGKILL"),
        ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
        ("RTMIN", 34, "SIGRTMIN+0"),
        ("SIGRTMAX-1", 63, "SIGRTMIN+29"),
        ("37", 37, "SIGRTMIN+3"),
        ("SIGCLD", 17, "SIGCHLD"),
    ],
)
def test_signals_are_read_as_images_write_them(text: str, number: int, name: str) -> None:
    signal = parse_signal(text)
    assert (signal.number, signal.name) == (number, name)


@pytest.mark.parametrize(
    "text", ["0", "65", "32", "-9", "SIGFOO", "SIGRTMIN+31", "SIGRTMIN-1", "9\nKillMode=none", "1e1"]
)
def test_words_that_are_no_signals_are_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="is no signal"):
        parse_signal(text)


@pytest.mark.parametrize(
    ("values", "config", "args"),
    [
        ({}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ("/e", "c")),
        ({}, {"Entrypoint": None, "Cmd": ["c", "d"]}, ("c", "d")),
        ({"CMD": "x 'y z'"}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ("/e", "x", "y z")),
        ({"ARGS": '["/a", ""]', "CMD": "x"}, {"Entrypoint": ["/e"], "Cmd": ["c"]}, ("/a", "")),
    ],
)
def test_the_command_is_entrypoint_and_cmd_unless_told_otherwise(
    root: Path, values: dict[str, str], config: dict[str, Any], args: tuple[str, ...]
) -> None:
    assert process_of(root, values, **config).args == args


@pytest.mark.parametrize("config", [{"Entrypoint": [], "Cmd": []}, {"Entrypoint": [""], "Cmd": ["x"]}])
def test_an_image_that_says_nothing_to_run_is_refused(root: Path, config: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="does not say what to run") as caught:
        process_of(root, **config)
    assert "ARGS" in caught.value.hint


def test_the_environment_has_each_name_once_with_its_last_value(root: Path) -> None:
    process = process_of(root, {"ENV": "A=user 'B=b c' A=last"}, Env=["A=image", "C==", "PATH=/p", "broken", "=x"])
    assert process.env == ("PATH=/p", "A=last", "C==", "B=b c", "HOME=/root")


@pytest.mark.parametrize("extra", ["A", "=x", "A=1 B"])
def test_environment_of_the_user_has_to_set_something(root: Path, extra: str) -> None:
    with pytest.raises(UsageError, match="is not NAME=VALUE"):
        process_of(root, {"ENV": extra})


@given(
    st.lists(st.tuples(st.sampled_from(["A", "B", "PATH", "HOME"]), st.text(st.characters(exclude_characters="\0"))))
)
def test_the_last_value_of_a_name_counts(pairs: list[tuple[str, str]]) -> None:
    merged = dict(entry.split("=", 1) for entry in merge_environment([f"{k}={v}" for k, v in pairs], [], "/h"))
    assert merged == {"HOME": "/h", "PATH": DEFAULT_PATH.removeprefix("PATH="), **dict(pairs)}


@pytest.mark.parametrize(("path", "cwd"), [("", "/"), ("/srv/../opt//x/", "/opt/x"), ("//a", "/a")])
def test_the_working_directory_is_in_normal_form(root: Path, path: str, cwd: str) -> None:
    assert process_of(root, WorkingDir=path).cwd == cwd


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/fd/7",
        "/proc",
        "/x/../proc/self/fd/8/",
        "/door",
        "/door2/7",
        "relative",
        "/a\nb",
        "/loop",
        "/" + "x" * 300,
    ],
)
def test_doors_to_the_host_are_no_working_directory(tmp_path: Path, path: str) -> None:  # CVE-2024-21626
    links = {"door": "-> /proc/self/fd/7", "door2": "-> proc/self/fd", "loop": "-> loop"}
    with pytest.raises(RefusedError):
        process_of(make_image(tmp_path, links), WorkingDir=path)


def test_no_volume_lies_inside_another(tmp_path: Path) -> None:
    # What a payload has in a volume is its own to change: a link to /etc on the way to another volume, for instance.
    volumes = volumes_of(make_image(tmp_path, {}), ["/data", "/data/x", "/data/x/cron.d", "/data-x", "/srv/files"])
    sources = [volume.source("/var/lib/web").removeprefix("/var/lib/web/") for volume in volumes]
    assert sources == ["data", r"data\x2dx", "data-x", "data-x-cron.d", "srv-files"]


def test_volumes_take_owner_and_mode_from_the_image(tmp_path: Path) -> None:
    root = make_image(tmp_path, {"data": None, "data/in": None, "link": "-> srv/real"})
    (root / "data").chmod(0o2750)
    owner = (root / "data").stat()
    volumes = volumes_of(root, ["/new", "/data/in/", "/data", "/link"])
    assert volumes == (
        Volume("/data", 0o750, owner.st_uid, owner.st_gid, hides=True),
        Volume("/data/in", 0o755, owner.st_uid, owner.st_gid),
        Volume("/new"),
        Volume("/srv/real"),
    )
    assert volumes[0].rule("/var/lib/e 1%") == f'd "/var/lib/e 1%%/data" 0750 {owner.st_uid} {owner.st_gid} -'


@pytest.mark.parametrize("path", ["/", "/proc/x", "/sys", "/dev/shm", "relative", "/a/../b", "/a\nb", "/up", "/file"])
def test_volumes_that_cannot_be_data_are_refused(tmp_path: Path, path: str) -> None:
    root = make_image(tmp_path, {"up": "-> /proc/self", "file": "x"})
    with pytest.raises(RefusedError, match="the image's volume"):
        volumes_of(root, [path])
