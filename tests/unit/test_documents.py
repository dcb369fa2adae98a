"""The documents for people name only what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from syscontainers.cli.verbs import VERBS

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "benchmarks" / "README.md"]
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_TARGET = re.compile(r"`make ([a-z-]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = _LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_make_targets_exist(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert set(_TARGET.findall(document.read_text())) <= set(targets)


def test_readme_lists_every_verb() -> None:
    listed = (CHECKOUT / "README.md").read_text().partition("## The verbs")[2].split("```")[1]
    assert set(re.sub(r"\{[^}]*\}", "", listed).split()) == set(VERBS)
