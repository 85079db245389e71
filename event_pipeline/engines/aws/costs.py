"""Costs of steps: prices, cost records per hour in the lake, and estimates for backfills.

Estimates use list prices from the settings; taxes, free tiers, logs and storage are not included.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from decimal import Decimal

from event_pipeline.engines import layout
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Cost, Estimate, StepCost
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange, hive_path_of
from event_pipeline.rules.stored_json import read_json, read_value
from event_pipeline.settings import Settings, SilverBuilderKind, SqlKind

LEAST_BYTES_PER_QUERY = 10_000_000
LEAST_SECONDS_PER_GLUE_RUN = 60

_TB = Decimal(10) ** 12
_READERS = 16
_FEW_DAYS = 31
"""Up to this many days are listed one by one; beyond, everything is listed and sorted out here."""

_GLUE_START_SECONDS = 45
"""Seconds from the start of billing until the first task: session, packages, plan."""
_RAW_BYTES_PER_CORE_SECOND = 3_000_000
"""Stored raw bytes that one core of a worker validates and writes per second: half of what a core of the development
machine does. Not measured on Glue."""
_CORES_PER_DPU = 4
_SILVER_BYTES_PER_RAW_BYTE = 0.55
_PARTIAL_SHARE_OF_SILVER = 0.35
"""Share of a landing hour's Silver in the columns of one partial, which are all that Athena reads."""
_CHECK_QUERIES_PER_HOUR = 1
_QUERIES_PER_TABLE_AND_HOUR = 5
"""One partial, the fold of its day, and the checks and the preview of that day."""
_COPIES_PER_TABLE_AND_HOUR = 30
"""With DuckDB: Silver of the hour, and the partials of a day and of its neighbours, copied for one refresh."""
_WRITES_PER_HOUR = 90
"""LIST and PUT requests of one landing hour in all steps, including those of Glue and Athena."""


class Meter:
    """Measures what one step uses: queries and Glue runs are reported to it, S3 requests it counts itself."""

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self._aws = aws
        self._settings = settings
        self._start = aws.s3_requests()
        self._dpu_seconds = Decimal(0)
        self._scanned: list[int] = []

    def query(self, bytes_scanned: int) -> None:
        """Count one Athena query."""
        self._scanned.append(bytes_scanned)

    def glue_run(self, dpu_seconds: Decimal) -> None:
        """Count one Glue run."""
        self._dpu_seconds += dpu_seconds

    @property
    def bytes_scanned(self) -> int:
        """Bytes scanned by the queries so far."""
        return sum(self._scanned)

    def cost(self) -> Cost:
        """Return the cost since the meter was created."""
        writes, reads = (now - then for now, then in zip(self._aws.s3_requests(), self._start, strict=True))
        settings = self._settings
        usd = (
            glue_usd(settings, self._dpu_seconds)
            + athena_usd(settings, self._scanned)
            + Decimal(writes) / 1000 * settings.price_s3_1000_writes
            + Decimal(reads) / 1000 * settings.price_s3_1000_reads
        )
        return Cost(usd, self._dpu_seconds, self.bytes_scanned, len(self._scanned), writes + reads)


def glue_usd(settings: Settings, dpu_seconds: Decimal) -> Decimal:
    """Return the price of Glue capacity in USD."""
    price = settings.price_glue_flex_dpu_hour if settings.glue_flex else settings.price_glue_dpu_hour
    return dpu_seconds / 3600 * price


def athena_usd(settings: Settings, scanned: Iterable[int]) -> Decimal:
    """Return the price of queries in USD, by the bytes that each of them scanned."""
    billed = sum(max(each, LEAST_BYTES_PER_QUERY) for each in scanned)
    return Decimal(billed) / _TB * settings.price_athena_tb


def shared(cost: Cost, among: int) -> Cost:
    """Return one of `among` equal shares of a cost."""
    share = max(1, among)
    return Cost(
        cost.usd / share,
        cost.dpu_seconds / share,
        cost.bytes_scanned // share,
        math.ceil(cost.queries / share),
        math.ceil(cost.requests / share),
    )


