from pathlib import Path

import pytest

from syscontainers.containers.changes import Content, apply_changes, undo_changes
from syscontainers.containers.context import Context
from syscontainers.containers.hostfiles import HostFiles, load_host_files, plan_host_changes, save_host_files
from syscontainers.progress import Progress
from syscontainers.settings import Settings

TOOL = "/usr/local/bin/tool"
CONF = "/etc/tool/tool.conf"
LINK = "/usr/local/bin/alias"
EMPTY = "/var/lib/tool"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "host").mkdir()
    return Context(Settings(state=tmp_path / "state", host=tmp_path / "host"), Progress(quiet=True))


def files(version: bytes = b"1") -> dict[str, Content]:
    return {
        TOOL: Content(b"#!/bin/sh\n" + version, 0o755),
        CONF: Content(b"key = " + version),
        LINK: Content(target="tool"),
        EMPTY: Content(mode=0o755, directory=True),
    }


def publish(context: Context, wanted: HostFiles, name: str = "one") -> tuple[str, ...]:
    planned = plan_host_changes(context, name, wanted)
    apply_changes(planned.changes)
    return planned.notices


def on_host(context: Context, path: str) -> Path:
    return context.settings.host / path.lstrip("/")


def listing(context: Context) -> list[str]:
    return sorted(str(path.relative_to(context.settings.host)) for path in context.settings.host.rglob("*"))


def test_files_come_update_and_go(context: Context) -> None:
    assert publish(context, files()) == ()
    assert on_host(context, TOOL).stat().st_mode & 0o777 == 0o755
    assert on_host(context, LINK).read_bytes().endswith(b"1")
    assert publish(context, files(b"2")) == ()
    assert on_host(context, CONF).read_bytes() == b"key = 2"
    new = files(b"3")
    del new[CONF]
    publish(context, new)
    assert not on_host(context, CONF).exists()
    publish(context, {})
    assert not on_host(context, TOOL).exists()
    assert not on_host(context, LINK).is_symlink()
    assert listing(context) == []
    assert list((context.settings.state / "hostfiles").iterdir()) == []


def test_taking_it_back_leaves_no_directory(context: Context) -> None:
    planned = plan_host_changes(context, "one", files())
    apply_changes(planned.changes)
    undo_changes(planned.changes)
    assert listing(context) == []


def test_an_edited_file_is_kept_and_no_longer_ours(context: Context) -> None:
    publish(context, files())
    on_host(context, CONF).write_text("key = mine")
    notices = publish(context, files(b"2"))
    assert f"Will not delete {CONF} as it was manually modified." in notices
    assert f"File {CONF} already exists" in notices
    publish(context, {})
    assert on_host(context, CONF).read_text() == "key = mine"
    assert not on_host(context, TOOL).exists()


def test_what_stood_there_before_is_left_alone(context: Context) -> None:
    on_host(context, TOOL).parent.mkdir(parents=True)
    on_host(context, TOOL).write_text("the host's own")
    assert publish(context, files()) == (f"File {TOOL} already exists",)
    publish(context, {})
    assert on_host(context, TOOL).read_text() == "the host's own"


def test_the_first_of_two_containers_owns_a_path(context: Context) -> None:
    publish(context, files(), "one")
    assert f"File {TOOL} already exists" in publish(context, files(b"2"), "two")
    publish(context, {}, "two")
    assert on_host(context, TOOL).read_bytes().endswith(b"1")
    publish(context, {}, "one")
    assert not on_host(context, TOOL).exists()


def test_a_directory_that_somebody_uses_stays(context: Context) -> None:
    publish(context, files())
    (on_host(context, EMPTY) / "data").write_text("precious")
    publish(context, {})
    assert (on_host(context, EMPTY) / "data").read_text() == "precious"


def test_saved_files_are_read_back() -> None:
    assert load_host_files(save_host_files(files()), "hostfs.json") == files()
