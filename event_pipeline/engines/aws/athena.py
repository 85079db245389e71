"""Runs statements in Athena: starts them idempotently, waits for them, and returns their rows as Arrow."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

from event_pipeline.engines.aws.athena_failures import query_failure, shown, start_refusal
from event_pipeline.engines.aws.clients import Aws, ExpectedError
from event_pipeline.engines.aws.costs import Meter, athena_usd
from event_pipeline.engines.aws.storage import Bucket, split_url
from event_pipeline.engines.base import ResultStream
from event_pipeline.errors import LimitError, TransientError
from event_pipeline.settings import PREFIX, Settings

_FIRST_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 2.0
_QUEUED_AGAIN_SECONDS = 3.0
"""How long a failed statement that Athena may queue again is polled for that."""
_POLL_GROWTH = 1.5
_INVALID = "InvalidRequestException"

_PLAIN_TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "map": pa.map_(pa.string(), pa.int64()),
}
_MAP_ITEM = re.compile(r"([^=,{} ][^=,{}]*)=(-?\d+)")


@dataclass(frozen=True, slots=True)
class Execution:
    """A statement that succeeded."""

    id: str
    bytes_scanned: int
    manifest: str | None = None
    """URL of the list of files that it wrote; None for a statement that writes none."""


class Athena:
    """Runs statements in the workgroup of the settings."""

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self._aws = aws
        self._settings = settings
        self._waited_for = set[str]()

    def run(self, sql: str, meter: Meter, *, token: str | None = None) -> Execution:
        """Run one statement and wait for its end.

        The same `token` and statement never run twice, even if the answer to the first call was lost; without a token
        every call starts a new run.

        Raises:
            QueryError: Athena refuses the statement.
            StorageError: data or permissions are wrong.
            TransientError: Athena was too busy, or the statement took longer than the timeout.
        """
        execution_id = self._start(sql, token or uuid.uuid4().hex)
        self._waited_for.add(execution_id)
        try:
            return self._finish(execution_id, meter)
        except Exception:
            raise
        except BaseException:
            # The step was interrupted, so nothing waits for the statement any more.
            self._stop(execution_id)
            raise
        finally:
            self._waited_for.discard(execution_id)

    def written(self, execution: Execution) -> set[str]:
        """Return the URLs of the files that an UNLOAD wrote, from its data manifest, which has one per line.

        Athena retries parts of a statement on its own and leaves the files of the first attempt, so a listing of the
        target can show more files. A statement without rows has no manifest, or an empty one.
        """
        if execution.manifest is None:
            return set()
        bucket, key = split_url(execution.manifest)
        found = Bucket(self._aws, bucket).read(key)
        return {line.strip() for line in found[0].decode().splitlines() if line.strip()} if found else set()

    def stop_all(self) -> None:
        """Stop the statements that other threads wait for, because their step was interrupted."""
        for execution_id in list(self._waited_for):
            self._stop(execution_id)

    def rows(self, sql: str, meter: Meter) -> pa.Table:
        """Run one SELECT and return its rows, with Athena's types.

        Maps are map<string, bigint>, the only ones in the pipeline; a type without an Arrow equivalent becomes text.

        Raises:
            QueryError: Athena refuses the statement.
            StorageError: data or permissions are wrong.
            TransientError: Athena was too busy, or the statement took longer than the timeout.
        """
        with self.stream(sql, meter) as result:
            return result.read_all()

    @contextmanager
    def stream(self, sql: str, meter: Meter, result_mb: int | None = None) -> Iterator[ResultStream]:
        """Run one SELECT and stream its rows a page at a time, with the types of `rows`.

        Raises:
            QueryError: Athena refuses the statement.
            StorageError: data or permissions are wrong.
            TransientError: Athena was too busy, or the statement took longer than the timeout.
            LimitError: the result is too large.
        """
        execution = self.run(sql, meter)
        pages = self._aws.pages("athena", "get_query_results", execution.id, QueryExecutionId=execution.id)
        first = next(pages)
        schema = _schema(first["ResultSet"]["ResultSetMetadata"]["ColumnInfo"])
        batches = _batches(first, pages, schema, result_mb)
        usd = athena_usd(self._settings, [execution.bytes_scanned])
        yield ResultStream(schema, batches, lambda: execution.bytes_scanned, usd)

    def _start(self, sql: str, token: str) -> str:
        # Athena requires 32 to 128 characters, and refuses a known token with another statement.
        request_token = hashlib.sha256(f"{token}\0{sql}".encode()).hexdigest()
        workgroup = self._settings.athena_workgroup
        try:
            answer = self._aws.call(
                "athena",
                "start_query_execution",
                f"workgroup {workgroup}",
                expected=[_INVALID],
                QueryString=sql,
                ClientRequestToken=request_token,
                # Without one, Athena resolves names in the database `default`.
                QueryExecutionContext={
                    "Catalog": "AwsDataCatalog",
                    "Database": f"{self._settings.database_prefix}silver",
                },
                WorkGroup=workgroup,
            )
        except ExpectedError as error:
            raise start_refusal(error.message, sql, workgroup) from error
        return str(answer["QueryExecutionId"])

    def _finish(self, execution_id: str, meter: Meter) -> Execution:
        deadline = time.monotonic() + self._settings.athena_timeout_seconds
        wait, failed_at = _FIRST_POLL_SECONDS, None
        while True:
            answer = self._aws.call("athena", "get_query_execution", execution_id, QueryExecutionId=execution_id)
            execution = answer["QueryExecution"]
            state = execution["Status"]["State"]
            if state != "FAILED":
                failed_at = None
            elif execution["Status"].get("AthenaError", {}).get("Retryable"):
                # Athena may queue it again on its own (API reference, QueryExecutionStatus).
                failed_at = failed_at or time.monotonic()
                if time.monotonic() - failed_at < _QUEUED_AGAIN_SECONDS:
                    time.sleep(_FIRST_POLL_SECONDS)
                    continue
            if state in ("SUCCEEDED", "FAILED", "CANCELLED"):
                # A failed statement is billed for what it scanned.
                scanned = int(execution.get("Statistics", {}).get("DataScannedInBytes", 0))
                meter.query(scanned)
                if state != "SUCCEEDED":
                    raise query_failure(execution)
                manifest = execution.get("Statistics", {}).get("DataManifestLocation")
                return Execution(execution_id, scanned, manifest)
            if time.monotonic() > deadline:
                self._stop(execution_id)
                raise TransientError(
                    f"Athena query {execution_id} was still {state} after {self._settings.athena_timeout_seconds} s "
                    f"and was stopped: run again, or raise {PREFIX}ATHENA_TIMEOUT_SECONDS: "
                    f"{shown(execution.get('Query', ''))}"
                )
            time.sleep(wait)
            wait = min(wait * _POLL_GROWTH, _LONGEST_POLL_SECONDS)

    def _stop(self, execution_id: str) -> None:
        self._aws.call("athena", "stop_query_execution", execution_id, QueryExecutionId=execution_id)


def _schema(columns: Sequence[Mapping[str, Any]]) -> pa.Schema:
    return pa.schema([(column["Name"], _arrow_type(column)) for column in columns])


def _batches(
    first: Mapping[str, Any], others: Iterator[Mapping[str, Any]], schema: pa.Schema, result_mb: int | None
) -> Iterator[pa.RecordBatch]:
    # The first row of a SELECT repeats the column names.
    size, skipped = 0, 1
    for page in chain([first], others):
        rows = [[cell.get("VarCharValue") for cell in row["Data"]] for row in page["ResultSet"]["Rows"][skipped:]]
        skipped = 0
        arrays = [
            pa.array([_value(row[number], field.type) for row in rows], field.type)
            for number, field in enumerate(schema)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        size += batch.nbytes
        if result_mb is not None and size > result_mb << 20:
            raise LimitError(
                f"the result is larger than {result_mb:,} MB: narrow the query, or raise {PREFIX}QUERY_RESULT_MB"
            )
        yield batch


def _arrow_type(column: Mapping[str, Any]) -> pa.DataType:
    name = str(column["Type"]).lower()
    if name == "decimal":
        return pa.decimal128(int(column["Precision"]), int(column["Scale"]))
    return _PLAIN_TYPES.get(name, pa.string())


def _value(text: str | None, type: pa.DataType) -> Any:
    if text is None or pa.types.is_string(type):
        return text
    if pa.types.is_boolean(type):
        return text == "true"
    if pa.types.is_integer(type):
        return int(text)
    if pa.types.is_floating(type):
        return float(text)
    if pa.types.is_decimal(type):
        return Decimal(text)
    if pa.types.is_date(type):
        return date.fromisoformat(text)
    if pa.types.is_timestamp(type):
        return datetime.fromisoformat(text)
    return [(key, int(value)) for key, value in _MAP_ITEM.findall(text)]
