from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from syscontainers.errors import RefusedError, SyscontainersError
from syscontainers.storage import landlock
from syscontainers.storage.tar import Member
from syscontainers.storage.tree import TreeWriter
from syscontainers.storage.unpack import unpack_layer
from tests.archive import file, promise
from tests.hostile import Case, Place, cases
from tests.hostile.canary import Canary
from tests.hostile.case import tar_of
from tests.listing import Facts, list_tree

pytestmark = pytest.mark.root
CASES = {case.name: case for case in cases()}


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    (tmp_path / "staging").mkdir()
    return Canary(tmp_path / "canary")


def unpack(case: Case, tmp_path: Path) -> Path:
    staging = tmp_path / "staging" / "layer"
    blob = case.blob(Place(os.fsencode(tmp_path / "canary"), b"../../../canary"))
    tar = case.tar() if case.tar else blob
    unpack_layer([blob], promise(blob, tar), staging, limits=case.limits)
    return staging


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.rejected is not None])
def test_a_rejected_archive_leaves_nothing(name: str, tmp_path: Path, canary: Canary) -> None:
    case = CASES[name]
    before = canary.state()
    with pytest.raises(SyscontainersError) as caught:
        unpack(case, tmp_path)
    assert re.search(case.rejected or "", caught.value.message, re.IGNORECASE), caught.value.message
    # What claims more than the disk holds is refused for that, before it could be found to be cut short.
    assert isinstance(caught.value, RefusedError) or "no space left" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert list((tmp_path / "staging").iterdir()) == []
    assert canary.state() == before


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.rejected is None])
def test_a_harmless_archive_stays_in_its_directory(name: str, tmp_path: Path, canary: Canary) -> None:
    case = CASES[name]
    before = canary.state()
    staging = unpack(case, tmp_path)
    assert canary.state() == before
    tree = list_tree(staging / "diff")
    assert [path for path in case.present if path not in tree] == []
    assert [path for path in case.absent if path in tree] == []
    assert set(os.listdir(staging)) == {"diff", "tar-split.gz"}
    assert staging.stat().st_mode & 0o7777 == 0o700
    assert not any(attribute_of_overlay(facts) for path, facts in tree.items() if name.startswith("xattr"))


def attribute_of_overlay(facts: Facts) -> bool:
    return bool(facts.xattrs)


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"x")


ESCAPES: dict[str, Callable[[Path], object]] = {
    "create": lambda outside: (outside / "new").write_bytes(b"x"),
    "overwrite": lambda outside: (outside / "secret").write_bytes(b"x"),
    "truncate": lambda outside: os.truncate(outside / "secret", 0),
    "append": lambda outside: append(outside / "secret"),
    "remove": lambda outside: (outside / "secret").unlink(),
    "remove-directory": lambda outside: (outside / "hollow").rmdir(),
    "make-directory": lambda outside: (outside / "new").mkdir(),
    "make-link": lambda outside: (outside / "new").symlink_to("/etc"),
    "make-fifo": lambda outside: os.mkfifo(outside / "new"),
    "make-device": lambda outside: os.mknod(outside / "new", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
    "rename": lambda outside: (outside / "secret").rename(outside / "new"),
    "link-out": lambda outside: os.link(outside.parent / "staging/layer/tar-split.gz", outside / "new"),
    "link-in": lambda outside: os.link(outside / "secret", outside.parent / "staging/layer/diff/stolen"),
    "move-in": lambda outside: (outside / "secret").rename(outside.parent / "staging/layer/diff/stolen"),
}


def unpack_with(escape: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpack one file with a writer of trees that is broken: it does ``escape`` instead."""

    def broken(_self: TreeWriter, _member: Member, _contents: object) -> int:
        escape(tmp_path / "canary")
        return 0

    monkeypatch.setattr(TreeWriter, "write", broken)
    blob = tar_of(file(b"f"))(Place(b"", b""))
    unpack_layer([blob], promise(blob), tmp_path / "staging/layer")


@pytest.mark.parametrize("escape", ESCAPES)
def test_landlock_stops_a_broken_unpacker(
    escape: str, tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    (canary.path / "hollow").mkdir()
    before = canary.state()
    with pytest.raises(RefusedError, match=r"Permission denied|cross-device"):
        unpack_with(ESCAPES[escape], tmp_path, monkeypatch)
    assert canary.state() == before
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize("escape", ESCAPES)
def test_it_is_landlock_that_stops_it(
    escape: str, tmp_path: Path, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    (canary.path / "hollow").mkdir()
    before = canary.state()
    unpack_with(ESCAPES[escape], tmp_path, monkeypatch)
    assert canary.state() != before


def test_no_two_cases_share_a_name() -> None:
    assert len(CASES) >= 80
    assert len(CASES) == len(list(cases())), "two cases of one name"
