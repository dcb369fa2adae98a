"""What fuzzing has found, tried again, together with every seed and a few thousand random inputs."""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
FUZZ = Path(__file__).parent.parent / "fuzz"
NAMES = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def run_all(name: str, corpus: Path, inputs: Callable[[Path], Iterator[bytes]]) -> int:
    with importlib.import_module(f"tests.fuzz.fuzz_{name}").target(corpus) as call:
        tried = list(inputs(corpus))
        for data in tried:
            call(data)
    return len(tried)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("name", sorted({path.parent.name for path in (FUZZ / "cases").glob("*/*")}))
def test_what_was_found(name: str, tmp_path: Path) -> None:
    cases = sorted((FUZZ / "cases" / name).iterdir())
    assert run_all(name, tmp_path, lambda _: (case.read_bytes() for case in cases)) == len(cases) > 0


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("name", NAMES)
def test_no_seed_breaks_what_a_target_promises(name: str, tmp_path: Path) -> None:
    tried = run_all(name, tmp_path, lambda corpus: (seed.read_bytes() for seed in sorted(corpus.iterdir())))
    assert tried > (150 if name == "tar" else 0)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("name", NAMES)
def test_random_inputs(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    run_all(name, tmp_path, lambda _: (chance.randbytes(chance.randrange(60)) for _ in range(2000)))
