"""What became of the last runs of an hour: whether it failed, how often in a row, and when. Read from Dagster's runs.

So an hour that fails by itself is known to everybody who asks for hours, whatever they remember themselves.
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
"""The newest; an hour whose failed run is older counts as one that never failed."""
LONGEST_RETRY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The runs of one hour that have ended, as far as they matter for the next one."""

    newest_run: str
    """Id of the newest run that was about the hour."""
    failed: int
    """How many runs failed in a row, the newest among them; 0 when the newest did not."""
    last: datetime
    """When the newest of them ended."""


def attempts(instance: dg.DagsterInstance, hours: Collection[Hour]) -> dict[Hour, Attempts]:
    """Return the attempts of those hours that some run was about."""
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
    """Return how long after its last request an hour is asked for again that failed so many times: it doubles."""
    # Doubling stops long before the number of attempts makes it overflow.
    doublings = min(max(0, failed - 1), 16)
    return min(timedelta(minutes=settings.retry_after_minutes * (1 << doublings)), LONGEST_RETRY)


def ranges_of(hours: Collection[Hour], alone: Collection[Hour], most: int) -> list[HourRange]:
    """Join hours into ranges of at most so many, and each of those that failed before into one of its own."""
    together = contiguous((hour for hour in sorted(hours) if hour not in alone), most)
    return [*together, *(HourRange.of([hour]) for hour in sorted(hours) if hour in alone)]
