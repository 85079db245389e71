"""Builds landing hours on this host: validates raw objects in parallel and writes Silver and quarantine.

Each raw object is one task for the shared validation (`rules/validation.py`), in this process or in a pool; accepted
rows stay in a scratch file until the whole hour is known, because duplicates are found across objects. Each process
holds only some batches of one object in memory, never a whole object.
"""

from __future__ import annotations

import ctypes
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.engines import layout
from event_pipeline.engines.base import Progress
from event_pipeline.engines.builder import Built, HourInput, RawSource
from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.engines.host.database import connect
from event_pipeline.engines.host.decoded import DecodedObjects, ObjectReport, ObjectTask
from event_pipeline.engines.host.layout import Layout, storage_faults
from event_pipeline.engines.isolation import failure_of
from event_pipeline.engines.names import commit_time, new_build_id
from event_pipeline.engines.processes import WorkerPool
from event_pipeline.engines.silver import check_law
from event_pipeline.engines.store import Store
from event_pipeline.errors import PipelineError
from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount, RawListing, RawObject, add_days
from event_pipeline.rules.contract import (
    EVENT_TIME,
    FIELDS,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
    Limits,
)
from event_pipeline.rules.duplicates import (
    InstantOrder,
    instant_order,
    joined_order,
    proves_no_duplicates,
    repeated_instants,
)
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.resent import bounded
from event_pipeline.rules.silver_files import (
    FILE_BYTES,
    ROW_GROUP_ROWS,
    EventsFile,
    write_quarantine,
)
from event_pipeline.rules.validation import (
    EVENTS_SCHEMA,
    QUARANTINE_SCHEMA,
    SILVER_SCHEMA,
    day_totals,
    judge_stored_object,
    silver_rows,
)

POOL_WORTH_BYTES = 4 << 20
"""Below this amount of raw data, starting worker processes costs more than it saves."""

_SECONDS_BETWEEN_LINES = 2.0
"""Of small objects not each has a line of progress: in Dagster every line is an event in its database."""

INSTANT = EVENT_TIME.name
SCRATCH_SCHEMA = SILVER_SCHEMA.append(EVENTS_SCHEMA.field(INSTANT)).append(EVENTS_SCHEMA.field("line_number"))
"""Silver rows, plus what distinguishes duplicates: the exact instant and the line."""

_EQUAL_IN = [INSTANT, *(field.column.name for field in FIELDS if field is not EVENT_TIME)]
"""The normalised fields."""

Validate = Callable[[Sequence[ObjectTask]], Iterator[ObjectReport]]
"""Validates tasks and yields their reports in the same order."""


