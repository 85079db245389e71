"""The Glue job: builds Silver of the landing hours in a plan, with one Spark task per raw object.

It has no rules of its own. Every record is judged by `event_pipeline.rules.validation` and every file written by
`event_pipeline.rules.silver_files`, as in the embedded engine; Spark distributes the work and shuffles possible
duplicates. Raw objects are read once. Accepted rows stay under `<target>scratch/` until all objects of the hour are
known, so the driver holds counts, never rows. For an open hour they stay under the prefix given in the plan, for the
hour's next builds: an object that is there completely is not read again.

    --plan s3://bucket/key    what to build: time limits, raw bucket; per hour its objects, run id and target
    --token text              identifies the run for its orchestrator; must equal the plan's token
    --region name             if boto3 does not find one (optional)
    --dagster-pipes-context, --dagster-pipes-messages    progress to Dagster, if its `dagster_pipes` is installed

Output for each hour: Parquet files under `<target>events/` and `<target>quarantine/`, and finally
`<target>manifest.json`, a commit record (engines/commit.py) that publishes nothing yet. An hour with a manifest is not
built again. Hours are independent: one that fails does not affect the others, its reason is in
`<target>failure.txt`, and the job fails at its end with a last line that names hour and object.

All stored bytes go through boto3, so it runs under Glue as well as under plain pyspark.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
import pyarrow as pa
import pyarrow.compute as pc
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pyspark import Accumulator, AccumulatorParam, SparkContext
from pyspark.sql import SparkSession

from event_pipeline.engines.commit import CommitRecordError, DataFile, HourCommit
from event_pipeline.rules.accounting import (
    DayTotals,
    HourAccount,
    ObjectAccount,
    add_days,
    decoded_name,
    fingerprint,
)
from event_pipeline.rules.contract import COMMON_IDS, EVENT_TIME, SILVER_EVENTS, SILVER_QUARANTINE, Limits, rules_digest
from event_pipeline.rules.duplicates import (
    InstantOrder,
    doubtful_objects,
    instant_order,
    joined_order,
    later_equals,
    without_lines,
)
from event_pipeline.rules.erasure import NOBODY, Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.resent import bounded
from event_pipeline.rules.silver_files import FILE_BYTES, EventsFile, gathered, groups_by_size, write_quarantine
from event_pipeline.rules.stored_json import read_dataclass, read_json
from event_pipeline.rules.validation import day_totals, judge_stored_object, silver_rows

PLAN_FORMAT = 5
DECODED_FORMAT = 2
"""Format of the decoded objects of open hours: the report, and events and quarantine as Arrow streams."""
REPORT = "report.json"
"""Written last: an object is decoded if this exists and the streams match it."""
READ_ATTEMPTS = 3
SCRATCH_BYTES_PER_FILE_BYTE = 3
"""Accepted events take 28.7 bytes in a scratch object and 9.9 in the Silver file (300,000 generated events)."""
SHUFFLED_ROWS = 1 << 19
"""Rows compared per partition of the shuffle: about 50 MB."""
SHUFFLED_BYTES = 64 << 20
BATCH_ROWS = 1 << 17
COPY_BYTES = 1 << 20
LEAST_PYARROW = 21
"""The first version with `pyarrow.arange`, which the rules need; a Glue image may have an older one."""
PIPES_SECONDS = 3
LISTED_FAILURES = 5

REMEDIES = {
    "AccessDenied": ": let the job's role read it (s3:GetObject, and kms:Decrypt where it is encrypted)",
    "403": ": let the job's role read it (s3:GetObject, and kms:Decrypt where it is encrypted)",
    "InvalidObjectState": ": its storage class is an archive: restore it (aws s3api restore-object) and run again",
}
"""What to do about a raw object that S3 refuses to return, by error code."""

Judged = tuple[ObjectAccount, InstantOrder | None, int, int]
"""One raw object: its account, the time order of its events, bytes of its two scratch objects (0: none)."""
Written = tuple[DataFile | None, dict[int, tuple[int, int]], dict[str, DayTotals]]
"""One file: its entry (None: no rows left), object number -> (rows, duplicates), totals by event day."""


class SilverJobError(Exception):
    """The job, or one hour of it, cannot be built; the one-line message names hour and object."""


@dataclass(frozen=True)
class PlannedObject:
    """One raw object in the plan."""

    key: str
    etag: str
    size: int


@dataclass(frozen=True)
class PlannedHour:
    """One landing hour to build, with everything that a task needs to know."""

    hour: Hour
    build_id: str
    limits: Limits
    raw_bucket: str
    lake_bucket: str
    prefix: str
    """Prefix of the target in the lake bucket; ends with a slash."""
    region: str | None
    objects: tuple[PlannedObject, ...]
    """Sorted by key: among equal records, the first by object and line is kept."""
    open_at: datetime | None = None
    """A time at which the hour was not over yet, for its manifest; None for an hour that is over."""
    decoded: str | None = None
    """Prefix in the lake bucket for decoded objects of later builds, with a trailing slash; None: none are kept."""
    raw_prefix: str = ""
    """Prefix of the objects' keys in the raw bucket; empty or with a trailing slash."""
    erasures: Erasures = NOBODY
    """People whose records are left out."""

    @property
    def fingerprint(self) -> str:
        """Return the digest of the planned input."""
        return fingerprint((each.key, each.etag, each.size) for each in self.objects)


