"""Athena's statements by Trino: SELECT as it is, UNLOAD as CREATE TABLE AS into the prefix; DDL is the emulator's."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from event_pipeline_tests.emulator.athena_outcome import SYSTEM, USER, QueryFailedError
from event_pipeline_tests.emulator.athena_select import Selected
from event_pipeline_tests.emulator.athena_statements import Statements, Unloaded
from event_pipeline_tests.emulator.athena_tables import Tables
from event_pipeline_tests.emulator.inside import Inside, split_uri
from event_pipeline_tests.trino.server import CATALOG, Answer, TrinoError, TrinoServer

_SCRATCH = "trino_unload"
"""Database of the tables that Trino needs for what Athena unloads to no table."""
_PLAIN: dict[str, tuple[pa.DataType, Callable[[Any], Any] | None]] = {
    "boolean": (pa.bool_(), None),
    "tinyint": (pa.int8(), None),
    "smallint": (pa.int16(), None),
    "integer": (pa.int32(), None),
    "bigint": (pa.int64(), None),
    "real": (pa.float32(), float),
    "double": (pa.float64(), float),
    "varchar": (pa.string(), None),
    "char": (pa.string(), None),
    "date": (pa.date32(), date.fromisoformat),
    "varbinary": (pa.binary(), base64.b64decode),
    "unknown": (pa.int32(), None),
}


class TrinoStatements(Statements):
    """Runs statements, those that read by Trino. Thread-safe."""

    def __init__(self, inside: Inside, tables: Tables, server: TrinoServer) -> None:
        super().__init__(inside, tables)
        self._server = server
        self._running: dict[str, str] = {}
        self._stopped = set[str]()
        self._know_running = threading.Lock()
        self.read: list[tuple[str, str]] = []
        """Every query that Trino ran, with the database of its unqualified names; of UNLOAD the query inside."""

    def interrupt(self, execution_id: str) -> None:
        """Stop the query that an execution runs, also one that has not begun."""
        with self._know_running:
            self._stopped.add(execution_id)
            query_id = self._running.get(execution_id)
        if query_id:
            self._server.cancel(query_id)

    def _select(self, execution_id: str, sql: str, database: str, cutoff: int | None) -> Selected:
        self.read.append((sql, database))
        answer = self._run(execution_id, sql, database, cutoff)
        return Selected(as_arrow(answer), answer.read)

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
        self.read.append((query, database))
        with self._scratch_table() as table:
            partitioned = f", partitioned_by = ARRAY[{', '.join(repr(key) for key in keys)}]" if keys else ""
            answer = self._run(
                execution_id,
                f"CREATE TABLE {CATALOG}.{_SCRATCH}.{table} WITH "
                f"(format = 'PARQUET', external_location = '{folder}'{partitioned}) AS {query}",
                database,
                cutoff,
                session=f"{CATALOG}.compression_codec={compression.upper()}",
            )
        bucket, _ = split_uri(folder)
        files = tuple(f"s3://{bucket}/{each['Key']}" for each in self._inside.objects(folder))
        if answer.updated and not files:
            raise RuntimeError(f"Trino says it wrote {answer.updated} rows to {folder}, where no file is")
        return Unloaded(files, answer.updated, answer.read)

    @contextmanager
    def _scratch_table(self) -> Iterator[str]:
        """Give a name for an external table, and take the table away but not its files."""
        glue = self._inside.glue
        with self._know_running:
            if _SCRATCH not in {each["Name"] for each in glue.get_databases()["DatabaseList"]}:
                glue.create_database(DatabaseInput={"Name": _SCRATCH})
        name = f"unload_{uuid.uuid4().hex}"
        try:
            yield name
        finally:
            if any(each["Name"] == name for each in glue.get_tables(DatabaseName=_SCRATCH)["TableList"]):
                glue.delete_table(DatabaseName=_SCRATCH, Name=name)

    def _run(self, execution_id: str, sql: str, database: str, cutoff: int | None, session: str = "") -> Answer:
        def note(query_id: str) -> None:
            with self._know_running:
                self._running[execution_id] = query_id

        try:
            answer = self._server.run(sql, database, session, note)
        except TrinoError as error:
            if execution_id in self._stopped:
                raise QueryFailedError("Query cancelled by user", cancelled=True) from error
            raise QueryFailedError(
                str(error), category=USER if error.kind in ("USER_ERROR", "EXTERNAL") else SYSTEM
            ) from error
        if cutoff is not None and answer.read > cutoff:
            raise QueryFailedError("Bytes scanned limit was exceeded", cancelled=True, scanned=answer.read)
        return answer


def as_arrow(answer: Answer) -> pa.Table:
    """Return rows of Trino's JSON as Arrow, each column in the type that Trino gave it."""
    arrays, names = [], []
    for number, column in enumerate(answer.columns):
        type_, read = _reader(column["typeSignature"])
        arrays.append(pa.array([read(row[number]) for row in answer.rows], type_))
        names.append(column["name"])
    return pa.Table.from_arrays(arrays, names=names)


def _reader(signature: dict[str, Any]) -> tuple[pa.DataType, Callable[[Any], Any]]:
    """Return the Arrow type of a Trino type, and what reads its values."""
    name, arguments = signature["rawType"], [each["value"] for each in signature["arguments"]]
    if name in _PLAIN:
        type_, plain = _PLAIN[name]
        return type_, _unless_null(plain or _same)
    if name == "decimal":
        return pa.decimal128(*arguments), _unless_null(Decimal)
    if name == "timestamp":
        return pa.timestamp("us"), _unless_null(datetime.fromisoformat)
    if name == "timestamp with time zone":
        return pa.timestamp("us", "UTC"), _unless_null(_zoned)
    if name == "array":
        held, read = _reader(arguments[0])
        return pa.list_(held), _unless_null(lambda value: [read(each) for each in value])
    if name == "map":
        (key_type, read_key), (held, read) = (_reader(each) for each in arguments)
        return pa.map_(key_type, held), _unless_null(
            lambda value: sorted((read_key(key), read(each)) for key, each in value.items())
        )
    if name == "row":
        fields = [(each["fieldName"]["name"], *_reader(each["typeSignature"])) for each in arguments]
        return pa.struct([(field, type_) for field, type_, _ in fields]), _unless_null(
            lambda value: {field: read(each) for (field, _, read), each in zip(fields, value, strict=True)}
        )
    raise QueryFailedError(f"NOT_SUPPORTED: the emulator gives out no column of type {name}")


def _same(value: Any) -> Any:
    return value


def _unless_null(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _zoned(text: str) -> datetime:
    if not text.endswith(" UTC"):
        raise QueryFailedError(f"NOT_SUPPORTED: the emulator gives out timestamps with the zone UTC only, not {text}")
    return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)