class PoolBuilder:
    """Implements `engines.builder.Builder` with processes of this host; only finished builds go into the lake."""

    hours_at_once = 1

    def __init__(
        self,
        host: Layout,
        lake: Store,
        source: Callable[[RawObject], RawSource],
        limits: Limits,
        workers: int,
        duckdb_memory_mb: int,
        lock_timeout_seconds: float,
    ) -> None:
        """`host` holds hours while they are built, and the decoded objects of open hours."""
        self._host = host
        self._lake = lake
        self._source = source
        self._decoded = DecodedObjects(host, limits.rules_version)
        self._limits = limits
        self._workers = workers
        self._duckdb_memory_mb = duckdb_memory_mb
        self._lock_timeout_seconds = lock_timeout_seconds
        self._raw_bytes = 0
        self._pool: WorkerPool | None = None

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def build(self, inputs: Sequence[HourInput], *, force: bool, progress: Progress) -> Built:
        """Build hours one after the other, the objects of each in parallel."""
        commits, failures = dict[Hour, HourCommit](), dict[Hour, PipelineError]()
        for each in inputs:
            hour = each.listing.hour
            try:
                with self._host.lock(f"building/{hour}", self._lock_timeout_seconds):
                    commits[hour] = self._build(each, progress)
            except Exception as error:
                failures[hour] = failure_of(error)
        return Built(commits, failures, new_build_id())

    def published(self, hour: Hour) -> None:
        """Remove the decoded objects of an hour from the time it was open."""
        with self._host.lock(f"building/{hour}", self._lock_timeout_seconds):
            self._decoded.keep_only(hour, ())

    def _build(self, hour_input: HourInput, progress: Progress) -> HourCommit:
        """Write the files of one build and return the commit record that would publish them.

        Raises:
            BrokenLawError: records in and out do not add up.
            TransientError: an object changed while it was read.
            StorageError: the disk is full or read-only.
        """
        listing = hour_input.listing
        scratch = self._host.scratch / f"{listing.hour}-{uuid.uuid4().hex}"
        with storage_faults(scratch):
            # The hour's lock is held: anything here was left by a killed process.
            for left in self._host.scratch.glob(f"{listing.hour}-*"):
                shutil.rmtree(left, ignore_errors=True)
            if hour_input.open_at:
                self._decoded.keep_only(listing.hour, listing.objects, hour_input.erasures)
            try:
                scratch.mkdir(parents=True)
                made = self._written(hour_input, scratch, progress)
                for file in made.files:
                    self._lake.take(file.path, scratch / PurePosixPath(file.path).name)
                return made
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _written(self, hour_input: HourInput, scratch: Path, progress: Progress) -> HourCommit:
        """Write the files of one build into a local folder, with their names in the lake."""
        listing, hour, build_id = hour_input.listing, hour_input.listing.hour, new_build_id()
        tasks = [
            ObjectTask(
                self._source(each),
                hour,
                self._limits,
                scratch / f"rows-{number}.arrow",
                scratch / f"quarantine-{number}.arrow",
                hour_input.erasures,
            )
            for number, each in enumerate(listing.objects)
        ]
        prefix = layout.hour_build(hour, build_id)
        writer = _HourWriter(scratch, prefix)
        reports = []
        told_at = -_SECONDS_BETWEEN_LINES
        order: InstantOrder | None = None
        with writer:
            for report in self._validated(
                tasks, self._validate(listing), progress, keep=hour_input.open_at is not None
            ):
                reports.append(report)
                found = report.account.unreadable or f"{report.account.records:,} records"
                is_news = report.account.unreadable or len(reports) == len(tasks)
                if is_news or time.monotonic() - told_at >= _SECONDS_BETWEEN_LINES:
                    told_at = time.monotonic()
                    progress(f"{hour}: object {len(reports)} of {len(tasks)}: {found}")
                # Written while other processes judge the next objects, as long as there can be no duplicates.
                order = joined_order(order, report.order)
                if order is None or order.rises_strictly:
                    writer.add(report, None)
        if len(writer.accounts) < len(reports):
            repeated = self._duplicates(reports, scratch)
            writer.discard()
            writer = _HourWriter(scratch, prefix)
            with writer:
                for number, report in enumerate(reports):
                    writer.add(report, repeated.get(number))
        events, accounts, days = writer.files, writer.accounts, dict(sorted(writer.days.items()))
        quarantine = _write_quarantine(reports, scratch, prefix)
        account = HourAccount.of(bounded(accounts), days)
        check_law(hour, account, sum(file.rows for file in events), sum(file.rows for file in quarantine))
        committed_at = commit_time(hour_input.open_at)
        return HourCommit(hour, build_id, committed_at, self._limits.rules_version, account, (*events, *quarantine))

    def _validate(self, listing: RawListing) -> Validate:
        """Return the validator: a pool of processes as soon as there is enough raw data."""
        self._raw_bytes += listing.raw_bytes
        if self._workers == 1 or self._raw_bytes < POOL_WORTH_BYTES:
            return lambda tasks: map(validate_to_scratch, tasks)
        self._pool = self._pool or WorkerPool(self._workers, _keep_freed_memory)
        return self._in_processes

    def _in_processes(self, tasks: Sequence[ObjectTask]) -> Iterator[ObjectReport]:
        # Start processes only if there is work for them: a single object is finished here before they are up.
        if len(tasks) == 1 or self._pool is None:
            return map(validate_to_scratch, tasks)
        return self._pool.map(validate_to_scratch, tasks, _killed)

    def _validated(
        self, tasks: Sequence[ObjectTask], validate: Validate, progress: Progress, *, keep: bool
    ) -> Iterator[ObjectReport]:
        """Validate what is not decoded yet, or everything if nothing is kept; yield reports in the tasks' order."""
        if not keep:
            yield from validate(tasks)
            return
        found = [self._decoded.find(task) for task in tasks]
        if tasks:
            decoded = sum(report is not None for report in found)
            progress(f"{tasks[0].hour}: {decoded} of {len(tasks)} objects are already decoded")
        missing = validate([task for task, report in zip(tasks, found, strict=True) if report is None])
        for report in found:
            yield report or self._decoded.keep(next(missing))

    def _duplicates(self, reports: Sequence[ObjectReport], scratch: Path) -> dict[int, pa.Array]:
        """Return object number -> line numbers of the records that equal an earlier one of the hour."""
        if proves_no_duplicates([report.order for report in reports if report.order]):
            return {}
        suspects = repeated_instants([_read(report.task.rows).column(INSTANT) for report in reports])
        if len(suspects) == 0:
            return {}
        with connect(scratch, self._workers, self._duckdb_memory_mb) as connection:
            # In an hour of whole seconds every record is suspicious: its rows are many times the size of their hashes.
            suspicious = _chosen(reports, lambda _, rows: pc.is_in(rows.column(INSTANT), suspects))
            connection.register("suspicious", suspicious)
            connection.execute(
                f"CREATE TABLE hashed AS SELECT object, line_number, hash({', '.join(_EQUAL_IN)}) AS value"
                " FROM suspicious"
            )
            alike = connection.sql(
                "SELECT object, line_number FROM hashed"
                " WHERE value IN (SELECT value FROM hashed GROUP BY value HAVING count(*) > 1)"
            ).to_arrow_table()
            lines, none = _lines_by_object(alike), pa.array([], pa.int64())
            likely = _chosen(
                reports, lambda number, rows: pc.is_in(rows.column("line_number"), lines.get(number, none))
            )
            connection.register("likely", likely)
            found = connection.sql(
                f"SELECT object, line_number FROM likely QUALIFY row_number() OVER"
                f" (PARTITION BY {', '.join(_EQUAL_IN)} ORDER BY object, line_number) > 1"
            ).to_arrow_table()
        return _lines_by_object(found)


