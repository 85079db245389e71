"""Reads the health of the newest landing hours for the report: states, records, quarantine, drift, cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from event_pipeline.dagster_instance.storage import RunState
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.inspection.status import HourStatus, Status, read_status
from event_pipeline.rules.contract import QUARANTINE_REASONS
from event_pipeline.rules.hour import Hour, HourRange, plausible_part
from event_pipeline.rules.printable import printable

DAYS_SHOWN = 28
"""Days of landing hours."""
KEYS_SHOWN = 10
FIELDS_SHOWN = 50
"""Most frequent fields outside the contract."""

GAP = "gap"
"""No raw objects, although there are some before and after."""

_LOOKS = {
    HourState.READY: "good",
    HourState.RETIRED: "none",
    HourState.NO_RAW: "none",
    HourState.OPEN: "open",
    HourState.NEW: "open",
    HourState.CHANGED: "warn",
    HourState.OUTDATED: "warn",
    HourState.PROVISIONAL: "warn",
    HourState.UNREGISTERED: "warn",
    HourState.GOLD_BEHIND: "warn",
    HourState.DAMAGED: "bad",
    HourState.LOST_OBJECTS: "bad",
}
"""State -> how the page shows it."""


def read_health(pipeline: Pipeline, now: datetime, runs: Mapping[Hour, RunState]) -> dict[str, Any] | None:
    """Return the health as the page's script reads it; None if nothing ever landed or was built.

    The hours shown end with the current one. If nothing landed or was built in them, they end with the newest that was.

    Raises:
        PipelineError: listings, commit records, catalog or costs cannot be read.
    """
    engine = pipeline.engine
    registered = engine.registered_builds()
    window = _window(pipeline, now, registered)
    if window is None:
        return None
    status = read_status(pipeline, now, window, runs)
    hours = _without_the_future(status.hours, now)
    if not hours:
        return None
    commits = engine.hour_commits(HourRange(hours[0].hour, hours[-1].hour.plus(1)), {})
    newest = max(commits, default=None)
    reasons = defaultdict[str, Counter[str]](Counter)
    for hour, commit in commits.items():
        reasons[str(hour.start.date())].update(commit.account.quarantined_by_reason)
    return {
        "hours": [_hour(each) for each in hours],
        "looks": {**{state.value: look for state, look in _LOOKS.items()}, GAP: "bad", **_OF_RUNS},
        "newest": {"end": newest.end.isoformat(), "committed": commits[newest].committed_at.isoformat()}
        if newest
        else None,
        "reasons": [each for each in QUARANTINE_REASONS if any(each in found for found in reasons.values())],
        "quarantined": {day: dict(found) for day, found in sorted(reasons.items()) if found},
        "drift": _drift(status),
        "driftFields": len(status.drift),
        "unmatched": len(status.unmatched),
        "firstUnmatched": [[printable(each.key), printable(each.reason)] for each in status.unmatched[:KEYS_SHOWN]],
        "cost": _cost(pipeline, HourRange(hours[0].hour, hours[-1].hour.plus(1))),
    }


_OF_RUNS = {f"run {RunState.FAILED}": "bad", f"run {RunState.IN_PROGRESS}": "open"}


def _window(pipeline: Pipeline, now: datetime, registered: Mapping[Hour, str]) -> HourRange | None:
    end = Hour.containing(now).plus(1)
    current = HourRange(Hour.parse(f"{end.plus(-24 * DAYS_SHOWN + 23).start.date()}T00"), end)
    window = plausible_part(current, pipeline.settings.first_partition, now)
    newest = max(registered, default=None)
    if window and ((newest and newest >= window.first) or pipeline.engine.list_raw_hours(window)):
        return window
    newest = max((*registered, *pipeline.engine.list_raw_hours()), default=None)
    if newest is None:
        return None
    last_day = Hour.parse(f"{newest.start.date()}T00")
    first = last_day.plus(-24 * (DAYS_SHOWN - 1))
    return plausible_part(HourRange(first, last_day.plus(24)), pipeline.settings.first_partition, now)


def _without_the_future(hours: tuple[HourStatus, ...], now: datetime) -> list[HourStatus]:
    """Return the hours from the first day with anything to see on."""
    known = [each for each in hours if each.hour.start <= now]
    seen = [each.hour for each in known if each.state not in (HourState.NO_RAW, HourState.OPEN) or each.objects]
    if not seen:
        return known
    first = Hour.parse(f"{seen[0].start.date()}T00")
    return [each for each in known if each.hour >= first]


def _hour(status: HourStatus) -> list[Any]:
    state = f"run {status.run}" if status.run else GAP if status.gap else status.state.value
    return [str(status.hour), state, status.objects, status.records, status.quarantined, status.duplicates]


def _drift(status: Status) -> list[dict[str, Any]]:
    return [
        {
            "field": each.shown_name,
            "records": each.records,
            "example": each.explanation or printable(each.example),
        }
        for each in status.drift[:FIELDS_SHOWN]
    ]


def _cost(pipeline: Pipeline, hours: HourRange) -> list[list[Any]] | None:
    """Return day and cost in millionths of a USD, by landing day; None where nothing is billed."""
    entries = pipeline.engine.costs(hours)
    if entries is None:
        return None
    days = defaultdict[str, Decimal](Decimal)
    for entry in entries:
        days[str(entry.hour.start.date())] += entry.cost.usd
    return [[day, int((usd * 1_000_000).to_integral_value())] for day, usd in sorted(days.items())]
