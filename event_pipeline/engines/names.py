"""Names and times shared by builds and catalogs."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime

from event_pipeline.rules.hour import Hour, InvalidHourError


def new_build_id() -> str:
    """Return a new build id: sorts by time, unique."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:12]}"


def commit_time(instant: datetime | None = None) -> datetime:
    """Return a time (default: now) as commit records and the ledger store it: UTC, whole milliseconds."""
    now = instant or datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


PARTIALS_DATABASE = "partials"
"""The database of Gold partials, which only the pipeline reads."""


def hour_of_partition(partition: str) -> Hour | None:
    """Return the landing hour of a Hive path from a catalog; None if no build can have written it."""
    try:
        hour = Hour.of_hive_path(partition)
    except InvalidHourError:
        return None
    return hour if hour.hive_path == partition else None


def day_of_partition(partition: str) -> date | None:
    """Return the event day of a Hive path from a catalog; None if no build can have written it."""
    try:
        day = day_of(partition)
    except ValueError:
        return None
    return day if day_partition(day) == partition else None


def partial_table(table: str) -> str:
    """Return the name under which the partials of a Gold table are registered; queries do not see them."""
    return f"{PARTIALS_DATABASE}.{table}"


def gold_table(table: str) -> str:
    """Return the name under which the days of a Gold table are registered."""
    return f"gold.{table}"


def day_partition(day: date) -> str:
    """Return the Hive path of an event day."""
    return f"event_date={day}"


def day_of(partition: str) -> date:
    """Return the event day of a Hive path."""
    return date.fromisoformat(partition.removeprefix("event_date="))
