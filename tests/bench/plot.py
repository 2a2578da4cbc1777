"""Draws the rows that grow with something as curves, in an SVG file."""

from __future__ import annotations

import html
import math
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report import Row

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 240, 60, 30, 40
_COLUMNS = 2
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def svg(panels: Sequence[tuple[str, str, Sequence[Row]]]) -> str:
    """Return a picture of *panels*: a title, what its x axis is, and the rows whose curves it has.

    The x axis is logarithmic, the y axis starts at 0 and has the rows' unit.
    """
    rows = math.ceil(len(panels) / _COLUMNS)
    size = f'width="{_COLUMNS * _WIDTH}" height="{rows * _HEIGHT}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for number, (title, axis, shown) in enumerate(panels):
        x, y = number % _COLUMNS * _WIDTH, number // _COLUMNS * _HEIGHT
        parts.append(f'<g transform="translate({x},{y})">')
        parts += _panel(title, axis, shown)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, axis: str, rows: Sequence[Row]) -> Iterable[str]:
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        if row.at:  # a logarithm has no place for 0
            curves[row.what].append((row.at, row.median))
    places = sorted({at for curve in curves.values() for at, _ in curve})
    highest = max((value for curve in curves.values() for _, value in curve), default=0) or 1
    right, low = _WIDTH - 20, _HEIGHT - _BOTTOM
    decades = math.log10(places[-1] / places[0]) or 1 if places else 1

    def across(at: int) -> float:
        return _LEFT + (right - _LEFT) * math.log10(at / places[0]) / decades

    def up(value: float) -> float:
        return low - (low - _TOP) * max(value, 0) / highest

    yield _text((_LEFT, 18), title, "start", 13)
    yield f'<path d="M{_LEFT} {_TOP}V{low}H{right}" stroke="black" fill="none"/>'
    for at in places:
        yield _text((across(at), low + 14), f"{at:,}")
    yield _text(((_LEFT + right) / 2, low + 30), axis)
    for part in (0, 0.5, 1):
        value = highest * part
        yield _text((_LEFT - 4, up(value) + 3), f"{value:,.4g}", "end")
    yield _text((_LEFT - 4, _TOP - 8), rows[0].unit if rows else "", "end")
    for number, (name, curve) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        points = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in sorted(curve))
        yield f'<polyline points="{points}" stroke="{color}" fill="none" stroke-width="1.5"/>'
        yield _text((_LEFT + 8, _TOP + 12 + 12 * number), name, "start", 10, color)


def _text(
    at: tuple[float, float],
    words: str,
    anchor: str = "middle",
    size: int = 9,
    color: str = "black",
) -> str:
    x, y = at
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}"'
    return f"<text {place}>{html.escape(words.strip())}</text>"
