"""Runs the SQL of Gold in DuckDB on this host, over exactly the files in commit records or the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import duckdb
import pyarrow.parquet as pq

from event_pipeline.engines.base import Measure, ResultStream
from event_pipeline.engines.commit import DataFile, file_digest
from event_pipeline.engines.durability import make_folder
from event_pipeline.engines.host.database import (
    duckdb_type,
    faults_explained,
    own_folder,
    parquet,
    reconnect,
    relation,
)
from event_pipeline.engines.host.lake_files import LakeFiles, RegisteredFile
from event_pipeline.engines.host.layout import storage_faults
from event_pipeline.engines.host.query import Statement, streamed
from event_pipeline.engines.names import day_partition, gold_table, new_build_id, partial_table
from event_pipeline.engines.sql import (
    FAULTS_SHOWN,
    ROWS_NAME,
    PrefixOf,
    Written,
    check_columns,
    days_of,
    silver_totals_query,
)
from event_pipeline.engines.store import Store
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import SILVER_EVENTS, Column, Table
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable, quoted
from event_pipeline.settings import Settings

# Version 2 of DuckDB's writer uses byte stream split for doubles, which Spark 3.5 cannot read.
_PARQUET = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v1"

Shown = Callable[[str, Sequence[str]], Mapping[str, Sequence[str]]]
"""Full table name and partitions -> keys of the lake's files that the catalog shows for each."""


class Files(Protocol):
    """Makes the lake's files readable for DuckDB."""

    def located(self, key: str, committed: DataFile | None = None) -> str:
        """Make a file available to DuckDB's file system, and return its path there.

        Raises:
            StorageError: it is gone, or its bytes differ from the committed ones.
        """


class FilesInPlace:
    """The files of a lake on this machine, read in place."""

    def located(self, key: str, committed: DataFile | None = None) -> str:
        """Return the key."""
        return key


class Copies:
    """The files of a remote lake, copied when first needed; they are immutable, so once is enough."""

    def __init__(self, lake: Store, folder: Path) -> None:
        self._lake = lake
        self._folder = folder

    def located(self, key: str, committed: DataFile | None = None) -> str:
        """Make sure that a file is copied, and return its key; a committed file must have the committed bytes."""
        path = self._folder / key
        if path.exists():
            return key
        draft = path.with_name(f".{path.name}")
        with storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._lake.download(key, draft):
                raise StorageError(f"{self._lake.url(key)}: a data file is gone: rebuild its hour")
            if committed is not None and file_digest(draft) != committed.sha256:
                raise StorageError(f"{self._lake.url(key)}: its bytes differ from the committed ones: rebuild its hour")
            draft.rename(path)
        return key


@contextmanager
def over_copies(settings: Settings, lake: Store, scratch: Path, shown: Shown) -> Iterator[DuckDbSql]:
    """Open DuckDB with a folder for copies, removed at the end; the next process removes those of a killed one.

    Raises:
        StorageError: the scratch folder is not writable.
    """
    with own_folder(scratch) as folder:
        if folder is None:
            raise StorageError(f"{scratch}: not writable: EVENT_PIPELINE_SQL=duckdb works on copies there")
        with storage_faults(folder):
            # LakeFiles treats this folder as the lake.
            (folder / "runs").mkdir(parents=True)
        files = LakeFiles(folder)
        with reconnect(scratch, settings.workers, settings.duckdb_memory_mb, files) as connection:
            yield DuckDbSql(connection, files, Copies(lake, folder), lake, folder, shown, settings)


