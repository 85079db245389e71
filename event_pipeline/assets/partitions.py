"""The partition key of every asset, the landing hour, in Dagster's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from event_pipeline.assets.isolation import HourFailure, failed_before
from event_pipeline.errors import HoursFailedError, PipelineError
from event_pipeline.rules.hour import PARTITION_KEY_FORMAT, Hour
from event_pipeline.settings import Settings


def landing_hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """Return the partitions of every asset: each UTC hour since the first partition.

    These are the closed hours, and also the current one if hours are built before they are over.
    """
    return dg.HourlyPartitionsDefinition(
        start_date=settings.first_partition.start,
        timezone="UTC",
        fmt=PARTITION_KEY_FORMAT,
        end_offset=1 if settings.builds_open_hours else 0,
    )


def backfill_policy(settings: Settings) -> dg.BackfillPolicy:
    """Return how a backfill is split into runs: ranges, because a day in one run folds each event day only once."""
    return dg.BackfillPolicy.multi_run(settings.hours_per_run)


def hours_of_run(context: dg.AssetExecutionContext) -> list[Hour]:
    """Return the hours that a run builds, one or a range, in order."""
    return [Hour.parse(key) for key in context.partition_keys]


def hours_left(context: dg.AssetExecutionContext) -> tuple[list[Hour], dict[Hour, HourFailure]]:
    """Return the hours of a run that succeeded in all earlier steps, in order, and those that failed."""
    failed = failed_before(context)
    hours = hours_of_run(context)
    return [hour for hour in hours if hour not in failed], {hour: failed[hour] for hour in hours if hour in failed}


def failures_among(
    hours: Sequence[Hour], earlier: Mapping[Hour, HourFailure], error: PipelineError
) -> Mapping[Hour, PipelineError]:
    """Return the hours that an engine's error concerns, if it concerns single hours of several.

    Raises:
        PipelineError: the error itself, if the run has only one hour, or the error concerns none in particular.
    """
    if isinstance(error, HoursFailedError):
        return error.failures
    if earlier and len(hours) == 1:
        return {hours[0]: error}
    raise error
