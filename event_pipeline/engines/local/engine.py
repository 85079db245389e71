"""The engine protocol on one machine: each call of the protocol, put together from the rooms beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from event_pipeline.engines.base import (
    GoldRefresh,
    JobFollower,
    Leftover,
    Measure,
    PartitionChange,
    Progress,
    RawNotices,
    ResultStream,
    RowCounts,
    SilverBuild,
    SilverOutcome,
)
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.decisions import (
    build_reason,
    committed_days,
    day_partition,
    fewer_objects,
    isolated,
    raise_failures,
    why_kept,
)
from event_pipeline.engines.finding import Finding
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.local.catalog import Catalog, hour_of_partition, rows_of
from event_pipeline.engines.local.commits import CommitStore
from event_pipeline.engines.local.database import REBUILD, connect, faults_explained, parquet, relation
from event_pipeline.engines.local.decoded import DecodedObjects
from event_pipeline.engines.local.digests import RawDigests
from event_pipeline.engines.local.examination import examine
from event_pipeline.engines.local.gold import GoldRefresher, grain_faults, reconcile
from event_pipeline.engines.local.housekeeping import Housekeeper
from event_pipeline.engines.local.lake_files import LakeFiles, RegisteredFile
from event_pipeline.engines.local.layout import Layout, file_digest, storage_faults
from event_pipeline.engines.local.query import judge, prepare, streamed
from event_pipeline.engines.local.raw import RawStore
from event_pipeline.engines.local.repair import PartitionRepair, difference
from event_pipeline.engines.local.silver import SilverBuilder, Validate
from event_pipeline.engines.place import Place, local_place
from event_pipeline.engines.state import HourState, as_built, input_state, lost_objects
from event_pipeline.errors import NotBuildableError, PipelineError, StorageError
from event_pipeline.rules.accounting import DayTotals, RawListing, RawObject, UnmatchedKey
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS, SILVER_QUARANTINE, Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline.rules.silver_files import OtherColumnsError, read_rows
from event_pipeline.settings import Settings, SilverBuilderKind


class LocalEngine:
    """Speaks `engines.base.Engine` over one data folder. Making one touches nothing on disk."""

    def __init__(
        self,
        settings: Settings,
        gold_folder: Path = GOLD_FOLDER,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._gold_folder = gold_folder
        self._clock = clock
        self._layout = Layout(settings.root)
        self._raw = RawStore(self._layout.raw, settings.first_partition, clock, settings.raw_prefix)
        self._digests = RawDigests(self._layout, self._raw)
        self._commits = CommitStore(self._layout)
        self._catalog = Catalog(self._layout.catalog)
        self._repair = PartitionRepair(self._layout, self._catalog, self._commits, settings.lock_timeout_seconds)
        self._decoded = DecodedObjects(self._layout, settings.event_time_limits.rules_version)
        self._builder = SilverBuilder(
            self._layout,
            self._raw.source,
            self._decoded,
            settings.event_time_limits,
            settings.workers,
            settings.duckdb_memory_mb,
        )

    @property
    def place(self) -> Place:
        """Name the data folder."""
        return local_place(self._settings)

    def examine(self) -> Iterator[Finding]:
        """Look at the data folder, its catalog and its files."""
        return examine(self, self._layout)

    def costs(self, hours: HourRange) -> None:
        """Return nothing: this machine bills nothing."""

    def estimate(self, hours: Sequence[Hour]) -> None:
        """Return nothing: this machine bills nothing."""

    def with_builder(self, builder: SilverBuilderKind) -> LocalEngine:
        """Refuse it: processes of this machine are the only builder there is.

        Raises:
            NotBuildableError: always.
        """
        raise NotBuildableError(
            f"{self._settings.root.absolute()} is built by processes of this machine: Silver can be built by {builder} "
            "only where EVENT_PIPELINE_ENV=aws"
        )

    def followed_by(self, follower: JobFollower) -> LocalEngine:
        """Return this engine: it starts no jobs elsewhere."""
        return self

    # -- raw

    def list_raw(self, hour: Hour) -> RawListing:
        """List the raw objects of an hour."""
        return self._raw.list_hour(hour)

    def list_raw_hours(self, hours: HourRange | None = None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects."""
        return self._raw.list_hours(hours)

    def unmatched_raw_keys(self) -> list[UnmatchedKey]:
        """List every key under `events/` that is not read, and why."""
        return self._raw.unmatched_keys()

    def take_notices(self, done_with: Sequence[str]) -> RawNotices:
        """Take nothing: a folder has no queue."""
        return RawNotices(frozenset(), ())

    def open_raw(self, key: str) -> BinaryIO:
        """Open the stored bytes of one raw object."""
        return self._raw.open(key)

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return the digests of some raw objects of an hour."""
        return self._digests.of(hour, objects)

    # -- Silver

    def hour_commit(self, hour: Hour) -> HourCommit | None:
        """Return the published build of an hour."""
        self._layout.check_version()
        return self._commits.hour(hour)

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        """Return the published builds."""
        self._layout.check_version()
        return {commit.hour: commit for commit in self._commits.hours(hours, damaged)}

    def build_silver(
        self,
        hours: Sequence[Hour],
        *,
        force: bool = False,
        allow_fewer_objects: bool = False,
        progress: Progress,
    ) -> Iterator[SilverBuild]:
        """Build and commit the hours that need it, one after the other."""
        self._repair.ensure_catalog()
        raw_bytes, failures = dict[Hour, int](), dict[Hour, PipelineError]()
        for hour in hours:
            with isolated(hours, hour, failures):
                raw_bytes[hour] = self._raw.list_hour(hour).raw_bytes
        with self._builder.validators(sum(raw_bytes.values())) as validate:
            for hour in raw_bytes:
                build = None
                with isolated(hours, hour, failures):
                    build = self._build_hour(hour, force, allow_fewer_objects, validate, progress)
                if build is not None:
                    yield build
                else:
                    progress(f"{hour}: failed, the other hours go on: {failures[hour]}")
        raise_failures(failures)

    def _build_hour(
        self, hour: Hour, force: bool, allow_fewer_objects: bool, validate: Validate, progress: Progress
    ) -> SilverBuild:
        started = time.monotonic()
        with self._layout.lock(f"hours/{hour}", self._settings.lock_timeout_seconds):
            listing = self._raw.list_hour(hour)
            present = self._commits.hour(hour)
            now = self._clock()
            built = as_built(self, listing, present)
            state = input_state(built, present, self._settings.event_time_limits.rules_version, now)
            kept = self._why_kept(listing, present, state) if present and not force else None
            if present and kept:
                return SilverBuild(SilverOutcome.UNCHANGED, kept, present, time.monotonic() - started)
            if present and lost_objects(listing, present) and not allow_fewer_objects:
                raise fewer_objects(listing, present)
            still_open = None if hour.is_closed(now) else now
            commit = self._builder.build(listing, validate, progress, still_open)
            self._commits.publish(commit)
            self._decoded.keep_only(hour, listing.objects if still_open else ())
            self._digests.forget(hour)
        reason = build_reason(state, force)
        progress(f"{hour}: committed {commit.account.silver_rows:,} Silver rows ({reason})")
        return SilverBuild(SilverOutcome.BUILT, reason, commit, time.monotonic() - started)

    def _why_kept(self, listing: RawListing, present: HourCommit, state: HourState) -> str | None:
        missing = state is not HourState.RETIRED and self._commits.missing_files(present)
        return None if missing else why_kept(listing, state)

    # -- partition repair

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Make the catalog show the committed builds."""
        self._repair.ensure_catalog()
        return self._repair.register_hours(hours)

    def registered_runs(self, hours: HourRange | None = None) -> dict[Hour, str]:
        """Return the run id that the catalog shows for each hour."""
        entries = self._open_catalog().entries(SILVER_EVENTS.full_name, hours)
        return {hour: entry.run_id for entry in entries if (hour := hour_of_partition(entry.partition))}

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the hours whose files are gone, or that the catalog shows otherwise than they were committed."""
        self._open_catalog()
        return self._repair.misshown(commits)

    def repair(self, hours: HourRange | None = None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records."""
        return self._repair.repair(hours)

    def disagreements(self) -> list[PartitionChange]:
        """Return what `repair` would change."""
        self._open_catalog()
        return self._repair.disagreements()

    # -- Gold

    def refresh_gold(
        self, table: GoldTable, hours: Sequence[Hour], *, force: bool = False, progress: Progress
    ) -> GoldRefresh:
        """Rebuild the partials of the hours that changed, then fold every day they touch."""
        catalog = self._open_catalog()
        with self._connect() as (connection, files):
            refresher = GoldRefresher(
                table,
                self._layout,
                catalog,
                self._commits,
                connection,
                files,
                self._settings.event_time_limits,
                self._settings.lock_timeout_seconds,
            )
            return refresher.refresh(hours, force, progress)

    def hours_behind(self, table: GoldTable, hours: HourRange | None = None) -> list[Hour]:
        """Return the registered hours that a Gold table does not show yet."""
        return self._open_catalog().hours_behind(table.name, table.version, hours)

    def touched_days(self, table: GoldTable, hour: Hour) -> list[date]:
        """Return the event days of an hour, as its commit records say."""
        return committed_days(self.hour_commit(hour), self._commits.partial(table.name, hour))

    # -- evidence

    def count_rows(self, commit: HourCommit) -> RowCounts:
        """Count the rows that the committed files really hold."""
        for file in commit.files:
            path = self._layout.lake / file.path
            if not path.is_file():
                raise StorageError(f"{path}: a committed file of {commit.hour} is gone")
            with storage_faults(path):
                digest = file_digest(path)
            if digest != file.sha256:
                raise StorageError(f"{path}: a committed file of {commit.hour} has other bytes than were committed")
        events, quarantine = (self._committed(commit, table) for table in (SILVER_EVENTS, SILVER_QUARANTINE))
        with self._connect() as (connection, _):
            silver_rows = _count(connection, "event_ts", events)
            by_reason = dict[str, int]()
            if quarantine:
                source = parquet([file.path for file in quarantine])
                by_reason = dict(
                    connection.sql(f"SELECT reason, count(*) FROM {source} GROUP BY reason ORDER BY reason").fetchall()
                )
        return RowCounts(silver_rows, sum(by_reason.values()), by_reason)

    def shown_rows(self, table: Table, hour: Hour) -> Iterator[pa.RecordBatch]:
        """Read the rows of an hour from the files that the catalog shows."""
        files = LakeFiles(self._layout.lake)
        for file in self._registered(table, [hour.hive_path]):
            path = files.located(file)
            try:
                with path.open("rb") as content:
                    yield from read_rows(content, table)
            except (OtherColumnsError, pa.ArrowException, OSError) as error:
                raise StorageError(f"{path}: a data file cannot be read: {error}: {REBUILD}") from error

    def partition_faults(self, hour: Hour) -> list[str]:
        """Say what keeps a query from seeing the committed build of an hour."""
        commit = self._commits.hour(hour)
        if commit is None:
            return [f"{hour}: no build is committed"]
        catalog, faults, wanted = self._open_catalog(), [], rows_of(commit)
        held = catalog.held(wanted)
        for table in shown_tables(commit):
            place = (table.full_name, hour.hive_path)
            entry = catalog.entry(table.full_name, hour.hive_path)
            committed = self._committed(commit, table)
            if entry is None:
                faults.append(f"{table.full_name}: {hour.hive_path} is not registered")
            elif entry.run_id != commit.run_id:
                faults.append(f"{table.full_name}: {hour.hive_path} shows {entry.run_id}, not {commit.run_id}")
            elif differs := difference(wanted[place], held[place]):
                faults.append(f"{table.full_name}: {hour.hive_path} shows other {differs} than were committed")
            else:
                faults += self._reading_faults(table, commit, committed)
        return faults

    def _reading_faults(self, table: Table, commit: HourCommit, files: Sequence[RegisteredFile]) -> list[str]:
        expected = sum(file.rows for file in commit.files_of(table.full_name))
        try:
            with self._connect() as (connection, _):
                ((found,),) = connection.sql(f"SELECT count(*) FROM ({relation(table, files)})").fetchall()
        except PipelineError as error:
            return [f"{table.full_name}: {commit.hour.hive_path} cannot be read: {error}"]
        if found != expected:
            return [f"{table.full_name}: {commit.hour.hive_path} has {found:,} rows, committed were {expected:,}"]
        return []

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return the grain values that stand more than once in the published days."""
        with self._connect() as (connection, files), faults_explained(files, f"gold.{table.name}, its grain"):
            return grain_faults(table, self._day_files(table, days), connection)

    def reconcile(self, table: GoldTable, days: Sequence[date]) -> list[Measure]:
        """Return the measures of the published days beside the control totals of what they were folded from."""
        measures, catalog = list[Measure](), self._open_catalog()
        with self._connect() as (connection, lake), faults_explained(lake, f"gold.{table.name}, section reconcile"):
            for day in days:
                paths, totals = catalog.folded_day(table.name, day)
                if totals is not None:
                    files = [RegisteredFile(day_partition(day), path) for path in paths]
                    measures += reconcile(table, day, files, totals, connection)
        return measures

    def silver_totals(self, day: date) -> DayTotals:
        """Sum the control totals of one event day over all registered hours."""
        return self._open_catalog().silver_totals(day)

    # -- queries

    def query(self, sql: str) -> pa.Table:
        """Run one read-only statement over the registered partitions and gather its rows."""
        with self.query_stream(sql) as result:
            return result.read_all()

    @contextmanager
    def query_stream(self, sql: str) -> Iterator[ResultStream]:
        """Run one read-only statement over the registered partitions, all tables as they were at one moment."""
        settings = self._settings
        tables = [*HOUR_TABLES, *(gold.table for gold in load_gold_tables(self._gold_folder))]
        catalog = self._open_catalog()
        with self._connect(settings.query_spill_mb) as (connection, files):
            statement = judge(connection, sql)
            # Listing the files of a table takes longer the more history it has.
            read = [table.full_name for table in tables if table.name in statement.table_names]
            prepare(connection, tables, catalog.snapshot(read))
            with streamed(
                connection, statement, files, settings.query_timeout_seconds, settings.query_result_mb
            ) as result:
                yield result

    # -- housekeeping

    def leftovers(self, now: datetime) -> list[Leftover]:
        """List what nobody needs any more."""
        self._open_catalog()
        behind = {hour for table in load_gold_tables(self._gold_folder) for hour in self.hours_behind(table)}
        return self._housekeeper().leftovers(behind, now)

    def remove(self, leftover: Leftover) -> None:
        """Remove one of them."""
        self._housekeeper().remove(leftover)

    def _housekeeper(self) -> Housekeeper:
        return Housekeeper(self._layout, self._catalog, self._commits, self._repair, self._settings)

    # -- shared

    def _open_catalog(self) -> Catalog:
        self._layout.check_version()
        self._repair.ensure_catalog()
        return self._catalog

    @contextmanager
    def _connect(self, spill_mb: int | None = None) -> Iterator[tuple[duckdb.DuckDBPyConnection, LakeFiles]]:
        files, settings = LakeFiles(self._layout.lake), self._settings
        with connect(self._layout.scratch, settings.workers, settings.duckdb_memory_mb, files, spill_mb) as connection:
            yield connection, files

    def _registered(self, table: Table, partitions: Sequence[str]) -> list[RegisteredFile]:
        return self._open_catalog().snapshot([table.full_name], partitions)[table.full_name]

    def _day_files(self, table: GoldTable, days: Sequence[date]) -> list[RegisteredFile]:
        return self._registered(table.table, [day_partition(day) for day in days])

    def _committed(self, commit: HourCommit, table: Table) -> list[RegisteredFile]:
        return sorted(RegisteredFile(commit.hour.hive_path, file.path) for file in commit.files_of(table.full_name))


def _count(connection: duckdb.DuckDBPyConnection, column: str, files: Sequence[RegisteredFile]) -> int:
    """Count by decoding a column that is never null, because a bare count(*) believes the files' footers."""
    if not files:
        return 0
    rows = connection.sql(f"SELECT count({column}) FROM {parquet([file.path for file in files])}").fetchall()
    return int(rows[0][0])
