import json
from dataclasses import replace
from pathlib import Path

import pytest

from syscontainers.containers.changes import Change, Content, apply_changes, change_to, read_content, undo_changes
from syscontainers.containers.journal import Switch
from syscontainers.errors import SyscontainersError
from syscontainers.typed import DocumentError


def snapshot(directory: Path) -> dict[str, object]:
    return {str(path.relative_to(directory)): read_content(path) for path in directory.rglob("*") if not path.is_dir()}


def test_changes_are_undone_to_the_byte(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old\0")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("nowhere")
    before = snapshot(tmp_path)
    changes = [
        change_to(tmp_path / "file", Content(b"new", 0o600)),
        change_to(tmp_path / "link", Content(target="elsewhere")),
        change_to(tmp_path / "x.service.d" / "10-syscontainers.conf", Content(b"[Unit]\n")),
    ]
    apply_changes(changes)
    assert (tmp_path / "link").readlink() == Path("elsewhere")
    assert snapshot(tmp_path) != before
    undo_changes(changes)
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "x.service.d").exists()


def test_applying_or_undoing_twice_does_no_harm(tmp_path: Path) -> None:
    change = change_to(tmp_path / "file", Content(b"new"))
    apply_changes([change, change])
    assert (tmp_path / "file").read_bytes() == b"new"
    undo_changes([change])
    undo_changes([change])
    assert list(tmp_path.iterdir()) == []


def test_a_drop_in_directory_with_others_files_stays(tmp_path: Path) -> None:
    ours = tmp_path / "x.service.d" / "10-syscontainers.conf"
    change = change_to(ours, Content(b"[Unit]\n"))
    apply_changes([change])
    (ours.parent / "override.conf").write_text("[Service]\n")
    undo_changes([change])
    assert [path.name for path in ours.parent.iterdir()] == ["override.conf"]


def test_undoing_keeps_what_somebody_else_wrote_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "both").write_text("old")
    (tmp_path / "gone").write_text("old")
    changes = [change_to(tmp_path / "both", Content(b"new")), change_to(tmp_path / "only-new", Content(b"new"))]
    changes += [change_to(tmp_path / "gone", None), change_to(tmp_path / "untouched", Content(b"new"))]
    apply_changes(changes)
    for name in ("both", "only-new", "gone"):
        (tmp_path / name).write_text(f"edited {name}")
    (tmp_path / "both.edited").write_text("of an earlier time")
    kept = undo_changes(changes)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "both": "old",
        "both.edited": "of an earlier time",
        "both.edited1": "edited both",
        "gone": "old",
        "gone.edited": "edited gone",
        "only-new.edited": "edited only-new",
    }
    assert [line.rpartition(" ")[2] for line in kept] == [
        str(tmp_path / name) for name in ("gone.edited", "only-new.edited", "both.edited1")
    ]
    assert undo_changes(changes) == []


def test_undoing_tells_of_a_link_that_somebody_turned(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("one")
    change = change_to(tmp_path / "link", Content(target="two"))
    apply_changes([change])
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("three")
    assert "three" in undo_changes([change])[0]
    assert [path.readlink() for path in tmp_path.iterdir()] == [Path("one")]


def test_a_directory_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(SyscontainersError, match="in the way"):
        change_to(tmp_path / "dir", Content(b""))


def test_a_switch_survives_its_record() -> None:
    changes = (
        Change(Path("/a"), None, Content(b"\xff\0", 0o600)),
        Change(Path("/b"), Content(target="x"), None),
    )
    links = {"/etc/systemd/system/x.wants/etcd.service": "../etcd.service"}
    switch = Switch("etcd", "update", 1, 2, changes, was_active=True, start=True, remove=(0,))
    switch = replace(switch, dependents=("flannel.service",), links=links)
    assert Switch.parse(switch.to_bytes(), "record") == switch


def test_a_record_of_a_later_version_is_refused() -> None:
    document = json.loads(Switch("etcd", "install", None, 0).to_bytes())
    document["version"] = 2
    with pytest.raises(DocumentError, match="newer"):
        Switch.parse(json.dumps(document).encode(), "record")