class CostStore:
    """The cost records of one lake: one small object per landing hour, step and run."""

    def __init__(self, lake: Bucket) -> None:
        self._lake = lake

    def write(self, entry: StepCost) -> None:
        """Store the cost of a step for one landing hour."""
        record = {"format": 1, "step": entry.step, "build_id": entry.build_id, **asdict(entry.cost)}
        key = f"{layout.cost_prefix(entry.hour)}{entry.step}-{entry.build_id}.json"
        self._lake.write(key, json.dumps(record, default=str).encode())

    def read(self, hours: HourRange) -> list[StepCost]:
        """Return all cost records of a range of landing hours, in order."""
        wanted = []
        prefixes = [layout.COSTS]
        if (hours.last_day - hours.first_day).days <= _FEW_DAYS:
            prefixes = [f"{layout.COSTS}{hive_path_of(day)}/" for day in hours.days]
        for prefix in prefixes:
            for each in self._lake.list(prefix):
                hour = Hour.of_hive_path(each.key.removeprefix(layout.COSTS).rpartition("/")[0])
                if hour in hours:
                    wanted.append((hour, each.key))
        with ThreadPoolExecutor(_READERS) as readers:
            return [entry for entry in readers.map(lambda place: self._read(*place), wanted) if entry]

    def _read(self, hour: Hour, key: str) -> StepCost | None:
        found = self._lake.read(key)
        if found is None:
            return None
        try:
            record = read_json(found[0])
            counts = (read_value(int, record[name], name) for name in ("bytes_scanned", "queries", "requests"))
            cost = Cost(Decimal(record["usd"]), Decimal(record["dpu_seconds"]), *counts)
            step, build_id = (read_value(str, record[name], name) for name in ("step", "build_id"))
            if not (cost.usd.is_finite() and cost.dpu_seconds.is_finite()):
                raise ValueError(f"{cost} is not a cost")
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise StorageError(
                f"{self._lake.url(key)}: damaged cost record ({error!r:.200}): remove it; no data depends on it"
            ) from error
        return StepCost(hour, step, build_id, cost)


def estimate(listings: Mapping[Hour, RawListing], gold_tables: int, settings: Settings) -> Estimate:
    """Estimate from the raw listings what building these hours costs; starts and reads nothing."""
    listed: Sequence[RawListing] = list(listings.values())
    raw_bytes = sum(listing.raw_bytes for listing in listed)
    batches = [
        listed[start : start + settings.hours_per_run] for start in range(0, len(listed), settings.hours_per_run)
    ]
    dpus = settings.glue_workers * settings.glue_worker_type.dpus
    # The driver validates nothing.
    cores = (settings.glue_workers - 1) * settings.glue_worker_type.dpus * _CORES_PER_DPU
    with_objects = [batch for batch in batches if any(listing.objects for listing in batch)]
    seconds = [
        _GLUE_START_SECONDS + math.ceil(_bytes(batch) / cores / _RAW_BYTES_PER_CORE_SECOND) for batch in with_objects
    ]
    seconds = [max(LEAST_SECONDS_PER_GLUE_RUN, each) for each in seconds]
    if settings.builder is SilverBuilderKind.POOL:
        with_objects, seconds = [], []
    dpu_seconds = Decimal(sum(seconds) * dpus)
    partial = int(raw_bytes / max(1, len(listed)) * _SILVER_BYTES_PER_RAW_BYTE * _PARTIAL_SHARE_OF_SILVER)
    partials = gold_tables * len(listed)
    queries = len(listed) * _CHECK_QUERIES_PER_HOUR + partials * _QUERIES_PER_TABLE_AND_HOUR
    reads = 0
    if settings.builder is SilverBuilderKind.POOL:
        reads += sum(len(listing.objects) for listing in listed)
    if settings.sql is SqlKind.DUCKDB:
        # Athena only runs the preview of a table; checks and folds read copies of the files.
        queries, partial = partials, 0
        reads += partials * _COPIES_PER_TABLE_AND_HOUR
    billed = partials * max(partial, LEAST_BYTES_PER_QUERY) + (queries - partials) * LEAST_BYTES_PER_QUERY
    writes = len(listed) * _WRITES_PER_HOUR
    usd = (
        glue_usd(settings, dpu_seconds)
        + Decimal(billed) / _TB * settings.price_athena_tb
        + Decimal(writes) / 1000 * settings.price_s3_1000_writes
        + Decimal(reads) / 1000 * settings.price_s3_1000_reads
    )
    return Estimate(
        builder=settings.builder,
        hours=len(listed),
        objects=sum(len(listing.objects) for listing in listed),
        raw_bytes=raw_bytes,
        glue_runs=len(with_objects),
        glue_minutes=Decimal(sum(seconds)) / 60,
        queries=queries,
        cost=Cost(usd, dpu_seconds, partials * partial, queries, writes + reads),
    )


def _bytes(batch: Sequence[RawListing]) -> int:
    return sum(listing.raw_bytes for listing in batch)
