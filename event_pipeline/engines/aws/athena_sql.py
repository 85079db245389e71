"""Runs the SQL of Gold in Athena: every section is one UNLOAD into its own prefix, every check a query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from event_pipeline.engines.aws.athena import Athena
from event_pipeline.engines.aws.catalog import GlueCatalog
from event_pipeline.engines.aws.costs import Meter
from event_pipeline.engines.aws.partials import partials_table, sql_type
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Measure, ResultStream
from event_pipeline.engines.commit import DataFile
from event_pipeline.engines.dialect import parse_query, rename_databases, render, with_relations
from event_pipeline.engines.names import gold_table, new_build_id, partial_table
from event_pipeline.engines.sql import (
    FAULTS_SHOWN,
    ROWS_NAME,
    PrefixOf,
    Written,
    check_columns,
    data_file,
    days_of,
    silver_totals_query,
)
from event_pipeline.engines.store import StoredObject
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import SILVER_EVENTS, Column, Table
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable, hour_values_of
from event_pipeline.rules.silver_files import PARQUET_OPTIONS
from event_pipeline.settings import Settings

_MOST_UNLOADS = 3
"""Attempts at one query whose target has files that are not in its manifest."""
_COMPACTED_BYTES = 64 << 20
"""UNLOAD's files up to this total size are merged into one; larger ones are worth a request each."""


class AthenaSql:
    """Implements `engines.sql.Sql` with the workgroup of the settings."""

    def __init__(self, athena: Athena, meter: Meter, catalog: GlueCatalog, lake: Bucket, settings: Settings) -> None:
        self.at_once = settings.athena_queries_at_once
        self._athena = athena
        self._meter = meter
        self._catalog = catalog
        self._lake = lake
        self._result_mb = settings.query_result_mb

    @property
    def bytes_in(self) -> int:
        """Bytes that Athena has scanned so far."""
        return self._meter.bytes_scanned

    def stop_all(self) -> None:
        """Stop the statements that other threads wait for."""
        self._athena.stop_all()

    def partial(self, table: GoldTable, hour: Hour, files: Sequence[DataFile], prefix_of: PrefixOf) -> Written:
        """Build the partial of a landing hour from its Silver partition."""
        query = with_relations(parse_query(table.partial), {"silver_events": _select(SILVER_EVENTS, [hour])})
        return self._write(query, partial_table(table.name), partials_table(table).columns, prefix_of)

    def fold(
        self, table: GoldTable, day: date, partials: Mapping[Hour, Sequence[DataFile]], prefix_of: PrefixOf
    ) -> Written:
        """Fold the rows of an event day from the partitions of partials."""
        source = _select(partials_table(table), partials, [day])
        query = with_relations(parse_query(table.fold), {"partials": source})
        return self._write(query, gold_table(table.name), table.columns, prefix_of)

    @contextmanager
    def answer(self, table: GoldTable, days: Sequence[date], hours: Sequence[Hour]) -> Iterator[ResultStream]:
        """Fold several event days from the partitions of partials, in one SELECT."""
        source = _select(partials_table(table), hours, days)
        query = _typed(with_relations(parse_query(table.fold), {"partials": source}), table.columns)
        with self._athena.stream(self._rendered(query), self._meter, self._result_mb) as rows:
            yield rows

    # -- checks

    def counts(self, tables: Sequence[Table], hour: Hour) -> dict[str, int]:
        """Count the rows of an hour, all tables in one query."""
        where = hour_values_of([hour])
        counted = " UNION ALL ".join(
            f"SELECT '{table.full_name}' AS name, COUNT(*) AS found FROM {table.full_name} WHERE {where}"
            for table in tables
        )
        return {row["name"]: row["found"] for row in self._rows(parse_query(counted)).to_pylist()}

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return duplicate grain values of published days."""
        return cast(list[dict[str, Any]], self._rows(_grain_faults_query(table, days)).to_pylist()) if days else []

    def reconcile(self, table: GoldTable, totals: Mapping[date, DayTotals]) -> list[Measure]:
        """Return the measures of published days with control totals, several days per query."""
        return [row for query in _reconcile_queries(table, totals) for row in _measures(self._rows(query))]

    # -- statements

    def _rows(self, query: exp.Query) -> pa.Table:
        return self._athena.rows(self._rendered(query), self._meter)

    def _rendered(self, query: exp.Query) -> str:
        return render(rename_databases(query, lambda database: self._catalog.database(f"{database}.")), "athena")

    def _write(self, query: exp.Query, table: str, columns: Sequence[Column], prefix_of: PrefixOf) -> Written:
        """Run one query into its own prefix.

        A partition shows every file under its location. So if there are files that are not in the manifest, the prefix
        is left to housekeeping, and the query runs again into another one.
        """
        select = self._rendered(_typed(query, columns))
        odd = list[str]()
        for _ in range(_MOST_UNLOADS):
            build_id = new_build_id()
            target = self._lake.url(prefix_of(build_id))
            statement = f"UNLOAD ({select}) TO '{target}' WITH (format = 'PARQUET', compression = 'ZSTD')"
            execution = self._athena.run(statement, self._meter, token=build_id)
            stored = list(self._lake.list(prefix_of(build_id)))
            odd = sorted({self._lake.url(each.key) for each in stored} ^ self._athena.written(execution))
            if not odd:
                return self._compacted(build_id, stored, table, columns, prefix_of)
        raise TransientError(
            f"{table}: {_MOST_UNLOADS} times, there were files that UNLOAD's manifest does not list (the last time "
            f"{len(odd)}, first: {odd[0]}); nothing was published: run again"
        )

    def _compacted(
        self,
        build_id: str,
        stored: Sequence[StoredObject],
        table: str,
        columns: Sequence[Column],
        prefix_of: PrefixOf,
    ) -> Written:
        """Read what UNLOAD wrote, and merge small files into one, in its own prefix.

        UNLOAD writes about as many files as Athena has writers, however few rows there are, and every fold of a day
        reads the files of up to 200 hours. One PUT saves each of these folds one GET per additional file.
        """
        files, tables = [], []
        for each in stored:
            found = self._lake.read(each.key)
            if found is None:
                raise TransientError(f"{self._lake.url(each.key)}: it vanished while it was read")
            try:
                # Athena may write timestamps as INT96 with nanoseconds; its own have milliseconds.
                content = pq.read_table(pa.BufferReader(found[0]), coerce_int96_timestamp_unit="ms")
            except (pa.ArrowException, OSError) as error:
                raise StorageError(f"{self._lake.url(each.key)}: Athena's file cannot be read: {error}") from error
            check_columns(self._lake.url(each.key), content.schema, columns)
            files.append(data_file(table, each.key, content.num_rows, found[0]))
            tables.append(content)
        if len(files) > 1 and sum(file.size for file in files) <= _COMPACTED_BYTES:
            build_id, tables = new_build_id(), [pa.concat_tables(tables)]
            compacted = self._stored(table, f"{prefix_of(build_id)}{ROWS_NAME}", tables[0])
            # They were never published. If this is interrupted, they are an abandoned build for housekeeping.
            self._lake.delete(file.path for file in files)
            files = [compacted]
        return Written(build_id, tuple(files), days_of(tables))

    def _stored(self, table: str, key: str, rows: pa.Table) -> DataFile:
        """Write rows to one Parquet file of the lake and return its entry for a commit record."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, **PARQUET_OPTIONS)
        body = sink.getvalue().to_pybytes()
        self._lake.write(key, body)
        return data_file(table, key, rows.num_rows, body)


