"""Walks a number of a Gold table back: fold, landing hours, Silver rows, raw objects, and the refused beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from event_pipeline.engines.base import Engine
from event_pipeline.errors import QueryError
from event_pipeline.rules.accounting import ObjectAccount
from event_pipeline.rules.contract import EVENT_DATE, EVENT_HOUR, SILVER_EVENTS, Column
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable, from_silver, hour_values_of, partial_of_silver, quoted

_LANDING_HOUR = "year || '-' || month || '-' || day || 'T' || hour"
_SILVER = {column.name: column for column in SILVER_EVENTS.columns}


@dataclass(frozen=True, slots=True)
class Source:
    """The Silver rows behind the number that one raw object brought."""

    hour: Hour
    key: str
    rows: int
    purchases: int
    revenue: Decimal
    account: ObjectAccount | None
    """Where all its records went; None if the commit record does not list the object."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where one day of a Gold table, or some of its rows, come from."""

    table: GoldTable
    day: date
    values: Mapping[str, Any]
    """Column -> value that chooses rows; empty for the whole day."""
    published: Sequence[Mapping[str, Any]]
    """The rows as published."""
    recomputed: Sequence[Mapping[str, Any]]
    """The same rows from the Silver rows of now, by the table's own SQL."""
    folded: tuple[Hour, ...]
    """The landing hours whose partials the published day was folded from."""
    retired: tuple[Hour, ...]
    """Those of them whose Silver is past its retention."""
    not_folded: tuple[Hour, ...]
    """Landing hours with Silver rows that count in the table, and that the published day was not folded from."""
    sources: tuple[Source, ...]
    """By landing hour and key."""

    @property
    def rows(self) -> int:
        """All Silver rows behind it."""
        return sum(each.rows for each in self.sources)

    @property
    def hours(self) -> dict[Hour, list[Source]]:
        """Landing hour -> its sources."""
        found = dict[Hour, list[Source]]()
        for each in self.sources:
            found.setdefault(each.hour, []).append(each)
        return found

    @property
    def refused(self) -> Counter[str]:
        """Reason -> records in quarantine that came in the same raw objects."""
        found = Counter[str]()
        for each in self.sources:
            found.update(each.account.quarantined_by_reason if each.account else {})
        return found

    @property
    def differences(self) -> list[str]:
        """What does not add up, as sentences; empty if every step does."""
        found = []
        if not self.retired and self.published != self.recomputed:
            found.append(f"the published rows are not those that {self.rows:,} Silver rows give")
        if self.not_folded:
            listed = ", ".join(map(str, self.not_folded))
            found.append(f"landing hours with Silver rows that the published day was not folded from: {listed}")
        for each in self.sources:
            if each.account is None:
                found.append(f"{each.key}: it is not in the commit record of {each.hour}")
            elif each.account.unaccounted or each.rows > each.account.silver_rows:
                found.append(f"{each.key}: its records do not add up, see event-pipeline verify")
        return found


def filter_columns(table: GoldTable) -> list[Column]:
    """Return the columns that choose rows of a table and that Silver has as well."""
    return [column for column in table.columns if column.name in table.grain and column.name in _SILVER]


def explain(engine: Engine, table: GoldTable, day: date, given: Mapping[str, str]) -> Lineage:
    """Walk a day of a table back, or the rows that have these values.

    Raises:
        QueryError: a column does not choose rows of the table, or a value is not of its type.
        PipelineError: data, catalog or commit records cannot be read.
    """
    values = {name: _value(table, name, text) for name, text in given.items()}
    on_day = f"{EVENT_DATE.name} = DATE '{day}'"
    of_gold = " AND ".join((on_day, *(f"{name} = {_literal(value)}" for name, value in values.items())))
    of_silver = " AND ".join((on_day, *(f"{_as_in_gold(name)} = {_literal(value)}" for name, value in values.items())))
    order = ", ".join(column.name for column in table.columns)
    chosen = "".join(f" AND {name} = {_literal(value)}" for name, value in values.items())
    published = engine.query(f"SELECT {order} FROM {table.table.full_name} WHERE {of_gold} ORDER BY {order}")
    # A rank depends on the other rows of the day.
    is_ranked = any(column.name.endswith("_rank") for column in table.columns)
    recomputed = engine.query(
        f"{from_silver(table, on_day if is_ranked else of_silver)} WHERE 1 = 1{chosen} ORDER BY {order}"
    )
    found = engine.query(
        f"SELECT {_LANDING_HOUR} AS landing_hour, source_object, COUNT(*) AS silver_rows, "
        "SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS purchases, "
        "CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(38, 2)) AS revenue "
        f"FROM {SILVER_EVENTS.full_name} WHERE {of_silver} GROUP BY {_LANDING_HOUR}, source_object ORDER BY 1, 2"
    ).to_pylist()
    folded = engine.folded_hours(table, day)
    hours = sorted({*folded, *(Hour.parse(row["landing_hour"]) for row in found)})
    commits = {hour: commit for hour in hours if (commit := engine.hour_commit(hour))}
    accounts = {(hour, each.key): each for hour, commit in commits.items() for each in commit.account.objects}
    return Lineage(
        table=table,
        day=day,
        values=values,
        published=published.to_pylist(),
        recomputed=recomputed.to_pylist(),
        folded=folded,
        retired=tuple(hour for hour in folded if hour not in commits or commits[hour].retired_at is not None),
        not_folded=tuple(_counting(engine, table, of_silver, [hour for hour in hours if hour not in folded])),
        sources=tuple(
            Source(
                hour := Hour.parse(row["landing_hour"]),
                key := row["source_object"],
                int(row["silver_rows"]),
                int(row["purchases"]),
                row["revenue"],
                accounts.get((hour, key)),
            )
            for row in found
        ),
    )


def _counting(engine: Engine, table: GoldTable, where: str, hours: Sequence[Hour]) -> list[Hour]:
    """Return the landing hours whose Silver rows count in a table: without a purchase, none does in the revenue."""

    def count(some: Sequence[Hour]) -> bool:
        rows = partial_of_silver(table, f"{where} AND {hour_values_of(some)}")
        return bool(engine.query(f"{rows} LIMIT 1").num_rows)

    # Almost always none counts, which one query says; Athena bills each.
    return [hour for hour in hours if count([hour])] if hours and count(hours) else []


def _as_in_gold(name: str) -> str:
    return "COALESCE(category, '(none)')" if name == "category" else name


def _value(table: GoldTable, name: str, text: str) -> str | int:
    """Read the value of a column that chooses rows."""
    columns = {column.name: column for column in filter_columns(table)}
    if name not in columns:
        known = ", ".join(columns) or "none: it has one row a day"
        raise QueryError(f"gold.{table.name} is not chosen by {name!r}: its columns for that are {known}")
    if columns[name].type == "string":
        return text
    try:
        number = int(text)
    except ValueError:
        raise QueryError(f"{name} is a whole number, not {text!r}") from None
    if name == EVENT_HOUR.name and not 0 <= number < 24:
        raise QueryError(f"{name} is an hour of the day, 0 to 23, not {number}")
    return number


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else quoted(value)
