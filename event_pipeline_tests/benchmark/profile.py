"""Where the CPU seconds of one raw object go, on one thread: the stages of Silver, and other JSON readers beside them.

A stage is measured by wrapping the function that does it. Readers get the same chunks and make the same columns, in
memory; those that are not installed are left out.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pyarrow as pa
import pyarrow.json as pj
from isal import igzip

from event_pipeline.rules import certified, validation
from event_pipeline.rules.arrow import day_totals, silver_rows
from event_pipeline.rules.certificates import read_type
from event_pipeline.rules.contract import FIELDS, Limits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.sampler import Sampler
from event_pipeline.rules.silver_files import EventsFile
from event_pipeline_tests.benchmark.bare_read import copy_bare

CHUNK_BYTES = 4 << 20
_READ_SCHEMA = pa.schema([(field.name, read_type(field.kind)) for field in FIELDS])
Reader = Callable[[bytes], object]


class _Kept:
    """A sink that keeps the events."""

    def __init__(self) -> None:
        self.events: list[pa.Table] = []

    def take_events(self, events: pa.Table) -> None:
        self.events.append(events)

    def take_quarantine(self, records: pa.Table) -> None:
        """Leave them out: the profile is of good events."""


def profile_object(path: Path, hour: Hour) -> dict[str, float]:
    """Return CPU seconds by stage (`stage ...`), by reader (`reader ...`), and of a bare DuckDB read (`bare read`)."""
    cores = pa.cpu_count()
    pa.set_cpu_count(1)
    try:
        _stages(path, hour)  # what is done once in a process is not counted
        return _used(path, hour)
    finally:
        pa.set_cpu_count(cores)


def _used(path: Path, hour: Hour) -> dict[str, float]:
    return {f"stage {name}": used for name, used in _stages(path, hour).items()} | {
        "bare read": _bare_read(path),
        **{f"reader {name}": used for name, used in _readers(path).items()},
    }


# -- stages


def _stages(path: Path, hour: Hour) -> dict[str, float]:
    used: dict[str, float] = {}

    @contextmanager
    def counted(stage: str) -> Iterator[None]:
        began = time.process_time()
        yield
        used[stage] = used.get(stage, 0.0) + time.process_time() - began

    def counting(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            with counted(stage):
                return function(*arguments)

        return wrapped

    with counted("inflating"), igzip.open(path) as stream:  # type: ignore[no-untyped-call]  # isal's has no annotations
        while stream.read(1 << 20):
            pass
    kept = _Kept()
    with (
        mock.patch.object(certified, "_read", counting("reading JSON", certified._read)),
        mock.patch.object(certified, "_certain_events", counting("certificates", certified._certain_events)),
        mock.patch.object(Sampler, "add", counting("sampler", Sampler.add)),
        path.open("rb") as stored,
        counted("judging"),
    ):
        validation.judge_stored_object(
            stored, kept, key=path.name, etag="", size=path.stat().st_size, hour=hour, limits=Limits()
        )
    used["the rest of judging"] = used.pop("judging") - sum(used.values())
    with counted("Silver rows"):
        rows = [silver_rows(events, path.name) for events in kept.events]
    with counted("control totals"):
        for each in rows:
            day_totals(each)
    with counted("Parquet"), EventsFile(io.BytesIO()) as file:
        for each in rows:
            file.write(each)
    return used


# -- readers


def _bare_read(path: Path) -> float:
    began = time.process_time()
    copy_bare(str(path), path.with_name("bare.parquet"), threads=1)
    return time.process_time() - began


def _readers(path: Path) -> dict[str, float]:
    inflated = gzip.decompress(path.read_bytes())
    chunks, start = list[bytes](), 0
    while start < len(inflated):
        end = inflated.rfind(b"\n", start, start + CHUNK_BYTES) + 1 if start + CHUNK_BYTES < len(inflated) else 0
        chunks.append(inflated[start : end or None])
        start += len(chunks[-1])
    found = {}
    with closing(duckdb.connect(config={"threads": 1})) as connection:
        for name, reader in (
            ("pyarrow", _read_with_pyarrow),
            ("DuckDB", _duckdb_reader(connection)),
            ("Polars", _polars_reader()),
            ("arro3", _arro3_reader()),
        ):
            if reader:
                began = time.process_time()
                for chunk in chunks:
                    reader(chunk)
                found[name] = time.process_time() - began
    return found


def _read_with_pyarrow(chunk: bytes) -> pa.Table:
    options = pj.ReadOptions(use_threads=False, block_size=len(chunk) + 1)
    parsing = pj.ParseOptions(explicit_schema=_READ_SCHEMA, unexpected_field_behavior="error")
    return pj.read_json(pa.BufferReader(chunk), options, parsing)


def _duckdb_reader(connection: duckdb.DuckDBPyConnection) -> Reader:
    memory = os.memfd_create("chunk")
    columns = ", ".join(
        f"{field.name}: '{'DOUBLE' if pa.types.is_floating(field.type) else 'VARCHAR'}'" for field in _READ_SCHEMA
    )
    select = f"FROM read_json('/proc/self/fd/{memory}', format = 'newline_delimited', columns = {{{columns}}})"

    def read(chunk: bytes) -> pa.Table:
        os.ftruncate(memory, 0)
        os.pwrite(memory, chunk, 0)
        return connection.sql(select).to_arrow_table()

    return read


def _polars_reader() -> Reader | None:
    if not importlib.util.find_spec("polars"):
        return None
    os.environ["POLARS_MAX_THREADS"] = "1"
    polars = importlib.import_module("polars")
    types = {
        field.name: polars.Float64 if pa.types.is_floating(field.type) else polars.String for field in _READ_SCHEMA
    }
    return lambda chunk: polars.read_ndjson(chunk, schema=types)


def _arro3_reader() -> Reader | None:
    if not importlib.util.find_spec("arro3"):
        return None
    reading, core = importlib.import_module("arro3.io"), importlib.import_module("arro3.core")
    schema = core.Schema.from_arrow(_READ_SCHEMA)
    return lambda chunk: reading.read_json(io.BytesIO(chunk), schema, batch_size=1 << 20).read_all()
