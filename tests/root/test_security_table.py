"""docs/security.md promises a test for each attack; this holds it to that."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

from tests.hostile import cases
from tests.hostile.images import cases as image_cases

pytestmark = pytest.mark.root
TOP = Path(__file__).parent.parent.parent
TEXT = (TOP / "docs/security.md").read_text()
PROOFS = sorted(set(re.findall(r"`((?:corpus: |tests/)[^`]*)`", TEXT)))
CORPUS = {case.name: case.attack for case in cases()} | {case.name: case.attack for case in image_cases()}
CVE = re.compile(r"CVE-[0-9]{4}-[0-9]+")
UNTESTED = {
    "CVE-2025-9566": "nothing of ours writes into a root, so there is nothing to call",
    "CVE-2025-24965": "no handler that would read such a file is ever asked for",
    "CVE-2026-79699, CVE-2026-79705, CVE-2026-44517": "what they are is not published",
}
"""The rows that no test of their own can show, and why."""


@pytest.mark.parametrize("proof", PROOFS)
def test_what_the_table_names_exists(proof: str) -> None:
    if proof.startswith("corpus: "):
        assert fnmatch.filter(CORPUS, proof.removeprefix("corpus: "))
        return
    path, _, name = proof.partition("::")
    assert (TOP / path).exists()
    assert not name or f"\ndef {name}(" in (TOP / path).read_text()


def test_every_row_has_a_proof_but_for_those_that_can_have_none() -> None:
    lines = TEXT.partition("## Fuzzing")[0].splitlines()
    rows = [line for line in lines if line.startswith("| ") and "---" not in line and "shown by" not in line]
    assert len(rows) > 70
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert {what for what, *_, proof in cells if not re.search("`(corpus: |tests/)", proof)} == set(UNTESTED)


def test_every_vulnerability_that_the_corpus_knows_is_in_the_table() -> None:
    named = {cve for attack in CORPUS.values() for cve in CVE.findall(attack)}
    assert named - set(CVE.findall(TEXT)) == set()
    assert len(set(CVE.findall(TEXT))) >= 85


def test_the_figures_are_those_of_the_corpus() -> None:
    archives, images = len(list(cases())), len(list(image_cases()))
    assert f"{archives} archives and {images} images" in " ".join(TEXT.split())