@dataclass(frozen=True)
class FileGroup:
    """One Parquet file to write: the table, its name under the target and the numbers of its objects."""

    table: str
    name: str
    objects: tuple[int, ...]


# -- in Spark tasks


def s3_client(region: str | None) -> Any:
    """Return an S3 client that retries transient errors."""
    return boto3.client("s3", region_name=region, config=Config(retries={"mode": "standard", "max_attempts": 5}))


def scratch_key(planned: PlannedHour, kind: str, number: int) -> str:
    """Return the key of the scratch object with one object's rows; `kind` is `events` or `quarantine`."""
    if planned.decoded:
        return f"{decoded_prefix(planned, number)}{kind}.arrow"
    return f"{planned.prefix}scratch/{kind}-{number}.arrow"


def decoded_prefix(planned: PlannedHour, number: int) -> str:
    """Return the prefix of everything that is kept for one object of an open hour."""
    listed = planned.objects[number]
    rules, erased = planned.limits.rules_version, planned.erasures.version
    name = decoded_name(planned.hour, rules, erased, listed.key, listed.etag, listed.size)
    return f"{planned.decoded}{name}/"


def judge_object(planned: PlannedHour, number: int, progress: Accumulator[list[Any]]) -> Judged | str:
    """Validate one raw object of the hour and write its rows to scratch objects; return a text if it failed.

    Reuses the results of an earlier build of an open hour.
    """
    listed = planned.objects[number]
    place = f"s3://{planned.raw_bucket}/{planned.raw_prefix}{listed.key}"
    s3 = s3_client(planned.region)
    if planned.decoded:
        try:
            judged = find_decoded(s3, planned, number)
        except (ClientError, BotoCoreError) as error:
            return f"s3://{planned.lake_bucket}/{decoded_prefix(planned, number)}: {error}"
        if judged:
            progress.add([(str(planned.hour), listed.key, f"{found_in(judged[0])}, already decoded")])
            return judged
    with tempfile.TemporaryDirectory() as folder:
        try:
            account, rows = read_object(s3, planned, listed, Path(folder))
        except (ClientError, BotoCoreError) as error:
            return f"{place}: {why_unreadable(error)}"
        except OSError as error:
            return f"{place}: its rows cannot be written to the worker's disk: {error}"
        except SilverJobError as error:
            return f"{place} {error}"
        try:
            streams = {
                kind: put_stream(s3, planned.lake_bucket, scratch_key(planned, kind, number), path)
                for kind, path in (("events", rows.events), ("quarantine", rows.quarantine))
            }
            if planned.decoded:
                keep_decoded(s3, planned, number, account, rows.order, streams)
        except (ClientError, BotoCoreError, OSError) as error:
            return f"{place}: its rows cannot be written under s3://{planned.lake_bucket}/{planned.prefix}: {error}"
    progress.add([(str(planned.hour), listed.key, found_in(account))])
    return account, rows.order, streams["events"][0], streams["quarantine"][0]


