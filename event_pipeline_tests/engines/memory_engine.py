"""An assembly whose lake and catalog are dictionaries: what a new place to run has to put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

from event_pipeline.engines.base import Leftover, ResultStream
from event_pipeline.engines.engine import PortEngine, Ports, ShownFile
from event_pipeline.engines.host.database import connect
from event_pipeline.engines.host.duckdb_sql import Copies, DuckDbSql, over_copies
from event_pipeline.engines.host.lake_files import LakeFiles, RawObjects, RegisteredFile
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.host.pool_builder import PoolBuilder
from event_pipeline.engines.host.query import judge, prepare, streamed
from event_pipeline.engines.host.raw_table import raw_table_files
from event_pipeline.engines.local.raw import RawFiles
from event_pipeline.engines.place import Place, local_place
from event_pipeline.engines.silver import NoAccounts, Spending
from event_pipeline.rules.contract import BRONZE_EVENTS
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings
from event_pipeline_tests.engines.memory_catalog import MemoryCatalog, MemoryEntry
from event_pipeline_tests.engines.memory_store import MemoryStore


class NothingPassing:
    """Of a place that keeps nothing besides its lake; `engines.housekeeping.PassingFiles`."""

    def leftovers(self, until: datetime) -> Iterator[Leftover]:
        return iter(())

    def remove(self, leftover: Leftover) -> None: ...


class MemoryEngine(PortEngine[MemoryEntry]):
    """Raw objects of a folder, everything else in dictionaries; its folder holds what is passing."""

    def __init__(
        self,
        settings: Settings,
        gold_folder: Path = GOLD_FOLDER,
        lake: MemoryStore | None = None,
        catalog: MemoryCatalog | None = None,
    ) -> None:
        """`lake` and `catalog` are those that another engine has filled."""
        self._host = Layout(settings.root / "host")
        self._raw_files = RawFiles(settings.root / "raw")
        ports = Ports(
            lake or MemoryStore(), self._raw_files, catalog or MemoryCatalog(), NoAccounts(), NothingPassing()
        )
        super().__init__(settings, ports, gold_folder)

    @property
    def place(self) -> Place:
        return local_place(self._settings)

    def builder(self) -> PoolBuilder:
        limits = self._settings.event_time_limits
        return PoolBuilder(self._host, self._lake, self._raw_files.source, limits, 1, 400, 10)

    @property
    def scratch(self) -> Path:
        return self._host.scratch

    def sql(self, spending: Spending) -> AbstractContextManager[DuckDbSql]:
        return over_copies(self._settings, self._lake, self._host.scratch, self._shown_keys)

    def _shown_keys(self, table: str, partitions: Sequence[str]) -> dict[str, list[str]]:
        return {each: [file.key for file in self.shown_files(table, each)] for each in partitions}

    def shown_files(self, table: str, partition: str) -> list[ShownFile]:
        entry = self._catalog.get(table, [partition]).get(partition)
        keys = entry.files if entry else ()
        return [ShownFile(self._lake, each.key, each.size) for key in keys for each in self._lake.list(key)]

    @contextmanager
    def statement_stream(self, sql: str) -> Iterator[ResultStream]:
        folder = self._host.root / "copies"
        raw = RawObjects(self._raw_files.folder, self._settings.event_time_limits)
        copies, lake, tables = Copies(self._lake, folder), LakeFiles(folder, raw), self._tables()
        found = {
            table.full_name: [
                RegisteredFile(entry.partition, copies.located(key))
                for entry in self._catalog.entries(table.full_name)
                for key in entry.files
            ]
            for table in tables
        }
        with connect(self._host.scratch, 1, 400, lake) as connection:
            statement = judge(connection, sql)
            files = {**found, **raw_table_files(statement, self._raw)}
            prepare(connection, statement, (*tables, BRONZE_EVENTS), files)
            with streamed(connection, statement, lake, 60, 400) as result:
                yield result
