"""The benchmarks' own arithmetic: turns, ratios, tables, the chart."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import Bar, Panel, draw
from benchmarks.common import Cost, in_turn, markdown_table, measure, median_cost, replace_section
from benchmarks.figures import COLD, UPDATE, Figures, Results
from benchmarks.floor import Floor
from benchmarks.images import Case, Layer
from benchmarks.report import render_markdown

LAYER = Layer("sha256:blob", "sha256:tar", 1_000_000, 3_000_000, 70, "gzip")
CASE = Case("big", "1 big layer", (LAYER,), LAYER)


def cost(wall: float, memory: int = 50_000_000) -> Cost:
    return Cost(wall, wall / 2, memory)


def made_results() -> Results:
    results = Results(CASE, "ext4", [Floor(1.0, 2.0, 0.5), Floor(3.0, 2.0, 0.5)])
    for ours, podman in ((2.0, 10.0), (4.0, 16.0)):
        results.add(COLD, "syscontainer", cost(ours))
        results.add(COLD, "podman", cost(podman))
        results.add(UPDATE, "syscontainer", cost(ours / 10))
        results.add(UPDATE, "podman", cost(podman / 10, 80_000_000))
    results.add(COLD, "skopeo + umoci", cost(20.0))
    return results


def test_every_round_begins_with_another() -> None:
    assert "".join(in_turn("abc", 4)) == "abcbcacababc"


def test_medians_of_times_and_the_highest_memory() -> None:
    assert median_cost([cost(1.0, 5), cost(9.0, 7), cost(2.0, 6)]) == Cost(2.0, 1.0, 7)


def test_the_larger_part_makes_the_floor() -> None:
    assert Floor(1.0, 2.0, 0.5).total == 2.5
    assert Floor(3.0, 2.0, 0.5).total == 3.5


def test_ratios_are_those_of_each_round() -> None:
    results = made_results()
    assert results.ratio(COLD, "podman", "syscontainer") == pytest.approx((5 + 4) / 2)
    assert results.to_floor("syscontainer") == pytest.approx((2.0 / 2.5 + 4.0 / 3.5) / 2)
    assert results.peak("podman") == 80_000_000


def test_tables_name_who_took_no_part() -> None:
    versions = {"syscontainer": "1", "podman": "2", "skopeo + umoci": "3"}
    text = render_markdown(Figures(versions, [made_results()]))
    cold, update, *_ = (line for line in text.splitlines() if "ext4" in line)
    assert [cell.strip() for cell in cold.split("|")[3:-1]] == ["3.00", "13.00", "20.00", "4.5", "3.00", "0.97"]
    assert [cell.strip() for cell in update.split("|")[3:-1]] == ["0.30", "1.30", "–", "4.5"]


def test_all_single_values_are_kept() -> None:
    document = json.loads(Figures({"podman": "2"}, [made_results()]).to_json())
    assert document["cases"]["big"] == {
        "title": "1 big layer", "layers": 1, "compressed": 1_000_000, "unpacked": 3_000_000, "files": 70
    }  # fmt: skip
    assert [each["wall"] for each in document["results"][0]["cold"]["podman"]] == [10.0, 16.0]


def test_columns_are_aligned() -> None:
    assert markdown_table(("a", "long"), [("xyz", 1)]) == "| a   | long |\n| --- | ---: |\n| xyz |    1 |"


def test_the_chart_is_to_scale() -> None:
    picture = draw([Panel("a < b", [Bar("ours", 1.0, is_ours=True), Bar("theirs", 4.0, is_ours=False)], 2.0)], "t")
    root = ET.fromstring(picture)
    name = "{http://www.w3.org/2000/svg}"
    ours, theirs = (float(bar.attrib["width"]) for bar in root.iter(f"{name}rect"))
    assert theirs == pytest.approx(4 * ours, abs=0.3)
    assert "a < b" in [text.text for text in root.iter(f"{name}text")]


def test_only_its_own_section_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text("before\n<!-- pull -->\nold\n<!-- end of pull -->\nafter\n")
    replace_section(document, "pull", "new\n")
    assert document.read_text() == "before\n<!-- pull -->\n\nnew\n\n<!-- end of pull -->\nafter\n"


def test_processes_are_measured() -> None:
    hungry = measure([["python3", "-c", "import time; held = bytearray(b'x') * 100_000_000; time.sleep(0.5)"]])
    assert hungry.memory > 100_000_000
    assert hungry.cpu > 0
    assert hungry.wall >= 0.5


def test_who_fails_is_not_measured() -> None:
    with pytest.raises(RuntimeError, match="exit code 3\nno luck"):
        measure([["sh", "-c", "echo no luck >&2; exit 3"]])