def why_unreadable(error: ClientError | BotoCoreError) -> str:
    """Return why a raw object cannot be read, and the remedy."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return f"{error}{REMEDIES.get(code, '')}"


def found_in(account: ObjectAccount) -> str:
    """Return as readable text what one raw object contained."""
    return account.unreadable or f"{account.records:,} records"


def find_decoded(s3: Any, planned: PlannedHour, number: int) -> Judged | None:
    """Return the result of an earlier build of an open hour for an object; None if it is incomplete or changed.

    Raises:
        ClientError, BotoCoreError: S3 cannot be queried.
    """
    listed = planned.objects[number]
    report = f"{decoded_prefix(planned, number)}{REPORT}"
    try:
        fields = read_json(s3.get_object(Bucket=planned.lake_bucket, Key=report)["Body"].read())
        account = read_dataclass(ObjectAccount, fields["account"])
        order = InstantOrder(*fields["order"]) if fields["order"] else None
        sizes = {kind: fields["streams"][kind][0] for kind in ("events", "quarantine")}
        if fields["format"] != DECODED_FORMAT or account.unaccounted:
            return None
        if (account.key, account.etag, account.size) != (listed.key, listed.etag, listed.size):
            return None
        for kind, size in sizes.items():
            if size:
                found = s3.head_object(Bucket=planned.lake_bucket, Key=scratch_key(planned, kind, number))
                if [found["ContentLength"], found["ETag"]] != fields["streams"][kind]:
                    return None
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None  # damaged
    return account, order, sizes["events"], sizes["quarantine"]


def keep_decoded(
    s3: Any,
    planned: PlannedHour,
    number: int,
    account: ObjectAccount,
    order: InstantOrder | None,
    streams: Mapping[str, tuple[int, str]],
) -> None:
    """Record that an object is decoded, after its streams were written, with their sizes and ETags."""
    report = {
        "format": DECODED_FORMAT,
        "account": asdict(account),
        "order": astuple(order) if order else None,
        "streams": streams,
    }
    key = f"{decoded_prefix(planned, number)}{REPORT}"
    s3.put_object(Bucket=planned.lake_bucket, Key=key, Body=json.dumps(report).encode())


class ScratchStreams:
    """Writes the rows of one object to local files of the task as they are judged, never holding all in memory."""

    def __init__(self, folder: Path) -> None:
        self.order: InstantOrder | None = None
        self.events: Path | None = None
        """None: no rows."""
        self.quarantine: Path | None = None
        self._folder = folder
        self._open = ExitStack()
        self._writers: dict[str, pa.ipc.RecordBatchStreamWriter] = {}

    def take_events(self, events: pa.Table) -> None:
        """Write accepted events."""
        self.order = joined_order(self.order, instant_order(events.column(EVENT_TIME.name)))
        self.events = self._write("events", events)

    def take_quarantine(self, records: pa.Table) -> None:
        """Write quarantined records."""
        self.quarantine = self._write("quarantine", records)

    def close(self, *, keep: bool) -> None:
        """Finish the files, or discard them if the object was not read completely."""
        self._open.close()
        if not keep:
            self.order = self.events = self.quarantine = None

    def _write(self, kind: str, rows: pa.Table) -> Path:
        path = self._folder / f"{kind}.arrow"
        if kind not in self._writers:
            file = self._open.enter_context(pa.OSFile(str(path), "wb"))
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            self._writers[kind] = self._open.enter_context(pa.ipc.new_stream(file, rows.schema, options=options))
        self._writers[kind].write_table(rows.combine_chunks(), max_chunksize=BATCH_ROWS)
        return path


def read_object(
    s3: Any, planned: PlannedHour, listed: PlannedObject, folder: Path
) -> tuple[ObjectAccount, ScratchStreams]:
    """Validate the streamed bytes of a raw object and write its rows to files in a folder.

    A lost connection is a botocore error and the object is read again from its start: it never counts as a truncated
    object.

    Raises:
        SilverJobError: the object has changed since it was listed.
        ClientError, BotoCoreError: it cannot be read.
    """
    for attempt in range(1, READ_ATTEMPTS + 1):
        rows = ScratchStreams(folder)
        account: ObjectAccount | None = None
        try:
            key = f"{planned.raw_prefix}{listed.key}"
            stored = s3.get_object(Bucket=planned.raw_bucket, Key=key, IfMatch=f'"{listed.etag}"')["Body"]
            account = judge_stored_object(
                stored,
                rows,
                key=listed.key,
                etag=listed.etag,
                size=listed.size,
                hour=planned.hour,
                limits=planned.limits,
                erasures=planned.erasures,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "412", "NoSuchKey", "404"):
                raise SilverJobError("was replaced or removed while it was read: list the hour again") from None
            raise
        except BotoCoreError:
            if attempt == READ_ATTEMPTS:
                raise
            time.sleep(attempt)
        finally:
            rows.close(keep=account is not None and not account.unreadable)
        if account is not None:
            return account, rows
    raise AssertionError("unreachable")


def put_stream(s3: Any, bucket: str, key: str, path: Path | None) -> tuple[int, str]:
    """Write rows to a scratch object and return its size and ETag; without rows there is no object: 0 and ''."""
    if path is None:
        return 0, ""
    with path.open("rb") as file:
        etag = s3.put_object(Bucket=bucket, Key=key, Body=file)["ETag"]
    return path.stat().st_size, etag


def get_batches(s3: Any, bucket: str, key: str) -> Iterator[pa.RecordBatch]:
    """Read the rows of a scratch object batch by batch, from a temporary file.

    Raises:
        SilverJobError: it is gone.
        ClientError, BotoCoreError: it cannot be read.
    """
    with tempfile.TemporaryFile() as file:
        fetch(s3, bucket, key, file)
        file.seek(0)
        yield from pa.ipc.open_stream(file)


def fetch(s3: Any, bucket: str, key: str, file: IO[bytes]) -> None:
    """Copy a scratch object to a file; raises like `get_batches`."""
    for attempt in range(1, READ_ATTEMPTS + 1):
        try:
            file.seek(0)
            file.truncate()
            shutil.copyfileobj(s3.get_object(Bucket=bucket, Key=key)["Body"], file, COPY_BYTES)
            return
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                raise
            raise SilverJobError(
                f"s3://{bucket}/{key} was replaced or removed while it was read: the complete hour was built meanwhile"
            ) from None
        except BotoCoreError:
            if attempt == READ_ATTEMPTS:
                raise
            time.sleep(attempt)
    raise AssertionError("unreachable")


def spread(planned: PlannedHour, number: int, partitions: int) -> Iterator[tuple[int, tuple[int, pa.Table]]]:
    """Distribute the events of one object over partitions so that equal events end up in the same one.

    By instant and user, because all events of an object may have the same instant. `partitions` is a power of two.
    """
    batches = get_batches(s3_client(planned.region), planned.lake_bucket, scratch_key(planned, "events", number))
    for events in gathered(batches, SHUFFLED_ROWS, SHUFFLED_BYTES):
        users = events.column(COMMON_IDS[0]).combine_chunks().dictionary_encode()
        digests = pa.array([zlib.crc32(user.encode()) for user in users.dictionary.to_pylist()], pa.int64())
        instants = pc.cast(events.column(EVENT_TIME.name), pa.int64())
        partition = pc.bit_wise_and(pc.add(instants, digests.take(users.indices)), partitions - 1)
        for each in pc.unique(partition).to_pylist():
            yield each, (number, events.filter(pc.equal(partition, each)))


def repeated_lines(pieces: Iterable[tuple[int, pa.Table]]) -> Iterator[tuple[int, pa.Array]]:
    """Compare the events of one partition; yield object numbers with the lines that repeat an earlier record."""
    ordered = sorted(pieces, key=lambda piece: (piece[0], piece[1].column("line_number")[0].as_py()))
    numbers = pa.concat_arrays([pa.repeat(number, events.num_rows) for number, events in ordered])
    together = pa.concat_tables([events for _, events in ordered])
    repeated = later_equals(together)
    numbers, lines = numbers.take(repeated), together.column("line_number").combine_chunks().take(repeated)
    for number in pc.unique(numbers).to_pylist():
        yield number, lines.filter(pc.equal(numbers, number))


def write_file(planned: PlannedHour, group: FileGroup, repeated: Mapping[int, Sequence[pa.Array]]) -> Written | str:
    """Write one Parquet file from scratch objects; return a text if it failed.

    `repeated` maps object numbers to the lines that are left out as duplicates.
    """
    s3 = s3_client(planned.region)
    key = f"{planned.prefix}{group.name}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            if group.table == SILVER_EVENTS.full_name:
                rows, counts, days = write_events(s3, planned, group, repeated, path)
            else:
                batches = (
                    batch
                    for number in group.objects
                    for batch in get_batches(s3, planned.lake_bucket, scratch_key(planned, "quarantine", number))
                )
                rows, counts, days = write_quarantine(str(path), batches), {}, {}
            if not rows:
                return None, counts, days
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            s3.upload_file(str(path), planned.lake_bucket, key)
            return DataFile(group.table, key, rows, path.stat().st_size, digest), counts, days
    except (ClientError, BotoCoreError, Boto3Error, OSError, SilverJobError) as error:
        return f"s3://{planned.lake_bucket}/{key}: {error}"


def write_events(
    s3: Any, planned: PlannedHour, group: FileGroup, repeated: Mapping[int, Sequence[pa.Array]], path: Path
) -> tuple[int, dict[int, tuple[int, int]], dict[str, DayTotals]]:
    """Write the Silver rows of a group of objects, holding only some batches of one object in memory."""
    counts: dict[int, tuple[int, int]] = {}
    days: dict[str, DayTotals] = {}
    with EventsFile(str(path)) as file:
        for number in group.objects:
            lines = pa.chunked_array(repeated.get(number, []), pa.int64()).combine_chunks()
            written = 0
            for batch in get_batches(s3, planned.lake_bucket, scratch_key(planned, "events", number)):
                accepted = pa.Table.from_batches([batch])
                events = without_lines(accepted, lines) if len(lines) else accepted
                rows = silver_rows(events, planned.objects[number].key)
                add_days(days, day_totals(rows))
                file.write(rows)
                written += rows.num_rows
            counts[number] = (written, len(lines))
    return file.rows, counts, days


class ListParam(AccumulatorParam[list[Any]]):
    """Collects the messages of finished tasks while others still run."""

    def zero(self, value: list[Any]) -> list[Any]:
        """Return the initial value of every task."""
        return []

    def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:  # noqa: N802 - Spark's name
        """Append a task's messages."""
        value1.extend(value2)
        return value1


