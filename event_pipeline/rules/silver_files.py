"""The Parquet files of a landing hour: types, encodings, row groups, file sizes; and reading them.

Both engines write and read through this module, so their files cannot differ. Not here: where the files are, and
publishing them. Standard library and pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from event_pipeline.rules.accounting import HourAccount
from event_pipeline.rules.arrow import QUARANTINE_SCHEMA, SILVER_SCHEMA, arrow_schema
from event_pipeline.rules.contract import EVENT_TIME, HOUR_LEDGER, Table

ROW_GROUP_ROWS = 600_000
"""Row groups of 128 k rows would take 50 % more bytes."""
ROW_GROUP_BYTES = 72 << 20
"""A row group is also written when it reaches this size, because rows can have any width. The object's key, one text
for all rows of an object, is not counted; 600,000 typical rows take about 60 MB."""
QUARANTINE_BATCH_BYTES = 16 << 20
FILE_BYTES = 256 << 20
"""A Silver file that has reached this size is closed and another one started."""

READ_BATCH_ROWS = 20_000
"""Rows per batch of `read_rows`."""

LEDGER_SCHEMA = arrow_schema(HOUR_LEDGER)

PARQUET_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "store_schema": False,
    "store_decimal_as_integer": True,
}
"""Options for pyarrow's writer, for every file of a landing hour."""

_STRINGS = [field.name for field in SILVER_SCHEMA if pa.types.is_string(field.type)]
_COUNTED = [name for name in SILVER_SCHEMA.names if name != "source_object"]


class EventsFile:
    """Writes one Parquet file of `silver.events`, collecting rows (SILVER_SCHEMA) into large row groups.

    `sink` is a path or an open binary file.
    """

    def __init__(self, sink: Any, row_group_rows: int = ROW_GROUP_ROWS) -> None:
        self.rows = 0
        """Rows so far, written or buffered."""
        self._row_group_rows = row_group_rows
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._writer = pq.ParquetWriter(
            sink,
            SILVER_SCHEMA,
            use_dictionary=_STRINGS,
            column_encoding={EVENT_TIME.column.name: "DELTA_BINARY_PACKED"},
            **PARQUET_OPTIONS,
        )

    def __enter__(self) -> EventsFile:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self.close(keep=fault is None)

    def close(self, *, keep: bool) -> None:
        """Finish the file; without `keep` the buffered rows are dropped."""
        try:
            if keep:
                self._flush()
        finally:
            self._writer.close()

    def write(self, rows: pa.Table) -> None:
        """Buffer rows, and write a row group when there are enough."""
        self._waiting.append(rows)
        self._waiting_rows += rows.num_rows
        self._waiting_bytes += rows.select(_COUNTED).nbytes
        self.rows += rows.num_rows
        if self._waiting_rows >= self._row_group_rows or self._waiting_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting_rows:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=self._waiting_rows)
        self._waiting = []
        self._waiting_rows = self._waiting_bytes = 0


def write_quarantine(sink: Any, batches: Iterable[pa.RecordBatch]) -> int:
    """Write quarantined records (QUARANTINE_SCHEMA) to one file in bounded memory, and return their number."""
    rows = 0
    strings = ["reason", "source_object"]
    with pq.ParquetWriter(sink, QUARANTINE_SCHEMA, use_dictionary=strings, **PARQUET_OPTIONS) as writer:
        for table in gathered(batches, ROW_GROUP_ROWS, QUARANTINE_BATCH_BYTES):
            writer.write_table(table, row_group_size=table.num_rows)
            rows += table.num_rows
    return rows


def gathered(batches: Iterable[pa.RecordBatch], most_rows: int, most_bytes: int) -> Iterator[pa.Table]:
    """Combine batches into non-empty tables of about this many rows or bytes, whichever is reached first."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= most_rows or size >= most_bytes:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def write_ledger(sink: Any, account: HourAccount, *, rules_version: str, run_id: str, committed_at: datetime) -> None:
    """Write the single row of `ops.hour_ledger` for a build of a landing hour; `committed_at` is in UTC."""
    row = {
        "objects": len(account.objects),
        "unreadable_objects": len(account.unreadable),
        "raw_bytes": account.raw_bytes,
        "records": account.records,
        "silver_rows": account.silver_rows,
        "quarantined": account.quarantined,
        "quarantined_by_reason": list(account.quarantined_by_reason.items()),
        "duplicates": account.duplicates,
        "erased": account.erased,
        "fingerprint": account.fingerprint,
        "rules_version": rules_version,
        "run_id": run_id,
        "committed_at": committed_at.replace(tzinfo=None),
    }
    pq.write_table(pa.Table.from_pylist([row], LEDGER_SCHEMA), sink, **PARQUET_OPTIONS)


class OtherColumnsError(Exception):
    """A file has columns of other types than its table; the message names them."""


def read_rows(source: Any, table: Table) -> Iterator[pa.RecordBatch]:
    """Read the rows of one file with its table's columns, in small batches, with at most one row group in memory.

    `source` is an open binary file. Adjacent columns are read together, so that a row group costs only a few reads. A
    column that the file lacks, because an older version wrote it, is null.

    Raises:
        OtherColumnsError: the type of a column differs from the contract, or all columns are missing.
        pa.ArrowException: the file is damaged; errors of reading `source` pass through unchanged.
    """
    schema = arrow_schema(table)
    with pq.ParquetFile(source, pre_buffer=True) as content:
        found = {field.name: field.type for field in content.schema_arrow}
        there = [name for name in schema.names if name in found]
        typed = {field.name: field.type for field in schema}
        if wrong := [name for name in there if found[name] != typed[name]]:
            raise OtherColumnsError(", ".join(f"{name} is {found[name]}, not {typed[name]}" for name in wrong))
        if not there:
            raise OtherColumnsError(f"none of {', '.join(schema.names)} is there")
        for group in range(content.num_row_groups):
            for batch in content.iter_batches(READ_BATCH_ROWS, row_groups=[group], columns=there):
                yield pa.RecordBatch.from_arrays(
                    [
                        batch.column(name) if name in found else pa.nulls(batch.num_rows, typed[name])
                        for name in schema.names
                    ],
                    schema=schema,
                )


def groups_by_size(sizes: Sequence[int], most: int) -> list[range]:
    """Group neighbours into runs of about `most` in total: a run ends with the element that reaches it.

    Returns ranges of positions that cover all of `sizes`, none of them empty.
    """
    groups = []
    start = gathered = 0
    for position, size in enumerate(sizes):
        gathered += size
        if gathered >= most:
            groups.append(range(start, position + 1))
            start, gathered = position + 1, 0
    if start < len(sizes):
        groups.append(range(start, len(sizes)))
    return groups
