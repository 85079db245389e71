"""`event-pipeline run`: builds hours through Dagster and prints the Gold tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode, FromOption, ToOption, UsageError, hour_range
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import progress
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import load_settings


def run(
    first: FromOption = None,
    end: ToOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Rebuild the hours of the range even if they are up to date.")
    ] = False,
    allow_lost_objects: Annotated[
        bool,
        typer.Option(
            "--allow-lost-objects", help="Rebuild hours that lost raw objects, without the records of those objects."
        ),
    ] = False,
) -> None:
    """Build hours through Dagster, raw to Gold, and print the answers. Without a range: every hour that is due.

    Examples:
      event-pipeline run

      event-pipeline run --from 2025-12-07T20 --to 2025-12-08T02

      event-pipeline run --from 2025-12-07T22 --to 2025-12-07T23 --force
    """
    from event_pipeline.operations.building import build, plan_build
    from event_pipeline.reporting.build_summary import is_sound, outcome_line, print_summary

    hours = hour_range(first, end)
    if force and hours is None:
        raise UsageError("--force needs --from and --to: say which up-to-date hours to rebuild")
    settings = load_settings()
    pipeline = open_pipeline(settings)
    plan = plan_build(pipeline, datetime.now(UTC), hours, force=force, allow_lost_objects=allow_lost_objects)
    outcomes = []
    with progress(total=len(plan.hours)) as view:
        done: set[Hour] = set()

        def show(line: str, hour: Hour | None) -> None:
            done.update([hour] if hour else [])
            view.step(line, len(done))

        for outcome in build(plan, settings, force=force, allow_lost_objects=allow_lost_objects, progress=show):
            outcomes.append(outcome)
            view.note(outcome_line(outcome))
    print_summary(pipeline, plan, outcomes)
    if not all(is_sound(outcome) for outcome in outcomes):
        raise typer.Exit(ExitCode.NOT_HELD)
    if hours is not None and plan.lost:
        raise typer.Exit(ExitCode.REFUSED)
