"""The SQL of Gold by DuckDB on the host of Dagster, over copies of exactly the committed files that it reads.

Files of the lake never change, so each is copied once for all that one refresh or check asks of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from event_pipeline.engines.aws.pool_builder import HOST_FOLDER
from event_pipeline.engines.aws.sql import ROWS_NAME, Source, Written, check_columns, stored_file, typed
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Measure
from event_pipeline.engines.commit import DataFile
from event_pipeline.engines.decisions import new_run_id
from event_pipeline.engines.dialect import parse_query, render
from event_pipeline.engines.local.database import connect, duckdb_type, faults_explained, own_folder, parquet, relation
from event_pipeline.engines.local.gold import grain_faults, reconcile
from event_pipeline.engines.local.lake_files import LakeFiles, RegisteredFile
from event_pipeline.engines.local.layout import Layout, file_digest, storage_faults
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import Column, Table
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings


@contextmanager
def opened(settings: Settings, lake: Bucket) -> Iterator[DuckDbSql]:
    """Open DuckDB with a folder for copies, which are gone at the end; those of a killed process go with the next.

    Raises:
        StorageError: nothing can be written below the data folder.
    """
    scratch = Layout(settings.root / HOST_FOLDER).scratch
    with own_folder(scratch) as folder:
        if folder is None:
            raise StorageError(f"{scratch}: cannot be written: EVENT_PIPELINE_SQL=duckdb works on copies there")
        with storage_faults(folder):
            # Below it is what LakeFiles takes for a lake.
            (folder / "runs").mkdir(parents=True)
        files = LakeFiles(folder)
        with connect(scratch, settings.workers, settings.duckdb_memory_mb, files) as connection:
            yield DuckDbSql(connection, files, folder, lake)


class DuckDbSql:
    """`engines.aws.sql.Sql` by DuckDB, and what its checks ask."""

    at_once = 1

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: LakeFiles, folder: Path, lake: Bucket) -> None:
        self._connection = connection
        self._files = files
        self._folder = folder
        self._lake = lake
        self._bytes_in = 0

    @property
    def bytes_in(self) -> int:
        """Bytes of the files that were copied so far."""
        return self._bytes_in

    def stop_all(self) -> None:
        """Do nothing: an interrupt reaches DuckDB itself."""

    def write(
        self,
        section: str,
        sources: Mapping[str, Source],
        table: str,
        columns: Sequence[Column],
        prefix_of: Callable[[str], str],
    ) -> Written:
        """Run one section of a Gold table into one file in a prefix of its own; see the port."""
        for name, source in sources.items():
            select = self._select(source)
            self._connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW {name} AS {select}")
        select = render(typed(parse_query(section), columns), "duckdb")
        with faults_explained(self._files, f"{table}, from {', '.join(sources)}"):
            rows = self._connection.sql(select).to_arrow_table()
        check_columns(f"{table} by DuckDB", rows.schema, columns)
        run_id = new_run_id()
        if not rows.num_rows:
            return Written(run_id, (), ())
        file = stored_file(self._lake, table, f"{prefix_of(run_id)}{ROWS_NAME}", rows)
        return Written(run_id, (file,), (rows,))

    # -- checks of what the catalog shows

    def rows(self, table: Table, partition: str, keys: Iterable[str]) -> int:
        """Count the rows that DuckDB finds in some files of a partition."""
        files = [self._registered(partition, key) for key in keys]
        with faults_explained(self._files, table.full_name):
            ((found,),) = self._connection.sql(f"SELECT count(*) FROM ({relation(table, files)})").fetchall()
        return int(found)

    def grain_faults(self, table: GoldTable, keys: Mapping[str, Iterable[str]]) -> list[dict[str, Any]]:
        """Return the grain values that stand more than once in some partitions: Hive path -> keys of its files."""
        files = [self._registered(partition, key) for partition, found in keys.items() for key in found]
        with faults_explained(self._files, f"gold.{table.name}, its grain"):
            return grain_faults(table, files, self._connection)

    def reconcile(
        self, table: GoldTable, day: date, partition: str, keys: Iterable[str], totals: DayTotals
    ) -> list[Measure]:
        """Return the measures of a published day beside control totals."""
        files = [self._registered(partition, key) for key in keys]
        with faults_explained(self._files, f"gold.{table.name}, section reconcile"):
            return reconcile(table, day, files, totals, self._connection)

    # -- copies

    def _select(self, source: Source) -> str:
        if source.day is None:
            files = [
                RegisteredFile(hour.hive_path, self._copy(file.path, file))
                for hour, found in source.files.items()
                for file in found
            ]
            return relation(source.table, files)
        paths = [self._copy(file.path, file) for found in source.files.values() for file in found]
        columns = ", ".join(f"CAST({each.name} AS {duckdb_type(each.type)}) AS {each.name}" for each in source.columns)
        return f"SELECT {columns} FROM {parquet(paths, mixed=True)} WHERE event_date = DATE '{source.day}'"

    def _registered(self, partition: str, key: str) -> RegisteredFile:
        return RegisteredFile(partition, self._copy(key))

    def _copy(self, key: str, committed: DataFile | None = None) -> str:
        """Have a copy of a file of the lake, and return its key; one that was committed must have the bytes it had.

        Raises:
            StorageError: it is gone, or has other bytes than were committed.
        """
        path = self._folder / key
        if path.exists():
            return key
        draft = path.with_name(f".{path.name}")
        with storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._lake.download(key, draft):
                raise StorageError(f"{self._lake.url(key)}: a data file is gone: build its hour again")
            if committed is not None and file_digest(draft) != committed.sha256:
                raise StorageError(
                    f"{self._lake.url(key)}: it has other bytes than were committed: build its hour again"
                )
            self._bytes_in += draft.stat().st_size
            draft.rename(path)
        return key
