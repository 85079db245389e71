"""`event-pipeline housekeeping`: shows and removes what is no longer needed."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.terminal import WARNING, messages, output, progress
from event_pipeline.settings import load_settings


def housekeeping(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this nothing is changed.")] = False,
    named: Annotated[bool, typer.Option("--list", help="List every item, not only the totals.")] = False,
) -> None:
    """Show what is no longer needed: replaced and abandoned builds, expired data, scratch files, old Dagster runs.

    Safe during builds and queries: replaced builds are kept for EVENT_PIPELINE_BUILD_GRACE_DAYS for their readers.

    Examples:
      event-pipeline housekeeping

      event-pipeline housekeeping --delete
    """
    from event_pipeline.dagster_instance.storage import storage_faults
    from event_pipeline.operations.housekeeping import find_housework, remove_housework
    from event_pipeline.reporting.housekeeping import print_housework

    settings, now = load_settings(), datetime.now(UTC)
    engine = open_engine(settings)
    with ExitStack() as opened:
        instance = None
        if (settings.dagster_home / "dagster.yaml").is_file():
            from event_pipeline.dagster_instance.prepare import prepare_instance

            opened.enter_context(storage_faults(settings.dagster_home))
            instance = opened.enter_context(prepare_instance(settings))
        work = find_housework(engine, instance, settings, now)
        if not delete:
            print_housework(work, output(), removed=False, named=named)
            return
        with progress(total=len(work.leftovers) + len(work.runs)) as view:
            gone, kept = remove_housework(work, engine, instance, settings, view.step)
    print_housework(gone, output(), removed=True, named=named)
    for reason in kept:
        messages().print(f"left for the next time: {reason}", style=WARNING, soft_wrap=True)
    if kept:
        raise typer.Exit(ExitCode.BUSY)
