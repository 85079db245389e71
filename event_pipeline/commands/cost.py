"""`event-pipeline cost`: what hours cost on AWS, or would cost to build."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from event_pipeline.commands.options import FromOption, ToOption, UsageError, hour_range
from event_pipeline.reporting.terminal import output
from event_pipeline.settings import load_settings


def cost(
    first: FromOption = None,
    end: ToOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate what building the range would start and cost; start nothing.")
    ] = False,
) -> None:
    """Sum what the steps of a range of hours cost on AWS, or estimate the cost of building it.

    Examples:
      event-pipeline cost --from 2025-12-07T00 --to 2025-12-08T00

      event-pipeline cost --from 2025-12-07T00 --to 2025-12-08T00 --dry-run
    """
    hours, loaded = hour_range(first, end), load_settings()
    if hours is None:
        raise UsageError("--from and --to are missing: say which landing hours")
    from event_pipeline.commands.estimates import print_estimates
    from event_pipeline.engines.open import open_pipeline
    from event_pipeline.engines.state import DUE_STATES
    from event_pipeline.reporting.costs import print_costs

    pipeline = open_pipeline(loaded)
    if dry_run:
        states = pipeline.states(datetime.now(UTC), hours)
        if print_estimates(pipeline.engine, [hour for hour in hours if states[hour] in DUE_STATES], loaded):
            return
    else:
        entries = pipeline.engine.costs(hours)
        if entries is not None:
            print_costs(entries, hours, loaded, output())
            return
    raise UsageError(f"nothing is billed with EVENT_PIPELINE_ENV={loaded.env}: only aws has costs")
