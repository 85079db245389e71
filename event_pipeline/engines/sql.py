"""The port that runs the SQL of Gold tables: their sections partial and fold, and what checks ask of published rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.engines.base import Measure
from event_pipeline.engines.commit import DataFile
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.arrow import arrow_type
from event_pipeline.rules.contract import Column, Table
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable

ROWS_NAME = "rows.parquet"
"""The one file of a partial or a day, unless Athena wrote larger ones."""
FAULTS_SHOWN = 20
"""Of grain values that are there more than once."""

PrefixOf = Callable[[str], str]
"""Build id -> prefix in the lake, which will hold the files of one statement and nothing else."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement wrote into a prefix of its own; nobody is told of it yet."""

    build_id: str
    files: tuple[DataFile, ...]
    """None when there are no rows."""
    days: Mapping[str, int]
    """Of a partial: event day (ISO) -> rows."""


class Sql(Protocol):
    """Runs the sections of Gold tables. What is written by a call that breaks off is an abandoned build."""

    @property
    def at_once(self) -> int:
        """How many calls are worth making side by side."""

    @property
    def bytes_in(self) -> int:
        """Bytes that all calls have read so far."""

    def partial(self, table: GoldTable, hour: Hour, files: Sequence[DataFile], prefix_of: PrefixOf) -> Written:
        """Make the partial of a landing hour from the committed files of its Silver, which the catalog shows.

        Raises:
            QueryError: the SQL cannot be run.
            StorageError: a file cannot be read, or what was written has other columns than are declared.
            TransientError: it may work in a moment.
        """

    def fold(
        self, table: GoldTable, day: date, partials: Mapping[Hour, Sequence[DataFile]], prefix_of: PrefixOf
    ) -> Written:
        """Fold the rows of an event day from the committed files of partials, which the catalog shows.

        Raises:
            QueryError: the SQL cannot be run.
            StorageError: a file cannot be read, or what was written has other columns than are declared.
            TransientError: it may work in a moment.
        """

    def stop_all(self) -> None:
        """Stop the statements that other threads wait for, because what they belong to was interrupted."""

    def counts(self, tables: Sequence[Table], hour: Hour) -> dict[str, int]:
        """Count the rows that a query finds for an hour: full table name -> rows.

        Raises:
            PipelineError: they cannot be read.
        """

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return the grain values that published days have more than once, at most FAULTS_SHOWN, with their rows.

        Raises:
            PipelineError: the days cannot be read.
        """

    def reconcile(self, table: GoldTable, totals: Mapping[date, DayTotals]) -> list[Measure]:
        """Return the measures of published days beside Silver's control totals: event day -> totals.

        Raises:
            PipelineError: the days cannot be read.
        """


def silver_totals_query(totals: DayTotals) -> str:
    """Return the SELECT of `silver_totals`, against which a Gold table's reconciliation holds a day: one row."""
    values = {name: getattr(totals, name) for name in totals.__slots__}
    columns = (
        f"CAST('{value}' AS {'DECIMAL(38, 2)' if isinstance(value, Decimal) else 'BIGINT'}) AS {name}"
        for name, value in values.items()
    )
    return f"SELECT {', '.join(columns)}"


def data_file(table: str, key: str, rows: int, body: bytes) -> DataFile:
    """Describe a file of these bytes for a commit record."""
    return DataFile(table, key, rows, len(body), hashlib.sha256(body).hexdigest())


def days_of(content: Sequence[pa.Table]) -> dict[str, int]:
    """Return event day (ISO) -> rows, in order, of rows that have an `event_date`; none of others."""
    days: dict[str, int] = {}
    for table in content:
        if "event_date" in table.column_names:
            for counted in pc.value_counts(table.column("event_date")).to_pylist():
                day = str(counted["values"])
                days[day] = days.get(day, 0) + counted["counts"]
    return dict(sorted(days.items()))


def check_columns(place: str, schema: pa.Schema, columns: Sequence[Column]) -> None:
    """See that what was written has the declared columns and types.

    Raises:
        StorageError: it has others; `place` says where.
    """
    found = [(field.name, _without_large(field.type)) for field in schema]
    declared = [(column.name, arrow_type(column.type)) for column in columns]
    if found != declared:
        wrong = [f"{name} {type}" for name, type in found if (name, type) not in declared]
        raise StorageError(
            f"{place}: the query wrote {', '.join(wrong) or 'other columns'}, declared are "
            f"{', '.join(f'{column.name} {column.type}' for column in columns)}: nothing was published"
        )


def _without_large(type: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(type) else type
