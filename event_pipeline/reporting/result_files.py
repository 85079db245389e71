"""Writes query results to a file, which appears only when it is complete."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import uuid4

from event_pipeline.engines.base import ResultStream
from event_pipeline.errors import QueryError, StorageError
from event_pipeline.reporting.results import ResultFormat, check_names, write_text
from event_pipeline.reporting.spreadsheet import Workbook

BINARY = frozenset((ResultFormat.PARQUET, ResultFormat.XLSX))
"""Formats that need a file."""


class ResultFile:
    """A file for one result, or for several as the sheets of a workbook. Leaving it without an error keeps it."""

    def __init__(self, path: Path, result_format: ResultFormat) -> None:
        self._path = path
        self._format = result_format
        self._draft = path.with_name(f".{path.name}.{uuid4().hex}")
        self._workbook: Workbook | None = None

    def __enter__(self) -> Self:
        with self._faults():
            self._file: IO[bytes] = self._draft.open("xb")
        if self._format is ResultFormat.XLSX:
            self._workbook = Workbook(self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._faults():
                if self._workbook is not None:
                    self._workbook.__exit__(kind, error, trace)
                self._file.close()
                if kind is None:
                    os.replace(self._draft, self._path)
        finally:
            self._draft.unlink(missing_ok=True)

    def add(self, result: ResultStream) -> None:
        """Write a result.

        Raises:
            QueryError: the format cannot hold its columns.
            LimitError: the format cannot hold its rows.
            StorageError: the file cannot be written.
        """
        with self._faults():
            if self._workbook is not None:
                self._workbook.add(result)
            elif self._format is ResultFormat.PARQUET:
                _write_parquet(result, self._file)
            else:
                writer = io.TextIOWrapper(self._file, encoding="utf-8", newline="", write_through=True)
                write_text(result, self._format, writer)
                writer.detach()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror or error}") from error


def _write_parquet(result: ResultStream, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_names(result.schema.names)
    try:
        with pq.ParquetWriter(file, result.schema, compression="zstd") as writer:
            for batch in result.batches:
                writer.write_batch(batch)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise QueryError(f"a column of the result cannot be written as Parquet: CAST it: {error}") from error