def _chosen(
    reports: Sequence[ObjectReport], are_chosen: Callable[[int, pa.RecordBatch], pa.BooleanArray]
) -> pa.RecordBatchReader:
    """Read some rows of all objects of an hour, with the number of the object, which `are_chosen` gets as well."""
    number_field = pa.field("object", pa.int32())
    # Opened before DuckDB asks for rows: in its messages, a file that cannot be opened is a Python traceback.
    sources = [pa.memory_map(str(report.task.rows)) for report in reports]

    def batches() -> Iterator[pa.RecordBatch]:
        for number, source in enumerate(sources):
            with source:
                for batch in pa.ipc.open_file(source).read_all().to_batches():
                    rows = batch.filter(are_chosen(number, batch))
                    yield rows.append_column(number_field, pa.repeat(pa.scalar(number, pa.int32()), rows.num_rows))

    return pa.RecordBatchReader.from_batches(SCRATCH_SCHEMA.append(number_field), batches())


def _lines_by_object(found: pa.Table) -> dict[int, pa.Array]:
    """Return the line numbers by object number."""
    return {
        number: found.filter(pc.equal(found.column("object"), number)).column("line_number").combine_chunks()
        for number in pc.unique(found.column("object")).to_pylist()
    }


def _killed(task: ObjectTask) -> str:
    return (
        f"{task.listed.key} ({task.listed.size:,} bytes): the process that reads it was killed, even when it was the "
        "only one: the machine is most likely out of memory. Add memory, or move the object away and have it delivered "
        "in smaller ones; nothing of this hour was published"
    )


def validate_to_scratch(task: ObjectTask) -> ObjectReport:
    """Validate one raw object and write its rows to the task's scratch files.

    Raises:
        TransientError: the object has changed since it was listed.
        StorageError: it cannot be read.
    """
    listed = task.listed
    try:
        with task.source.reading() as stored, _ScratchFiles(task) as scratch:
            account = judge_stored_object(
                stored,
                scratch,
                key=listed.key,
                etag=listed.etag,
                size=listed.size,
                hour=task.hour,
                limits=task.limits,
                erasures=task.erasures,
            )
    except _ScratchError as fault:
        raise fault.error from fault
    if account.unreadable:
        # Objects are read completely or not at all: discard what came before the fault.
        with pa.OSFile(str(task.rows), "wb") as file, pa.ipc.new_file(file, SCRATCH_SCHEMA):
            pass
        task.quarantine.unlink(missing_ok=True)
        return ObjectReport(task, account, None, {})
    return ObjectReport(task, account, scratch.order, dict(sorted(scratch.days.items())))


