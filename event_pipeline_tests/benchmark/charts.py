"""Two kinds of charts as SVG: horizontal bars, and lines over a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 760
_LABEL_WIDTH = 300
_BAR_HEIGHT = 26
_PLOT_HEIGHT = 260
_MARGIN = 60
_LINE_HEIGHT = 16
_INK, _QUIET, _COLOURS = "#1f2933", "#8a94a0", ("#2f6f9f", "#c2672b", "#4b8b3b")


def bars(title: str, values: Mapping[str, float], unit: str) -> str:
    """Draw one bar for each value, with the value after it."""
    longest = max(values.values())
    room = WIDTH - _LABEL_WIDTH - 110
    drawn = []
    for number, (label, value) in enumerate(values.items()):
        top = 44 + number * _BAR_HEIGHT
        length = max(1.0, room * value / longest)
        drawn += [
            _text(_LABEL_WIDTH - 10, top + 15, label, anchor="end"),
            f'<rect x="{_LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="18" fill="{_COLOURS[0]}"/>',
            _text(_LABEL_WIDTH + length + 8, top + 15, f"{shown(value)} {unit}"),
        ]
    return _svg(title, 60 + len(values) * _BAR_HEIGHT, drawn)


def lines(title: str, places: Sequence[int], series: Mapping[str, Sequence[float]], unit: str) -> str:
    """Draw one line for each series of seconds over places, both on logarithmic scales."""
    known = [value for values in series.values() for value in values]
    low, high = math.floor(math.log10(max(min(known), 1e-4))), math.ceil(math.log10(max(known)) + 1e-9)
    left, right, top = _MARGIN, WIDTH - 170, 50

    def x(place: int) -> float:
        return left + (right - left) * math.log(place / places[0]) / math.log(places[-1] / places[0])

    def y(value: float) -> float:
        return top + _PLOT_HEIGHT * (high - max(math.log10(max(value, 1e-4)), low)) / (high - low)

    drawn = []
    for power in range(low, high + 1):
        height = y(10.0**power)
        drawn.append(f'<line x1="{left}" y1="{height:.1f}" x2="{right}" y2="{height:.1f}" stroke="#e3e7eb"/>')
        drawn.append(_text(left - 8, height + 4, f"{10.0**power:g}", anchor="end", colour=_QUIET))
    for place in places:
        drawn.append(_text(x(place), top + _PLOT_HEIGHT + 20, f"{place:,}", anchor="middle", colour=_QUIET))
    drawn.append(_text(right, top + _PLOT_HEIGHT + 40, f"hours of history; vertical: {unit}", anchor="end"))
    for values, colour in zip(series.values(), _COLOURS, strict=True):
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in zip(places, values, strict=True))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    free = float(top)
    ends = sorted(
        (y(values[-1]), name, colour) for (name, values), colour in zip(series.items(), _COLOURS, strict=True)
    )
    for height, name, colour in ends:
        free = max(height + 4, free)
        drawn.append(_text(right + 10, free, name, colour=colour))
        free += _LINE_HEIGHT
    return _svg(title, top + _PLOT_HEIGHT + 60, drawn)


def shown(value: float) -> str:
    """Return a number as pages show it: three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(title: str, height: int, drawn: Sequence[str]) -> str:
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="16" y="26" font-size="15" font-weight="bold" fill="{_INK}">{escape(title)}</text>',
            *drawn,
            "</svg>\n",
        )
    )
