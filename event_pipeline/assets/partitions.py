"""The one partition key of every asset, the landing hour, as Dagster sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from event_pipeline.assets.isolation import HourFailure, failed_before
from event_pipeline.errors import HoursFailedError, PipelineError
from event_pipeline.rules.hour import PARTITION_KEY_FORMAT, Hour
from event_pipeline.settings import Settings


def landing_hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """Return the partitions of every asset: each UTC hour since the first partition that may be built.

    These are the closed ones, and the current one where hours are built before they are over.
    """
    return dg.HourlyPartitionsDefinition(
        start_date=settings.first_partition.start,
        timezone="UTC",
        fmt=PARTITION_KEY_FORMAT,
        end_offset=1 if settings.builds_open_hours else 0,
    )


def backfill_policy(settings: Settings) -> dg.BackfillPolicy:
    """Return how a backfill is cut into runs: ranges, because a day in one run folds each event day once."""
    return dg.BackfillPolicy.multi_run(settings.hours_per_run)


def hours_of_run(context: dg.AssetExecutionContext) -> list[Hour]:
    """List the hours that a run builds, one or a range, in order."""
    return [Hour.parse(key) for key in context.partition_keys]


def hours_left(context: dg.AssetExecutionContext) -> tuple[list[Hour], dict[Hour, HourFailure]]:
    """List the hours of a run that no step before this one failed in, in order, and those that one did."""
    failed = failed_before(context)
    hours = hours_of_run(context)
    return [hour for hour in hours if hour not in failed], {hour: failed[hour] for hour in hours if hour in failed}


def failures_among(
    hours: Sequence[Hour], earlier: Mapping[Hour, HourFailure], error: PipelineError
) -> Mapping[Hour, PipelineError]:
    """Return which hours an engine's error is about, when it is about single hours of several.

    Raises:
        PipelineError: the error itself, when the run has one hour, or it is about none of them in particular.
    """
    if isinstance(error, HoursFailedError):
        return error.failures
    if earlier and len(hours) == 1:
        return {hours[0]: error}
    raise error
