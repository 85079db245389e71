"""The engine on AWS: S3, the Glue catalog, and, depending on the settings, Glue or this host, Athena or DuckDB."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from event_pipeline.engines.aws.accounts import AwsAccounts, AwsSpending
from event_pipeline.engines.aws.athena import Athena
from event_pipeline.engines.aws.athena_sql import AthenaSql
from event_pipeline.engines.aws.catalog import GlueCatalog, GlueEntry
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.costs import CostStore, Meter, estimate
from event_pipeline.engines.aws.glue_builder import GlueBuilder
from event_pipeline.engines.aws.glue_job import GlueJob, JobHooks
from event_pipeline.engines.aws.notices import NoticeQueue
from event_pipeline.engines.aws.passing import DecodedPrefixes
from event_pipeline.engines.aws.raw import ObjectSource, RawBucket
from event_pipeline.engines.aws.storage import Bucket, split_url
from event_pipeline.engines.base import (
    Estimate,
    JobFollower,
    MessageFolder,
    RawNotices,
    ResultStream,
    StepCost,
)
from event_pipeline.engines.builder import Builder
from event_pipeline.engines.description import columns_shown
from event_pipeline.engines.dialect import check_reads_only, parse_query, rename_databases, render, with_star_named
from event_pipeline.engines.engine import PortEngine, Ports, ShownFile, utc_now
from event_pipeline.engines.host.duckdb_sql import over_copies
from event_pipeline.engines.host.layout import HOST_FOLDER, Layout
from event_pipeline.engines.host.pool_builder import PoolBuilder
from event_pipeline.engines.place import DATABASES, Place, aws_place
from event_pipeline.engines.silver import Spending
from event_pipeline.engines.sql import Sql
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.contract import BRONZE_EVENTS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings, SilverBuilderKind, SqlKind

_READERS = 16
_SILENT_HOOKS = JobHooks()
_MESSAGES = "pipes/"
"""Prefix in the artifacts bucket for messages between Glue runs and their followers."""


class AwsEngine(PortEngine[GlueEntry]):
    """The engine over buckets, the Glue catalog and Athena. Creating it calls nothing."""

    def __init__(
        self, settings: Settings, gold_folder: Path = GOLD_FOLDER, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._aws = Aws(settings)
        self._bucket = Bucket(self._aws, settings.lake_bucket)
        self._glue_catalog = GlueCatalog(self._aws, settings)
        self._costs = CostStore(self._bucket)
        self._athena = Athena(self._aws, settings)
        self._artifacts = Bucket(self._aws, settings.artifacts_bucket)
        self._job = GlueJob(self._aws, settings, self._artifacts, self._bucket)
        self._hooks = _SILENT_HOOKS
        ports = Ports(
            self._bucket,
            RawBucket(Bucket(self._aws, settings.raw_bucket, settings.raw_prefix), settings),
            self._glue_catalog,
            AwsAccounts(self._aws, settings, self._costs, clock),
            DecodedPrefixes(self._bucket),
        )
        super().__init__(settings, ports, gold_folder, clock)

    # -- the place

    @property
    def place(self) -> Place:
        """Return buckets, catalog and workgroup as a place."""
        return aws_place(self._settings)

    def with_builder(self, builder: SilverBuilderKind) -> Self:
        """Return this engine with a builder of Silver other than the one in the settings."""
        engine = copy.copy(self)
        engine._settings = self._settings.model_copy(update={"builder": builder})
        return engine

    def followed_by(self, follower: JobFollower) -> Self:
        """Return this engine with a follower of its Glue runs."""
        engine = copy.copy(self)
        engine._hooks = JobHooks(lambda: follower.arguments(self._message_folder()), follower.started)
        return engine

    def _message_folder(self) -> MessageFolder:
        prefix = f"{_MESSAGES}{uuid.uuid4().hex}/"

        def delete() -> None:
            self._artifacts.delete([each.key for each in self._artifacts.list(prefix)])

        return MessageFolder(self._aws.client("s3"), self._settings.artifacts_bucket, prefix, delete)

    def costs(self, hours: HourRange) -> list[StepCost]:
        """Return the recorded costs of the steps of a range of landing hours."""
        return self._costs.read(hours)

    def estimate(self, hours: Sequence[Hour]) -> Estimate:
        """Return what building some hours would start, and its estimated cost; lists raw objects and starts nothing."""
        listings = self._raw.list_hours(HourRange.of(hours)) if hours else {}
        return estimate(
            {hour: listings.get(hour, RawListing(hour, ())) for hour in hours},
            len(self._gold_tables()),
            self._settings,
        )

    def take_notices(self, done_with: Sequence[str]) -> RawNotices:
        """Receive from the queue of new raw objects, if the settings have one."""
        url, prefix = self._settings.raw_queue_url, self._settings.raw_prefix
        return NoticeQueue(self._aws, url, prefix).take(done_with) if url else super().take_notices(done_with)

    # -- ports

    def builder(self) -> Builder:
        """Return the Glue job, or the pool of processes of this host."""
        settings = self._settings
        match settings.builder:
            case SilverBuilderKind.GLUE:
                return GlueBuilder(settings, self._bucket, self._commits, self._job, self._hooks)
            case SilverBuilderKind.POOL:
                return PoolBuilder(
                    Layout(settings.root / HOST_FOLDER),
                    self._lake,
                    lambda listed: ObjectSource(settings, listed),
                    settings.event_time_limits,
                    settings.workers,
                    settings.duckdb_memory_mb,
                    settings.lock_timeout_seconds,
                )

    @property
    def scratch(self) -> Path:
        """Return the scratch folder of this host."""
        return Layout(self._settings.root / HOST_FOLDER).scratch

    @contextmanager
    def sql(self, spending: Spending) -> Iterator[Sql]:
        """Open Athena, or DuckDB over copies of the lake's files."""
        settings = self._settings
        match settings.sql:
            case SqlKind.ATHENA:
                assert isinstance(spending, AwsSpending)
                yield AthenaSql(self._athena, spending, self._glue_catalog, self._bucket, settings)
            case SqlKind.DUCKDB:
                with over_copies(settings, self._lake, self.scratch, self._shown_keys) as sql:
                    yield sql

    def _shown_keys(self, table: str, partitions: Sequence[str]) -> dict[str, list[str]]:
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(lambda partition: self.shown_files(table, partition), partitions)
            return {partition: [file.key for file in files] for partition, files in zip(partitions, found, strict=True)}

    def shown_files(self, table: str, partition: str) -> list[ShownFile]:
        """List what is under a partition's location, without the files that Athena ignores."""
        entry = self._glue_catalog.entry(table, partition)
        if entry is None:
            return []
        name, prefix = split_url(f"{entry.location.rstrip('/')}/")
        bucket = Bucket(self._aws, name)
        return [
            ShownFile(bucket, each.key, each.size)
            for each in bucket.list(prefix)
            if each.size and not each.key.rpartition("/")[2].startswith(("_", "."))
        ]

    # -- queries

    @contextmanager
    def statement_stream(self, sql: str) -> Iterator[ResultStream]:
        """Run one SELECT in DuckDB's dialect over the registered partitions, rendered for Athena.

        Athena reads each table's partitions from the catalog separately: an hour that is published meanwhile may be
        visible in one table but not yet in another.
        """
        query, columns = parse_query(sql), dict[str, list[str]]()
        check_reads_only(query, DATABASES)
        for table in self._tables():
            if table.full_name in sql:
                self._catalog.ensure(table)
            columns[table.full_name] = [column.name for column in columns_shown(table)]
        columns[BRONZE_EVENTS.full_name] = [column.name for column in columns_shown(BRONZE_EVENTS)]
        catalog = self._glue_catalog
        named = rename_databases(with_star_named(query, columns), lambda database: catalog.database(f"{database}."))
        rendered = render(named, "athena")
        # The rendered statement is checked again, as Athena will parse it.
        check_reads_only(parse_query(rendered, "athena"), {catalog.database(f"{database}.") for database in DATABASES})
        with self._athena.stream(rendered, Meter(self._aws, self._settings), self._settings.query_result_mb) as result:
            yield result
