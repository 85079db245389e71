"""DuckDB over registered files: opening it, what it reads, and explanations of its errors."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
from filelock import FileLock, Timeout

from event_pipeline.engines.host.lake_files import LakeFiles, RegisteredFile, UnreadableRawError, address
from event_pipeline.errors import LimitError, PipelineError, QueryError, StorageError
from event_pipeline.rules.contract import BRONZE_EVENTS, EVENT_FIELDS, Column, Table
from event_pipeline.rules.query import quoted

DUCKDB_SCRATCH = "duckdb"
"""Folder in the scratch folder in which processes spill, each in its own subfolder."""

_DUCKDB_TYPES = {"string": "VARCHAR", "int": "INTEGER"}
REBUILD = (
    "`event-pipeline repair` finds what is missing, `event-pipeline run --force --from HOUR --to HOUR` rebuilds an hour"
)
_MOST_KEPT_BYTES = 64 << 20
_MOST_SHOWN_CHARACTERS = 2_000
"""Of a message of DuckDB or pyarrow, which may repeat whole statements and paths."""
_FULL_DISK = "the disk is full: free some space and run again"
_REMEDIES = {
    **dict.fromkeys(("no space left", "disk quota", "enospc", "edquot"), _FULL_DISK),
    "input/output error": "the disk failed to read or write: see the system's log for the device",
    "too many open files": "this process has too many files open: raise the limit with `ulimit -n`",
}
"""What DuckDB says, in the system's words and small letters, of a fault of the machine -> cause and remedy."""
_FAILED_WRITE = re.compile(r"\b(?:write|writing|create|rename|move|flush|sync)\b", re.IGNORECASE)


@contextmanager
def connect(
    scratch: Path, threads: int, memory_mb: int, files: LakeFiles | None = None, spill_mb: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory database that reads `files`, uses UTC and spills to the scratch folder.

    Without a writable folder it does not spill; a query that needs to fails for lack of memory.

    Raises:
        PipelineError: raised by `faults_explained`.
        KeyboardInterrupt: a query was interrupted.
    """
    with (
        own_folder(scratch) as folder,
        faults_explained(files),
        closing(_database(threads, memory_mb)) as connection,
    ):
        _spill_into(connection, folder)
        if spill_mb is not None:
            connection.execute(f"SET max_temp_directory_size = '{spill_mb}MB'")
        if files is not None:
            connection.register_filesystem(files)
        yield connection


@contextmanager
def reconnect(scratch: Path, threads: int, memory_mb: int, files: LakeFiles) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open as `connect` does, for SQL that changes no setting, a database that the next call of the process may reuse.

    To open one takes 20 ms, and a run needs one for each table and check. One that has failed, spilled or read much
    is closed.

    Raises:
        PipelineError: raised by `faults_explained`.
        KeyboardInterrupt: a query was interrupted.
    """
    with own_folder(scratch) as folder, faults_explained(files):
        shape = (os.getpid(), threads, memory_mb)
        database = _spare.pop(shape, None) or _database(threads, memory_mb)
        reusable = False
        try:
            _spill_into(database, folder)
            # Blocks of one session are not for the next: a file that was damaged since is to be noticed.
            database.execute("SET enable_external_file_cache = false")
            database.register_filesystem(files)
            with closing(database.cursor()) as connection:
                yield connection
            database.unregister_filesystem(files.protocol)
            # DuckDB cannot leave a folder into which it has spilled.
            reusable = files.bytes_read < _MOST_KEPT_BYTES and not (folder and folder.exists())
        finally:
            if not reusable or _spare.setdefault(shape, database) is not database:
                database.close()


_spare: dict[tuple[int, int, int], duckdb.DuckDBPyConnection] = {}
"""Process, threads and memory -> a database that nobody uses."""


def _database(threads: int, memory_mb: int) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        config={
            "threads": threads,
            "memory_limit": f"{memory_mb}MB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Otherwise names in SQL could refer to Python variables.
            "python_enable_replacements": False,
        }
    )
    # now(), current_date and casts from and to TIMESTAMPTZ use this instead of the machine's zone.
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database