# -- on the driver


class HourBuilder:
    """Builds planned hours, each with its own Spark jobs; thread-safe."""

    def __init__(self, context: SparkContext, progress: Accumulator[list[Any]], s3: Any) -> None:
        self._context = context
        self._progress = progress
        self._s3 = s3

    def build(self, planned: PlannedHour) -> tuple[HourCommit, bool]:
        """Build one hour up to its manifest; return False with the manifest of an earlier attempt that completed.

        Raises:
            SilverJobError: the hour cannot be built; files left in the target are in no manifest.
        """
        try:
            if before := self._manifest(planned):
                return before, False
            judged = self._judge(planned)
            commit = self._write(planned, judged)
            self._finish(planned, commit)
        except SilverJobError as error:
            raise SilverJobError(f"{planned.hour}: {error}") from error
        except Exception as error:
            raise SilverJobError(f"{planned.hour}: {spark_reason(error)}") from error
        return commit, True

    def _manifest(self, planned: PlannedHour) -> HourCommit | None:
        """Return the manifest in the target, if there is one.

        Raises:
            SilverJobError: it is of another build, or damaged.
        """
        key = f"{planned.prefix}manifest.json"
        place = f"s3://{planned.lake_bucket}/{key}"
        try:
            text = self._s3.get_object(Bucket=planned.lake_bucket, Key=key)["Body"].read().decode()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise SilverJobError(f"{place}: {error}") from error
        try:
            found = HourCommit.from_json(text)
        except CommitRecordError as error:
            raise SilverJobError(f"{place}: {error}") from error
        standing = (found.hour, found.build_id, found.fingerprint, found.rules_version)
        if standing != (planned.hour, planned.build_id, planned.fingerprint, planned.limits.rules_version):
            raise SilverJobError(f"{place} is of another build ({found.build_id}): every build needs its own target")
        return found

    def _judge(self, planned: PlannedHour) -> list[Judged]:
        """Validate all objects of the hour, one task each."""
        if not planned.objects:
            return []
        progress = self._progress
        self._describe(planned, "validate")
        numbers = self._context.parallelize(range(len(planned.objects)), len(planned.objects))
        return told(numbers.map(lambda number: judge_object(planned, number, progress)).collect())

    def _write(self, planned: PlannedHour, judged: Sequence[Judged]) -> HourCommit:
        """Write the hour's files, one task each, without its duplicates; return its manifest."""
        groups = file_groups(judged)
        written: list[Written] = []
        doubtful = doubtful_objects([order for _, order, _, _ in judged])
        if groups and not doubtful:
            self._describe(planned, "write")
            tasks = self._context.parallelize(range(len(groups)), len(groups))
            written = told(tasks.map(lambda group: write_file(planned, groups[group], {})).collect())
        elif groups:
            self._describe(planned, "find duplicates and write")
            rows = sum(judged[number][0].silver_rows for number in doubtful)
            written = told(self._written_without_duplicates(planned, groups, doubtful, rows))
        accounts = [account for account, *_ in judged]
        days: dict[str, DayTotals] = {}
        for _, counts, more in written:
            for number, (silver, duplicates) in counts.items():
                accounts[number] = replace(accounts[number], silver_rows=silver, duplicates=duplicates)
            add_days(days, more)
        now = datetime.now(UTC)
        return HourCommit(
            planned.hour,
            planned.build_id,
            planned.open_at or now.replace(microsecond=now.microsecond // 1000 * 1000),
            planned.limits.rules_version,
            HourAccount.of(bounded(accounts), days),
            tuple(file for file, *_ in written if file),
        )

    def _written_without_duplicates(
        self, planned: PlannedHour, groups: Sequence[FileGroup], doubtful: Sequence[int], rows: int
    ) -> list[Written | str]:
        """Shuffle possible duplicates together, then the repeated lines to the files that contain them."""
        partitions = 1 << max(0, math.ceil(math.log2(max(1, rows) / SHUFFLED_ROWS)))
        file_of = {
            number: position
            for position, group in enumerate(groups)
            if group.table == SILVER_EVENTS.full_name
            for number in group.objects
        }
        repeated = (
            self._context.parallelize(doubtful, len(doubtful))
            .flatMap(lambda number: spread(planned, number, partitions))
            .groupByKey(partitions, int)
            .flatMap(lambda met: repeated_lines(met[1]))
            .map(lambda found: (file_of[found[0]], found))
        )
        every_file = self._context.parallelize([(position, None) for position in range(len(groups))], 1)

        def write(shuffled: tuple[int, Iterable[tuple[int, pa.Array] | None]]) -> Written | str:
            position, found = shuffled
            lines: dict[int, list[pa.Array]] = {}
            for each in found:
                if each is not None:
                    lines.setdefault(each[0], []).append(each[1])
            return write_file(planned, groups[position], lines)

        return repeated.union(every_file).groupByKey(len(groups), int).map(write).collect()

    def _finish(self, planned: PlannedHour, commit: HourCommit) -> None:
        """Remove everything under the target that is not in the manifest, then write the manifest.

        A partition shows every file under its location, so the files of an attempt that died must be removed.
        """
        named = {file.path for file in commit.files}
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=planned.lake_bucket, Prefix=planned.prefix)
        for page in pages:
            rest = [{"Key": each["Key"]} for each in page.get("Contents", []) if each["Key"] not in named]
            if rest:
                answer = self._s3.delete_objects(Bucket=planned.lake_bucket, Delete={"Objects": rest, "Quiet": True})
                for error in answer.get("Errors", []):
                    place = f"s3://{planned.lake_bucket}/{error['Key']}"
                    raise SilverJobError(f"{place}: cannot be removed: {error['Code']}: {error['Message']}")
        self._s3.put_object(
            Bucket=planned.lake_bucket,
            Key=f"{planned.prefix}manifest.json",
            Body=commit.to_json().encode(),
            ContentType="application/json",
        )

    def _describe(self, planned: PlannedHour, step: str) -> None:
        self._context.setJobDescription(f"{planned.hour}: {step}")


