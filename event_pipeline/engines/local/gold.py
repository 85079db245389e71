"""Refreshes one Gold table: the partial of each landing hour, then the fold of every event day it touches.

A partial is made again when its Silver or the SQL changed; a day is folded again when the set of partials
that hold rows of it changed. Both are compared by run id, so a refresh that was killed anywhere is completed
by the next one, and two hours that fold one day cannot lose each other: under the day's lock, the fold reads
which partials are published at that moment. It reads that from the commit records, never from the catalog, whose
rows may be lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from event_pipeline.engines.base import GoldRefresh, Measure, Progress
from event_pipeline.engines.commit import DataFile, DayCommit, PartialCommit
from event_pipeline.engines.decisions import (
    attempt,
    commit_time,
    gold_table,
    is_folded,
    new_run_id,
    partial_table,
    refresh,
    silver_totals_query,
    unregistered_silver,
    window_of,
)
from event_pipeline.engines.local.catalog import Catalog, rows_of
from event_pipeline.engines.local.commits import CommitStore
from event_pipeline.engines.local.database import duckdb_type, faults_explained, parquet, quoted, relation
from event_pipeline.engines.local.lake_files import LakeFiles, RegisteredFile
from event_pipeline.engines.local.layout import Layout, day_lock, make_folder, partial_lock, storage_faults
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import SILVER_EVENTS, Limits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable

# Version 2 of DuckDB's writer splits doubles by byte, which Spark 3.5 cannot read.
_PARQUET = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v1"
_FAULTS_SHOWN = 20


class GoldRefresher:
    """Makes partials and folds of one Gold table."""

    def __init__(
        self,
        table: GoldTable,
        layout: Layout,
        catalog: Catalog,
        commits: CommitStore,
        connection: duckdb.DuckDBPyConnection,
        lake_files: LakeFiles,
        limits: Limits,
        lock_timeout_seconds: float,
    ) -> None:
        self._table = table
        self._limits = limits
        self._layout = layout
        self._catalog = catalog
        self._commits = commits
        self._connection = connection
        self._lake_files = lake_files
        self._lock_timeout_seconds = lock_timeout_seconds
        self._bytes_in = 0
        self._bytes_out = 0

    def refresh(self, hours: Sequence[Hour], force: bool, progress: Progress) -> GoldRefresh:
        """Bring the table up to date with the registered Silver of some hours.

        Raises:
            NotPublishedError: the only hour is not registered in the catalog; of several it is among the failures.
        """
        started = time.monotonic()
        done = refresh(self._table.name, self, hours, force, progress)
        return GoldRefresh(
            done.partial_rows, tuple(done.unchanged_hours), done.day_rows, tuple(done.unchanged_days), done.failures,
            self._bytes_in, self._bytes_out, time.monotonic() - started,
        )  # fmt: skip

    def is_retired(self, hour: Hour) -> bool:
        """Tell whether an hour is past its retention."""
        commit = self._commits.hour(hour)
        return commit is not None and commit.retired_at is not None

    def touched_days(self, hour: Hour) -> list[date]:
        """Return the event days that an hour's partial contributes to, or was folded into before."""
        return sorted({*self._catalog.touched_days(self._table.name, hour), *self.partial_days(hour)})

    def partial_days(self, hour: Hour) -> list[date]:
        """Return the event days for which an hour's partial has rows."""
        commit = self._commits.partial(self._table.name, hour)
        return [date.fromisoformat(day) for day in commit.days] if commit else []

    def make_partials(self, hours: Sequence[Hour], force: bool) -> Iterator[tuple[Hour, int | None | Exception]]:
        """Make the partials that are not up to date, one after the other."""
        return ((hour, attempt(partial(self._make_partial, hour, force))) for hour in hours)

    def fold_days(self, days: Sequence[date], force: bool) -> Iterator[tuple[date, int | None | Exception]]:
        """Fold the days that are not up to date, one after the other."""
        return ((day, attempt(partial(self._fold_whole, day, force))) for day in days)

    def _fold_whole(self, day: date, force: bool) -> int | None:
        """Fold a day after the partials of it whose files are gone are made again."""
        for hour, commit in self._partials_of(day).items():
            if self._commits.missing_files(commit):
                self._make_partial(hour, force=False)
        return self._fold(day, force)

    def _make_partial(self, hour: Hour, force: bool) -> int | None:
        """Build and register the partial of an hour; None when it was up to date."""
        name = self._table.name
        with self._layout.lock(partial_lock(name, hour), self._lock_timeout_seconds):
            # What is made from what is read from the commit records alone: a catalog may be damaged.
            silver = self._commits.hour(hour)
            registered = self._catalog.entry(SILVER_EVENTS.full_name, hour.hive_path)
            if silver is None or silver.retired_at is not None or registered is None:
                raise unregistered_silver(name, hour)
            published = self._commits.partial(name, hour)
            made = (silver.run_id, self._table.version)
            if (
                not force
                and published is not None
                and (published.silver_run_id, published.sql_version) == made
                and not self._commits.missing_files(published)
            ):
                self._show(published)
                return None
            run_id = new_run_id()
            with self._explained(f"section partial, landing hour {hour}"):
                source = silver.files_of(SILVER_EVENTS.full_name)
                self._bytes_in += sum(each.size for each in source)
                registered_files = [RegisteredFile(hour.hive_path, each.path) for each in source]
                self._view("silver_events", relation(SILVER_EVENTS, registered_files))
                path = self._layout.partial_run(name, hour, run_id)
                file = self._write(self._table.partial, path, partial_table(name))
                days = self._days(file)
            commit = PartialCommit(
                name,
                hour,
                run_id,
                commit_time(),
                silver.run_id,
                self._table.version,
                days,
                (file,) if days else (),
            )
            self._commits.publish(commit)
            self._catalog.register_partial(commit)
            return file.rows

    def _days(self, file: DataFile) -> dict[str, int]:
        counted = self._connection.sql(f"SELECT event_date, count(*) FROM {parquet([file.path])} GROUP BY 1 ORDER BY 1")
        return {str(day): rows for day, rows in counted.fetchall()}

    def _fold(self, day: date, force: bool) -> int | None:
        """Fold and register an event day from all partials that hold rows of it; None when it was up to date."""
        name = self._table.name
        with self._layout.lock(day_lock(name, day), self._lock_timeout_seconds):
            commits = self._partials_of(day)
            partials = {hour.hive_path: commit.run_id for hour, commit in commits.items()}
            published = self._commits.day(name, day)
            if (
                not force
                and published is not None
                and is_folded(published, published.run_id, partials, self._table.version)
                and not self._commits.missing_files(published)
            ):
                self._show(published)
                return None
            run_id = new_run_id()
            files: tuple[DataFile, ...] = ()
            if partials:
                with self._explained(f"section fold, event day {day}"):
                    sources = [each for commit in commits.values() for each in commit.files]
                    self._bytes_in += sum(each.size for each in sources)
                    rows = parquet([each.path for each in sources], mixed=True)
                    self._view("partials", f"SELECT * FROM {rows} WHERE event_date = DATE '{day}'")
                    columns = ", ".join(
                        f"CAST({column.name} AS {duckdb_type(column.type)}) AS {column.name}"
                        for column in self._table.columns
                    )
                    fold = f"SELECT {columns} FROM ({self._table.fold})"
                    files = (self._write(fold, self._layout.day_run(name, day, run_id), gold_table(name)),)
            commit = DayCommit(name, day, run_id, commit_time(), self._table.version, partials, files)
            self._commits.publish(commit)
            self._catalog.register_day(commit)
            return sum(file.rows for file in files)

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return faults_explained(self._lake_files, f"gold.{self._table.name}, {doing}")

    def _partials_of(self, day: date) -> dict[Hour, PartialCommit]:
        """Return the published partials that hold rows of a day, in order.

        The commit records say which; the catalog and the last fold only name hours of wider limits than today's.
        """
        name = self._table.name
        published = self._commits.day(name, day)
        hours = {*window_of(day, self._limits), *self._catalog.partial_hours(name, day)}
        hours.update(Hour.of_hive_path(path) for path in (published.partials if published else ()))
        commits = {hour: self._commits.partial(name, hour) for hour in sorted(hours)}
        return {hour: commit for hour, commit in commits.items() if commit and str(day) in commit.days}

    def _show(self, commit: PartialCommit | DayCommit) -> None:
        """Register what is published already, where the catalog holds something else; under its lock."""
        wanted = rows_of(commit)
        if self._catalog.held(wanted) != wanted:
            self._catalog.show(wanted)

    def _view(self, name: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW {name} AS {select}")

    def _write(self, select: str, path: Path, table: str) -> DataFile:
        with storage_faults(path):
            make_folder(path.parent)
            try:
                (rows,) = self._connection.execute(f"COPY ({select}) TO {quoted(str(path))} ({_PARQUET})").fetchone()  # type: ignore[misc]
                file = self._layout.data_file(table, path, rows)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        self._bytes_out += file.size
        return file


def grain_faults(
    table: GoldTable, files: Sequence[RegisteredFile], connection: duckdb.DuckDBPyConnection
) -> list[dict[str, Any]]:
    """Return grain values that stand more than once, at most 20, with their number of rows."""
    grain = ", ".join(("event_date", *table.grain))
    found = connection.sql(
        f"SELECT {grain}, count(*) AS rows_found FROM ({relation(table.table, files)}) GROUP BY {grain}"
        f" HAVING count(*) > 1 ORDER BY {grain} LIMIT {_FAULTS_SHOWN}"
    )
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def reconcile(
    table: GoldTable,
    day: date,
    files: Sequence[RegisteredFile],
    totals: DayTotals,
    connection: duckdb.DuckDBPyConnection,
) -> list[Measure]:
    """Return the measures of one published day beside Silver's control totals."""
    connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW gold_day AS {relation(table.table, files)}")
    connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW silver_totals AS {silver_totals_query(totals)}")
    rows = connection.sql(f"SELECT measure, gold, silver FROM ({table.reconcile})").fetchall()
    return [Measure(day, name, gold, silver) for name, gold, silver in rows]
