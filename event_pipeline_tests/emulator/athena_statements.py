"""What a statement is and who runs it: SELECT, UNLOAD, and the DDL of databases, tables and partitions.

Everything else fails, also what Athena would run (INSERT, CREATE TABLE AS, views): the pipeline uses none of it.
"""

from __future__ import annotations

import random
import re
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from event_pipeline_tests.emulator.athena_ddl import Ddl
from event_pipeline_tests.emulator.athena_outcome import Outcome, QueryFailedError
from event_pipeline_tests.emulator.athena_select import Selected, Selects
from event_pipeline_tests.emulator.athena_tables import Tables
from event_pipeline_tests.emulator.inside import Inside, split_uri

MOST_OPEN_PARTITIONS = 100
MOST_FILES_PER_UNLOAD = 30
"""Athena writes to multiple files in parallel (https://docs.aws.amazon.com/athena/latest/ug/unload.html)."""

_UNLOAD = re.compile(r"UNLOAD\s*\((.*)\)\s*TO\s*'([^']*)'\s*(?:WITH\s*\((.*)\)\s*)?", re.I | re.S)
_OPTION = re.compile(r"(\w+)\s*=\s*(?:'([^']*)'|(\d+)|ARRAY\s*\[([^\]]*)\])\s*(?:,|$)", re.I)
_COMPRESSIONS = {"gzip": "gzip", "zstd": "zstd", "snappy": "snappy", "none": "none"}


@dataclass(frozen=True, slots=True)
class Unloaded:
    """What an UNLOAD wrote and what it cost."""

    files: tuple[str, ...]
    rows: int
    scanned: int


class Statements:
    """Runs statements of all kinds, those that read by DuckDB. Thread-safe."""

    def __init__(self, inside: Inside, tables: Tables) -> None:
        self._inside = inside
        self._selects = Selects(tables)
        self._ddl = Ddl(inside, tables)
        self._lock = threading.Lock()
        self._orphans = 0

    def leave_orphans(self, times: int) -> None:
        """Let the next statements that unload leave a file that their manifest does not name.

        So it is after a retry of Athena's own: it "does not attempt to delete orphaned data"
        (https://docs.aws.amazon.com/athena/latest/ug/unload.html), and only the manifest tells what counts
        (https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecutionStatistics.html).
        """
        with self._lock:
            self._orphans += times

    def interrupt(self, execution_id: str) -> None:
        """Stop what an execution is computing."""
        self._selects.interrupt(execution_id)

    def run(self, execution_id: str, sql: str, database: str, cutoff: int | None) -> Outcome:
        """Run one statement.

        Raises:
            QueryFailedError: it cannot be run.
        """
        text = re.sub(r"^(\s|--[^\n]*(\n|$)|/\*.*?\*/)*", "", sql, flags=re.S).rstrip().removesuffix(";").rstrip()
        if not text:
            raise QueryFailedError("SYNTAX_ERROR: line 1:1: mismatched input '<EOF>'")
        word = re.match(r"\(|\w+", text)
        kind = word[0].upper() if word else text[:1]
        if kind in ("SELECT", "WITH", "VALUES", "("):
            selected = self._select(execution_id, text, database, cutoff)
            return Outcome(selected.table, header=True, scanned=selected.scanned)
        if kind == "UNLOAD":
            return self._unload(execution_id, text, database, cutoff)
        if kind in ("CREATE", "ALTER", "SHOW", "MSCK"):
            return self._ddl.run(text, database)
        raise QueryFailedError(f"SYNTAX_ERROR: line 1:1: mismatched input {kind!r} (or the emulator does not run it)")

    def _unload(self, execution_id: str, sql: str, database: str, cutoff: int | None) -> Outcome:
        parsed = _UNLOAD.fullmatch(sql)
        if not parsed:
            raise QueryFailedError("SYNTAX_ERROR: line 1:1: UNLOAD (SELECT ...) TO '...' WITH (...) is expected")
        query, target, options_text = parsed.groups()
        compression, keys = _unload_options(options_text or "")
        if not target.startswith("s3://"):
            raise QueryFailedError(f"INVALID_ARGUMENT: UNLOAD target {target!r} is not an S3 location")
        try:
            there = self._inside.objects(target)
        except ClientError as error:
            raise QueryFailedError(f"HIVE_FILESYSTEM_ERROR: {error.response['Error']['Message']}: {target}") from error
        if there:
            raise QueryFailedError(
                f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{target}' already exists", error_type=1000
            )
        folder = target.rstrip("/") + "/"
        unloaded = self._unloaded(execution_id, query, database, cutoff, folder, keys, compression)
        self._leave_orphan(unloaded.files)
        nothing = pa.table({"rows": pa.array([], pa.int64())})
        return Outcome(nothing, scanned=unloaded.scanned, files=unloaded.files, update_count=unloaded.rows)

    def _select(self, execution_id: str, sql: str, database: str, cutoff: int | None) -> Selected:
        return self._selects.run(execution_id, sql, database, cutoff)

    def _unloaded(
        self,
        execution_id: str,
        query: str,
        database: str,
        cutoff: int | None,
        folder: str,
        keys: list[str],
        compression: str,
    ) -> Unloaded:
        """Run a query and write its rows below a folder that is empty."""
        selected = self._selects.run(execution_id, query, database, cutoff, named=True)
        files = tuple(self._write(folder, selected.table, keys, compression, files_per_unload(query)))
        return Unloaded(files, selected.table.num_rows, selected.scanned)

    def _leave_orphan(self, files: tuple[str, ...]) -> None:
        with self._lock:
            if not files or not self._orphans:
                return
            self._orphans -= 1
        bucket, key = split_uri(files[0])
        orphan = f"{key.rpartition('_')[0]}_{uuid.uuid4()}"
        self._inside.s3.copy_object(Bucket=bucket, Key=orphan, CopySource={"Bucket": bucket, "Key": key})

    def _write(self, folder: str, table: pa.Table, keys: list[str], compression: str, most: int) -> Iterator[str]:
        bucket, prefix = split_uri(folder)
        parts = _split_by(table, keys)
        if len(parts) > MOST_OPEN_PARTITIONS:
            raise QueryFailedError(
                f"HIVE_TOO_MANY_OPEN_PARTITIONS: Exceeded limit of {MOST_OPEN_PARTITIONS} open writers for partitions"
            )
        stamp = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_00001_{uuid.uuid4().hex[:5]}"
        with tempfile.TemporaryDirectory(prefix="unload-") as scratch:
            path = Path(scratch) / "part"
            for place, rows in parts:
                for number in range(min(most, rows.num_rows)):
                    # Rows go round robin: an ORDER BY does not outlive UNLOAD.
                    part = rows.take(pa.array(range(number, rows.num_rows, most), pa.int64()))
                    pq.write_table(part, path, compression=compression, use_deprecated_int96_timestamps=True)
                    key = f"{prefix}{place}{stamp}_{uuid.uuid4()}"
                    self._put(path, bucket, key)
                    yield f"s3://{bucket}/{key}"

    def _put(self, path: Path, bucket: str, key: str) -> None:
        # One call of this thread, which works for the query's caller.
        try:
            self._inside.s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        except ClientError as error:
            raise QueryFailedError(f"HIVE_WRITER_CLOSE_ERROR: Failed to write s3://{bucket}/{key}: {error}") from error