def told(results: Sequence[Any]) -> list[Any]:
    """Return the results of tasks.

    Raises:
        SilverJobError: a task failed; the message is that of the first one, with the number of others.
    """
    failures = [each for each in results if isinstance(each, str)]
    if failures:
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise SilverJobError(failures[0] + others)
    return list(results)


def file_groups(judged: Sequence[Judged]) -> list[FileGroup]:
    """Divide an hour's objects into files of about FILE_BYTES, keeping neighbours together, at most one per object."""
    groups = []
    for table, kind, size_at in ((SILVER_EVENTS, "events", 2), (SILVER_QUARANTINE, "quarantine", 3)):
        sizes: list[int] = [each[size_at] for each in judged]  # type: ignore[misc]
        with_rows = [number for number, size in enumerate(sizes) if size]
        most = FILE_BYTES * SCRATCH_BYTES_PER_FILE_BYTE
        for index, run in enumerate(groups_by_size([sizes[number] for number in with_rows], most)):
            numbers = tuple(with_rows[position] for position in run)
            groups.append(FileGroup(table.full_name, f"{kind}/{kind}-{index}.parquet", numbers))
    return groups


def spark_reason(error: Exception) -> str:
    """Return one line of an error; for a failed Spark task, the Python exception in its report."""
    raised = re.findall(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b: .+", str(error), re.MULTILINE)
    python = [line for line in raised if not line.startswith(("org.apache.", "py4j.", "java."))]
    return python[-1] if python else " ".join(f"{type(error).__name__}: {error}".split())[:500]


class Report:
    """Reports progress: a line on stdout and, if Dagster listens, a log line and a message per hour."""

    def __init__(self, pipes: Any = None) -> None:
        self._pipes = pipes
        self._objects_done: dict[str, int] = {}

    def line(self, text: str) -> None:
        """Report one line."""
        print(text, flush=True)
        if self._pipes:
            self._pipes.log.info(text)

    def object_done(self, hour: str, key: str, found: str, objects: int) -> None:
        """Report that one raw object was validated."""
        self._objects_done[hour] = done = self._objects_done.get(hour, 0) + 1
        self.line(f"{hour}: object {done} of {objects}: {key}: {found}")

    def hour_done(self, commit: HourCommit, built: bool, seconds: float) -> None:
        """Report that an hour has its manifest, and what is in it."""
        account = commit.account
        numbers = {
            "objects": len(account.objects),
            "unreadable_objects": len(account.unreadable),
            "raw_bytes": account.raw_bytes,
            "records": account.records,
            "silver_rows": account.silver_rows,
            "quarantined": account.quarantined,
            "duplicates": account.duplicates,
            "erased": account.erased,
        }
        how = f"built in {seconds:.1f} s" if built else "was already built, its manifest exists"
        counts = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items())
        self.line(f"{commit.hour}: {how}: {counts}, {len(commit.files)} files")
        if self._pipes:
            hour = {"hour": str(commit.hour), "build_id": commit.build_id, "built": built, "seconds": round(seconds, 3)}
            self._pipes.report_custom_message(hour | numbers)


