"""What `run` did: range by range while it goes on, and hour by hour at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.building import BuildPlan
from event_pipeline.engines.commit import HourCommit
from event_pipeline.reporting.status import hours_text
from event_pipeline.reporting.terminal import FAULT, GOOD, QUIET, WARNING
from event_pipeline.rules.hour import Hour

if TYPE_CHECKING:
    from event_pipeline.automation.runs import RangeOutcome

HOURS_SHOWN = 48
"""Hours of the table of counts, the newest."""


def print_left_hours(plan: BuildPlan, first_partition: Hour, console: Console) -> None:
    """Name the hours that are left alone on purpose, and what a person can do about them."""
    if plan.shrunk:
        console.print(
            f"Left alone, because raw objects that they were built from are gone: {hours_text(plan.shrunk)}.\n"
            "  Put the objects back, or say --allow-fewer-objects: the rebuilt hour then lacks their records.",
            style=FAULT,
            soft_wrap=True,
        )
    if plan.expired:
        console.print(
            f"Left as published, because all their raw objects are gone: {hours_text(plan.expired)}.",
            style=QUIET,
            soft_wrap=True,
        )
    if plan.too_early:
        console.print(
            f"Left alone, because they lie before the first partition {first_partition}: "
            f"{hours_text(plan.too_early)}.\n  EVENT_PIPELINE_FIRST_PARTITION sets it.",
            style=WARNING,
            soft_wrap=True,
        )


def outcome_lines(outcome: RangeOutcome) -> list[Text]:
    """Say what became of one range, and what its checks found."""
    counts = Counter(outcome.silver.values())
    did = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing built"
    lines = []
    if outcome.succeeded:
        lines.append(Text(f"{outcome.hours}: {did}", style=GOOD))
    else:
        lines.append(Text(f"{outcome.hours}: failed ({did}): {outcome.error}", style=FAULT))
    for check in outcome.failed_checks:
        style = WARNING if check.severity == "WARN" else FAULT
        line = f"  {check.severity.lower()}: {check.asset} {check.check}: {check.description}"
        lines.append(Text(line, style=style))
    return lines


def print_hour_counts(
    built: Mapping[Hour, str], commits: Mapping[Hour, HourCommit], console: Console
) -> None:
    """Print where the records of each hour went; `built` says what was done to it."""
    hours = sorted(built)[-HOURS_SHOWN:]
    table = Table(title="Landing hours", title_justify="left")
    table.add_column("hour", no_wrap=True)
    table.add_column("silver")
    for name in ("objects", "records", "= rows", "+ bad", "+ dup", "bad %"):
        table.add_column(name, justify="right")
    for hour in hours:
        commit = commits.get(hour)
        if commit is None:
            table.add_row(str(hour), Text("not built", style=FAULT))
            continue
        account = commit.account
        objects = Text(f"{len(account.objects):,}")
        if account.unreadable:
            objects.append(f" ({len(account.unreadable)} unreadable)", style=FAULT)
        share = f"{account.quarantined / account.records:.2%}" if account.records else ""
        counts = (account.records, account.silver_rows, account.quarantined, account.duplicates)
        table.add_row(str(hour), built[hour], objects, *(f"{count:,}" for count in counts), share)
    console.print(table)
    if len(built) > len(hours):
        console.print(f"and {len(built) - len(hours):,} earlier hours: event-pipeline status", style=QUIET)
