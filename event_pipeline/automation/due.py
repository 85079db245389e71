"""Shared by sensor and schedule: when an hour may be requested, and closing runs whose process is gone."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg

from event_pipeline.dagster_instance.run_hours import close_abandoned_runs
from event_pipeline.engines.state import HourState
from event_pipeline.rules.accounting import RawListing
from event_pipeline.settings import Settings

NOT_COMPLETE = "not complete yet"
NOT_QUIET = "not quiet yet"

_NEW_INPUT = frozenset((HourState.NO_RAW, HourState.NEW, HourState.CHANGED, HourState.PROVISIONAL))


def why_waiting(state: HourState, listing: RawListing, settings: Settings, now: datetime) -> str | None:
    """Return why an hour must wait a little longer; None if it may be requested.

    An hour is complete with the expected number of objects, or a grace period after its end. An object with a timestamp
    in the future (another machine's clock) delays its hour as long as one that has just been written, not until that
    time.
    """
    if state not in _NEW_INPUT:
        return None
    waits_for_all = not settings.builds_open_hours or state in (HourState.NO_RAW, HourState.PROVISIONAL)
    grace_ends = listing.hour.end + timedelta(minutes=settings.grace_minutes)
    if waits_for_all and len(listing.objects) < max(1, settings.expected_objects) and now < grace_ends:
        return NOT_COMPLETE
    quiet = timedelta(seconds=settings.quiet_seconds)
    if not settings.builds_open_hours and any(abs(now - each.modified) < quiet for each in listing.objects):
        return NOT_QUIET
    return None


def warn_of_abandoned_runs(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> None:
    """Close the runs whose process is gone, so that they occupy neither a pool slot nor a concurrent run."""
    for run_id in close_abandoned_runs(context.instance):
        context.log.warning(f"run {run_id} is recorded as failed: the process that executed it is gone")
