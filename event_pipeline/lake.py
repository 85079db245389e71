"""The published data as data frames: `from event_pipeline import open_lake`.

Reading only: nothing is built, changed or locked, and rows come from registered files alone, on every assembly.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.types as pt

from event_pipeline.engines.base import ResultStream
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import QueryError, StorageError
from event_pipeline.rules.contract import EVENT_DATE, HOUR_TABLES, Table
from event_pipeline.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Days: TypeAlias = "date | str | tuple[date | str, date | str]"
"""One day, or the first and last of several, both inclusive; a text is YYYY-MM-DD."""


def open_lake(root: str | Path | None = None, **settings: Any) -> Lake:
    """Open the lake of a data folder, or the one that the settings name.

    `root` is EVENT_PIPELINE_ROOT; any other setting may be given by its name in lower case without the prefix, for
    example `env="aws"`. Nothing is read yet.

    Raises:
        SettingsError: a setting is unknown or invalid.
        StorageError: `root` is no folder; a mistyped one would be an empty lake.
        GoldFileError: the SQL file of a Gold table does not have the layout.
    """
    if root is not None:
        settings["root"] = Path(root)
        if not Path(root).is_dir():
            raise StorageError(f"{root} is no folder: give the data folder, which EVENT_PIPELINE_ROOT names as well")
    return Lake(open_pipeline(load_settings(**settings)))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an answer. Instants are UTC, and know it; money is decimal; a missing value is null."""

    arrow: pa.Table

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the rows to any tool that reads Arrow's stream interface, such as DuckDB or Polars."""
        return self.arrow.__arrow_c_stream__(requested_schema)

    def pandas(self) -> pd.DataFrame:
        """Return a pandas frame: exact decimals, nullable integers, UTC timestamps, days as timestamps.

        Raises:
            ImportError: pandas is not installed.
        """
        library = _imported("pandas")
        nullable = {
            **{getattr(pa, name.lower())(): getattr(library, f"{name}Dtype")() for name in _INTEGERS},
            pa.bool_(): library.BooleanDtype(),
        }
        frame: pd.DataFrame = self.arrow.to_pandas(types_mapper=nullable.get, date_as_object=False)
        return frame

    def polars(self) -> pl.DataFrame:
        """Return a Polars frame.

        Raises:
            ImportError: Polars is not installed.
        """
        frame: pl.DataFrame = _imported("polars").from_arrow(self.arrow)
        return frame

    def _repr_html_(self) -> str:
        """Show the first and last rows in a notebook."""
        return str(self.pandas()._repr_html_())


_INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")


class Lake:
    """The published tables of one lake."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._gold_tables = {table.name: table for table in pipeline.gold_tables}

    @property
    def tables(self) -> list[str]:
        """The names that `table` and queries know."""
        return list(self._tables())

    def query(self, sql: str) -> Rows:
        """Run one SELECT over the published tables, or DESCRIBE of one.

        Raises:
            QueryError: the SQL fails or is no single read-only statement.
            LimitError: it needs more time, memory or room than EVENT_PIPELINE_QUERY_* allow.
            StorageError: the data cannot be read.
        """
        with self._pipeline.engine.query_stream(sql) as result:
            return _rows(result)

    def table(self, name: str, days: Days | None = None) -> Rows:
        """Return a table, whole or of some days: event days of a Gold table, landing days of the others.

        Raises:
            QueryError: there is no such table, or `days` are no days.
            LimitError, StorageError: as `query` raises them.
        """
        table = self._tables().get(name) or self._tables().get(f"gold.{name}")
        if table is None:
            raise QueryError(f"no table is named {name!r}: choose from {', '.join(self.tables)}")
        return self.query(rows_of(table, None if days is None else day_range(days)))

    def answer(self, name: str, first: date | str, last: date | str | None = None) -> Rows:
        """Return one exact answer of a Gold table for a range of event days, both inclusive, without a row per day.

        Distinct users and ranks are those of the whole range, which no sum of day rows can give.

        Raises:
            QueryError: there is no such Gold table, or `first` and `last` are no days.
            LimitError, StorageError: as `query` raises them.
        """
        table = self._gold_tables.get(name.removeprefix("gold."))
        if table is None:
            raise QueryError(f"no Gold table is named {name!r}: choose from {', '.join(self._gold_tables)}")
        begin, end = day_range((first, first if last is None else last))
        with self._pipeline.engine.answer(table, begin, end) as answer:
            return _rows(answer.rows)

    def _tables(self) -> dict[str, Table]:
        tables = (*(each.table for each in self._gold_tables.values()), *HOUR_TABLES)
        return {table.full_name: table for table in tables}


def rows_of(table: Table, days: tuple[date | None, date | None] | None) -> str:
    """Return the SELECT of a table's rows: all, or those of event days (Gold) or landing days (the other tables)."""
    is_gold = table.partition_columns == (EVENT_DATE,)
    day = EVENT_DATE.name if is_gold else "CAST(year || '-' || month || '-' || day AS DATE)"
    bounds = [
        f"{day} {comparison} DATE '{bound}'"
        for comparison, bound in zip((">=", "<="), days or (), strict=False)
        if bound
    ]
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    # A Gold table's columns are in reading order, ranks and keys first.
    order = f" ORDER BY {', '.join((day, *(each.name for each in table.columns)))}" if is_gold else ""
    return f"SELECT * FROM {table.full_name}{where}{order}"


def day_range(days: Days) -> tuple[date, date]:
    """Return the first and last of some days.

    Raises:
        QueryError: they are no days, or the first is after the last.
    """
    given = days if isinstance(days, tuple) else (days, days)
    if len(given) != 2:
        raise QueryError(f"{days!r} are no days: give one, or a pair of the first and the last")
    first, last = map(_day, given)
    if first > last:
        raise QueryError(f"{first} is after {last}: give the earlier day first; both are inclusive")
    return first, last


def _day(given: date | str) -> date:
    try:
        return date.fromisoformat(given) if isinstance(given, str) else date(given.year, given.month, given.day)
    except (ValueError, AttributeError):
        raise QueryError(f"{given!r} is no day: give a date, or a text such as '2025-12-07'") from None


def _rows(result: ResultStream) -> Rows:
    """Read a result; timestamps without a zone are UTC in every published table and in every query."""
    table = result.read_all()
    for number, field in enumerate(table.schema):
        if pt.is_timestamp(field.type) and field.type.tz is None:
            instants = table.column(number)
            # More precise ones are somebody's own casts, which stay as they are.
            with suppress(pa.ArrowInvalid):
                instants = instants.cast(pa.timestamp("us"))
            instants = instants.cast(pa.timestamp(instants.type.unit, "UTC"))
            table = table.set_column(number, field.with_type(instants.type), instants)
    return Rows(table)


def _imported(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} is not installed: pip install 'event-pipeline[frames]', or use .arrow") from error
