"""`event-pipeline verify`: the second look at what is published."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from event_pipeline.commands.options import ExitCode, FromOption, ToOption, hour_range
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.terminal import output, progress
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings


def verify(first: FromOption = None, end: ToOption = None) -> None:
    """Recount raw independently and prove that Silver, quarantine, ledger and Gold are what raw says.

    Reads every raw object again with a plain reader, so it takes minutes for a full-size hour. Hours that lost raw
    objects cannot be recounted: they are named, and are no difference. Ends with 1 when something differs, or when raw
    objects that are not one JSON object a line hold records that nobody can read.
    """
    from event_pipeline.inspection.verification import verify as recount
    from event_pipeline.reporting.verification_table import print_verification

    settings, hours = load_settings(), hour_range(first, end)
    engine = open_engine(settings)
    with progress() as view:
        verification = recount(
            engine, load_gold_tables(), settings.event_time_limits, hours, datetime.now(UTC), view.step
        )
    print_verification(verification, engine.unmatched_raw_keys(), settings.expected_objects, output())
    if verification.differences or verification.wrongly_framed:
        raise typer.Exit(ExitCode.NOT_HELD)
