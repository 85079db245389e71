"""Reads the five answers of the report from Gold, one row per day, so that the page can add up any range of days.

Counts and money add up over days; money is in whole cents. Ranks follow from the sums, as far as the embedded products
allow. Distinct users do not add up, so they are asked for a few ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import QueryError
from event_pipeline.rules.printable import printable

MOST_DAYS = 366
"""Newest event days in the page."""
MOST_CATEGORIES = 24
"""Categories with most events; the others are one line together."""
MOST_PRODUCTS = 500
MOST_PRODUCT_DAYS = 20_000
"""Products x days in the page, about 25 bytes each: 54 products of a year, 500 of 40 days."""
RECENT_DAYS = 28
DISTINCT_DAYS = (7, RECENT_DAYS)
"""Ranges, in days to the newest one, for which distinct users are counted. Not all days: where 90,000 users come every
hour, counting those of 28 days takes 12 seconds of processor time, and of a year minutes."""
FEW_EVENTS = 0.01
"""Share of all events below which the page does not begin with the first days: those of a few late events."""

SQL = Path(__file__).parent / "sql"
_LARGEST_EXACT = 2**53 - 1
"""The largest integer that JavaScript's numbers hold exactly."""


@dataclass(frozen=True, slots=True)
class Days:
    """The event days of the page, without gaps."""

    first: date
    last: date
    published: date
    """First published day, before which the page may have cut off."""

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def number(self, day: date) -> int:
        """Return the position of a day."""
        return (day - self.first).days


def read_answers(pipeline: Pipeline) -> dict[str, Any] | None:
    """Return the answers as the page's script reads them; None if no day is published.

    Raises:
        QueryError: a Gold table is missing.
        PipelineError: the data cannot be read.
    """
    days = _days(pipeline)
    if days is None:
        return None
    performance = list(_rows(pipeline, "categories", days))
    names = sorted({row["category"] for row in performance if row["category"] is not None})
    position: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    has_others = any(row["category"] is None for row in performance)
    listed = list(_rows(pipeline, "products", days))
    products = sorted({(row["product_id"], row["category"]) for row in listed if row["product_id"] is not None})
    product_position = {each: number for number, each in enumerate(products)}
    activity = list(_rows(pipeline, "activity", days))
    opens = min(_busy_days(days, activity), DISTINCT_DAYS[0])
    # A category that appeared between the two statements belongs to the others.
    others = len(names)
    return {
        "days": [str(days.first + timedelta(days=number)) for number in range(len(days))],
        "opens": opens,
        "daysCut": max(0, (days.first - days.published).days),
        "categories": [printable(name) for name in names],
        "hasOthers": has_others or any(row["category"] not in position for row in listed),
        "performance": _by_day(
            days,
            performance,
            lambda row: (
                position.get(row["category"], others),
                *(row[name] for name in _COUNTS),
                in_cents(row["revenue"]),
            ),
        ),
        "products": [[printable(name), position.get(category, others)] for name, category in products],
        "productDays": _by_day(
            days,
            [row for row in listed if row["product_id"] is not None],
            lambda row: (product_position[row["product_id"], row["category"]], *_funnel(row)),
        ),
        "otherProducts": _by_day(
            days,
            [row for row in listed if row["product_id"] is None],
            lambda row: (position.get(row["category"], others), *_funnel(row), row["most_views"]),
        ),
        "hours": _by_day(
            days,
            _rows(pipeline, "hours", days),
            lambda row: (
                row["event_hour"],
                in_cents(row["total_revenue"]),
                row["purchase_count"],
                row["items_sold"],
            ),
        ),
        "activity": _by_day(
            days,
            activity,
            lambda row: (row["unique_users"], row["unique_sessions"], row["total_events"]),
        ),
        "distinct": list(_distinct(pipeline, days, opens)),
    }


_COUNTS = ("total_events", "page_views", "add_to_carts", "remove_from_carts", "purchases", "searches")


def _funnel(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["views"], row["add_to_carts"], row["purchases"], in_cents(row["revenue"])


def in_cents(amount: Decimal) -> int | str:
    """Return money as whole cents, as text if JavaScript's numbers do not hold it exactly."""
    # Decimal's own arithmetic rounds to 28 digits; a sum of money has up to 38.
    numerator, denominator = amount.as_integer_ratio()
    cents = numerator * 100 // denominator
    return cents if abs(cents) <= _LARGEST_EXACT else str(cents)


def _by_day(days: Days, rows: Iterable[dict[str, Any]], values: Any) -> list[list[Any]]:
    """Return the values of each day's rows, one after the other in one list per day."""
    found: list[list[Any]] = [[] for _ in range(len(days))]
    for row in rows:
        found[days.number(row["event_date"])].extend(values(row))
    return found


def _days(pipeline: Pipeline) -> Days | None:
    (row,) = pipeline.engine.query(_sql("days")).to_pylist()
    if row["last_day"] is None:
        return None
    first = max(row["first_day"], row["last_day"] - timedelta(days=MOST_DAYS - 1))
    return Days(first, row["last_day"], row["first_day"])


def _rows(pipeline: Pipeline, name: str, days: Days) -> Iterator[dict[str, Any]]:
    products = min(MOST_PRODUCTS, MOST_PRODUCT_DAYS // len(days))
    recent = days.last - timedelta(days=RECENT_DAYS - 1)
    places = {
        "first": days.first,
        "last": days.last,
        "recent": recent,
        "most_products": products,
        "most_categories": MOST_CATEGORIES,
    }
    # Both statements about categories name the same ones.
    statement = _sql(name).format(kept_categories=_sql("kept_categories").format(**places), **places)
    with pipeline.engine.query_stream(statement) as result:
        for batch in result.batches:
            yield from batch.to_pylist()


def _sql(name: str) -> str:
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def _busy_days(days: Days, activity: Sequence[dict[str, Any]]) -> int:
    """Return the number of days from the first one on that has more than a few late events."""
    left = FEW_EVENTS * sum(row["total_events"] for row in activity)
    for row in activity:
        left -= row["total_events"]
        if left < 0:
            return len(days) - days.number(row["event_date"])
    return len(days)


def _distinct(pipeline: Pipeline, days: Days, opens: int) -> Iterator[dict[str, Any]]:
    """Count users and sessions of the ranges that end with the newest day; one day's are in its row."""
    table = next((each for each in pipeline.gold_tables if each.name == "user_activity"), None)
    if table is None:
        raise QueryError("the report needs the Gold table user_activity")
    for length in sorted({min(each, len(days)) for each in (*DISTINCT_DAYS, opens)} - {1}):
        first = days.last - timedelta(days=length - 1)
        with pipeline.engine.answer(table, first, days.last) as answer:
            for row in answer.rows.read_all().to_pylist():
                yield {
                    "first": days.number(first),
                    "last": days.number(days.last),
                    "users": row["unique_users"],
                    "sessions": row["unique_sessions"],
                    "events": row["total_events"],
                }