class DuckDbSql:
    """Implements `engines.sql.Sql` with DuckDB."""

    at_once = 1

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        lake_files: LakeFiles,
        files: Files,
        lake: Store,
        scratch: Path,
        shown: Shown,
        settings: Settings,
    ) -> None:
        """`scratch` holds written files until they are part of the lake."""
        self._connection = connection
        self._lake_files = lake_files
        self._files = files
        self._lake = lake
        self._scratch = scratch
        self._shown = shown
        self._settings = settings
        self._bytes_in = 0

    @property
    def bytes_in(self) -> int:
        """Bytes of committed files read so far."""
        return self._bytes_in

    def stop_all(self) -> None:
        """Do nothing: an interrupt reaches DuckDB itself."""

    def partial(self, table: GoldTable, hour: Hour, files: Sequence[DataFile], prefix_of: PrefixOf) -> Written:
        """Build the partial of a landing hour, in one file."""
        with faults_explained(self._lake_files, f"gold.{table.name}, section partial, landing hour {hour}"):
            registered = [RegisteredFile(hour.hive_path, path) for path in self._read(files)]
            self._view("silver_events", relation(SILVER_EVENTS, registered))
            return self._write(table.partial, partial_table(table.name), None, prefix_of)

    def fold(
        self, table: GoldTable, day: date, partials: Mapping[Hour, Sequence[DataFile]], prefix_of: PrefixOf
    ) -> Written:
        """Fold the rows of an event day, in one file."""
        with faults_explained(self._lake_files, f"gold.{table.name}, section fold, event day {day}"):
            paths = [path for files in partials.values() for path in self._read(files)]
            self._view("partials", f"SELECT * FROM {parquet(paths, mixed=True)} WHERE event_date = DATE '{day}'")
            return self._write(_typed_fold(table), gold_table(table.name), table.columns, prefix_of)

    @contextmanager
    def answer(self, table: GoldTable, days: Sequence[date], hours: Sequence[Hour]) -> Iterator[ResultStream]:
        """Fold several event days within the limits of a query, from one look at the catalog."""
        settings = self._settings
        with faults_explained(self._lake_files, f"gold.{table.name}, section fold, {days[0]} to {days[-1]}"):
            shown = self._shown(partial_table(table.name), [hour.hive_path for hour in hours])
            paths = [self._files.located(key) for keys in shown.values() for key in keys]
            among = ", ".join(f"DATE '{day}'" for day in days)
            self._view("partials", f"SELECT * FROM {parquet(paths, mixed=True)} WHERE event_date IN ({among})")
            self._connection.execute(f"SET max_temp_directory_size = '{settings.query_spill_mb}MB'")
        limits = (settings.query_timeout_seconds, settings.query_result_mb)
        with streamed(self._connection, Statement(_typed_fold(table)), self._lake_files, *limits) as rows:
            yield rows

    # -- checks of what the catalog shows

    def counts(self, tables: Sequence[Table], hour: Hour) -> dict[str, int]:
        """Count the rows of an hour in DuckDB."""
        counted = {}
        for table in tables:
            select = relation(table, self._of_partition(table.full_name, hour.hive_path))
            with faults_explained(self._lake_files, table.full_name):
                ((rows,),) = self._connection.sql(f"SELECT count(*) FROM ({select})").fetchall()
            counted[table.full_name] = int(rows)
        return counted

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return duplicate grain values of published days."""
        files = [file for day in days for file in self._of_partition(gold_table(table.name), day_partition(day))]
        grain = ", ".join(("event_date", *table.grain))
        with faults_explained(self._lake_files, f"gold.{table.name}, its grain"):
            found = self._connection.sql(
                f"SELECT {grain}, count(*) AS rows_found FROM ({relation(table.table, files)}) GROUP BY {grain}"
                f" HAVING count(*) > 1 ORDER BY {grain} LIMIT {FAULTS_SHOWN}"
            )
            return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    def reconcile(self, table: GoldTable, totals: Mapping[date, DayTotals]) -> list[Measure]:
        """Return the measures of published days with control totals."""
        measures = list[Measure]()
        with faults_explained(self._lake_files, f"gold.{table.name}, section reconcile"):
            for day, of_day in totals.items():
                files = self._of_partition(gold_table(table.name), day_partition(day))
                self._view("gold_day", relation(table.table, files))
                self._view("silver_totals", silver_totals_query(of_day))
                rows = self._connection.sql(f"SELECT measure, gold, silver FROM ({table.reconcile})").fetchall()
                measures += [Measure(day, name, gold, silver) for name, gold, silver in rows]
        return measures

    # -- files

    def _read(self, files: Sequence[DataFile]) -> list[str]:
        self._bytes_in += sum(file.size for file in files)
        return [self._files.located(file.path, file) for file in files]

    def _of_partition(self, table: str, partition: str) -> list[RegisteredFile]:
        shown = self._shown(table, [partition]).get(partition, ())
        return [RegisteredFile(partition, self._files.located(key)) for key in shown]

    def _view(self, name: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW {name} AS {select}")

    def _write(self, select: str, table: str, columns: Sequence[Column] | None, prefix_of: PrefixOf) -> Written:
        path = self._scratch / f"gold-{uuid4().hex}.parquet"
        with storage_faults(path):
            make_folder(path.parent)
            try:
                (rows,) = self._connection.execute(f"COPY ({select}) TO {quoted(str(path))} ({_PARQUET})").fetchone()  # type: ignore[misc]
                build_id = new_build_id()
                if not rows:
                    return Written(build_id, (), {})
                schema = pq.read_schema(path)
                if columns is not None:
                    check_columns(f"{table} by DuckDB", schema, columns)
                dated = ["event_date"] if "event_date" in schema.names else []
                days = days_of([pq.read_table(path, columns=dated)])
                key = f"{prefix_of(build_id)}{ROWS_NAME}"
                file = DataFile.of_file(table, key, rows, path)
                self._lake.take(key, path)
                return Written(build_id, (file,), days)
            finally:
                path.unlink(missing_ok=True)


def _typed_fold(table: GoldTable) -> str:
    """Return the fold with every column cast to its declared type."""
    casts = ", ".join(f"CAST({each.name} AS {duckdb_type(each.type)}) AS {each.name}" for each in table.columns)
    return f"SELECT {casts} FROM ({table.fold})"
