"""The latest runs of an hour: whether it failed, how often in a row, and when. Read from Dagster's runs.

So sensor and schedule know about an hour that fails on its own without keeping any state.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from event_pipeline.dagster_instance.run_hours import failed_hours_of, hours_of_tags, process_is_gone
from event_pipeline.rules.hour import Hour, HourRange, contiguous
from event_pipeline.settings import Settings

RUNS_LOOKED_AT = 300
"""Newest runs that are read; an hour whose failed run is older counts as never failed."""
LONGEST_RETRY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What the finished runs of one hour mean for the next one."""

    newest_run: str
    """Id of the newest run that covered the hour."""
    failed: int
    """Number of consecutive failed runs up to the newest; 0 if the newest did not fail."""
    last: datetime
    """When the newest run ended."""


def attempts(instance: dg.DagsterInstance, hours: Collection[Hour]) -> dict[Hour, Attempts]:
    """Return the attempts of those hours that any run covered."""
    found: dict[Hour, Attempts] = {}
    over: set[Hour] = set()
    if not hours:
        return found
    for record in instance.get_run_records(limit=RUNS_LOOKED_AT):
        run = record.dagster_run
        if not run.is_finished and not process_is_gone(run):
            continue
        failed = failed_hours_of(run)
        ended = record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC)
        for hour in hours_of_tags(run.tags) or ():
            if hour not in hours or hour in over:
                continue
            known = found.setdefault(hour, Attempts(run.run_id, 0, ended))
            if hour in failed:
                found[hour] = Attempts(known.newest_run, known.failed + 1, known.last)
            elif not run.is_finished or run.status is not dg.DagsterRunStatus.CANCELED:
                over.add(hour)
    return found


def retry_wait(failed: int, settings: Settings) -> timedelta:
    """Return the backoff after the last request of an hour that failed so many times: it doubles each time."""
    # The exponent is bounded so that many attempts cannot overflow.
    doublings = min(max(0, failed - 1), 16)
    return min(timedelta(minutes=settings.retry_after_minutes * (1 << doublings)), LONGEST_RETRY)


def ranges_of(hours: Collection[Hour], alone: Collection[Hour], most: int) -> list[HourRange]:
    """Join hours into ranges of at most `most` hours; each hour of `alone` becomes a range of its own."""
    together = contiguous((hour for hour in sorted(hours) if hour not in alone), most)
    return [*together, *(HourRange.of([hour]) for hour in sorted(hours) if hour in alone)]
