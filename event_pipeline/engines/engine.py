"""The engine: implements each call of the protocol once, over the ports of a place.

An assembly (`local/engine.py`, `aws/engine.py`) opens the ports and adds what is specific to its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Generic, Self

import pyarrow as pa
import pyarrow.parquet as pq

from event_pipeline.engines.base import (
    Estimate,
    GoldRefresh,
    JobFollower,
    Leftover,
    Measure,
    PartitionChange,
    Progress,
    RangeAnswer,
    RawNotices,
    ResultStream,
    RowCounts,
    SilverBuild,
    StepCost,
)
from event_pipeline.engines.builder import Builder
from event_pipeline.engines.catalog import AnyEntry, Catalog
from event_pipeline.engines.commit import HourCommit, PartialCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.description import describe, show_tables
from event_pipeline.engines.digests import RawDigests
from event_pipeline.engines.eraser import Eraser
from event_pipeline.engines.erasures import ErasureList
from event_pipeline.engines.finding import Finding, guarded
from event_pipeline.engines.gold import (
    GoldRefresher,
    bearers_of_totals,
    committed_days,
    hours_behind,
    published_days,
    totals_of_fold,
    window_of,
)
from event_pipeline.engines.housekeeping import Housekeeper, PassingFiles
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.names import day_partition, gold_table, hour_of_partition, new_build_id
from event_pipeline.engines.place import Place
from event_pipeline.engines.raw import RawListings, RawPlace
from event_pipeline.engines.repair import PartitionRepair, entries_finding
from event_pipeline.engines.silver import Accounts, SilverSteps, Spending
from event_pipeline.engines.sql import Sql
from event_pipeline.engines.store import Store
from event_pipeline.errors import NotBuildableError, PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals, RawListing, RawObject, UnmatchedKey
from event_pipeline.rules.arrow import arrow_schema
from event_pipeline.rules.contract import (
    BRONZE_EVENTS,
    EVENT_TIME,
    HOUR_TABLES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Table,
)
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline.rules.silver_files import OtherColumnsError, read_rows
from event_pipeline.settings import Settings, SilverBuilderKind

_MOST_LOOKS = 5
"""Attempts to compare a day that other processes fold meanwhile."""


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Ports(Generic[AnyEntry]):
    """The ports of a place."""

    lake: Store
    raw: RawPlace
    catalog: Catalog[AnyEntry]
    accounts: Accounts
    passing: PassingFiles


@dataclass(frozen=True, slots=True)
class ShownFile:
    """One data file that queries read."""

    store: Store
    key: str
    size: int
    """Bytes."""


class PortEngine(ABC, Generic[AnyEntry]):
    """Implements `engines.base.Engine`, except for what is specific to a place."""

    def __init__(
        self,
        settings: Settings,
        ports: Ports[AnyEntry],
        gold_folder: Path = GOLD_FOLDER,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._gold_folder = gold_folder
        self._clock = clock
        self._lake = ports.lake
        self._raw_place = ports.raw
        self._catalog = ports.catalog
        self._accounts = ports.accounts
        self._passing = ports.passing
        self._raw = RawListings(ports.raw, settings.first_partition, clock)
        self._digests = RawDigests(ports.raw, ports.lake)
        self._commits = CommitStore(ports.lake)

    # -- what an assembly implements

    @property
    @abstractmethod
    def place(self) -> Place:
        """Return where the data is and what runs the assets, without reading anything."""

    def check_readable(self) -> None:
        """Check that this version can read the existing data.

        Raises:
            PipelineError: another version wrote it.
        """

    def prepare(self) -> None:
        """Create whatever catalog calls need and is missing."""

    @abstractmethod
    def builder(self) -> Builder:
        """Return the builder of Silver; it is closed after one call of `build_silver`."""

    @abstractmethod
    def sql(self, spending: Spending) -> AbstractContextManager[Sql]:
        """Open the SQL port of Gold for one step."""

    @property
    @abstractmethod
    def scratch(self) -> Path:
        """Return the folder on this machine for files that are not part of the lake yet."""

    @abstractmethod
    def shown_files(self, table: str, partition: str) -> list[ShownFile]:
        """Return the files that queries read for a partition; none if it is not shown. `table` is the full name.

        Raises:
            StorageError: the catalog names a file that is not in the lake.
        """

    def changed_files(self, commit: HourCommit) -> list[str]:
        """Return readable names of committed files whose bytes have changed, where that can be told at no cost."""
        return []

    @abstractmethod
    def statement_stream(self, sql: str) -> AbstractContextManager[ResultStream]:
        """Run one read-only statement over the registered partitions and stream its rows."""

    # -- defaults that an assembly may override

    def examine(self) -> Iterator[Finding]:
        """Compare the catalog with the commit records."""
        yield guarded("published builds", lambda: entries_finding(self.disagreements()))

    def costs(self, hours: HourRange) -> list[StepCost] | None:
        """Return nothing: the place bills nothing."""
        return None

    def estimate(self, hours: Sequence[Hour]) -> Estimate | None:
        """Return nothing: the place bills nothing."""
        return None

    def with_builder(self, builder: SilverBuilderKind) -> Self:
        """Refuse: the place has only one builder.

        Raises:
            NotBuildableError: always.
        """
        raise NotBuildableError(
            f"{self._settings.root.absolute()} is built by processes of this machine: {builder} can build Silver only "
            "with EVENT_PIPELINE_ENV=aws"
        )

    def followed_by(self, follower: JobFollower) -> Self:
        """Return this engine, which starts no external jobs."""
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
        """Take nothing: the place has no queue."""
        return RawNotices(frozenset(), ())

    def open_raw(self, key: str) -> BinaryIO:
        """Open the stored bytes of one raw object."""
        return self._raw_place.open(key)

    def raw_opener(self) -> Callable[[str], BinaryIO]:
        """Return `open_raw` for another process."""
        return self._raw_place.opener()

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return the digests of raw objects of an hour."""
        return self._digests.raw_digests(hour, objects)

    # -- Silver

    def hour_commit(self, hour: Hour) -> HourCommit | None:
        """Return the published build of an hour."""
        self.check_readable()
        return self._commits.hour(hour).commit

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        """Return the published builds."""
        self.check_readable()
        return {commit.hour: commit for commit in self._commits.hours(hours, damaged)}

    def build_silver(
        self,
        hours: Sequence[Hour],
        *,
        force: bool = False,
        allow_lost_objects: bool = False,
        progress: Progress,
    ) -> Iterator[SilverBuild]:
        """Build and commit the hours that need it."""
        self.prepare()
        steps = SilverSteps(
            self._settings,
            self._raw,
            self._digests,
            self._lake,
            self._commits,
            self.builder(),
            self._accounts,
            self._clock,
            lambda hour, erasures: self.eraser().erase(hour, erasures),
        )
        return steps.build(hours, force, allow_lost_objects, progress)

    # -- erasure

    def erasures(self) -> Erasures:
        """Return the people whose records are left out of every build."""
        return ErasureList(self._lake).read()

    def eraser(self) -> Eraser:
        """Return what takes people out of the lake."""
        self.prepare()
        return Eraser(self._lake, self._commits, self._raw_place, self.builder(), self.scratch)

    def partials_of(self, hours: HourRange | None) -> list[PartialCommit]:
        """Return the published partials of landing hours."""
        return list(self._commits.partials(hours))

    def fold_again(self, table: GoldTable, days: Sequence[date], progress: Progress) -> None:
        """Fold published days of a Gold table whose partials have changed."""
        self.prepare()
        published = [day for day in days if (commit := self._commits.day(table.name, day).commit) and commit.files]
        with self.sql(self._accounts.spending()) as sql:
            limits = self._settings.event_time_limits
            GoldRefresher(table, limits, self._lake, self._catalog, self._commits, sql).fold(published, progress)

    def replaced_builds(self, hours: Sequence[Hour], now: datetime, holds: Callable[[str], bool]) -> list[Leftover]:
        """List, whatever their age, the replaced builds of which a file `holds` what must go."""
        limits, tables = self._settings.event_time_limits, self._gold_tables()
        days = set[date]()
        for hour in hours:
            # Its partials know days that wider limits accepted.
            partials = [self._commits.partial(table.name, hour).commit for table in tables]
            days.update(date.fromisoformat(day) for partial in partials if partial for day in partial.days)
            first, last = (hour.start - limits.max_age).date(), (hour.end + limits.max_lead).date()
            days.update(first + timedelta(days=offset) for offset in range((last - first).days + 1))
        return self._housekeeper().replaced(hours, days, now, holds)

    # -- partition repair

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Make the catalog show the committed builds."""
        self.prepare()
        return self._repair().register_hours(hours)

    def registered_builds(self, hours: HourRange | None = None) -> dict[Hour, str]:
        """Return the build id that the catalog shows for each hour."""
        self.prepare()
        entries = self._catalog.entries(SILVER_EVENTS.full_name, hours)
        return {hour: entry.build_id for entry in entries if (hour := hour_of_partition(entry.partition))}

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the hours whose files are gone, or that the catalog does not show as committed."""
        self.prepare()
        return self._repair().misshown(commits)

    def repair(self, hours: HourRange | None = None) -> list[PartitionChange]:
        """Make the catalog match the commit records."""
        return self._repair().repair(hours)

    def disagreements(self) -> list[PartitionChange]:
        """Return what `repair` would change."""
        self.prepare()
        return self._repair().disagreements()

    def _repair(self) -> PartitionRepair[AnyEntry]:
        return PartitionRepair(self._lake, self._catalog, self._commits, self._gold_tables())

    # -- Gold

    def refresh_gold(
        self, table: GoldTable, hours: Sequence[Hour], *, force: bool = False, progress: Progress
    ) -> GoldRefresh:
        """Rebuild the partials of the hours that changed, then fold every day they touch."""
        self.prepare()
        spending, limits = self._accounts.spending(), self._settings.event_time_limits
        with self.sql(spending) as sql:
            refresher = GoldRefresher(table, limits, self._lake, self._catalog, self._commits, sql)
            refreshed = refresher.refresh(hours, force, progress)
        cost = spending.cost()
        if refreshed.partial_rows or refreshed.day_rows:
            spending.shared(gold_table(table.name), hours, new_build_id())
        return replace(refreshed, cost=cost)

    def hours_behind(self, table: GoldTable, hours: HourRange | None = None) -> list[Hour]:
        """Return the registered hours that a Gold table does not show yet."""
        self.prepare()
        return hours_behind(table, self._catalog, self._settings.event_time_limits, hours)

    def touched_days(self, table: GoldTable, hour: Hour) -> list[date]:
        """Return the event days of an hour, from its commit records."""
        return committed_days(self.hour_commit(hour), self._commits.partial(table.name, hour).commit)

    def folded_hours(self, table: GoldTable, day: date) -> tuple[Hour, ...]:
        """Return the landing hours of a published day, from the catalog."""
        self.prepare()
        return published_days(table, self._catalog, day, day).hours

    def _gold_tables(self) -> tuple[GoldTable, ...]:
        return load_gold_tables(self._gold_folder)

    def _tables(self) -> tuple[Table, ...]:
        """Return the tables that queries read."""
        return (*HOUR_TABLES, *(gold.table for gold in self._gold_tables()))

    # -- evidence

    def count_rows(self, commit: HourCommit) -> RowCounts:
        """Count the rows in the committed files.

        Reads one Silver column that is never null, because a file's footer has only what its writer assumed.
        """
        if missing := self._commits.missing_files(commit):
            raise StorageError(f"{missing[0]}: a committed file of {commit.hour} is gone or has another size")
        if changed := self.changed_files(commit):
            raise StorageError(f"{changed[0]}: a committed file of {commit.hour} has other bytes than were committed")
        silver_rows = 0
        for column in self._column(commit, SILVER_EVENTS, EVENT_TIME.column.name):
            silver_rows += len(column) - column.null_count
        by_reason: dict[str, int] = {}
        for column in self._column(commit, SILVER_QUARANTINE, "reason"):
            for counted in column.value_counts().to_pylist():
                by_reason[counted["values"]] = by_reason.get(counted["values"], 0) + counted["counts"]
        return RowCounts(silver_rows, sum(by_reason.values()), dict(sorted(by_reason.items())))

    def _column(self, commit: HourCommit, table: Table, name: str) -> Iterator[pa.Array]:
        for file in commit.files_of(table.full_name):
            try:
                with self._lake.open(file.path, file.size) as content:
                    for batch in pq.ParquetFile(content).iter_batches(columns=[name]):
                        yield batch.column(0)
            except (pa.ArrowException, OSError, IndexError) as error:
                raise StorageError(f"{self._lake.url(file.path)}: a data file cannot be read: {error}") from error

    def shown_rows(self, table: Table, hour: Hour) -> Iterator[pa.RecordBatch]:
        """Read the rows of an hour from the files in the catalog, without a query engine."""
        self.prepare()
        for file in self.shown_files(table.full_name, hour.hive_path):
            try:
                with file.store.open(file.key, file.size) as content:
                    yield from read_rows(content, table)
            except (OtherColumnsError, pa.ArrowException, OSError) as error:
                raise StorageError(f"{file.store.url(file.key)}: a data file cannot be read: {error}") from error

    def partition_faults(self, hour: Hour) -> list[str]:
        """Return what keeps queries from seeing the committed build of an hour."""
        self.prepare()
        commit = self.hour_commit(hour)
        if commit is None:
            return [f"{hour}: no build is committed"]
        faults = self._repair().faults(commit)
        faults += [
            f"{url}: is among the committed files but not one of them" for url in self._commits.stray_files(commit)
        ]
        return faults or self._reading_faults(commit)

    def _reading_faults(self, commit: HourCommit) -> list[str]:
        """Compare the rows that a query counts in every table with the committed ones."""
        tables, partition = shown_tables(commit), commit.hour.hive_path
        try:
            with self.sql(self._accounts.spending()) as sql:
                found = sql.counts(tables, commit.hour)
        except TransientError:
            raise
        except PipelineError as error:
            return [f"{partition} cannot be read: {error}"]
        faults = []
        for table in tables:
            expected, counted = sum(file.rows for file in commit.files_of(table.full_name)), found[table.full_name]
            if counted != expected:
                faults.append(
                    f"{table.full_name}: {partition} has {counted:,} rows instead of the committed {expected:,}"
                )
        return faults

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return the grain values that occur more than once in the published days."""
        self.prepare()
        with self.sql(self._accounts.spending()) as sql:
            return sql.grain_faults(table, days)

    def reconcile(self, table: GoldTable, days: Sequence[date]) -> list[Measure]:
        """Return the measures of the published days with the control totals of what they were folded from."""
        self.prepare()
        limits, found, left = self._settings.event_time_limits, list[Measure](), list(days)
        with self.sql(self._accounts.spending()) as sql:
            for _ in range(_MOST_LOOKS):
                shown = self._shown_days(table, left)
                totals = {
                    day: of_day
                    for day in left
                    if (of_day := totals_of_fold(table, self._catalog, limits, day, shown.get(day))) is not None
                }
                measures = sql.reconcile(table, totals)
                # A day that was folded again while its rows were read may be of either fold: read it again.
                now = self._shown_days(table, list(totals))
                left = [day for day in totals if _build_of_entry(now.get(day)) != _build_of_entry(shown.get(day))]
                found += [measure for measure in measures if measure.day not in left]
                if not left:
                    break
        return sorted(found, key=lambda measure: measure.day)

    def _shown_days(self, table: GoldTable, days: Sequence[date]) -> dict[date, AnyEntry]:
        found = self._catalog.get(gold_table(table.name), [day_partition(day) for day in days])
        return {day: found[day_partition(day)] for day in days if day_partition(day) in found}

    def silver_totals(self, day: date) -> DayTotals:
        """Sum the control totals of one event day over all registered hours."""
        self.prepare()
        totals = DayTotals()
        for entry in bearers_of_totals(self._catalog, window_of(day, self._settings.event_time_limits)).values():
            totals += entry.days.get(day, DayTotals())
        return totals

    # -- housekeeping

    def leftovers(self, now: datetime) -> list[Leftover]:
        """List what is no longer needed."""
        behind = {hour for table in self._gold_tables() for hour in self.hours_behind(table)}
        return self._housekeeper().leftovers(behind, now)

    def remove(self, leftover: Leftover) -> None:
        """Remove a leftover."""
        self._housekeeper().remove(leftover)

    def _housekeeper(self) -> Housekeeper[AnyEntry]:
        return Housekeeper(
            self._lake,
            self._catalog,
            self._commits,
            self._repair(),
            self._passing,
            self._gold_tables(),
            self._settings,
        )

    # -- queries

    def query_stream(self, sql: str) -> AbstractContextManager[ResultStream]:
        """Run one read-only statement and stream its rows; the declarations answer `SHOW TABLES` and `DESCRIBE`."""
        tables = (BRONZE_EVENTS, *self._tables())
        described = describe(sql, tables)
        if described is None:
            described = show_tables(sql, tables)
        if described is not None:
            return nullcontext(ResultStream(described.schema, iter(described.to_batches())))
        return self.statement_stream(sql)

    @contextmanager
    def answer(
        self, table: GoldTable, first: date, last: date, landed: HourRange | None = None
    ) -> Iterator[RangeAnswer]:
        """Fold the published event days of a range into one answer."""
        self.prepare()
        found = published_days(table, self._catalog, first, last, landed)
        if not found.days:
            yield RangeAnswer(found, ResultStream(arrow_schema(table.table), iter(())))
            return
        with self.sql(self._accounts.spending()) as sql, sql.answer(table, found.days, found.hours) as rows:
            yield RangeAnswer(found, rows)

    def query(self, sql: str) -> pa.Table:
        """Run one read-only statement over the registered partitions and return its rows."""
        with self.query_stream(sql) as result:
            return result.read_all()


def _build_of_entry(entry: AnyEntry | None) -> str | None:
    return entry.build_id if entry else None
