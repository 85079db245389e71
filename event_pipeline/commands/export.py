"""`event-pipeline export`: a snapshot of the published tables that any tool opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import UsageError, file_to_write
from event_pipeline.commands.query import day_range
from event_pipeline.engines.base import ResultStream
from event_pipeline.engines.open import open_pipeline
from event_pipeline.errors import StorageError
from event_pipeline.reporting.terminal import messages, output
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, Table
from event_pipeline.rules.query import quoted
from event_pipeline.settings import load_settings

_DATABASES = frozenset(("gold", *(table.database for table in HOUR_TABLES)))

_Write = Callable[[Table, ResultStream], int]
"""Writes the rows of a table, and returns how many there were."""


def export(
    duckdb_file: Annotated[
        Path | None, typer.Option("--duckdb", metavar="FILE", help="Write one DuckDB database file.")
    ] = None,
    parquet_folder: Annotated[
        Path | None,
        typer.Option("--parquet", metavar="FOLDER", help="Write one Parquet file per table into a new folder."),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First event day (Gold) or landing day (others).")
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="YYYY-MM-DD", help="Last day, inclusive; without it, up to the newest."),
    ] = None,
    with_silver: Annotated[
        bool, typer.Option("--with-silver", help="Also silver.events and silver.quarantine, which are large.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file, or the folder of an earlier export, if it exists.")
    ] = False,
) -> None:
    """Write the Gold tables and the ledger of hours to a file or folder of your own. Timestamps are UTC.

    The snapshot appears whole or not at all.

    Examples:
      event-pipeline export --duckdb lake.duckdb --from 2025-12-01

      event-pipeline export --parquet snapshot/ --with-silver
    """
    # It imports pyarrow, for which no other command should wait.
    from event_pipeline.lake import rows_of

    if (duckdb_file is None) == (parquet_folder is None):
        raise UsageError("say where to: --duckdb with a file, or --parquet with a folder")
    days = day_range(first, last, whole=False)
    settings = load_settings()
    pipeline = open_pipeline(settings)
    hour_tables = HOUR_TABLES if with_silver else (HOUR_LEDGER,)
    tables = (*(each.table for each in pipeline.gold_tables), *hour_tables)
    if duckdb_file is not None:
        target = file_to_write(duckdb_file, "--duckdb")
    else:
        target = _folder_to_write(parquet_folder or Path(), "--parquet")
    with (
        memory_bounded(settings.duckdb_memory_mb),
        _draft(target, replace=force) as draft,
        _database(draft) if duckdb_file else _folder(draft) as write,
    ):
        for table in tables:
            with pipeline.engine.query_stream(rows_of(table, days)) as result:
                rows = write(table, result)
            messages().print(f"{table.full_name}: {rows:,} row{'s' if rows != 1 else ''}", soft_wrap=True)
    output().print(str(target), soft_wrap=True, highlight=False)


def _folder_to_write(path: Path, option: str) -> Path:
    """Return the folder that a snapshot replaces: the one that an option names, or that a link of this name leads to.

    Raises:
        UsageError: there is something that no export wrote, which --force must not remove.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{option} {path} is no folder: name a new one")
    folder = path if path.name and not path.is_symlink() else Path(os.path.realpath(path))
    for each in folder.rglob("*"):
        is_ours = each.name in _DATABASES if each.parent == folder else each.suffix == ".parquet" and each.is_file()
        if not is_ours:
            raise UsageError(f"{option} {path} has something that no export wrote, {each}: name a new folder")
    return folder


@contextmanager
def _draft(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yield a path beside the target, which takes its place at the end and is removed after an error.

    Raises:
        UsageError: the target exists and is not to be replaced.
    """
    if target.exists() and not replace:
        raise UsageError(f"{target} exists: choose another name, or replace it with --force")
    draft = target.with_name(f".{target.name}.{uuid4().hex[:8]}.draft")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        if target.is_dir():
            shutil.rmtree(target)
        draft.replace(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        draft.unlink(missing_ok=True)


@contextmanager
def _database(path: Path) -> Iterator[_Write]:
    """Write tables into a DuckDB database, with the meanings of tables and columns as comments.

    Raises:
        StorageError: the file cannot be written.
    """
    import duckdb
    import pyarrow as pa

    def write(table: Table, result: ResultStream) -> int:
        reader = pa.RecordBatchReader.from_batches(result.schema, result.batches)
        connection.register("exported", reader)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.database}")
        connection.execute(f"CREATE TABLE {table.full_name} AS SELECT * FROM exported")
        connection.unregister("exported")
        connection.execute(f"COMMENT ON TABLE {table.full_name} IS {quoted(table.description)}")
        for column in (*table.columns, *table.partition_columns):
            meaning = quoted(column.meaning)
            connection.execute(f'COMMENT ON COLUMN {table.full_name}."{column.name}" IS {meaning}')
        (rows,) = connection.execute(f"SELECT count(*) FROM {table.full_name}").fetchall()[0]
        return int(rows)

    try:
        with duckdb.connect(str(path)) as connection:
            yield write
    except duckdb.Error as error:
        raise StorageError(f"{path}: cannot be written: {error}") from error


@contextmanager
def _folder(path: Path) -> Iterator[_Write]:
    """Write tables as `<database>/<table>.parquet`."""
    import pyarrow.parquet as pq

    def write(table: Table, result: ResultStream) -> int:
        file = path / table.database / f"{table.name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = 0
        with pq.ParquetWriter(file, result.schema, compression="zstd") as writer:
            for batch in result.batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows

    path.mkdir()
    yield write