def files_per_unload(query: str) -> int:
    """Return how many files a query of enough rows is unloaded to: the same for the same SELECT, 1 to 30."""
    return random.Random(" ".join(query.split())).randint(1, MOST_FILES_PER_UNLOAD)


def _unload_options(text: str) -> tuple[str, list[str]]:
    """Return compression and partition columns of UNLOAD's WITH."""
    options: dict[str, str] = {}
    rest = text.strip()
    while rest:
        option = _OPTION.match(rest)
        if not option:
            raise QueryFailedError(f"SYNTAX_ERROR: UNLOAD option {rest[:40]!r} cannot be read")
        name, quoted, number, array = option.groups()
        options[name.lower()] = quoted if quoted is not None else number if number is not None else array
        rest = rest[option.end() :].strip()
    if options.pop("format", "").upper() != "PARQUET":
        raise QueryFailedError("NOT_SUPPORTED: the emulator unloads format = 'PARQUET' only, and it must be given")
    compression = options.pop("compression", "gzip").lower()
    if compression not in _COMPRESSIONS:
        raise QueryFailedError(f"INVALID_TABLE_PROPERTY: compression {compression!r}: {', '.join(_COMPRESSIONS)}")
    if options.pop("compression_level", None) is not None and compression != "zstd":
        raise QueryFailedError("INVALID_TABLE_PROPERTY: compression_level goes with ZSTD only")
    keys = [name.strip().strip("'").lower() for name in options.pop("partitioned_by", "").split(",") if name.strip()]
    if options:
        raise QueryFailedError(f"INVALID_TABLE_PROPERTY: UNLOAD options {sorted(options)} are unknown")
    return _COMPRESSIONS[compression], keys


def _split_by(table: pa.Table, keys: list[str]) -> list[tuple[str, pa.Table]]:
    """Return the rows of each partition with its Hive path; partition columns are the last and leave the rows."""
    if zoned := [field.name for field in table.schema if pa.types.is_timestamp(field.type) and field.type.tz]:
        raise QueryFailedError(f"NOT_SUPPORTED: Unsupported Hive type: timestamp(3) with time zone of {zoned}")
    if not keys:
        return [("", table)] if table.num_rows else []
    if table.column_names[-len(keys) :] != keys:
        raise QueryFailedError(
            f"HIVE_COLUMN_ORDER_MISMATCH: Partition keys {keys} must be the last columns in the table"
        )
    found = []
    for values in table.select(keys).group_by(keys).aggregate([]).to_pylist():
        rows = table
        for key, value in values.items():
            rows = rows.filter(pc.is_null(rows[key]) if value is None else pc.equal(rows[key], pa.scalar(value)))
        path = "".join(f"{key}={'__HIVE_DEFAULT_PARTITION__' if v is None else v}/" for key, v in values.items())
        found.append((path, rows.drop_columns(keys)))
    return found