def _spill_into(database: duckdb.DuckDBPyConnection, folder: Path | None) -> None:
    database.execute(f"SET temp_directory = {quoted(str(folder) if folder else '')}")
    database.execute("RESET max_temp_directory_size")


@contextmanager
def faults_explained(files: LakeFiles | None = None, doing: str = "") -> Iterator[None]:
    """Turn errors of DuckDB and pyarrow into pipeline errors; `doing` is put before the reason.

    Raises:
        StorageError: a file cannot be read or written.
        LimitError: memory or spill space is too small.
        QueryError: the SQL fails, perhaps only on this data: a value overflows, a text is not a number.
        PipelineError: DuckDB or pyarrow failed for another reason.
        KeyboardInterrupt: a query was interrupted.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, RecursionError, MemoryError, UnicodeError, RuntimeError) as error:
        fault = explained(error, files, doing)
        if fault is error:
            raise
        raise fault from error


def explained(error: Exception, files: LakeFiles | None = None, doing: str = "") -> BaseException:
    """Return the explained error for one of DuckDB or pyarrow; `faults_explained` lists the kinds."""
    text = files.real_paths(str(error)) if files else str(error)
    shown = text if len(text) <= _MOST_SHOWN_CHARACTERS else f"{text[:_MOST_SHOWN_CHARACTERS]} ..."
    before = f"{doing}: " if doing else ""
    if isinstance(error, PipelineError):
        return error
    if files is not None and files.fault is not None:
        fault, files.fault = files.fault, None
        if isinstance(fault, UnreadableRawError):
            return UnreadableRawError(f"{before}{fault}")
        return StorageError(f"{before}{fault}: {REBUILD}")
    # DuckDB catches Ctrl-C during a query; which of the two it raises depends on where it was.
    if isinstance(error, duckdb.InterruptException) or "Query interrupted" in text:
        return KeyboardInterrupt()
    if isinstance(error, duckdb.OutOfMemoryException):
        # DuckDB's own remedies, which follow, are settings that users cannot change here.
        reason = text.partition("\n")[0]
        spill = (
            "the data folder is not writable, so nothing can be spilled"
            if "no temporary directory" in text
            else "raise EVENT_PIPELINE_DUCKDB_MEMORY_MB, or EVENT_PIPELINE_QUERY_SPILL_MB for a query"
        )
        return LimitError(f"{before}DuckDB needs more memory or spill space than it may use: {spill} ({reason})")
    if isinstance(error, MemoryError):
        return LimitError(
            f"{before}more memory is needed than the process may use: raise EVENT_PIPELINE_DUCKDB_MEMORY_MB"
            + (f" ({shown})" if text else "")
        )
    if isinstance(error, RecursionError):
        return QueryError(f"{before}the SQL is nested too deeply")
    if isinstance(error, duckdb.IOException):
        said = text.lower()
        if remedy := next((remedy for cause, remedy in _REMEDIES.items() if cause in said), None):
            return StorageError(f"{before}{remedy}, nothing was published ({shown})")
        if _FAILED_WRITE.search(text):
            return StorageError(f"{before}a file cannot be written, nothing was published: {shown}")
    names_a_file = files is not None and text != str(error)
    if type(error) is duckdb.Error or isinstance(error, duckdb.IOException | duckdb.SerializationException):
        which = f"{files.suspects()}: " if files is not None and not names_a_file and files.opened else ""
        return StorageError(f"{before}{which}a data file cannot be read: {shown}: {REBUILD}")
    if names_a_file and isinstance(error, duckdb.InvalidInputException | duckdb.NotSupportedError):
        return StorageError(f"{before}a data file cannot be read: {shown}: {REBUILD}")
    if isinstance(error, duckdb.InternalError | duckdb.FatalException):
        return PipelineError(f"{before}DuckDB failed with an internal error: {shown}")
    if isinstance(error, duckdb.Error | UnicodeError):
        return QueryError(f"{before}{shown}")
    if isinstance(error, pa.ArrowException):
        return PipelineError(f"{before}pyarrow cannot hold the data: {shown}")
    return error


def duckdb_type(glue_type: str) -> str:
    """Return DuckDB's name for a Glue type."""
    pair = re.fullmatch(r"map<(\w+),(\w+)>", glue_type)
    if pair:
        return f"MAP({duckdb_type(pair[1])}, {duckdb_type(pair[2])})"
    return _DUCKDB_TYPES.get(glue_type, glue_type.upper())


