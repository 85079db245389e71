"""The port that runs the SQL of Gold on AWS: Athena, or DuckDB on the host of Dagster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.commit import DataFile
from event_pipeline.errors import StorageError
from event_pipeline.rules.arrow import arrow_type
from event_pipeline.rules.contract import Column, Table
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.silver_files import PARQUET_OPTIONS

ROWS_NAME = "rows.parquet"
"""The one file of what was written here rather than by Athena."""
_SQL_TYPES = {"string": "VARCHAR", "int": "INTEGER"}


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that a statement reads: those of some committed files of a table, which the catalog shows."""

    table: Table
    files: Mapping[Hour, Sequence[DataFile]]
    day: date | None = None
    """Only the rows of this event day, and then without the columns of the landing hour."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What a section finds in it, in order."""
        return self.table.columns + (() if self.day else self.table.partition_columns)


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement wrote into a prefix of its own; nobody is told of it yet."""

    run_id: str
    files: tuple[DataFile, ...]
    """None when there are no rows."""
    content: Sequence[pa.Table]
    """Their rows, which are few."""


class Sql(Protocol):
    """Runs the sections of Gold tables. What is written by a call that breaks off is an abandoned build."""

    at_once: int
    """How many calls are worth making side by side."""

    @property
    def bytes_in(self) -> int:
        """Bytes that all calls have read so far."""

    def write(
        self,
        section: str,
        sources: Mapping[str, Source],
        table: str,
        columns: Sequence[Column],
        prefix_of: Callable[[str], str],
    ) -> Written:
        """Run one section of a Gold table over its sources, by the names that it has for them, into a fresh prefix.

        Args:
            section: a SELECT in DuckDB's dialect.
            sources: name in the section -> rows.
            table: full name of the table that the files will belong to.
            columns: what is to be written, in order; every column is cast to its type.
            prefix_of: run id -> prefix in the lake, which holds these files and nothing else.

        Raises:
            QueryError: the SQL cannot be run.
            StorageError: a file cannot be read, or has other columns than are declared.
            TransientError: it may work in a moment.
        """

    def stop_all(self) -> None:
        """Stop the statements that other threads wait for, because what they belong to was interrupted."""


def sql_type(glue_type: str) -> str:
    """Return the SQL name of a Glue type, as DuckDB and Athena both read it."""
    return _SQL_TYPES.get(glue_type, glue_type.upper())


def typed(query: exp.Query, columns: Sequence[Column]) -> exp.Query:
    """Cast every column to its declared type, because UNLOAD writes what the query gives."""
    inner = query.copy()
    # Athena may drop the order of a subquery: it belongs to the outermost SELECT, whose columns are the same.
    order = inner.args.pop("order", None)
    relations = inner.args.pop("with_", None)
    outer = exp.select(
        *(f"CAST({column.name} AS {sql_type(column.type)}) AS {column.name}" for column in columns), dialect="duckdb"
    ).from_(inner.subquery("typed"))
    if order is not None:
        outer.set("order", order)
    if relations is not None:
        outer.set("with_", relations)
    return outer


def stored_file(lake: Bucket, table: str, key: str, rows: pa.Table) -> DataFile:
    """Write rows to one Parquet file of the lake and describe it for a commit record."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **PARQUET_OPTIONS)
    body = sink.getvalue().to_pybytes()
    lake.write(key, body)
    return data_file(table, key, rows.num_rows, body)


def data_file(table: str, key: str, rows: int, body: bytes) -> DataFile:
    """Describe a file of these bytes for a commit record."""
    return DataFile(table, key, rows, len(body), hashlib.sha256(body).hexdigest())


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
