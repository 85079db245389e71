"""`event-pipeline verify`: an independent check of what is published."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from event_pipeline.commands.options import ExitCode, FromOption, ToOption, hour_range
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.terminal import output, progress
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings


def verify(first: FromOption = None, end: ToOption = None) -> None:
    """Recount raw independently and prove that Silver, quarantine, ledger and Gold match it.

    Reads every raw object again with a plain reader, in EVENT_PIPELINE_WORKERS processes, so it takes minutes for a
    full-size hour. Hours that lost raw objects cannot be recounted: they are listed, but do not count as differences.
    Exits with 1 when something differs, or when records are lost because raw objects are not framed as one JSON object
    per line.

    Examples:
      event-pipeline verify

      event-pipeline verify --from 2025-12-07T20 --to 2025-12-08T02
    """
    from event_pipeline.inspection.verification import verify as recount
    from event_pipeline.reporting.verification_table import print_verification

    settings, hours = load_settings(), hour_range(first, end)
    engine = open_engine(settings)
    with progress() as view:
        verification = recount(
            engine,
            load_gold_tables(),
            settings.event_time_limits,
            hours,
            datetime.now(UTC),
            view.step,
            workers=settings.workers,
        )
    print_verification(verification, engine.unmatched_raw_keys(), settings.expected_objects, output())
    if verification.differences or verification.wrongly_framed:
        raise typer.Exit(ExitCode.NOT_HELD)
