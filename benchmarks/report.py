"""The figures for people: tables, and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .chart import Bar, Panel, draw
from .common import Cost, describe_machine, markdown_table, replace_section
from .contenders import OURS, PODMAN
from .figures import COLD, SITUATIONS, Figures, Results

_TITLES = {
    COLD: "Into an empty storage",
    "update": "A new version that changes one small layer",
}


def render_markdown(figures: Figures) -> str:
    """All tables, ready to be included in a document."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}.",
        f"{versions}.",
        _image_table(figures),
    ]
    for situation in SITUATIONS:
        parts.append(f"### {_TITLES[situation]}: seconds")
        parts.append(_time_table(figures, situation))
    parts += [
        "### Peak memory: MB",
        _memory_table(figures),
        "### CPU, into an empty storage: seconds",
        _cpu_table(figures),
    ]
    return "\n\n".join(parts) + "\n"


def _image_table(figures: Figures) -> str:
    cases = {each.case.name: each.case for each in figures.results}.values()
    rows = [
        (case.title, len(case.layers), f"{case.size / 1e6:.0f}", f"{case.unpacked / 1e6:.0f}", f"{case.files}")
        for case in cases
    ]
    return markdown_table(("image", "layers", "MB compressed", "MB unpacked", "files"), rows)


def _time_table(figures: Figures, situation: str) -> str:
    """Seconds of each, and ours in proportion to podman's and to the floor."""
    names = list(figures.versions)
    is_compared = {OURS.name, PODMAN.name} <= set(names)
    is_floored = situation == COLD and OURS.name in names
    head = ["image", "on", *names]
    head += ["podman ÷ ours"] if is_compared else []
    head += ["floor", "ours ÷ floor"] if is_floored else []
    rows = []
    for each in figures.results:
        row = [each.case.title, each.file_system, *(_seconds(each.cost(situation, name)) for name in names)]
        row += [f"{each.ratio(situation, PODMAN.name, OURS.name):.1f}"] if is_compared else []
        row += [f"{each.floor():.2f}", f"{each.to_floor(OURS.name):.2f}"] if is_floored else []
        rows.append(row)
    return markdown_table(head, rows)


def _seconds(cost: Cost | None) -> str:
    return f"{cost.wall:.2f}" if cost else "–"


def _memory_table(figures: Figures) -> str:
    rows = [
        (each.case.title, each.file_system, *(f"{each.peak(name) / 1e6:.0f}" for name in figures.versions))
        for each in figures.results
    ]
    return markdown_table(("image", "on", *figures.versions), rows)


def _cpu_table(figures: Figures) -> str:
    rows = []
    for each in figures.results:
        costs = (each.cost(COLD, name) for name in figures.versions)
        rows.append((each.case.title, each.file_system, *(f"{cost.cpu:.2f}" if cost else "–" for cost in costs)))
    return markdown_table(("image", "on", *figures.versions), rows)


def render_chart(figures: Figures) -> str:
    """Cold pulls as an SVG: a panel for each image and file system, a bar for each contender."""
    return draw(list(_panels(figures.results, list(figures.versions))), "Seconds to pull into an empty storage")


def _panels(results: Sequence[Results], names: Sequence[str]) -> Iterator[Panel]:
    for each in results:
        costs = [(name, each.cost(COLD, name)) for name in names]
        bars = [Bar(name, cost.wall, is_ours=name == OURS.name) for name, cost in costs if cost]
        yield Panel(f"{each.case.title}, {each.file_system}", bars, each.floor())


def write_report(figures: Figures, docs: Path) -> None:
    """``benchmarks/pull.json`` and ``.svg`` in ``docs``, and the tables in its ``benchmarks.md``."""
    directory = docs / "benchmarks"
    directory.mkdir(exist_ok=True)
    (directory / "pull.json").write_text(figures.to_json())
    (directory / "pull.svg").write_text(render_chart(figures))
    picture = "![Seconds to pull into an empty storage](benchmarks/pull.svg)"
    replace_section(docs / "benchmarks.md", "pull", f"{picture}\n\n{render_markdown(figures)}")
