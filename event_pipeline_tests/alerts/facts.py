"""Facts for conditions: commit records of hours that were never built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from event_pipeline.alerts.conditions import Facts
from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.engines.state import HourState
from event_pipeline.rules.accounting import HourAccount, ObjectAccount
from event_pipeline.rules.hour import Hour, HourRange

NOW = datetime(2025, 12, 8, 2, 30, tzinfo=UTC)
WINDOW = HourRange(Hour.parse("2025-12-07T02"), Hour.parse("2025-12-08T02"))


def commit(
    hour: Hour, rows: int = 100, bad: Mapping[str, int] | None = None, unreadable: Sequence[str] = (), lost: int = 0
) -> HourCommit:
    """A published hour of one readable object, and unreadable ones; `lost` records have no verdict."""
    bad = bad or {}
    records = rows + sum(bad.values()) + lost
    objects = [ObjectAccount("a", "e", 10, records, rows, 0, bad)]
    objects += [ObjectAccount(key, "e", 10, unreadable="truncated") for key in unreadable]
    files = (
        DataFile("silver.events", "e.parquet", rows, 10, ""),
        DataFile("silver.quarantine", "q.parquet", sum(bad.values()), 10, ""),
    )
    return HourCommit(hour, f"run-{hour}", hour.end, "1", HourAccount(tuple(objects), {}), files)


def facts(commits: Sequence[HourCommit] = (), states: Mapping[Hour, HourState] | None = None, **fields: Any) -> Facts:
    """Facts at NOW about a day of hours, all of them published but those that `states` names."""
    by_hour = {hour: commit(hour) for hour in WINDOW} | {each.hour: each for each in commits}
    shown = {hour: HourState.READY for hour in WINDOW} | dict(states or {})
    known = {hour: by_hour[hour] for hour in WINDOW if shown[hour] not in (HourState.NEW, HourState.NO_RAW)}
    records = {hour: each.account.records for hour, each in known.items()}
    defaults: dict[str, Any] = {
        "now": NOW,
        "states": dict(sorted(shown.items())),
        "commits": known,
        "records": records,
        "records_before": records,
        "newest_published": max((hour for hour in known if known[hour].account.objects), default=None),
        "objects": {hour: len(each.account.objects) for hour, each in known.items()},
    }
    return Facts(**(defaults | fields))
