"""Prints what housekeeping would remove or has removed: one row per kind, and on request every item."""

from __future__ import annotations

from rich.console import Console

from event_pipeline.operations.housekeeping import OLD_RUN, Housework, summarize
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import QUIET
from event_pipeline.rules.printable import size_text


def print_housework(work: Housework, console: Console, *, removed: bool, named: bool) -> None:
    """Print the summary; `named` lists every item above it."""
    if named:
        for leftover in work.leftovers:
            console.print(f"{leftover.kind}: {leftover.place} ({size_text(leftover.size)}, {leftover.why})")
        for run in work.runs:
            console.print(f"{OLD_RUN}: {run.run_id} ({run.job}, ended {run.ended:%Y-%m-%d})")
    rows = summarize(work)
    if not rows:
        console.print("Nothing was removed." if removed else "Nothing is left over.")
        return
    console.print(
        lay_out(
            ("what", "number", "files", "size", "why"),
            [(row.kind, f"{row.count:,}", f"{row.files:,}", size_text(row.size), row.why) for row in rows],
            left=("what", "why"),
            title="Removed" if removed else "May go",
        )
    )
    if not removed:
        console.print("Nothing was removed: --delete removes it, --list shows every item.", style=QUIET)
