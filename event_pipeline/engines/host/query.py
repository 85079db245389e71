"""Runs a user's statement so that it can only read the published tables.

There are three layers of defence, each sufficient for all known attacks: the statement's tree, from DuckDB's own
parser, may contain only SELECTs and table functions that compute; the connection may open only the registered files;
and the file system through which it opens them cannot write (`lake_files`).
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from event_pipeline.engines.base import ResultStream
from event_pipeline.engines.host.database import explained, relation
from event_pipeline.engines.host.lake_files import LakeFiles, RegisteredFile, address
from event_pipeline.engines.statement import check_text
from event_pipeline.errors import LimitError, QueryError
from event_pipeline.rules.contract import Table
from event_pipeline.rules.printable import plural
from event_pipeline.rules.query import quoted

_READ_NODES = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"))
_TABLE_REFERENCES = frozenset(
    "BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EMPTY EXPRESSION_LIST PIVOT SHOW_REF COLUMN_DATA".split()
)
_TABLE_FUNCTIONS = frozenset(
    "range generate_series unnest repeat repeat_row json_each json_tree "
    "duckdb_columns duckdb_functions duckdb_keywords duckdb_tables duckdb_types duckdb_views pragma_table_info "
    "icu_calendar_names pg_timezone_names".split()
)
"""Table functions that compute or describe; all others open files, run SQL that is not checked here, or worse."""

_EXPLAIN = re.compile(r"(?is)(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*EXPLAIN\b(?:\s+(ANALYZE)\b)?")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}\[\],:]|[^"{}\[\],:]+')

_BATCH_ROWS = 2_048
_BATCHES_AHEAD = 4
_STOP_SECONDS = 0.05


@dataclass(slots=True)
class Statement:
    """An allowed statement, and what it reads."""

    sql: str
    table_names: set[str] = field(default_factory=set)
    """Names of all its tables, without schema, in lower case."""
    databases: set[str] = field(default_factory=set)
    """Schemas that it names for its tables, in lower case."""
    lists_tables: bool = False
    """Whether it may describe tables that it does not name."""


def judge(connection: duckdb.DuckDBPyConnection, sql: str) -> Statement:
    """Parse the only statement of a text and check that it can only read.

    Raises:
        QueryError: it is not a single SELECT, or something in it could do more than read the tables.
    """
    check_text(sql)
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    kinds = [_kind(statement) for statement in statements]
    if kinds not in (["SELECT"], ["EXPLAIN"]):
        raise QueryError(
            f"the query has {len(kinds)} {plural(len(kinds), 'statement')} ({', '.join(kinds) or 'none'}): "
            "write exactly one SELECT (or EXPLAIN); the tables are read-only"
        )
    if kinds == ["SELECT"]:
        return _judged(connection, statements[0].query, "")
    match = _EXPLAIN.match(statements[0].query)
    if match is None:
        raise QueryError("EXPLAIN must be followed by one SELECT; the tables are read-only")
    before = "EXPLAIN ANALYZE " if match[1] else "EXPLAIN "
    return _judged(connection, statements[0].query[match.end() :], before)


def _kind(statement: duckdb.Statement) -> str:
    try:
        return str(statement.type.name)
    except ValueError:
        # Some kinds are only a number in DuckDB's Python package.
        return "another kind"


def _judged(connection: duckdb.DuckDBPyConnection, select: str, before: str) -> Statement:
    try:
        (tree,) = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [select]).fetchall()[0]
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    statement, queries, errors = Statement(before + select), 0, ""
    for each in _objects(tree):
        kind = each.get("type", "")
        errors = errors or (each.get("error_message", "") if each.get("error") == "true" else "")
        if kind.endswith("_NODE") or "cte_map" in each:
            queries += 1
            if kind not in _READ_NODES:
                raise _refused(kind.removesuffix("_NODE").removesuffix("_QUERY") or "such a statement")
        if "info_type" in each:
            raise _refused(each["info_type"].removesuffix("_INFO"))
        if ("sample" in each and "select_list" not in each) and kind not in _TABLE_REFERENCES:
            raise _refused(kind or "such a table")
        statement.lists_tables |= kind in ("TABLE_FUNCTION", "SHOW_REF")
        if kind == "TABLE_FUNCTION":
            function = each.get("function.function_name", "")
            if function.lower() not in _TABLE_FUNCTIONS:
                raise QueryError(
                    f"the table function {function or '(without a name)'} is not allowed in a query, which reads "
                    f"published tables and can use {', '.join(sorted(_TABLE_FUNCTIONS))}"
                )
        if "table_name" in each:
            statement.table_names.add(each["table_name"].lower())
            statement.databases.add(each.get("schema_name", "").lower())
    if errors or not queries:
        raise QueryError(f"{errors or 'no SELECT was found'}: write exactly one SELECT (or EXPLAIN)")
    return statement


def _refused(what: str) -> QueryError:
    return QueryError(
        f"{what} in a query could change something: write exactly one SELECT (or EXPLAIN); the tables are read-only"
    )


def _objects(text: str) -> Iterator[Mapping[str, str]]:
    """Yield every object of a JSON text with its scalar members; objects and arrays are members with an empty text.

    Not `json.loads`, which recurses: a sum of 400 numbers is nested deeper than Python allows. The scalars of an object
    in the member `function` are also members of its parent, as `function.<name>`.
    """
    stack: list[tuple[dict[str, str], str | None]] = []
    members: dict[str, str] = {}
    name: str | None = None
    waiting: str | None = None
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark == "{":
            if name is not None:
                members[name] = ""
            stack.append((members, name))
            members, name, waiting = {}, None, None
        elif mark == "}":
            if name is not None and waiting is not None:
                members[name] = waiting
            yield members
            inner = members
            members, name = stack.pop()
            if name is not None:
                members.update({f"{name}.{key}": value for key, value in inner.items() if "." not in key})
            name = waiting = None
        elif mark == "[":
            if name is not None:
                members[name] = ""
            stack.append((members, None))
            # Scalars in an array are not members of an object.
            members, name, waiting = {}, None, None
        elif mark == "]":
            members, name = stack.pop()
            waiting = None
        elif mark == ":":
            name, waiting = waiting, None
        elif mark == ",":
            if name is not None and waiting is not None:
                members[name] = waiting
            name = waiting = None
        elif mark.strip():
            waiting = _unescaped(token[1]) if token[1] is not None else mark.strip()


def _unescaped(text: str) -> str:
    return str(json.loads(f'"{text}"')) if "\\" in text else text


def prepare(
    connection: duckdb.DuckDBPyConnection,
    statement: Statement,
    tables: Sequence[Table],
    files: Mapping[str, Sequence[RegisteredFile]],
) -> None:
    """Create the views that a statement can see, and permanently deny the connection everything else.

    A view takes a millisecond or two. A statement that names another table than these sees all: it may list them, or
    have misspelt a name that DuckDB then suggests.
    """
    named = [table for table in tables if table.name in statement.table_names]
    sees_all = statement.lists_tables or not statement.table_names <= {table.name for table in named}
    for table in tables if sees_all else named:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.database}")
        connection.execute(f"CREATE VIEW {table.full_name} AS {relation(table, files.get(table.full_name, ()))}")
    readable = sorted({quoted(address(file)) for listed in files.values() for file in listed})
    connection.execute(f"SET allowed_paths = [{', '.join(readable)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def streamed(
    connection: duckdb.DuckDBPyConnection, statement: Statement, lake: LakeFiles, timeout_seconds: float, result_mb: int
) -> Iterator[ResultStream]:
    """Run a statement in its own thread, so that Ctrl-C and the timeout end it whatever it is doing.

    Raises:
        PipelineError: raised by `database.faults_explained`.
        LimitError: the statement exceeds the time limit or the result size.
    """
    batches = _Batches(connection, statement.sql, lake, timeout_seconds, result_mb)
    try:
        yield ResultStream(batches.schema(), iter(batches), lambda: lake.bytes_read)
    finally:
        batches.stop()


class _Batches:
    """The result of a running statement, a few batches ahead of its reader."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql: str,
        lake: LakeFiles,
        timeout_seconds: float,
        result_mb: int,
    ) -> None:
        self._connection = connection
        self._lake = lake
        self._sql = sql
        self._timeout_seconds = timeout_seconds
        self._seconds_left = timeout_seconds
        self._result_mb = result_mb
        self._found: queue.Queue[Any] = queue.Queue(maxsize=_BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="query", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            reader = self._connection.sql(self._sql).to_arrow_reader(_BATCH_ROWS)
            self._found.put(reader.schema)
            for batch in reader:
                if self._stopped.is_set():
                    return
                self._found.put(batch)
            self._found.put(None)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that reads
            self._found.put(error)

    def schema(self) -> pa.Schema:
        """Return the columns; the statement is then known to be valid."""
        return self._next()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        size = 0
        while (batch := self._next()) is not None:
            size += batch.nbytes
            if size > self._result_mb << 20:
                raise LimitError(
                    f"the result is larger than {self._result_mb:,} MB: narrow the query, or raise "
                    "EVENT_PIPELINE_QUERY_RESULT_MB"
                )
            yield batch

    def _next(self) -> Any:
        """Wait for the next batch; only the statement's own time counts, not its reader's."""
        started = time.monotonic()
        try:
            found = self._found.get(timeout=max(self._seconds_left, 0))
        except queue.Empty:
            raise LimitError(
                f"the query took longer than {self._timeout_seconds:g} s and was stopped: narrow it, or raise "
                "EVENT_PIPELINE_QUERY_TIMEOUT_SECONDS"
            ) from None
        self._seconds_left -= time.monotonic() - started
        if isinstance(found, Exception):
            raise explained(found, self._lake) from found
        return found

    def stop(self) -> None:
        """Stop the statement and wait for its end."""
        self._stopped.set()
        while self._thread.is_alive():
            self._connection.interrupt()
            while not self._found.empty():
                self._found.get_nowait()
            self._thread.join(_STOP_SECONDS)