def _select(table: Table, hours: Iterable[Hour], days: Sequence[date] = ()) -> exp.Query:
    """Return the SELECT of some hours' partitions; for event days without the columns of the hour."""
    names = ", ".join(column.name for column in table.columns + (() if days else table.partition_columns))
    of_days = f"{_of_days(days)} AND " if days else ""
    return parse_query(f"SELECT {names} FROM {table.full_name} WHERE {of_days}{hour_values_of(hours)}")


def _typed(query: exp.Query, columns: Sequence[Column]) -> exp.Query:
    """Cast every column to its declared type, because UNLOAD writes the query's types."""
    inner = query.copy()
    # Athena may ignore ORDER BY in a subquery: move it to the outermost SELECT, which has the same columns.
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


def _grain_faults_query(table: GoldTable, days: Sequence[date]) -> exp.Query:
    """Return the SELECT of duplicate grain values in some days, at most 20, with their rows."""
    grain = ", ".join(("event_date", *table.grain))
    return parse_query(
        f"SELECT {grain}, COUNT(*) AS rows_found FROM {table.table.full_name} WHERE {_of_days(days)} GROUP BY {grain}"
        f" HAVING COUNT(*) > 1 ORDER BY {grain} LIMIT {FAULTS_SHOWN}"
    )


_MOST_SCANS = 40
"""Maximum table reads per query: each is at least one stage, and Athena allows about a hundred."""


def _reconcile_queries(table: GoldTable, totals: Mapping[date, DayTotals]) -> list[exp.Query]:
    """Return SELECTs (day, measure, gold, silver) of the measures of some days, each within the limit of scans."""
    together, scans = list[exp.Query](), 0
    for day, day_totals in totals.items():
        relations = {
            "gold_day": parse_query(f"SELECT * FROM {table.table.full_name} WHERE {_of_days([day])}"),
            "silver_totals": parse_query(silver_totals_query(day_totals)),
        }
        of_measures = _inlined(parse_query(table.reconcile), relations)
        of_day = exp.select(
            f"DATE '{day}' AS day",
            "measure",
            "CAST(gold AS DECIMAL(38, 2)) AS gold",
            "CAST(silver AS DECIMAL(38, 2)) AS silver",
            dialect="duckdb",
        ).from_(of_measures.subquery("measures"))
        of_day_scans = sum(1 for node in of_day.find_all(exp.Table) if node.db)
        if together and scans + of_day_scans <= _MOST_SCANS:
            together[-1], scans = exp.union(together[-1], of_day, distinct=False), scans + of_day_scans
        else:
            together, scans = [*together, of_day], of_day_scans
    return together


def _measures(rows: pa.Table) -> list[Measure]:
    """Return the rows of one of `_reconcile_queries` as measures; integral values become integers."""
    return [Measure(row["day"], row["measure"], _plain(row["gold"]), _plain(row["silver"])) for row in rows.to_pylist()]


def _plain(value: Any) -> Any:
    return int(value) if value is not None and value == int(value) and value.as_tuple().exponent == 0 else value


def _of_days(days: Sequence[date]) -> str:
    if len(days) == 1:
        return f"event_date = DATE '{days[0]}'"
    among = ", ".join(f"DATE '{day}'" for day in days)
    return f"event_date IN ({among})" if days else "FALSE"


def _inlined(query: exp.Query, relations: Mapping[str, exp.Query]) -> exp.Query:
    """Replace tables by subqueries, because a UNION of days cannot share names of common table expressions."""

    def inline(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Table) and not node.db and node.name in relations:
            return relations[node.name].subquery(node.alias or node.name)
        return node

    return cast(exp.Query, query.transform(inline))
