"""The embedded engine: files, SQLite, a pool of processes and DuckDB on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from event_pipeline.engines.base import PartitionChange, ResultStream
from event_pipeline.engines.commit import HourCommit, file_digest
from event_pipeline.engines.engine import PortEngine, Ports, ShownFile, utc_now
from event_pipeline.engines.finding import Finding
from event_pipeline.engines.host.database import connect, reconnect
from event_pipeline.engines.host.duckdb_sql import DuckDbSql, FilesInPlace
from event_pipeline.engines.host.lake_files import LakeFiles, RawObjects, RegisteredFile
from event_pipeline.engines.host.layout import Layout, storage_faults
from event_pipeline.engines.host.pool_builder import PoolBuilder
from event_pipeline.engines.host.query import judge, prepare, streamed
from event_pipeline.engines.host.raw_table import raw_table_files
from event_pipeline.engines.local.catalog import SqliteCatalog, SqliteEntry
from event_pipeline.engines.local.catalog_file import CatalogFile
from event_pipeline.engines.local.examination import examine
from event_pipeline.engines.local.files import FileStore
from event_pipeline.engines.local.passing import PassingFolders
from event_pipeline.engines.local.raw import RawFiles
from event_pipeline.engines.place import Place, local_place
from event_pipeline.engines.silver import NoAccounts, Spending
from event_pipeline.rules.contract import BRONZE_EVENTS
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings


class LocalEngine(PortEngine[SqliteEntry]):
    """The engine over one data folder. Creating it does not access the disk."""

    def __init__(
        self, settings: Settings, gold_folder: Path = GOLD_FOLDER, clock: Callable[[], datetime] = utc_now
    ) -> None:
        layout = Layout(settings.root)
        lake = FileStore(layout.lake, layout, settings.lock_timeout_seconds)
        catalog = SqliteCatalog(layout.catalog)
        self._layout = layout
        self._raw_files = RawFiles(layout.raw, settings.raw_prefix)
        ports = Ports(lake, self._raw_files, catalog, NoAccounts(), PassingFolders(layout))
        super().__init__(settings, ports, gold_folder, clock)
        self._files = catalog
        self._catalog_file = CatalogFile(layout, catalog, self._commits, settings.lock_timeout_seconds)

    # -- the place

    @property
    def place(self) -> Place:
        """Return the data folder as a place."""
        return local_place(self._settings)

    def examine(self) -> Iterator[Finding]:
        """Examine the data folder, its catalog and its files."""
        return examine(self, self._layout)

    # -- ports

    def check_readable(self) -> None:
        """Check that this version can read the data folder."""
        self._layout.check_version()

    def prepare(self) -> None:
        """Create the catalog if it is missing."""
        self._layout.check_version()
        self._catalog_file.ensure()

    def builder(self) -> PoolBuilder:
        """Return the pool of processes of this machine."""
        settings = self._settings
        return PoolBuilder(
            self._layout,
            self._lake,
            self._raw_files.source,
            settings.event_time_limits,
            settings.workers,
            settings.duckdb_memory_mb,
            settings.lock_timeout_seconds,
        )

    @property
    def scratch(self) -> Path:
        """Return the scratch folder of the data folder."""
        return self._layout.scratch

    @contextmanager
    def sql(self, spending: Spending) -> Iterator[DuckDbSql]:
        """Open DuckDB over the lake's files."""
        files, scratch, settings = LakeFiles(self._layout.lake), self._layout.scratch, self._settings
        with reconnect(scratch, settings.workers, settings.duckdb_memory_mb, files) as connection:
            yield DuckDbSql(connection, files, FilesInPlace(), self._lake, scratch, self._shown_keys, settings)

    def _shown_keys(self, table: str, partitions: Sequence[str]) -> dict[str, list[str]]:
        keys = dict[str, list[str]]()
        for file in self._files.snapshot([table], partitions)[table]:
            keys.setdefault(file.partition, []).append(file.path)
        return keys

    def shown_files(self, table: str, partition: str) -> list[ShownFile]:
        """Return the files in the catalog."""
        lake, found = LakeFiles(self._layout.lake), list[ShownFile]()
        for key in self._shown_keys(table, [partition]).get(partition, ()):
            path = lake.located(RegisteredFile(partition, key))
            with storage_faults(path):
                found.append(ShownFile(self._lake, key, path.stat().st_size if path.exists() else 0))
        return found

    def changed_files(self, commit: HourCommit) -> list[str]:
        """Return the committed files whose digest has changed."""
        changed = []
        for file in commit.files:
            path = self._layout.lake / file.path
            with storage_faults(path):
                changed += [str(path)] if file_digest(path) != file.sha256 else []
        return changed

    # -- the catalog as a whole

    def repair(self, hours: HourRange | None = None) -> list[PartitionChange]:
        """Make the catalog match the commit records, whatever its state."""
        return self._catalog_file.restore() or super().repair(hours)

    # -- queries

    @contextmanager
    def statement_stream(self, sql: str) -> Iterator[ResultStream]:
        """Run one read-only statement over one snapshot of the registered partitions."""
        settings, tables = self._settings, self._tables()
        raw = RawObjects(self._raw_files.folder, settings.event_time_limits)
        lake = LakeFiles(self._layout.lake, raw)
        self.prepare()
        with connect(
            self._layout.scratch, settings.workers, settings.duckdb_memory_mb, lake, settings.query_spill_mb
        ) as connection:
            statement = judge(connection, sql)
            # Listing the files of a table takes longer with more history.
            read = [table.full_name for table in tables if table.name in statement.table_names]
            files = {**self._files.snapshot(read), **raw_table_files(statement, self._raw)}
            prepare(connection, statement, (*tables, BRONZE_EVENTS), files)
            with streamed(
                connection, statement, lake, settings.query_timeout_seconds, settings.query_result_mb
            ) as result:
                yield result
