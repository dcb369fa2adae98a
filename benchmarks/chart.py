"""Bar charts as SVG: plain enough to be read as text, and right on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _COLUMNS = 860, 2
_LABEL, _VALUE, _GAP = 100, 46, 20
_ROW, _HEAD, _FOOT = 20, 30, 14
_TOP = 34
_STYLE = """\
text { font: 12px sans-serif; fill: #333 }
.title { font-weight: bold }
.heading { font-size: 15px; font-weight: bold }
.ours { fill: #2a7de1 } .theirs { fill: #a9b1ba }
.floor { stroke: #d9480f; stroke-width: 2; stroke-dasharray: 4 2 } .floor-text { fill: #d9480f }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .theirs { fill: #6b747d } }"""


@dataclass(frozen=True)
class Bar:
    """One value."""

    label: str
    value: float
    is_ours: bool


@dataclass(frozen=True)
class Panel:
    """Values on one scale, and a mark for what is possible."""

    title: str
    bars: Sequence[Bar]
    floor: float

    @property
    def height(self) -> int:
        return _HEAD + _ROW * len(self.bars) + _FOOT


def draw(panels: Sequence[Panel], title: str) -> str:
    """The whole picture, two panels beside each other."""
    rows = [panels[at : at + _COLUMNS] for at in range(0, len(panels), _COLUMNS)]
    parts: list[str] = []
    y = _TOP
    for row in rows:
        for column, panel in enumerate(row):
            parts += _draw_panel(panel, column * (_WIDTH // _COLUMNS) + _GAP // 2, y)
        y += max(panel.height for panel in row)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + _ROW}" width="{_WIDTH}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            f'<text class="heading" x="{_GAP // 2}" y="20">{escape(title)}</text>',
            *parts,
            f'<text class="floor-text" x="{_GAP // 2}" y="{y + 8}">dashed: the floor</text>',
            "</svg>\n",
        ]
    )


def _draw_panel(panel: Panel, x: int, y: int) -> Iterator[str]:
    room = _WIDTH // _COLUMNS - _LABEL - _VALUE - _GAP
    scale = room / max(panel.floor, *(bar.value for bar in panel.bars))
    left = x + _LABEL
    yield f'<text class="title" x="{x}" y="{y + 18}">{escape(panel.title)}</text>'
    for number, bar in enumerate(panel.bars):
        top, length = y + _HEAD + number * _ROW, bar.value * scale
        kind = "ours" if bar.is_ours else "theirs"
        yield f'<text x="{left - 6}" y="{top + 12}" text-anchor="end">{escape(bar.label)}</text>'
        yield f'<rect class="{kind}" x="{left}" y="{top}" width="{length:.1f}" height="{_ROW - 5}"/>'
        yield f'<text x="{left + length + 5:.1f}" y="{top + 12}">{bar.value:.2f}</text>'
    mark, bottom = left + panel.floor * scale, y + _HEAD + _ROW * len(panel.bars) - 2
    yield f'<line class="floor" x1="{mark:.1f}" x2="{mark:.1f}" y1="{y + _HEAD - 4}" y2="{bottom}"/>'
