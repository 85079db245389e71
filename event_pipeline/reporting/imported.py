"""Prints what `import` placed where, and what not."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from event_pipeline.operations.importing import PlacedFile, Placing
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import GOOD, QUIET, WARNING, typed_command
from event_pipeline.rules.hour import Hour

REFUSED_SHOWN = 40
"""Files that are not placed that are named."""


def print_imported(planned: Sequence[PlacedFile], console: Console, *, plan_only: bool) -> None:
    """Print one row per landing hour with its files."""
    hours: dict[Hour, list[PlacedFile]] = {}
    for each in planned:
        if each.hour is not None and each.placing in (Placing.NEW, Placing.SAME):
            hours.setdefault(each.hour, []).append(each)
    new = [each for each in planned if each.placing is Placing.NEW]
    if hours:
        rows = []
        for hour, files in sorted(hours.items()):
            fresh = sum(each.placing is Placing.NEW for each in files)
            size = sum(each.size for each in files)
            first = f"{files[0].file.name}{f' and {len(files) - 1:,} more' if len(files) > 1 else ''}"
            rows.append((str(hour), f"{fresh:,}", f"{len(files) - fresh:,}", f"{size:,}", first))
        placed = "to place" if plan_only else "placed"
        console.print(
            lay_out(("landing hour", placed, "already there", "bytes", "files"), rows, left=("landing hour", "files"))
        )
    if new:
        does = "would be placed" if plan_only else "placed"
        console.print(f"{len(new):,} file{'s' if len(new) > 1 else ''} {does}", style="" if plan_only else GOOD)
        if not plan_only:
            console.print(f"`{typed_command()} run` builds their hours", style=QUIET)
    else:
        console.print("Nothing to place.")


def print_not_placed(planned: Sequence[PlacedFile], console: Console) -> None:
    """Print which files are not placed and why."""
    refused = [each for each in planned if each.placing in (Placing.NAME, Placing.CONFLICT)]
    for each in refused[:REFUSED_SHOWN]:
        console.print(Text.assemble(("not placed ", WARNING), f"{each.file}: {each.reason}"), soft_wrap=True)
    if len(refused) > REFUSED_SHOWN:
        console.print(f"and {len(refused) - REFUSED_SHOWN:,} more files that are not placed", style=QUIET)