@contextmanager
def open_report(s3: Any) -> Iterator[Report]:
    """Yield the progress report, through Dagster Pipes if requested and available."""
    pipes = open_pipes(s3)
    if pipes is None:
        yield Report()
        return
    with pipes:
        yield Report(pipes)


def open_pipes(s3: Any) -> Any:
    """Open Dagster Pipes over S3; None if not requested, or, after printing why, not available.

    Progress is not essential: an orchestrator that is gone must not fail the hours.
    """
    by_arguments = "--dagster-pipes-context" in sys.argv
    if not by_arguments and "DAGSTER_PIPES_CONTEXT" not in os.environ:
        return None
    try:
        import dagster_pipes
    except ImportError:
        print("dagster_pipes is not installed here: progress goes to this log only", flush=True)
        return None
    loader = dagster_pipes.PipesCliArgsParamsLoader if by_arguments else dagster_pipes.PipesEnvVarParamsLoader
    try:
        return dagster_pipes.open_dagster_pipes(
            params_loader=loader(),
            context_loader=dagster_pipes.PipesS3ContextLoader(client=s3),
            message_writer=dagster_pipes.PipesS3MessageWriter(client=s3, interval=PIPES_SECONDS),
        )
    except (ClientError, BotoCoreError, dagster_pipes.DagsterPipesError) as error:
        print(f"Dagster does not listen ({error}): progress goes to this log only", flush=True)
        return None


