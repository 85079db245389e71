"""Prints what the generator wrote."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from event_pipeline.engines.place import Place
from event_pipeline.generator import GeneratedObject, GeneratedTotals
from event_pipeline.reporting.terminal import GOOD, WARNING
from event_pipeline.rules.hour import RAW_ROOT


def print_generated(totals: GeneratedTotals, folder: Path, console: Console) -> None:
    """Print what the generator wrote, and where."""
    console.print(
        f"{totals.objects:,} raw objects, {totals.records:,} readable records, {totals.size / (1 << 20):,.1f} MiB "
        f"in {folder}",
        style=GOOD,
    )
    planted = {
        "bad records": totals.bad,
        "duplicates": totals.duplicates,
        "records of another hour": totals.late,
        "broken objects": totals.broken,
        "objects that already existed, byte for byte": totals.unchanged,
    }
    if any(planted.values()):
        named = ", ".join(f"{count:,} {what}" for what, count in planted.items() if count)
        console.print(f"with {named}")


def object_line(made: GeneratedObject) -> str:
    """Describe one written object."""
    content = f"broken: {made.broken}" if made.broken else f"{made.counts.records:,} records"
    return f"{made.key}: {content}, {made.size:,} bytes"


def print_not_read(place: Place, console: Console) -> None:
    """Say that the pipeline does not read the generated local files, and how to upload them."""
    if place.upload:
        console.print(
            f"The pipeline reads {place.raw}{RAW_ROOT} and not these files: upload them with {place.upload}",
            style=WARNING,
            soft_wrap=True,
        )
