"""Gold without a query engine: the least that a new place for the SQL has to bring, at a tenth of the time.

A partial is the Silver rows that the table's SQL would read, a fold is what the oracle makes of them. Only the two
tables of `tables_of` are known.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from event_pipeline.engines.base import Measure, ResultStream
from event_pipeline.engines.commit import DataFile
from event_pipeline.engines.names import gold_table, new_build_id, partial_table
from event_pipeline.engines.sql import ROWS_NAME, PrefixOf, Written, data_file, days_of
from event_pipeline.engines.store import Store
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.arrow import arrow_schema
from event_pipeline.rules.contract import SILVER_EVENTS, Table
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline_tests import oracle

Row = dict[str, Any]
Chosen = Callable[[Row], bool]
"""Whether a Silver row counts in a Gold table."""

_CHANGES = {
    "user_activity": ("FROM silver_events\n", "FROM silver_events\nWHERE event_type <> 'search'\n"),
    "hourly_revenue": ("WHERE event_type = 'purchase'\n", "WHERE event_type = 'purchase' AND quantity > 1\n"),
}
"""Table -> what its SQL says, and what a later version of it says instead."""
_CHOSEN: dict[str, tuple[Chosen, Chosen]] = {
    "user_activity": (lambda row: True, lambda row: row["event_type"] != "search"),
    "hourly_revenue": (
        lambda row: row["event_type"] == "purchase",
        lambda row: row["event_type"] == "purchase" and row["quantity"] > 1,
    ),
}
"""Table -> the rows that count, by the first and by the later version."""
TABLE_NAMES = tuple(_CHANGES)
_SILVER = ("event_date", "event_ts", "user_id", "session_id", "event_type", "quantity", "revenue")
_SILVER_SCHEMA = pa.schema([arrow_schema(SILVER_EVENTS).field(name) for name in _SILVER])


def write_versions(folder: Path) -> tuple[Path, Path]:
    """Write two versions of the Gold tables, each into a folder of its own."""
    versions = folder / "gold", folder / "changed-gold"
    for version in versions:
        version.mkdir(parents=True)
    for name, (said, says) in _CHANGES.items():
        text = (GOLD_FOLDER / f"{name}.sql").read_text()
        assert said in text
        (versions[0] / f"{name}.sql").write_text(text)
        (versions[1] / f"{name}.sql").write_text(text.replace(said, says))
    return versions


@cache
def tables_of(folder: Path) -> tuple[GoldTable, ...]:
    """Return the Gold tables of a folder."""
    return load_gold_tables(folder)


def chosen_by(versions: Sequence[Path]) -> dict[str, Chosen]:
    """Return version of the SQL -> the rows that count."""
    return {
        table.version: _CHOSEN[table.name][number]
        for number, folder in enumerate(versions)
        for table in tables_of(folder)
    }


def folded(table: str, rows: Sequence[Row]) -> list[Row]:
    """Return what the oracle makes of some rows as if they were of one day."""
    one_day = [{**row, "event_date": date.min} for row in rows]
    return [
        {name: value for name, value in row.items() if name != "event_date"}
        for row in oracle.GOLD_TABLES[table](one_day)
    ]


class PlainSql:
    """Implements `engines.sql.Sql` for two tables."""

    at_once = 1
    bytes_in = 0

    def __init__(
        self,
        lake: Store,
        shown: Callable[[str, Sequence[str]], Mapping[str, Sequence[str]]],
        chosen: Mapping[str, Chosen],
    ) -> None:
        self._lake = lake
        self._shown = shown
        self._chosen = chosen

    def partial(self, table: GoldTable, hour: Hour, files: Sequence[DataFile], prefix_of: PrefixOf) -> Written:
        """Keep the rows that count."""
        rows = [row for file in files for row in self._rows(file.path) if self._chosen[table.version](row)]
        kept = pa.Table.from_pylist([{name: row[name] for name in _SILVER} for row in rows], _SILVER_SCHEMA)
        return self._written(partial_table(table.name), kept, prefix_of)

    def fold(
        self, table: GoldTable, day: date, partials: Mapping[Hour, Sequence[DataFile]], prefix_of: PrefixOf
    ) -> Written:
        """Fold the rows of a day."""
        rows = [row for files in partials.values() for file in files for row in self._rows(file.path)]
        schema = arrow_schema(table.table)
        made = folded(table.name, [row for row in rows if row["event_date"] == day])
        return self._written(gold_table(table.name), pa.Table.from_pylist(made, schema), prefix_of)

    @contextmanager
    def answer(self, table: GoldTable, days: Sequence[date], hours: Sequence[Hour]) -> Iterator[ResultStream]:
        """Fold several days."""
        shown = self._shown(partial_table(table.name), [hour.hive_path for hour in hours])
        rows = [row for keys in shown.values() for key in keys for row in self._rows(key)]
        schema = arrow_schema(table.table)
        made = pa.Table.from_pylist(folded(table.name, [row for row in rows if row["event_date"] in days]), schema)
        yield ResultStream(schema, iter(made.to_batches()))

    def stop_all(self) -> None:
        """Do nothing: nothing runs beside a call."""

    def counts(self, tables: Sequence[Table], hour: Hour) -> dict[str, int]:
        """Count the rows of the files that are shown."""
        return {
            table.full_name: sum(
                len(self._rows(key)) for keys in self._shown(table.full_name, [hour.hive_path]).values() for key in keys
            )
            for table in tables
        }

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Refuse: histories do not ask for it."""
        raise NotImplementedError

    def reconcile(self, table: GoldTable, totals: Mapping[date, DayTotals]) -> list[Measure]:
        """Refuse: histories do not ask for it."""
        raise NotImplementedError

    def _rows(self, key: str) -> list[Row]:
        if (found := self._lake.read(key)) is None:
            raise StorageError(f"{key}: there is no such object")
        return rows_of(found[0])

    def _written(self, table: str, rows: pa.Table, prefix_of: PrefixOf) -> Written:
        build_id = new_build_id()
        if not rows.num_rows:
            return Written(build_id, (), {})
        content = io.BytesIO()
        pq.write_table(rows, content)
        key = f"{prefix_of(build_id)}{ROWS_NAME}"
        self._lake.write(key, content.getvalue())
        return Written(build_id, (data_file(table, key, rows.num_rows, content.getvalue()),), days_of([rows]))


@lru_cache(4096)
def rows_of(body: bytes) -> list[Row]:
    """Return the rows of a Parquet file; they are shared, so nobody may change them."""
    found: list[Row] = pq.ParquetFile(io.BytesIO(body)).read(use_threads=False).to_pylist()
    return found
