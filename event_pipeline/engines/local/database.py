"""DuckDB over registered files: the views that queries see, and running one statement."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from event_pipeline.engines.base import PipelineError, QueryError, StorageError
from event_pipeline.rules.contract import Column, Table

DUCKDB_SCRATCH = "duckdb"
"""Folder below the scratch folder in which all processes spill."""

_READ_STATEMENTS = ("SELECT", "EXPLAIN")
_DUCKDB_TYPES = {"string": "VARCHAR", "int": "INTEGER"}


@contextmanager
def connect(scratch: Path, threads: int, memory_mb: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database in memory that spills to the scratch folder.

    Raises:
        StorageError: a data file is missing or damaged, or the scratch folder is full.
        PipelineError: the memory limit is too low for the work.
        KeyboardInterrupt: a query was interrupted.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": str(scratch / DUCKDB_SCRATCH),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with closing(duckdb.connect(config=config)) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise PipelineError(
            f"DuckDB needs more than its {memory_mb} MB: raise EVENT_PIPELINE_DUCKDB_MEMORY_MB ({error})"
        ) from error
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException) as error:
        raise StorageError(
            f"a data file cannot be read: {error}: `event-pipeline repair` finds what is missing, "
            "`event-pipeline run --force --from HOUR --to HOUR` builds an hour again"
        ) from error
    except RuntimeError as error:
        # DuckDB catches Ctrl-C while a query runs and raises this instead.
        if "Query interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise


def duckdb_type(glue_type: str) -> str:
    """Return DuckDB's name of a Glue type."""
    pair = re.fullmatch(r"map<(\w+),(\w+)>", glue_type)
    if pair:
        return f"MAP({duckdb_type(pair[1])}, {duckdb_type(pair[2])})"
    return _DUCKDB_TYPES.get(glue_type, glue_type.upper())


def relation(table: Table, files: Sequence[Path]) -> str:
    """Return the SELECT that reads exactly these files of a table; none give an empty relation.

    The event date comes first, as the Gold tables are written; a landing hour's columns come last.
    """
    partition, data = list(table.partition_columns), list(table.columns)
    columns = partition + data if table.database == "gold" else data + partition
    return f"SELECT {', '.join(_typed(column) for column in columns)} FROM {_files(table, files)}"


def parquet(files: Sequence[Path], *, mixed: bool = False) -> str:
    """Return a FROM item that reads files as they are, without partition columns; at least one file.

    `mixed` says that other versions of the SQL may have written some of them: each column gets the widest type that
    it has in any file. Otherwise DuckDB takes every file for what the first one is, and looks into no other.
    """
    paths = ", ".join(quoted(str(file)) for file in files)
    return f"read_parquet([{paths}], hive_partitioning = false, union_by_name = {str(mixed).lower()})"


def quoted(text: str) -> str:
    """Return a text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def run_read_only(connection: duckdb.DuckDBPyConnection, sql: str, lake: Path) -> pa.Table:
    """Run one SELECT that can read nothing but the lake and change nothing at all.

    Raises:
        QueryError: it is not one read-only statement, or DuckDB refuses it; the message is DuckDB's own.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    kinds = [statement.type.name for statement in statements]
    if len(kinds) != 1 or kinds[0] not in _READ_STATEMENTS:
        raise QueryError(
            f"the query holds {len(kinds)} statements ({', '.join(kinds) or 'none'}): "
            "write exactly one SELECT (or EXPLAIN); the tables are read-only"
        )
    connection.execute(f"SET allowed_directories = [{quoted(str(lake))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    try:
        return connection.sql(statements[0].query).to_arrow_table()
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException | duckdb.IOException) or str(lake) in str(error):
            raise
        raise QueryError(str(error)) from error


def _typed(column: Column) -> str:
    return f"CAST({column.name} AS {duckdb_type(column.type)}) AS {column.name}"


def _files(table: Table, files: Sequence[Path]) -> str:
    if not files:
        nulls = ", ".join(f"NULL AS {column.name}" for column in table.columns + table.partition_columns)
        return f"(SELECT {nulls} WHERE FALSE) AS nothing"
    types = ", ".join(f"{quoted(c.name)}: {duckdb_type(c.type)}" for c in table.partition_columns)
    paths = ", ".join(quoted(str(file)) for file in files)
    # Days of a Gold table that were folded before a column got a wider type keep the narrow one in their files.
    mixed = str(table.database == "gold").lower()
    return f"read_parquet([{paths}], hive_partitioning = true, hive_types = {{{types}}}, union_by_name = {mixed})"
