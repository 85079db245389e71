"""Prints the plan of a backfill, and the status of backfills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from event_pipeline.engines.state import DUE_STATES, HourState
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, QUIET
from event_pipeline.rules.hour import hours_text
from event_pipeline.rules.printable import plural
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from event_pipeline.operations.backfills import BackfillPlan, BackfillStatus, MeasuredSpeed


GAINS_SHOWN = 24
"""Hours listed with the fields that they gain; the total is over all of them."""


def print_plan(plan: BackfillPlan, settings: Settings, console: Console) -> None:
    """Print what would be done with each hour of a range, and in how many runs."""
    counts = [(state, plan.of_state(state)) for state in HourState if state in DUE_STATES]
    by_state = ", ".join(f"{len(hours):,} {state.after_a_number}" for state, hours in counts if hours)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("to build", f"{len(plan.to_build):,}", by_state)
    table.add_row("unchanged", f"{len(plan.of_state(HourState.READY)):,}", "published with this input and these rules")
    if plan.under_way:
        table.add_row("under way", f"{len(plan.under_way):,}", f"in other runs: {hours_text(plan.under_way)}")
    if missing := plan.of_state(HourState.NO_RAW):
        table.add_row("missing raw", f"{len(missing):,}", f"nothing landed: {hours_text(missing)}")
    if lost := plan.of_state(HourState.LOST_OBJECTS):
        kept = "their raw objects are lost, the published build stays: "
        table.add_row("lost objects", f"{len(lost):,}", kept + hours_text(lost), style=FAULT)
    console.print(f"Backfill of {plan.hours}", style="bold")
    console.print(table)
    if plan.runs:
        longest = max(len(hours) for hours in plan.runs)
        most = f"EVENT_PIPELINE_HOURS_PER_RUN={settings.hours_per_run}"
        console.print(
            f"{len(plan.runs):,} run{'s' if len(plan.runs) > 1 else ''} of up to {longest} hours ({most}), "
            f"behind live runs; {plan.raw_bytes / 1e6:,.1f} MB of raw objects"
        )


def print_gains(plan: BackfillPlan, console: Console) -> None:
    """Print which hours hold values of fields that were declared after they were built."""
    if not plan.gains:
        return
    rows = [(str(hour), _counted(fields)) for hour, fields in plan.gains.items()]
    console.print(lay_out(("hour", "gains"), rows[:GAINS_SHOWN], left=("hour", "gains")))
    if len(rows) > GAINS_SHOWN:
        console.print(f"and {len(rows) - GAINS_SHOWN:,} more hours", style=QUIET)
    total = Counter[str]()
    for fields in plan.gains.values():
        total.update(fields)
    held = ", ".join(f"{count:,} {plural(count, 'value')} of {name}" for name, count in total.items())
    hours = "1 hour holds" if len(rows) == 1 else f"{len(rows):,} hours hold"
    console.print(f"{hours} {held} that a rebuild reads.", soft_wrap=True)


def _counted(fields: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in fields.items())


def print_time(plan: BackfillPlan, speed: MeasuredSpeed | None, console: Console) -> None:
    """Print an estimate of how long the runs of a plan take here, based on earlier runs."""
    if speed is None:
        console.print("No time estimate: this data folder has no measured run yet. Nothing is billed.")
        return
    seconds = timedelta(seconds=max(1, round(speed.seconds_for(plan.raw_bytes))))
    console.print(
        f"About {seconds} (h:mm:ss) one run after the other, by {speed.runs:,} measured runs "
        f"({speed.raw_bytes / max(speed.seconds, 1e-3) / 1e6:,.2f} MB a second). Nothing is billed."
    )


def print_backfills(statuses: Sequence[BackfillStatus], console: Console) -> None:
    """Print one row per backfill, newest first, and what can be done about unfinished ones."""
    if not statuses:
        console.print(
            "No backfill has been started yet. `event-pipeline backfill --from HOUR --to HOUR --plan` plans one."
        )
        return
    rows = [
        (
            each.backfill_id,
            f"{each.hours.first} to {each.hours.end}",
            f"{each.started:%Y-%m-%d %H:%M}",
            each.state.value,
            f"{len(each.hours):,}",
            f"{each.published:,}",
            f"{each.left:,}",
            f"{each.queued:,}",
            f"{each.running:,}",
            f"{each.succeeded:,}",
            f"{each.failed:,}",
            f"{each.taken_back:,}",
        )
        for each in statuses
    ]
    headings = (
        "backfill",
        "hours",
        "started",
        "state",
        "asked for",
        "published",
        "left",
        "queued runs",
        "running",
        "done",
        "failed",
        "taken back",
    )
    console.print(lay_out(headings, rows, left=("backfill", "hours", "started", "state")))
    for each in statuses:
        if each.failed_hours:
            console.print(
                f"Backfill {each.backfill_id}: {hours_text(each.failed_hours)} failed, the other hours of the "
                "same runs went on. `event-pipeline alerts` and the partitions' pages in Dagster say why.",
                style=FAULT,
            )
    resumable = [each.backfill_id for each in statuses if each.is_resumable]
    if resumable:
        console.print(f"`event-pipeline backfill resume {resumable[0]}` builds what is left.", style=QUIET)
