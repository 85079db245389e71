"""What a range of event days does not have: days of which nothing is published, and landing hours that are not in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.rules.hour import Hour, HourRange, plausible_part
from event_pipeline.rules.query import GoldTable

_COMPLETE = frozenset((HourState.READY, HourState.RETIRED))


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is missing in a range, or is not in it as it would be built now."""

    days: tuple[date, ...]
    """Days without published rows, in order."""
    hours: Mapping[HourState, tuple[Hour, ...]]
    """Landing hours that can have events of the range and are not published up to Gold as they are now."""


def coverage(
    pipeline: Pipeline, table: GoldTable, first: date, last: date, published: Collection[date], now: datetime
) -> Coverage:
    """Return what a range of days, both inclusive, does not have of one Gold table.

    Hours after the range count if they have raw objects, because late events land in them. Hours without raw objects
    count if their day is published: of the other days, the day says it.

    Raises:
        PipelineError: listings, commit records or catalog cannot be read.
    """
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    found = dict[HourState, list[Hour]]()
    hours = _hours(pipeline, first, last, now)
    for hour, state in replace(pipeline, gold_tables=(table,)).states(now, hours).items() if hours else ():
        day = hour.start.date()
        if state in _COMPLETE or (state in (HourState.NO_RAW, HourState.OPEN) and day not in published):
            continue
        if state is HourState.OPEN and hour.start > now:
            continue
        found.setdefault(state, []).append(hour)
    return Coverage(
        tuple(day for day in days if day not in published), {state: tuple(each) for state, each in found.items()}
    )


def _hours(pipeline: Pipeline, first: date, last: date, now: datetime) -> HourRange | None:
    """Return the landing hours that can have events of the days and can exist; None if there are none."""
    # Beyond today there are no hours, and a far day must not leave the calendar.
    newest = min(last, now.date() + timedelta(days=1))
    if newest < first:
        return None
    begin = Hour.parse(f"{first}T00")
    end = Hour.parse(f"{newest}T23").start + pipeline.settings.event_time_limits.max_age
    return plausible_part(HourRange(begin, Hour.containing(end).plus(2)), pipeline.settings.first_partition, now)
