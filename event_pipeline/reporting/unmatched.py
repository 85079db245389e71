"""Prints keys under `events/` that are not read, the same way for every command."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from event_pipeline.reporting.terminal import QUIET, WARNING
from event_pipeline.rules.accounting import UnmatchedKey

KEYS_SHOWN = 5
"""Keys shown per reason."""


def unmatched_lines(unmatched: Sequence[UnmatchedKey]) -> list[Text]:
    """Return lines on keys that are not read: the first ones per reason, and what to do."""
    by_reason: dict[str, list[str]] = {}
    for each in unmatched:
        by_reason.setdefault(each.reason, []).append(each.key)
    lines = []
    for reason, keys in by_reason.items():
        lines.append(Text(f"Not read, {len(keys):,} key{'s' if len(keys) > 1 else ''}: {reason}", style=WARNING))
        lines += [Text(f"  {key}") for key in keys[:KEYS_SHOWN]]
        if len(keys) > KEYS_SHOWN:
            lines.append(Text(f"  and {len(keys) - KEYS_SHOWN:,} more", style=QUIET))
    if lines:
        lines.append(Text("  Move or rename them: an object belongs under the hour in which it landed."))
    return lines
