"""Prints what hours cost on AWS, step by step, and cost estimates, at the prices in the settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from event_pipeline.engines.base import Cost, Estimate, StepCost
from event_pipeline.reporting.terminal import QUIET
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, SilverBuilderKind

HOURS_SHOWN = 48
"""Newest hours shown in the table; the sums cover all."""


def print_costs(entries: Sequence[StepCost], hours: HourRange, settings: Settings, console: Console) -> None:
    """Print one row per hour, one per step, and the sum of a range."""
    if not entries:
        console.print(f"No step of {hours} has recorded a cost.")
        return
    by_hour, by_step = defaultdict[Hour, list[Cost]](list), defaultdict[str, list[Cost]](list)
    for entry in entries:
        by_hour[entry.hour].append(entry.cost)
        by_step[entry.step].append(entry.cost)
    rows = [(str(hour), total(costs)) for hour, costs in sorted(by_hour.items())]
    console.print(_table("hour", rows[-HOURS_SHOWN:]))
    if len(rows) > HOURS_SHOWN:
        console.print(f"and {len(rows) - HOURS_SHOWN:,} earlier hours", style=QUIET)
    steps = [(step, total(costs)) for step, costs in sorted(by_step.items())]
    console.print(_table("step", [*steps, ("all", total(entry.cost for entry in entries))]))
    console.print(price_note(settings), style=QUIET)


def print_estimate(estimate: Estimate, settings: Settings, console: Console) -> None:
    """Print what building hours would start, and about what it would cost."""
    if not estimate.hours:
        console.print("Nothing would be built: every hour of the range is up to date.")
        return
    console.print(
        f"{estimate.hours:,} hours with {estimate.objects:,} raw objects, {estimate.raw_bytes / 1e9:,.2f} GB stored"
    )
    console.print(f"would start {_runs_of_glue(estimate, settings)} and about {estimate.queries:,} Athena queries")
    console.print(f"and cost about {usd(estimate.cost.usd)}. Nothing was started.")
    console.print(price_note(settings), style=QUIET)


def print_alternative(estimate: Estimate, console: Console) -> None:
    """Print what a backfill with another builder would start and cost, and the option that chooses it."""
    runs = f"{estimate.glue_runs:,} Glue runs" if estimate.glue_runs else "no Glue run"
    console.print(
        f"With --builder {estimate.builder}: {runs}, about {usd(estimate.cost.usd)}.", style=QUIET, soft_wrap=True
    )


def _runs_of_glue(estimate: Estimate, settings: Settings) -> str:
    if estimate.builder is SilverBuilderKind.POOL:
        return "no Glue run (the Dagster host builds)"
    return (
        f"{estimate.glue_runs:,} Glue runs of {settings.glue_workers} x {settings.glue_worker_type} workers, about "
        f"{estimate.glue_minutes:,.0f} minutes together,"
    )


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of the costs."""
    return sum(costs, Cost())


def usd(amount: Decimal) -> str:
    """Format an amount in USD, small ones to a hundredth of a cent."""
    return f"{amount:,.2f} USD" if amount >= 1 else f"{amount:.4f} USD"


def price_note(settings: Settings) -> str:
    """Return the note that names the prices behind an estimate."""
    glue = settings.price_glue_flex_dpu_hour if settings.glue_flex else settings.price_glue_dpu_hour
    return (
        f"Estimated at prices of {settings.prices}:  Glue {glue} USD per DPU-hour, Athena {settings.price_athena_tb} "
        f"USD per TB, S3 {settings.price_s3_1000_writes} USD per 1,000 writes. Without checks, storage, logs and taxes."
    )


def _table(first: str, rows: Sequence[tuple[str, Cost]]) -> Table:
    table = Table(first)
    for name in ("Glue DPU-seconds", "Athena queries", "scanned MB", "S3 requests", "USD"):
        table.add_column(name, justify="right")
    for name, cost in rows:
        table.add_row(
            name,
            f"{cost.dpu_seconds:,.0f}",
            f"{cost.queries:,}",
            f"{cost.bytes_scanned / 1e6:,.1f}",
            f"{cost.requests:,}",
            f"{cost.usd:,.4f}",
        )
    return table