def split_uri(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key`.

    Raises:
        SilverJobError: the text has another form.
    """
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise SilverJobError(f"{uri!r} is not of the form s3://bucket/key")
    return parts.netloc, parts.path.removeprefix("/")


def read_plan(s3: Any, uri: str, token: str, region: str | None) -> list[PlannedHour]:
    """Read the plan document.

    Raises:
        SilverJobError: it cannot be read, is damaged, or belongs to another run.
    """
    bucket, key = split_uri(uri)
    try:
        document = read_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except (ClientError, BotoCoreError, ValueError) as error:
        raise SilverJobError(f"plan {uri}: {error}") from error
    try:
        if document["format"] != PLAN_FORMAT:
            raise SilverJobError(f"plan {uri}: format {document['format']!r}: this job reads format {PLAN_FORMAT}")
        if document["token"] != token:
            raise SilverJobError(f"plan {uri}: its token is {document['token']!r}, the job was started for {token!r}")
        limits = Limits(
            timedelta(seconds=document["limits"]["max_age_seconds"]),
            timedelta(seconds=document["limits"]["max_lead_seconds"]),
            document["limits"]["max_line_bytes"],
            document["limits"]["max_object_bytes"],
            document["limits"]["max_object_records"],
        )
        hours = [planned_hour(each, limits, document["raw_bucket"], region) for each in document["hours"]]
        erasures = Erasures(
            bytes.fromhex(document["erasures"]["key"]),
            frozenset(map(bytes.fromhex, document["erasures"]["digests"])),
        )
        return [replace(each, raw_prefix=document.get("raw_prefix", ""), erasures=erasures) for each in hours]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SilverJobError(f"plan {uri}: damaged: {error!r:.300}") from error


def planned_hour(fields: dict[str, Any], limits: Limits, raw_bucket: str, region: str | None) -> PlannedHour:
    """Parse one hour of a plan."""
    lake_bucket, prefix = split_uri(fields["target"])
    objects = [PlannedObject(each["key"], each["etag"], each["size"]) for each in fields["objects"]]
    return PlannedHour(
        Hour.parse(fields["hour"]),
        fields["build_id"],
        limits,
        raw_bucket,
        lake_bucket,
        prefix.rstrip("/") + "/",
        region,
        tuple(sorted(objects, key=lambda each: each.key)),
        datetime.fromisoformat(fields["open_at"]) if fields["open_at"] else None,
        fields["decoded"],
    )


def build_hours(context: SparkContext, s3: Any, hours: Sequence[PlannedHour], report: Report) -> list[str]:
    """Build hours concurrently, enough of them to keep every executor busy; return one line per failed hour."""
    progress: Accumulator[list[Any]] = context.accumulator([], ListParam())
    builder = HourBuilder(context, progress, s3)
    objects = {str(each.hour): len(each.objects) for each in hours}
    tasks_per_hour = max(1, sum(objects.values()) // max(1, len(hours)))
    at_once = 1 + math.ceil(context.defaultParallelism / tasks_per_hour)
    failures = []
    said = 0
    started: dict[str, float] = {}

    def build(planned: PlannedHour) -> tuple[HourCommit, bool]:
        started[str(planned.hour)] = time.monotonic()
        return builder.build(planned)

    rules_digest()  # before there are threads: Python 3.11 cannot parse code in several of them at once
    with ThreadPoolExecutor(at_once) as pool:
        waited_for = {pool.submit(build, planned): planned for planned in hours}
        waiting = set(waited_for)
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for hour, key, found in progress.value[said:]:
                said += 1
                report.object_done(hour, key, found, objects[hour])
            for future in done:
                error = future.exception()
                if isinstance(error, SilverJobError):
                    report.line(f"FAILED {error}")
                    failures.append(str(error))
                    note_failure(s3, waited_for.pop(future), str(error), report)
                    continue
                commit, built = future.result()
                report.hour_done(commit, built, time.monotonic() - started[str(commit.hour)])
    return sorted(failures)


def note_failure(s3: Any, planned: PlannedHour, reason: str, report: Report) -> None:
    """Write why an hour failed next to where its manifest would be; the job's own last line has space for few hours."""
    key = f"{planned.prefix}failure.txt"
    try:
        s3.put_object(Bucket=planned.lake_bucket, Key=key, Body=reason.encode())
    except (ClientError, BotoCoreError) as error:
        report.line(f"s3://{planned.lake_bucket}/{key}: {error}: only this log says why {planned.hour} was not built")


def main() -> None:
    """Run the job.

    Raises:
        SilverJobError: pyarrow is too old, the plan cannot be read, or at least one hour could not be built. Glue
            shows the message as the error of the run.
    """
    parser = argparse.ArgumentParser(description="Builds Silver of the landing hours in a plan.")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--region")
    arguments, _ = parser.parse_known_args()  # Glue adds arguments of its own
    if int(pa.__version__.split(".")[0]) < LEAST_PYARROW:
        raise SilverJobError(
            f"pyarrow {pa.__version__} is too old, {LEAST_PYARROW} is the minimum: "
            "ship its wheel with --additional-python-modules"
        )
    s3 = s3_client(arguments.region)
    hours = read_plan(s3, arguments.plan, arguments.token, arguments.region)
    with open_report(s3) as report:
        report.line(f"plan {arguments.token}: {len(hours)} hours, {sum(len(each.objects) for each in hours)} objects")
        spark = (
            SparkSession.builder.appName(f"silver_events {arguments.token}")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.ui.showConsoleProgress", "false")  # it would mix with the job's own lines
            .getOrCreate()
        )
        report.line(f"Python {platform.python_version()}, pyarrow {pa.__version__}, Spark {spark.version}")
        try:
            failures = build_hours(spark.sparkContext, s3, hours, report)
        finally:
            spark.stop()
        if failures:
            more = len(failures) - LISTED_FAILURES
            listed = "; ".join(failures[:LISTED_FAILURES]) + (f"; and {more} more hours" if more > 0 else "")
            raise SilverJobError(" ".join(listed.split()))


if __name__ == "__main__":
    main()
