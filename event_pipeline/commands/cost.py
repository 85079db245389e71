"""`event-pipeline cost`: what hours cost on AWS, or would cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from event_pipeline.commands.options import FromOption, ToOption, UsageError, hour_range
from event_pipeline.reporting.terminal import output
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Environment, load_settings


def cost(
    first: FromOption = None,
    end: ToOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="What building the range would start and about cost; starts nothing.")
    ] = False,
) -> None:
    """Sum what the steps of a range of hours cost on AWS, or estimate what building it would."""
    hours, loaded = hour_range(first, end), load_settings()
    if hours is None:
        raise UsageError("--from and --to are missing: say which landing hours")
    if loaded.env is not Environment.AWS:
        raise UsageError(f"nothing is billed with EVENT_PIPELINE_ENV={loaded.env}: costs are those of aws")
    from event_pipeline.engines.aws import AwsEngine
    from event_pipeline.engines.pipeline import Pipeline
    from event_pipeline.engines.state import DUE_STATES
    from event_pipeline.reporting.costs import print_costs, print_estimate

    engine = AwsEngine(loaded)
    if not dry_run:
        print_costs(engine.costs(hours), hours, loaded, output())
        return
    states = Pipeline(engine, load_gold_tables(), loaded).states(datetime.now(UTC), hours)
    print_estimate(engine.estimate([hour for hour in hours if states[hour] in DUE_STATES]), loaded, output())
