"""Tests that take too long to run for every change: `python -m event_pipeline_tests.nightly` (`make nightly`).

A backfill of 30 days (720 hours of small objects) through the real daemon, paused and resumed midway, and a
longer rehearsal. Both end with `event-pipeline verify`; wall time and memory are printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.operations.backfills import BACKFILL_TAG, BackfillState, BackfillStatus, backfill_statuses
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.dev_process import Dev, dev_running, wait_for
from event_pipeline_tests.rehearsal import most_at_once, rehearse

FIRST_HOUR = Hour.parse("2025-12-01T00")
OPTIONS = GeneratorOptions(events_per_file=100, files_per_hour=12, seed=5, bad_share=0.01, duplicate_share=0.01)
TIMEOUT_SECONDS = 3 * 3600
LOOK_EVERY_SECONDS = 5
"""Comparing 720 hours takes a second that the backfill needs."""


def backfill(folder: Path, number_of_hours: int) -> dict[str, str]:
    """Build many hours through Dagster and prove them; return what was measured, by name.

    Raises:
        AssertionError: an hour is missing or wrong, a run failed, or a limit did not hold.
    """
    root, hours = folder / "data", HourRange(FIRST_HOUR, FIRST_HOUR.plus(number_of_hours))
    environment = {"EVENT_PIPELINE_FIRST_PARTITION": str(FIRST_HOUR)}
    settings = load_settings(root=root, first_partition=FIRST_HOUR)
    totals = generate(root / "raw", hours, OPTIONS, lambda made: None)
    with dev_running(root, environment, folder / "dev.log") as dev, dev.memory_noted():
        began = time.monotonic()
        asked = dev.command("backfill", "--from", str(hours.first), "--to", str(hours.end), "--yes")
        assert asked.returncode == 0, asked.stderr
        (started,) = _statuses(settings)
        wait_for(
            "a tenth of the hours",
            lambda: _published(settings) >= number_of_hours // 10,
            TIMEOUT_SECONDS,
            LOOK_EVERY_SECONDS,
        )
        _pause_and_resume(dev, started.backfill_id, settings)
        wait_for("the backfill to end", lambda: _is_over(settings), TIMEOUT_SECONDS, LOOK_EVERY_SECONDS)
        seconds = time.monotonic() - began
        verified = dev.command("verify")
    (ended,) = _statuses(settings)
    assert (ended.state, ended.left, ended.failed) == (BackfillState.FINISHED, 0, 0)
    assert ended.published == number_of_hours
    assert verified.returncode == 0, verified.stdout + verified.stderr
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        at_once = most_at_once(instance)
        runs = len(instance.get_runs(filters=dg.RunsFilter(tags={BACKFILL_TAG: started.backfill_id})))
    limits = {"silver": 1, "runs": 2, **{f"gold_{table.name}": 1 for table in load_gold_tables()}}
    assert all(most <= limits[name] for name, most in at_once.items()), at_once
    return {
        "hours": f"{number_of_hours:,}",
        "raw objects": f"{totals.objects:,}",
        "runs, those taken back and asked for again included": f"{runs:,}",
        "wall seconds": f"{seconds:,.0f}",
        "seconds an hour": f"{seconds / number_of_hours:.2f}",
        **{f"peak MB, {kind}": f"{peak:,.0f}" for kind, peak in sorted(dev.peaks_mb.items())},
        "runs at once": str(at_once["runs"]),
        "verify": verified.stdout.strip().splitlines()[-1],
    }


def _pause_and_resume(dev: Dev, backfill_id: str, settings: Settings) -> None:
    paused = dev.command("backfill", "pause", backfill_id)
    assert paused.returncode == 0, paused.stderr
    wait_for(
        "the runs that go on",
        lambda: _statuses(settings)[0].state is BackfillState.STOPPED,
        TIMEOUT_SECONDS,
        LOOK_EVERY_SECONDS,
    )
    resumed = dev.command("backfill", "resume", backfill_id)
    assert resumed.returncode == 0, resumed.stderr


def _statuses(settings: Settings) -> list[BackfillStatus]:

    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return backfill_statuses(instance, open_pipeline(settings), datetime.now(UTC))


def _published(settings: Settings) -> int:
    return len(LocalEngine(settings).registered_builds())


def _is_over(settings: Settings) -> bool:
    (status,) = _statuses(settings)
    return status.state in (BackfillState.FINISHED, BackfillState.FAILED)


def main() -> None:
    """Measure and print; fail if any limit is exceeded."""
    parser = argparse.ArgumentParser(description="What takes too long for every change.")
    parser.add_argument("--hours", type=int, default=720, help="hours of the backfill (default: 30 days)")
    parser.add_argument("--rehearsed-hours", type=int, default=12, help="hours of the rehearsal; 0 leaves it out")
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="event-pipeline-nightly-") as folder:
        _print(console, "Backfill", backfill(Path(folder, "backfill"), arguments.hours))
        if arguments.rehearsed_hours:
            rehearsed = rehearse(Path(folder, "rehearsal"), arguments.rehearsed_hours, every_seconds=1)
            _print(
                console,
                "Rehearsal",
                {
                    "hours": str(rehearsed.hours),
                    "objects landed": str(rehearsed.objects),
                    "runs": str(rehearsed.runs),
                    "wall seconds": f"{rehearsed.seconds:,.0f}",
                    **{f"peak MB, {kind}": f"{peak:,.0f}" for kind, peak in sorted(rehearsed.peaks_mb.items())},
                },
            )


def _print(console: Console, title: str, measured: dict[str, str]) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in measured.items():
        table.add_row(name, value)
    console.print(table)


if __name__ == "__main__":
    main()
