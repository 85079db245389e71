"""Asks the questions of the Gold tables of Bronze, Silver and Gold, and says what each layer takes and answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from event_pipeline.engines.base import Engine, ResultStream
from event_pipeline.engines.commit import HourCommit
from event_pipeline.rules.contract import BRONZE_EVENTS, EVENT_DATE
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable, from_silver, hour_values_of
from event_pipeline.rules.query_pack import load_bronze_questions


class Layer(StrEnum):
    """The layers that are asked, in the order of the data's path."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: event days, both inclusive, and perhaps only what landed in some hours."""

    first: date = date.min
    last: date = date.max
    landed: HourRange | None = None


@dataclass(frozen=True, slots=True)
class LayerAnswer:
    """What one layer answers, and what that takes."""

    rows: Sequence[Mapping[str, Any]]
    seconds: float
    bytes_read: int
    usd: Decimal | None
    """None if nobody bills it."""

    @property
    def in_order(self) -> list[str]:
        """The rows as text in an order that does not depend on the layer; equal if all values are."""
        return sorted(repr(sorted(row.items())) for row in self.rows)


@dataclass(frozen=True, slots=True)
class TableQuestion:
    """The question of one Gold table, with the answer of each layer."""

    table: GoldTable
    answers: Mapping[Layer, LayerAnswer]
    """Without Bronze if nobody wrote its SQL: a table that was added."""
    days: tuple[date, ...]
    hours: tuple[Hour, ...]
    """The landing hours that the answers are from."""

    def agrees(self, layer: Layer) -> bool:
        """Return whether a layer gives the same rows as Gold."""
        return self.answers[layer].in_order == self.answers[Layer.GOLD].in_order


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answers, and what the commit records say of the records behind them."""

    questions: tuple[TableQuestion, ...]
    commits: Mapping[Hour, HourCommit]
    changed: tuple[Hour, ...]
    """Hours whose raw objects are not those of their build any more."""

    @property
    def days(self) -> list[date]:
        """The event days of any answer, in order."""
        return sorted({day for each in self.questions for day in each.days})

    @property
    def hours(self) -> list[Hour]:
        """The landing hours of any answer, in order."""
        return sorted({hour for each in self.questions for hour in each.hours})

    @property
    def retired(self) -> list[Hour]:
        """Hours whose Silver is past its retention, or of which no build is committed."""
        return [hour for hour in self.hours if hour not in self.commits or self.commits[hour].retired_at is not None]

    @property
    def differing(self) -> list[TableQuestion]:
        """Questions to which Silver gives other rows than Gold, although it has all of them."""
        return [] if self.retired else [each for each in self.questions if not each.agrees(Layer.SILVER)]

    @property
    def bronze_differing(self) -> list[TableQuestion]:
        """Questions to which Bronze gives other rows than Gold."""
        return [each for each in self.questions if Layer.BRONZE in each.answers and not each.agrees(Layer.BRONZE)]

    @property
    def refused(self) -> Counter[str]:
        """Reason -> records of these hours in quarantine."""
        found = Counter[str]()
        for commit in self.commits.values():
            for each in commit.account.objects:
                found.update(each.quarantined_by_reason)
        return found

    @property
    def duplicates(self) -> int:
        """Records of these hours that are equal to an earlier one of their hour."""
        return sum(each.duplicates for commit in self.commits.values() for each in commit.account.objects)

    @property
    def erased(self) -> int:
        """Records of these hours whose people were erased."""
        return sum(commit.account.erased for commit in self.commits.values())

    @property
    def records(self) -> int:
        """All records of these hours."""
        return sum(commit.account.records for commit in self.commits.values())

    @property
    def unreadable(self) -> list[str]:
        """Keys of the objects that were set aside whole, in order."""
        return sorted(each.key for commit in self.commits.values() for each in commit.account.unreadable)


def compare(engine: Engine, tables: Sequence[GoldTable], asked: Asked) -> Comparison:
    """Ask the question of each table of every layer, one after the other.

    A single event day is what is published of it; several days, or landing hours, are folded into one answer.

    Raises:
        PipelineError: data, catalog or commit records cannot be read.
        LimitError: a question takes more than the settings allow to a query.
    """
    bronze = load_bronze_questions()
    gold = {table.name: _gold(engine, table, asked) for table in tables}
    hours = sorted({hour for _, _, of_table in gold.values() for hour in of_table})
    commits = {hour: commit for hour in hours if (commit := engine.hour_commit(hour))}
    questions = []
    for table in tables:
        answer, days, landed = gold[table.name]
        answers = dict[Layer, LayerAnswer]()
        if days:
            if table.name in bronze:
                relation = _bronze_events(days, landed, commits)
                answers[Layer.BRONZE] = _measured(engine.query_stream(_with(relation, bronze[table.name])))
            among = ", ".join(f"DATE '{day}'" for day in days)
            where = f"{EVENT_DATE.name} IN ({among}) AND {hour_values_of(landed)}"
            answers[Layer.SILVER] = _measured(engine.query_stream(from_silver(table, where)))
            answers[Layer.GOLD] = answer
            questions.append(TableQuestion(table, answers, days, landed))
    changed = [hour for hour, commit in commits.items() if engine.list_raw(hour).fingerprint != commit.fingerprint]
    return Comparison(tuple(questions), commits, tuple(changed))


def _gold(engine: Engine, table: GoldTable, asked: Asked) -> tuple[LayerAnswer, tuple[date, ...], tuple[Hour, ...]]:
    """Return the answer of Gold, with its days and landing hours."""
    started = time.monotonic()
    with engine.answer(table, asked.first, asked.last, asked.landed) as answer:
        days, hours = answer.range.days, answer.range.hours
        if asked.landed is not None or len(days) != 1:
            return _taken(answer.rows, started), days, hours
    columns = ", ".join(column.name for column in table.columns)
    published = f"SELECT {columns} FROM {table.table.full_name} WHERE {EVENT_DATE.name} = DATE '{days[0]}'"
    return _measured(engine.query_stream(published)), days, hours


def _measured(opened: AbstractContextManager[ResultStream]) -> LayerAnswer:
    started = time.monotonic()
    with opened as rows:
        return _taken(rows, started)


def _taken(rows: ResultStream, started: float) -> LayerAnswer:
    found = rows.read_all().to_pylist()
    return LayerAnswer(found, time.monotonic() - started, rows.bytes_read() if rows.bytes_read else 0, rows.usd)


def _with(relation: str, question: str) -> str:
    return f"WITH bronze_events AS ({relation}) SELECT * FROM ({question}) AS answered"


def _bronze_events(days: Sequence[date], hours: Sequence[Hour], commits: Mapping[Hour, HourCommit]) -> str:
    """Return the SELECT of the raw lines of event days that landed in some hours, without unreadable objects.

    One unreadable object fails the whole query, on Athena as well, and only its minute can leave it out.
    """
    among = ", ".join(f"'{day}'" for day in days)
    unreadable = "".join(f" AND NOT ({_minute_of(hour, key)})" for hour, key in _unreadable(commits))
    return (
        f"SELECT * FROM {BRONZE_EVENTS.full_name} WHERE {hour_values_of(hours)}{unreadable} "
        f"AND SUBSTR(event_timestamp, 1, 10) IN ({among})"
    )


def _unreadable(commits: Mapping[Hour, HourCommit]) -> Iterator[tuple[Hour, str]]:
    for hour, commit in sorted(commits.items()):
        for each in commit.account.unreadable:
            yield hour, each.key


def _minute_of(hour: Hour, key: str) -> str:
    minute = key.removeprefix(f"{hour.raw_prefix}minute=")[:2]
    return f"{hour_values_of([hour])} AND minute = '{minute}'"
