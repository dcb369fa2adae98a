from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from syscontainers.errors import RefusedError, SyscontainersError
from syscontainers.storage.unpack import unpack_layer
from tests.archive import promise
from tests.hostile import Case, Place, cases
from tests.hostile.canary import Canary
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
def test_rejected(name: str, tmp_path: Path, canary: Canary) -> None:
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
def test_contained(name: str, tmp_path: Path, canary: Canary) -> None:
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


def test_enough() -> None:
    assert len(CASES) >= 80
    assert len(CASES) == len(list(cases())), "two cases of one name"
