import os
from pathlib import Path

import pytest

from syscontainers.containers.context import Context
from syscontainers.containers.generation import (
    Generation,
    container_names,
    current_generation,
    generation_at,
    list_generations,
    next_number,
    write_generation,
)
from syscontainers.containers.info import Info
from syscontainers.containers.names import check_name
from syscontainers.errors import NotFoundError, SyscontainersError, UsageError
from syscontainers.progress import Progress
from syscontainers.settings import Settings


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Settings(state=tmp_path, storage=tmp_path / "storage"), Progress(quiet=True))


def make(context: Context, name: str, number: int) -> Generation:
    generation = generation_at(context, name, number)
    write_generation(generation, {"info": Info("image").to_bytes()}, writable=False)
    return generation


@pytest.mark.parametrize("name", ["etcd", "a", "A_b.c-1", "node-v3.9", "x" * 100])
def test_names_that_can_be_used(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-x",
        "a/b",
        "a b",
        "a@b",
        "a:b",
        "ä",
        "a\n",
        "x" * 101,
        "dbus.service",
        "a%b",
        "a\\b",
        ".x",
        "x-",
        "systemd-",
    ],
)
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_numbers_only_grow(context: Context) -> None:
    assert next_number(context, "etcd") == 0
    make(context, "etcd", 0)
    make(context, "etcd", 10)
    assert next_number(context, "etcd") == 11
    assert [generation.number for generation in list_generations(context, "etcd")] == [0, 10]


def test_a_container_called_like_a_generation_is_not_overwritten(context: Context) -> None:
    make(context, "x.0", 0)
    (context.settings.containers / "x.0").symlink_to("x.0.0")
    assert next_number(context, "x") == 1
    assert list_generations(context, "x") == []
    assert container_names(context) == ["x.0"]


def test_the_link_decides_which_is_current(context: Context) -> None:
    make(context, "etcd", 0)
    make(context, "etcd", 1)
    (context.settings.containers / "etcd").symlink_to("etcd.0")
    assert current_generation(context, "etcd").number == 0
    with pytest.raises(NotFoundError, match="no such container"):
        current_generation(context, "other")


@pytest.mark.parametrize("target", ["elsewhere.0", "etcd.00", "etcd.x", "/etc"])
def test_a_link_to_anything_else_is_refused(context: Context, target: str) -> None:
    make(context, "etcd", 0)
    (context.settings.containers / "etcd").symlink_to(target)
    with pytest.raises(NotFoundError, match="points to no generation"):
        current_generation(context, "etcd")


def test_generations_are_out_of_reach_of_users(context: Context) -> None:
    make(context, "etcd", 0)
    assert context.settings.containers.stat().st_mode & 0o777 == 0o700


def test_an_interrupted_write_leaves_nothing(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        make(context, "etcd", 0)
    assert list(context.settings.containers.iterdir()) == []


def test_an_old_record_is_read_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = tmp_path / "info"
    path.write_text('{"image": "docker.io/library/etcd:latest", "values": {"A": 1}}')
    assert Info.read(path).values == {"A": "1"}
    path.write_text("garbage")
    with pytest.raises(SyscontainersError, match=str(path)):
        Info.read(path)


def test_a_record_is_read_back_as_written() -> None:
    info = Info(
        "image",
        "sha256:" + "a" * 64,
        "b" * 64,
        ("l1", "l2"),
        12.5,
        {"K": "V"},
        {"K": "V"},
        {"K": "set"},
        ("K",),
        "runc",
    )
    assert Info.parse(info.to_bytes(), "info") == info