def relation(table: Table, files: Sequence[RegisteredFile]) -> str:
    """Return the SELECT that reads exactly these files of a table; without files the relation is empty.

    A column that is missing in a file, because an older version wrote it, is null in its rows. The event date comes
    first, as in Gold tables; the columns of the landing hour come last.
    """
    partition, data = list(table.partition_columns), list(table.columns)
    columns = partition + data if table.database == "gold" else data + partition
    return f"SELECT {', '.join(_typed(column) for column in columns)} FROM {_files(table, files)}"


def parquet(paths: Sequence[str], *, mixed: bool = False) -> str:
    """Return a FROM item that reads at least one file verbatim, without partition columns.

    Paths are relative to the lake. `mixed` says that other versions of the SQL may have written some of them: each
    column gets the widest type that it has in any file. Otherwise DuckDB assumes the first file's schema for all,
    without looking into the others.
    """
    listed = ", ".join(quoted(address(RegisteredFile("", path))) for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false, union_by_name = {str(mixed).lower()})"


def is_dead_spill(folder: Path) -> bool:
    """Return whether the process that spilled into a folder is gone."""
    try:
        with FileLock(_lock_of(folder), timeout=0):
            return True
    except Timeout:
        return False


def _typed(column: Column) -> str:
    return f"CAST({column.name} AS {duckdb_type(column.type)}) AS {column.name}"


def _files(table: Table, files: Sequence[RegisteredFile]) -> str:
    typed_nulls = ", ".join(
        f"CAST(NULL AS {duckdb_type(column.type)}) AS {column.name}"
        for column in table.columns + table.partition_columns
    )
    nothing = f"SELECT {typed_nulls} WHERE FALSE"
    if not files:
        return f"({nothing}) AS nothing"
    # From these addresses DuckDB can infer only what the catalog or, for raw objects, the layout says.
    types = ", ".join(f"{quoted(c.name)}: {duckdb_type(c.type)}" for c in table.partition_columns)
    addresses = ", ".join(quoted(address(file)) for file in files)
    if table is BRONZE_EVENTS:
        fields = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in EVENT_FIELDS)
        renamed = ", ".join(
            f'"{name}" AS "{column.name}"'
            for name, column in zip(EVENT_FIELDS, table.columns, strict=True)
            if name != column.name
        )
        # A line that is no JSON object is a row of nulls, as on Athena.
        options = (
            f"columns = {{{fields}}}, format = 'newline_delimited', ignore_errors = true, compression = 'gzip', "
            f"hive_partitioning = true, hive_types = {{{types}}}"
        )
        return f"(SELECT * RENAME ({renamed}) FROM read_json([{addresses}], {options})) AS shown"
    # Files of another version may lack a column or have a narrower type. Without need, their footers are not read here.
    mixed = str(len({file.version for file in files}) > 1).lower()
    options = f"hive_partitioning = true, hive_types = {{{types}}}, union_by_name = {mixed}"
    return f"(FROM read_parquet([{addresses}], {options}) UNION ALL BY NAME {nothing}) AS shown"


@contextmanager
def own_folder(scratch: Path) -> Iterator[Path | None]:
    """Yield a private folder for this process, to be created on demand; None if the scratch folder is not writable.

    A lock next to it shows that its process is alive; the next process removes what a killed one left.
    """
    top = scratch / DUCKDB_SCRATCH
    folder = top / uuid4().hex
    lock = FileLock(_lock_of(folder), timeout=0)
    try:
        top.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        yield None
        return
    try:
        _remove_dead_spill(top)
        yield folder
    finally:
        _remove_spill(folder)
        lock.release()
        with suppress(OSError):
            # Other processes spill into it as well, unless it is empty.
            top.rmdir()


def _remove_dead_spill(top: Path) -> None:
    for folder in top.iterdir():
        if folder.is_dir() and is_dead_spill(folder):
            _remove_spill(folder)


def _remove_spill(folder: Path) -> None:
    """Remove a private folder with its lock; what cannot be removed now is left to housekeeping."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        _lock_of(folder).unlink()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
