"""Draws small charts for Dagster's pages: SVG inside an image of Markdown, which fetches nothing.

Every materialization with a picture keeps it in Dagster's event log, so it is bounded: few bars, one path per series.
An image cannot run scripts, and the web server's pages show `data:` addresses of images.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

import dagster as dg

from event_pipeline.rules.printable import printable

MOST_BARS = 24
"""All hours of a day."""
COLOURS = ("#8ab4f8", "#3f6fd8", "#0f2f7f")
"""Of the series, from the back to the front: readable on the light and on the dark pages."""

_WIDTH, _PLOT, _TOP = 432, 110, 22
_TEXT = "#7a818c"
_MOST_LABEL = 16


def bar_chart(
    title: str, labels: Sequence[str], series: Sequence[tuple[str, Sequence[Any]]]
) -> dg.MarkdownMetadataValue:
    """Return bars for up to MOST_BARS labels and three series, each series in front of the one before and narrower.

    Names of series and the title are the project's own text; labels may be from data. Null is a bar of height 0.
    """
    labels = [_short(label) for label in labels[:MOST_BARS]]
    drawn = [(name, [float(value or 0) for value in values[:MOST_BARS]]) for name, values in series[: len(COLOURS)]]
    largest = max((value for _, values in drawn for value in values), default=0)
    step = _WIDTH // MOST_BARS
    is_slanted = max(map(len, labels), default=0) > 3
    bottom = _TOP + _PLOT
    height = bottom + (72 if is_slanted else 18)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="11" fill="{_TEXT}"><path d="M0 {bottom}.5h{_WIDTH}" stroke="{_TEXT}"/>'
    ]
    x = 0
    for colour, (name, _) in zip(COLOURS, drawn, strict=False):
        parts.append(f'<path fill="{colour}" d="M{x} 3h9v9h-9z"/><text x="{x + 13}" y="12">{escape(name)}</text>')
        x += 28 + 7 * len(name)
    parts.append(f'<text x="{_WIDTH}" y="12" text-anchor="end">highest {_number(largest)}</text>')
    for number, (colour, (_, values)) in enumerate(zip(COLOURS, drawn, strict=False)):
        width = step - 6 - 6 * number
        heights = [round(_PLOT * value / largest) if largest > 0 else 0 for value in values]
        bars = "".join(
            f"M{place * step + 3 + 3 * number} {bottom}v-{each}h{width}v{each}z"
            for place, each in enumerate(heights)
            if each
        )
        parts.append(f'<path fill="{colour}" d="{bars}"/>')
    place_of = (
        'transform="translate({x} {y})rotate(-45)" text-anchor="end"'
        if is_slanted
        else ('x="{x}" y="{y}" text-anchor="middle"')
    )
    for place, label in enumerate(labels):
        at = place_of.format(x=place * step + step // 2, y=bottom + 14)
        parts.append(f"<text {at}>{escape(label)}</text>")
    svg = "".join((*parts, "</svg>"))
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})")


def _short(label: str) -> str:
    shown = printable(label)
    return shown if len(shown) <= _MOST_LABEL else f"{shown[: _MOST_LABEL - 1]}…"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