class _ScratchError(Exception):
    """A scratch file cannot be written; a separate class, to distinguish it from faults of the object being read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def _scratch_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _ScratchError(error) from error


class _ScratchFiles:
    """Writes the rows of one object to the scratch files of its task, batch by batch."""

    def __init__(self, task: ObjectTask) -> None:
        self.order: InstantOrder | None = None
        self.days: dict[str, DayTotals] = {}
        self._task = task
        self._files = ExitStack()
        self._rows: pa.ipc.RecordBatchFileWriter | None = None
        self._quarantine: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> _ScratchFiles:
        with _scratch_faults():
            self._rows = self._writer(self._task.rows, SCRATCH_SCHEMA, None)
        return self

    def __exit__(self, *fault: object) -> None:
        with _scratch_faults():
            self._files.close()

    def take_events(self, events: pa.Table) -> None:
        """Write accepted events as Silver rows, plus what distinguishes duplicates."""
        rows = silver_rows(events, self._task.listed.key)
        self.order = joined_order(self.order, instant_order(events.column(INSTANT)))
        add_days(self.days, day_totals(rows))
        for name in (INSTANT, "line_number"):
            rows = rows.append_column(SCRATCH_SCHEMA.field(name), events.column(name))
        assert self._rows is not None
        with _scratch_faults():
            self._rows.write_table(rows.combine_chunks())

    def take_quarantine(self, records: pa.Table) -> None:
        """Write quarantined records, compressed, because bad lines of a broken object are often similar."""
        with _scratch_faults():
            if self._quarantine is None:
                self._quarantine = self._writer(self._task.quarantine, QUARANTINE_SCHEMA, "zstd")
            self._quarantine.write_table(records)

    def _writer(self, path: Path, schema: pa.Schema, compression: str | None) -> pa.ipc.RecordBatchFileWriter:
        file = self._files.enter_context(pa.OSFile(str(path), "wb"))
        options = pa.ipc.IpcWriteOptions(compression=compression)
        return self._files.enter_context(pa.ipc.new_file(file, schema, options=options))


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 << 20


def _keep_freed_memory() -> None:
    """Let the C library keep freed blocks of a chunk's size instead of returning them to the kernel after each chunk.

    A worker needs them again at once, and new pages cost it an eighth of its time. Without glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    # Not memory-mapped: mapped pages stay as long as the kernel likes, and count as memory of this process.
    with pa.OSFile(str(path)) as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            yield file.get_batch(number)


class _HourWriter:
    """Writes the Silver rows of an hour into as few files as the size limit allows."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.files: list[DataFile] = []
        self.accounts: list[ObjectAccount] = []
        """Of the objects so far."""
        self.days: dict[str, DayTotals] = {}
        self._folder = folder
        self._prefix = prefix
        self._paths: list[Path] = []
        self._file: EventsFile | None = None

    def __enter__(self) -> _HourWriter:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self._close(keep=fault is None)

    def add(self, report: ObjectReport, repeated: pa.Array | None) -> None:
        """Write the rows of the next object without those of the `repeated` lines, which are duplicates."""
        written = 0
        for batch in _read_batches(report.task.rows):
            rows = pa.Table.from_batches([batch])
            if repeated is not None:
                rows = rows.filter(pc.invert(pc.is_in(rows.column("line_number"), repeated)))
            rows = rows.select(SILVER_SCHEMA.names)
            if repeated is not None:
                add_days(self.days, day_totals(rows))
            self._write(rows)
            written += rows.num_rows
        if repeated is None:
            add_days(self.days, report.days)
        duplicates = 0 if repeated is None else len(repeated)
        self.accounts.append(replace(report.account, silver_rows=written, duplicates=duplicates))

    def discard(self) -> None:
        """Remove everything that was written, because other objects repeat some of its records."""
        for path in self._paths:
            path.unlink()

    def _write(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if self._file is None:
            self._paths.append(self._folder / f"events-{len(self.files)}.parquet")
            self._file = EventsFile(str(self._paths[-1]), ROW_GROUP_ROWS)
        self._file.write(rows)
        if self._paths[-1].stat().st_size >= FILE_BYTES:
            self._close(keep=True)

    def _close(self, *, keep: bool) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        file.close(keep=keep)
        if keep:
            self.files.append(_data_file(SILVER_EVENTS.full_name, self._paths[-1], self._prefix, file.rows))


def _write_quarantine(reports: Sequence[ObjectReport], folder: Path, prefix: str) -> list[DataFile]:
    scratch = [report.task.quarantine for report in reports if report.account.quarantined]
    if not scratch:
        return []
    path = folder / "quarantine.parquet"
    rows = write_quarantine(str(path), chain.from_iterable(map(_read_batches, scratch)))
    return [_data_file(SILVER_QUARANTINE.full_name, path, prefix, rows)]


def _data_file(table: str, path: Path, prefix: str, rows: int) -> DataFile:
    """Return the commit record's entry for a finished file of a build."""
    key = f"{prefix}{layout.HOUR_FOLDERS[table]}{path.name}"
    return DataFile.of_file(table, key, rows, path)
