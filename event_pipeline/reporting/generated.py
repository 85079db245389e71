"""What the generator wrote, in a line or two."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console

from event_pipeline.generator import GeneratedObject, GeneratedTotals
from event_pipeline.reporting.terminal import GOOD, WARNING
from event_pipeline.rules.hour import RAW_ROOT
from event_pipeline.settings import Environment, Settings


def print_generated(totals: GeneratedTotals, folder: Path, console: Console) -> None:
    """Print what one generation made and where it lies."""
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
        "objects that were there already, byte for byte": totals.unchanged,
    }
    if any(planted.values()):
        named = ", ".join(f"{count:,} {what}" for what, count in planted.items() if count)
        console.print(f"with {named}")


def object_line(made: GeneratedObject) -> str:
    """Describe one written object."""
    content = f"broken: {made.broken}" if made.broken else f"{made.counts.records:,} records"
    return f"{made.key}: {content}, {made.size:,} bytes"


def print_not_read(settings: Settings, folder: Path, console: Console) -> None:
    """Say that the pipeline on AWS does not read what the generator wrote here, and how it would."""
    if settings.env is Environment.AWS:
        raw = f"s3://{settings.raw_bucket}/{settings.raw_prefix}"
        console.print(
            f"EVENT_PIPELINE_ENV=aws reads {raw}{RAW_ROOT} and none of these files: upload them with "
            f"aws s3 sync {shlex.quote(str(folder))} {raw}",
            style=WARNING,
            soft_wrap=True,
        )
