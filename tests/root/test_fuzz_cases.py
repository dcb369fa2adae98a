"""What fuzzing has found, tried again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.fuzz_tar import Workshop, run, seeds

pytestmark = pytest.mark.root
CASES = Path(__file__).parent.parent / "fuzz" / "cases"


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    old = os.umask(0)
    yield Workshop(tmp_path)
    os.umask(old)


def test_what_was_found_in_tar(workshop: Workshop) -> None:
    for case in (CASES / "tar").glob("*"):
        run(workshop, case.read_bytes())


def test_every_seed(workshop: Workshop) -> None:
    tried = list(seeds(workshop))
    for seed in tried:
        run(workshop, seed)
    assert len(tried) > 150
