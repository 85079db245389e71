"""The port that runs the SQL of Gold tables: the sections partial and fold, and the checks of published rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.engines.base import Measure, ResultStream
from event_pipeline.engines.commit import DataFile
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.arrow import arrow_type
from event_pipeline.rules.contract import Column, Table
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable

ROWS_NAME = "rows.parquet"
"""The single file of a partial or a day, unless Athena wrote larger ones."""
FAULTS_SHOWN = 20
"""Duplicate grain values that are listed."""

PrefixOf = Callable[[str], str]
"""Build id -> prefix in the lake for the files of one statement and nothing else."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement wrote under its own prefix; not published yet."""

    build_id: str
    files: tuple[DataFile, ...]
    """Empty if there are no rows."""
    days: Mapping[str, int]
    """For a partial: event day (ISO) -> rows."""


class Sql(Protocol):
    """Runs the sections of Gold tables. An interrupted call leaves an abandoned build."""

    @property
    def at_once(self) -> int:
        """Number of calls worth making concurrently."""

    @property
    def bytes_in(self) -> int:
        """Bytes read by all calls so far."""

    def partial(self, table: GoldTable, hour: Hour, files: Sequence[DataFile], prefix_of: PrefixOf) -> Written:
        """Build the partial of a landing hour from the committed files of its Silver, which the catalog shows.

        Raises:
            QueryError: the SQL fails.
            StorageError: a file cannot be read, or the written columns differ from the declared ones.
            TransientError: a retry may succeed.
        """

    def fold(
        self, table: GoldTable, day: date, partials: Mapping[Hour, Sequence[DataFile]], prefix_of: PrefixOf
    ) -> Written:
        """Fold the rows of an event day from the committed files of partials, which the catalog shows.

        Raises:
            QueryError: the SQL fails.
            StorageError: a file cannot be read, or the written columns differ from the declared ones.
            TransientError: a retry may succeed.
        """

    def answer(
        self, table: GoldTable, days: Sequence[date], hours: Sequence[Hour]
    ) -> AbstractContextManager[ResultStream]:
        """Fold several event days into one answer, from the partials that the catalog shows for some landing hours.

        Nothing is written. Leaving the context ends the statement.

        Raises:
            QueryError: the SQL fails.
            StorageError: a file cannot be read.
            LimitError: it needs more than the settings allow to a query.
            TransientError: a retry may succeed.
        """

    def stop_all(self) -> None:
        """Stop the statements that other threads wait for, because their step was interrupted."""

    def counts(self, tables: Sequence[Table], hour: Hour) -> dict[str, int]:
        """Count an hour's rows with a query: full table name -> rows.

        Raises:
            PipelineError: they cannot be read.
        """

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return duplicate grain values of published days, at most FAULTS_SHOWN, with their rows.

        Raises:
            PipelineError: the days cannot be read.
        """

    def reconcile(self, table: GoldTable, totals: Mapping[date, DayTotals]) -> list[Measure]:
        """Return the measures of published days with Silver's control totals; `totals` maps event days.

        Raises:
            PipelineError: the days cannot be read.
        """


def silver_totals_query(totals: DayTotals) -> str:
    """Return the one-row SELECT for `silver_totals`, which a Gold table's reconciliation compares with a day."""
    columns = (
        f"CAST('{value}' AS {'DECIMAL(38, 2)' if isinstance(value, Decimal) else 'BIGINT'}) AS {name}"
        for name, value in totals.measures.items()
    )
    return f"SELECT {', '.join(columns)}"


def data_file(table: str, key: str, rows: int, body: bytes) -> DataFile:
    """Return the commit record's entry for a file with these bytes."""
    return DataFile(table, key, rows, len(body), hashlib.sha256(body).hexdigest())


def days_of(content: Sequence[pa.Table]) -> dict[str, int]:
    """Return event day (ISO) -> rows, in order; empty for rows without an `event_date`."""
    days: dict[str, int] = {}
    for table in content:
        if "event_date" in table.column_names:
            for counted in pc.value_counts(table.column("event_date")).to_pylist():
                day = str(counted["values"])
                days[day] = days.get(day, 0) + counted["counts"]
    return dict(sorted(days.items()))


def check_columns(place: str, schema: pa.Schema, columns: Sequence[Column]) -> None:
    """Check that what was written has the declared columns and types.

    Raises:
        StorageError: columns or types differ; `place` is named in the message.
    """
    found = [(field.name, _without_large(field.type)) for field in schema]
    declared = [(column.name, arrow_type(column.type)) for column in columns]
    if found != declared:
        wrong = [f"{name} {type}" for name, type in found if (name, type) not in declared]
        raise StorageError(
            f"{place}: the query wrote {', '.join(wrong) or 'other columns'} instead of the declared "
            f"{', '.join(f'{column.name} {column.type}' for column in columns)}: nothing was published"
        )


def _without_large(type: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(type) else type
