"""The engine protocol on AWS: each call of the protocol, put together from the rooms beside it."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlglot import exp

from event_pipeline.engines.aws import duckdb_sql
from event_pipeline.engines.aws.athena import Athena
from event_pipeline.engines.aws.athena_sql import AthenaSql
from event_pipeline.engines.aws.catalog import Entry, GlueCatalog, hour_values_of
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.commits import CommitStore
from event_pipeline.engines.aws.costs import CostStore, Meter, estimate, shared
from event_pipeline.engines.aws.digests import RawDigests
from event_pipeline.engines.aws.glue_builder import GlueBuilder
from event_pipeline.engines.aws.glue_job import GlueJob, JobHooks
from event_pipeline.engines.aws.gold import (
    GoldRefresher,
    grain_faults_query,
    hours_behind,
    measures,
    reconcile_queries,
)
from event_pipeline.engines.aws.housekeeping import Housekeeper
from event_pipeline.engines.aws.notices import NoticeQueue
from event_pipeline.engines.aws.pool_builder import PoolBuilder
from event_pipeline.engines.aws.raw import RawStore
from event_pipeline.engines.aws.repair import PartitionRepair, shows
from event_pipeline.engines.aws.silver import SilverBuilder
from event_pipeline.engines.aws.sql import Sql
from event_pipeline.engines.aws.storage import Bucket, RangeFile, StoredObject, split_url
from event_pipeline.engines.base import (
    Estimate,
    GoldRefresh,
    JobFollower,
    Leftover,
    Measure,
    MessageFolder,
    PartitionChange,
    Progress,
    RawNotices,
    ResultStream,
    RowCounts,
    SilverBuild,
    StepCost,
)
from event_pipeline.engines.builder import Builder
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.decisions import (
    ShownPartial,
    committed_days,
    day_partition,
    folded_totals,
    gold_table,
    new_run_id,
    partial_table,
    window_of,
)
from event_pipeline.engines.dialect import (
    check_reads_only,
    parse_query,
    rename_databases,
    render,
    with_star_named,
)
from event_pipeline.engines.finding import Finding, entries_finding, guarded
from event_pipeline.engines.place import DATABASES, Place, aws_place
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals, RawListing, RawObject, UnmatchedKey
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS, SILVER_QUARANTINE, Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline.rules.silver_files import OtherColumnsError, read_rows
from event_pipeline.settings import Settings, SilverBuilderKind, SqlKind

_SILENT_HOOKS = JobHooks()
_MESSAGES = "pipes/"
"""Where Glue runs and those who follow them leave messages, in the artifacts bucket."""
_MOST_LOOKS = 5
"""At a day that other processes fold while it is compared."""


class AwsEngine:
    """Speaks `engines.base.Engine` over buckets, Glue and Athena. Making one calls nothing."""

    def __init__(
        self,
        settings: Settings,
        gold_folder: Path = GOLD_FOLDER,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._gold_folder = gold_folder
        self._aws = Aws(settings)
        self._lake = Bucket(self._aws, settings.lake_bucket)
        raw = Bucket(self._aws, settings.raw_bucket, settings.raw_prefix)
        self._raw = RawStore(raw, settings.first_partition, clock)
        self._digests = RawDigests(raw, self._lake)
        self._commits = CommitStore(self._lake)
        self._costs = CostStore(self._lake)
        self._catalog = GlueCatalog(self._aws, settings)
        self._athena = Athena(self._aws, settings)
        self._artifacts = Bucket(self._aws, settings.artifacts_bucket)
        self._job = GlueJob(self._aws, settings, self._artifacts, self._lake)
        self._hooks = _SILENT_HOOKS

    @property
    def place(self) -> Place:
        """Name the buckets, the catalog and the workgroup."""
        return aws_place(self._settings)

    def with_builder(self, builder: SilverBuilderKind) -> AwsEngine:
        """Return this engine with another builder of Silver than the settings name."""
        engine = copy.copy(self)
        engine._settings = self._settings.model_copy(update={"builder": builder})
        return engine

    def followed_by(self, follower: JobFollower) -> AwsEngine:
        """Return this engine with somebody who follows its Glue runs."""
        engine = copy.copy(self)
        engine._hooks = JobHooks(lambda: follower.arguments(self._message_folder()), follower.started)
        return engine

    def _message_folder(self) -> MessageFolder:
        prefix = f"{_MESSAGES}{uuid.uuid4().hex}/"

        def delete() -> None:
            self._artifacts.delete([each.key for each in self._artifacts.list(prefix)])

        return MessageFolder(self._aws.client("s3"), self._settings.artifacts_bucket, prefix, delete)

    def examine(self) -> Iterator[Finding]:
        """Compare the catalog with the commit records."""
        yield guarded("published builds", lambda: entries_finding(self.disagreements()))

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
        """Take what the queue of new raw objects holds, where the settings name one."""
        url = self._settings.raw_queue_url
        return (
            NoticeQueue(self._aws, url, self._settings.raw_prefix).take(done_with)
            if url
            else RawNotices(frozenset(), ())
        )

    def open_raw(self, key: str) -> BinaryIO:
        """Open the stored bytes of one raw object."""
        return self._raw.open(key)

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return the digests of some raw objects of an hour."""
        return self._digests.of(hour, objects)

    # -- Silver

    def hour_commit(self, hour: Hour) -> HourCommit | None:
        """Return the published build of an hour."""
        return self._commits.hour(hour).commit

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        """Return the published builds."""
        return {commit.hour: commit for commit in self._commits.hours(hours, damaged)}

    def build_silver(
        self,
        hours: Sequence[Hour],
        *,
        force: bool = False,
        allow_fewer_objects: bool = False,
        progress: Progress,
    ) -> Iterator[SilverBuild]:
        """Build and commit the hours that need it, all of them in one go."""
        builder = SilverBuilder(
            self,
            self._aws,
            self._settings,
            self._raw,
            self._lake,
            self._commits,
            self._costs,
            self._builder(),
            self._clock,
        )
        return builder.build(hours, force, allow_fewer_objects, progress)

    def _builder(self) -> Builder:
        match self._settings.builder:
            case SilverBuilderKind.GLUE:
                return GlueBuilder(self._settings, self._lake, self._commits, self._job, self._hooks)
            case SilverBuilderKind.POOL:
                return PoolBuilder(self._aws, self._settings, self._lake)

    # -- partition repair

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Make the catalog show the committed builds."""
        return self._repair().register_hours(hours)

    def registered_runs(self, hours: HourRange | None = None) -> dict[Hour, str]:
        """Return the run id that the catalog shows for each hour."""
        entries = self._catalog.entries(SILVER_EVENTS.full_name, hours)
        return {Hour.of_hive_path(entry.partition): entry.run_id for entry in entries}

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the hours whose files are gone, or that the catalog shows otherwise than they were committed."""
        return self._repair().misshown(commits)

    def repair(self, hours: HourRange | None = None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records."""
        return self._repair().repair(hours)

    def disagreements(self) -> list[PartitionChange]:
        """Return what `repair` would change."""
        return self._repair().disagreements()

    def _repair(self) -> PartitionRepair:
        return PartitionRepair(self._lake, self._catalog, self._commits, load_gold_tables(self._gold_folder))

    # -- Gold

    def refresh_gold(
        self, table: GoldTable, hours: Sequence[Hour], *, force: bool = False, progress: Progress
    ) -> GoldRefresh:
        """Rebuild the partials of the hours that changed, then fold every day they touch."""
        meter = Meter(self._aws, self._settings)
        with self._gold_sql(meter) as sql:
            refresher = GoldRefresher(table, self._settings, self._lake, self._catalog, self._commits, sql)
            refreshed = refresher.refresh(hours, force, progress)
        cost = meter.cost()
        if refreshed.partial_rows or refreshed.day_rows:
            run_id, share = new_run_id(), shared(cost, len(hours))
            for hour in hours:
                self._costs.write(StepCost(hour, gold_table(table.name), run_id, share))
        return replace(refreshed, cost=cost)

    @contextmanager
    def _gold_sql(self, meter: Meter) -> Iterator[Sql]:
        match self._settings.sql:
            case SqlKind.ATHENA:
                yield AthenaSql(self._athena, meter, self._catalog, self._lake, self._settings)
            case SqlKind.DUCKDB:
                with duckdb_sql.opened(self._settings, self._lake) as sql:
                    yield sql

    def hours_behind(self, table: GoldTable, hours: HourRange | None = None) -> list[Hour]:
        """Return the registered hours that a Gold table does not show yet."""
        return hours_behind(table, self._catalog, self._settings, hours)

    def touched_days(self, table: GoldTable, hour: Hour) -> list[date]:
        """Return the event days of an hour, as its commit records say."""
        return committed_days(self.hour_commit(hour), self._commits.partial(table.name, hour).commit)

    # -- evidence

    def count_rows(self, commit: HourCommit) -> RowCounts:
        """Count the rows that the committed files really hold.

        Of Silver one column that is never null is read, because a file's footer says what its writer believed.
        """
        if missing := self._commits.missing_files(commit):
            raise StorageError(f"{missing[0]}: a committed file of {commit.hour} is gone or has another size")
        silver_rows = sum(len(column) - column.null_count for column in self._column(commit, SILVER_EVENTS, "event_ts"))
        by_reason: dict[str, int] = {}
        for column in self._column(commit, SILVER_QUARANTINE, "reason"):
            for counted in pc.value_counts(column).to_pylist():
                by_reason[counted["values"]] = by_reason.get(counted["values"], 0) + counted["counts"]
        return RowCounts(silver_rows, sum(by_reason.values()), dict(sorted(by_reason.items())))

    def _column(self, commit: HourCommit, table: Table, name: str) -> Iterator[pa.ChunkedArray]:
        for file in commit.files_of(table.full_name):
            try:
                with pq.ParquetFile(pa.PythonFile(RangeFile(self._lake, file.path, file.size))) as content:
                    yield content.read(columns=[name]).column(name)
            except (pa.ArrowException, OSError, KeyError) as error:
                raise StorageError(f"{self._lake.url(file.path)}: cannot be read: {error}") from error

    def shown_rows(self, table: Table, hour: Hour) -> Iterator[pa.RecordBatch]:
        """Read the rows of an hour from the files that the catalog shows: by range, never by Athena's result pages."""
        entry = self._catalog.entry(table.full_name, hour.hive_path)
        if entry is None:
            return
        bucket = Bucket(self._aws, split_url(entry.location)[0])
        for each in self._shown_objects(entry):
            try:
                yield from read_rows(pa.PythonFile(RangeFile(bucket, each.key, each.size)), table)
            except (OtherColumnsError, pa.ArrowException, OSError) as error:
                raise StorageError(f"{bucket.url(each.key)}: cannot be read: {error}") from error

    def partition_faults(self, hour: Hour) -> list[str]:
        """Say what keeps a query from seeing the committed build of an hour."""
        commit = self.hour_commit(hour)
        if commit is None:
            return [f"{hour}: no build is committed"]
        faults = []
        for table in HOUR_TABLES:
            entry = self._catalog.entry(table.full_name, hour.hive_path)
            fault = shows(commit, table.full_name, self._lake.url(""), entry)
            faults += [fault] if fault else []
        faults += [f"{url}: lies among the committed files" for url in self._commits.stray_files(commit)]
        return faults or self._reading_faults(commit)

    def _reading_faults(self, commit: HourCommit) -> list[str]:
        """Count every table's partition, as an analyst would."""
        if self._settings.sql is SqlKind.DUCKDB:
            return self._reading_faults_by_duckdb(commit)
        where = hour_values_of([commit.hour])
        counts = " UNION ALL ".join(
            f"SELECT '{table.full_name}' AS name, COUNT(*) AS found FROM {table.full_name} WHERE {where}"
            for table in HOUR_TABLES
        )
        try:
            found = {row["name"]: row["found"] for row in self.query(counts).to_pylist()}
        except TransientError:
            raise
        except PipelineError as error:
            return [f"{commit.hour.hive_path} cannot be read: {error}"]
        faults = []
        for table in HOUR_TABLES:
            expected = sum(file.rows for file in commit.files_of(table.full_name))
            if found.get(table.full_name) != expected:
                faults.append(
                    f"{table.full_name}: {commit.hour.hive_path} has {found.get(table.full_name, 0):,} rows, committed "
                    f"were {expected:,}"
                )
        return faults

    def _reading_faults_by_duckdb(self, commit: HourCommit) -> list[str]:
        faults, partition = list[str](), commit.hour.hive_path
        with duckdb_sql.opened(self._settings, self._lake) as sql:
            for table in HOUR_TABLES:
                expected = sum(file.rows for file in commit.files_of(table.full_name))
                try:
                    found = sql.rows(table, partition, self._shown_keys(table.full_name, partition))
                except TransientError:
                    raise
                except PipelineError as error:
                    faults.append(f"{table.full_name}: {partition} cannot be read: {error}")
                    continue
                if found != expected:
                    faults.append(f"{table.full_name}: {partition} has {found:,} rows, committed were {expected:,}")
        return faults

    def _shown_keys(self, table: str, partition: str) -> list[str]:
        """Return the keys of the lake's files that the catalog shows for a partition."""
        entry = self._catalog.entry(table, partition)
        return [each.key for each in self._shown_objects(entry)] if entry else []

    def _shown_objects(self, entry: Entry) -> list[StoredObject]:
        """List what is below a partition's location, but for what Athena passes over as well."""
        name, prefix = split_url(f"{entry.location.rstrip('/')}/")
        listed = Bucket(self._aws, name).list(prefix)
        return [each for each in listed if each.size and not each.key.rpartition("/")[2].startswith(("_", "."))]

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return the grain values that stand more than once in the published days."""
        if self._settings.sql is SqlKind.DUCKDB:
            name = gold_table(table.name)
            keys = {day_partition(day): self._shown_keys(name, day_partition(day)) for day in days}
            with duckdb_sql.opened(self._settings, self._lake) as sql:
                return sql.grain_faults(table, keys)
        return self._rows(grain_faults_query(table, days)).to_pylist() if days else []

    def reconcile(self, table: GoldTable, days: Sequence[date]) -> list[Measure]:
        """Return the measures of the published days beside the control totals of what they were folded from."""
        found: list[Measure] = []
        left = list(days)
        for _ in range(_MOST_LOOKS):
            shown = {day: self._catalog.entry(gold_table(table.name), day_partition(day)) for day in left}
            totals = {day: self._folded_totals(table, day, entry) for day, entry in shown.items()}
            compared = {day: of_day for day, of_day in totals.items() if of_day is not None}
            rows = self._measured(table, compared, shown)
            # A day that was folded anew while its rows were read may be of either fold: it is read again.
            left = [
                day
                for day in compared
                if _run_of(self._catalog.entry(gold_table(table.name), day_partition(day))) != _run_of(shown[day])
            ]
            found += [measure for measure in rows if measure.day not in left]
            if not left:
                break
        return sorted(found, key=lambda measure: measure.day)

    def _measured(
        self, table: GoldTable, totals: Mapping[date, DayTotals], shown: Mapping[date, Entry | None]
    ) -> list[Measure]:
        if self._settings.sql is SqlKind.ATHENA:
            return [row for query in reconcile_queries(table, totals) for row in measures(self._rows(query))]
        with duckdb_sql.opened(self._settings, self._lake) as sql:
            return [
                measure
                for day, of_day in totals.items()
                if (entry := shown[day])
                for measure in sql.reconcile(
                    table, day, entry.partition, [each.key for each in self._shown_objects(entry)], of_day
                )
            ]

    def _folded_totals(self, table: GoldTable, day: date, shown: Entry | None) -> DayTotals | None:
        window, name = window_of(day, self._settings.event_time_limits), partial_table(table.name)
        folded = shown.partials if shown else {}
        partials = {entry.partition: entry for entry in self._catalog.entries(name, window)}
        partials |= self._catalog.get(name, [hour for hour in folded if hour not in partials])
        bearers = self._bearers(window)
        if outside := [hour for hour in folded if hour not in bearers]:
            bearers |= self._catalog.get(HOUR_LEDGER.full_name, outside)
        return folded_totals(
            folded,
            {hour: ShownPartial(each.run_id, each.made_from, day in each.days) for hour, each in partials.items()},
            {hour: (each.run_id, each.days[day]) for hour, each in bearers.items() if day in each.days},
        )

    def _bearers(self, window: HourRange) -> dict[str, Entry]:
        """Return the partitions that have the control totals of some hours, by hour."""
        # The ledger's partitions bear those of retired hours; one that is just being retired has both.
        return {
            entry.partition: entry
            for table in (HOUR_LEDGER, SILVER_EVENTS)
            for entry in self._catalog.entries(table.full_name, window)
        }

    def silver_totals(self, day: date) -> DayTotals:
        """Sum the control totals of one event day over all registered hours."""
        totals = DayTotals()
        for entry in self._bearers(window_of(day, self._settings.event_time_limits)).values():
            totals += entry.days.get(day, DayTotals())
        return totals

    # -- housekeeping

    def leftovers(self, now: datetime) -> list[Leftover]:
        """List what nobody needs any more."""
        behind = {hour for table in load_gold_tables(self._gold_folder) for hour in self.hours_behind(table)}
        return self._housekeeper().leftovers(behind, now)

    def remove(self, leftover: Leftover) -> None:
        """Remove one of them."""
        self._housekeeper().remove(leftover)

    def _housekeeper(self) -> Housekeeper:
        tables = load_gold_tables(self._gold_folder)
        return Housekeeper(self._lake, self._catalog, self._commits, self._repair(), tables, self._settings)

    # -- queries

    def query(self, sql: str) -> pa.Table:
        """Run one SELECT in DuckDB's dialect over the registered partitions and gather its rows."""
        with self.query_stream(sql) as result:
            return result.read_all()

    @contextmanager
    def query_stream(self, sql: str) -> Iterator[ResultStream]:
        """Run one SELECT in DuckDB's dialect over the registered partitions, rendered for Athena.

        Athena asks the catalog for each table's partitions by itself: one that is published meanwhile can be seen in
        one table and not yet in another.
        """
        query, columns = parse_query(sql), dict[str, list[str]]()
        check_reads_only(query, DATABASES)
        for table in (*HOUR_TABLES, *(gold.table for gold in load_gold_tables(self._gold_folder))):
            if table.full_name in sql:
                self._catalog.ensure(table)
            names = [column.name for column in table.columns]
            keys = [column.name for column in table.partition_columns]
            columns[table.full_name] = keys + names if table.database == "gold" else names + keys
        rendered = self._rendered(with_star_named(query, columns))
        # What is sent is judged again, as Athena will read it.
        check_reads_only(
            parse_query(rendered, "athena"), {self._catalog.database(f"{database}.") for database in DATABASES}
        )
        with self._athena.stream(rendered, Meter(self._aws, self._settings), self._settings.query_result_mb) as result:
            yield result

    def _rows(self, query: exp.Query) -> pa.Table:
        return self._athena.rows(self._rendered(query), Meter(self._aws, self._settings))

    def _rendered(self, query: exp.Query) -> str:
        return render(rename_databases(query, lambda database: self._catalog.database(f"{database}.")), "athena")

    # -- costs

    def costs(self, hours: HourRange) -> list[StepCost]:
        """Return what the steps of a range of landing hours used, as it was recorded."""
        return self._costs.read(hours)

    def estimate(self, hours: Sequence[Hour]) -> Estimate:
        """Return what building some hours would start and about cost; lists raw objects and starts nothing."""
        listings = self._raw.list_hours(HourRange.of(hours)) if hours else {}
        return estimate(
            {hour: listings.get(hour, RawListing(hour, ())) for hour in hours},
            len(load_gold_tables(self._gold_folder)),
            self._settings,
        )


def _run_of(entry: Entry | None) -> str | None:
    return entry.run_id if entry else None
