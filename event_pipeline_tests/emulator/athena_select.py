"""A SELECT as Athena would take it: checked against Athena's grammar, catalog and types, then run by DuckDB.

DuckDB takes more than Athena does, so what Athena would refuse is refused before: foreign syntax and functions,
comparisons between types, aliases where Athena knows none. What DuckDB would compute otherwise is refused too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import ErrorLevel, exp, tokenize
from sqlglot.errors import OptimizeError, ParseError, SqlglotError, TokenError, UnsupportedError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.qualify_tables import qualify_tables
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.tokenizer_core import Token, TokenType

from event_pipeline_tests.emulator.athena_functions import ATHENA_FUNCTIONS
from event_pipeline_tests.emulator.athena_outcome import QueryFailedError
from event_pipeline_tests.emulator.athena_tables import PATH_COLUMN, Definition, Partition, Tables, sql_type

_GENERATED_NAME = re.compile(r"_col_(\d+)")
_TYPES = exp.DataType.Type
_FAMILIES = {
    "varchar": exp.DataType.TEXT_TYPES,
    "number": exp.DataType.NUMERIC_TYPES,
    "date or timestamp": exp.DataType.TEMPORAL_TYPES,
    "boolean": {_TYPES.BOOLEAN},
}

_BEFORE_BRACKET = (TokenType.ARRAY, TokenType.VAR, TokenType.R_PAREN, TokenType.R_BRACKET)
"""What precedes a bracket in Athena: ARRAY, or the value that is subscripted. A bare list is DuckDB's."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The rows of a SELECT and the bytes read for them."""

    table: pa.Table
    scanned: int


class Selects:
    """Runs SELECTs, each on a DuckDB connection of its own. Thread-safe."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._lock = threading.Lock()
        self._connections: dict[str, duckdb.DuckDBPyConnection] = {}

    def interrupt(self, execution_id: str) -> None:
        """Stop what an execution is computing."""
        with self._lock:
            if connection := self._connections.get(execution_id):
                connection.interrupt()

    def run(self, execution_id: str, sql: str, database: str, cutoff: int | None, *, named: bool = False) -> Selected:
        """Run one SELECT.

        `cutoff` is the most bytes it may read. `named` asks that every column has a name of its own.

        Raises:
            QueryFailedError: Athena would refuse it, or it fails, or it reads too much.
        """
        expression = parse_select(sql)
        if named:
            _check_names(expression)
        expression = qualify_tables(expression, db=database, dialect="trino")
        _check_stages(expression)
        definitions = self._definitions(expression)
        expression = _qualified(expression, definitions, with_path=PATH_COLUMN in sql)
        _check_types(expression)
        with self._connection(execution_id) as connection:
            scanned = self._scan(connection, expression, definitions)
            if cutoff is not None and scanned > cutoff:
                raise QueryFailedError("Bytes scanned limit was exceeded", cancelled=True, scanned=scanned)
            try:
                translated = _divided_as_athena_does(expression).sql("duckdb", unsupported_level=ErrorLevel.RAISE)
                return Selected(_rows(connection, translated), scanned)
            except UnsupportedError as error:
                raise QueryFailedError(f"NOT_SUPPORTED: the emulator cannot run this: {error}") from error
            except duckdb.InterruptException as error:
                raise QueryFailedError("Query cancelled by user", cancelled=True, scanned=scanned) from error
            except duckdb.Error as error:
                first_line = str(error).splitlines()[0]
                raise QueryFailedError(f"GENERIC_INTERNAL_ERROR: {first_line}", scanned=scanned) from error

    @contextmanager
    def _connection(self, execution_id: str) -> Iterator[duckdb.DuckDBPyConnection]:
        settings: dict[str, Any] = {"threads": 1, "memory_limit": "1GB", "autoinstall_known_extensions": False}
        with duckdb.connect(config=settings) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            # Athena keeps the zone in the value; the casts to TIMESTAMP around it, which the engine insists on, agree.
            connection.execute("CREATE MACRO at_timezone(instant, zone) AS timezone(zone, instant)")
            with self._lock:
                self._connections[execution_id] = connection
            try:
                yield connection
            finally:
                with self._lock:
                    del self._connections[execution_id]

    def _definitions(self, expression: exp.Query) -> dict[tuple[str, str], Definition]:
        found = {}
        for _, _, table in _physical_tables(expression):
            if table.catalog and table.catalog.lower() != "awsdatacatalog":
                raise QueryFailedError(f"CATALOG_NOT_FOUND: line 1:15: Catalog '{table.catalog}' does not exist")
            key = (table.db.lower(), table.name.lower())
            if key not in found:
                found[key] = self._tables.definition(*key)
        return found

    def _scan(
        self,
        connection: duckdb.DuckDBPyConnection,
        expression: exp.Query,
        definitions: dict[tuple[str, str], Definition],
    ) -> int:
        """Replace every table by a view of its own; return the bytes that reading them costs."""
        scanned = 0
        for scope, alias, table in list(_physical_tables(expression)):
            definition = definitions[table.db.lower(), table.name.lower()]
            wanted = {column.name for column in scope.columns if column.table == alias}
            partitions = _pruned(connection, scope, alias, definition, self._tables.partitions(definition))
            view, size = self._tables.view(connection, definition, partitions, wanted)
            scanned += size
            table.set("this", exp.to_identifier(view, quoted=True))
            table.set("db", None)
            table.set("catalog", None)
        return scanned


def parse_select(sql: str) -> exp.Query:
    """Parse a SELECT of Athena's dialect.

    Raises:
        QueryFailedError: it is none, or uses what Athena does not know.
    """
    try:
        tokens = tokenize(sql, read="athena")
        expression: exp.Expr = exp.maybe_parse(sql, dialect="athena")
    except (ParseError, TokenError) as error:
        raise _syntax_error(str(error).splitlines()[0]) from error
    if not isinstance(expression, exp.Query):
        raise _syntax_error(f"mismatched input {sql.split(None, 1)[0]!r}")
    if tokens[0].token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN, TokenType.VALUES):
        raise _syntax_error(f"mismatched input {tokens[0].text!r}. Expecting: <query>")
    for node in expression.walk():
        if foreign := _foreign(node):
            raise _syntax_error(foreign)
    names = {named.alias.lower() for named in expression.find_all(exp.CTE, exp.TableAlias, exp.Subquery, exp.Table)}
    names |= {alias.name.lower() for alias in expression.find_all(exp.TableAlias)}
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.token_type is TokenType.DCOLON or token.text == "==":
            raise _syntax_error(f"mismatched input {token.text!r}")
        if token.token_type is TokenType.L_BRACKET and (before is None or before.token_type not in _BEFORE_BRACKET):
            raise _syntax_error("mismatched input '['")
        if token.token_type is TokenType.INTERVAL and not _is_quoted_number(after):
            raise _syntax_error("mismatched input after INTERVAL. Expecting: <string>, for example INTERVAL '1' DAY")
        if (
            token.token_type is TokenType.VAR
            and after is not None
            and after.token_type is TokenType.L_PAREN
            and token.text.lower() not in ATHENA_FUNCTIONS | names
        ):
            raise QueryFailedError(f"FUNCTION_NOT_FOUND: line 1:8: Function '{token.text.lower()}' not registered")
    return expression


def _is_quoted_number(token: Token | None) -> bool:
    return token is not None and token.token_type is TokenType.STRING and bool(re.fullmatch(r"-?\d+", token.text))


def _foreign(node: exp.Expr) -> str | None:
    """Return what in a node is DuckDB's or another dialect's, not Athena's."""
    if isinstance(node, exp.Qualify):
        return "mismatched input 'QUALIFY'"
    if isinstance(node, exp.ILike):
        return "mismatched input 'ILIKE'"
    if isinstance(node, exp.Group) and node.args.get("all"):
        return "mismatched input 'ALL' after GROUP BY"
    if isinstance(node, exp.Star) and (node.args.get("except_") or node.args.get("except") or node.args.get("replace")):
        return "mismatched input: * takes no EXCLUDE and no REPLACE"
    if isinstance(node, exp.Join) and (node.method or node.kind in ("SEMI", "ANTI")):
        return f"mismatched input {node.method or node.kind!r} before JOIN"
    if isinstance(node, exp.Distinct) and node.args.get("on"):
        return "mismatched input 'ON' after DISTINCT"
    return None


def _syntax_error(said: str) -> QueryFailedError:
    return QueryFailedError(f"SYNTAX_ERROR: line 1:1: {said}")


MOST_SCANS = 50
"""Athena's engine refuses a query of more than about a hundred stages; a scan that is aggregated has two."""


def _check_stages(expression: exp.Query) -> None:
    """Refuse a query with too many scans, as QUERY_HAS_TOO_MANY_STAGES in Trino (`query.max-stage-count`)."""
    scans = sum(1 for _ in _physical_tables(expression))
    if scans > MOST_SCANS:
        raise QueryFailedError(
            f"QUERY_HAS_TOO_MANY_STAGES: Number of stages in the query ({2 * scans}) exceeds the allowed maximum "
            f"({2 * MOST_SCANS})"
        )


def _check_names(expression: exp.Query) -> None:
    names = []
    for position, column in enumerate(expression.selects, start=1):
        if not isinstance(column, exp.Alias | exp.Column | exp.Star):
            raise QueryFailedError(
                f"COLUMN_NAME_NOT_SPECIFIED: line 1:1: Column name not specified at position {position}"
            )
        if isinstance(column, exp.Alias) and isinstance(column.this, exp.Null):
            raise QueryFailedError(f"COLUMN_TYPE_UNKNOWN: line 1:1: Column type is unknown at position {position}")
        names.append(column.alias_or_name.lower())
    if twice := sorted({name for name in names if name != "*" and names.count(name) > 1}):
        raise QueryFailedError(f"DUPLICATE_COLUMN_NAME: line 1:1: Column name '{twice[0]}' specified more than once")


def _physical_tables(expression: exp.Query) -> Iterator[tuple[Scope, str, exp.Table]]:
    for scope in traverse_scope(expression):
        for alias, source in scope.sources.items():
            if isinstance(source, exp.Table) and source.db:
                yield scope, alias, source


def _qualified(expression: exp.Query, definitions: dict[tuple[str, str], Definition], *, with_path: bool) -> exp.Query:
    schema: dict[str, Any] = {}
    for (database, name), definition in definitions.items():
        columns = {**definition.columns, **definition.keys, **({PATH_COLUMN: "string"} if with_path else {})}
        schema.setdefault(database, {})[name] = {column: sql_type(type_, "trino") for column, type_ in columns.items()}
    try:
        # Athena knows a column's alias in ORDER BY only: without expansion it is an unknown column elsewhere.
        found = qualify(expression, schema=schema, dialect="trino", expand_alias_refs=False)
        return annotate_types(found, schema=schema, dialect="trino")
    except OptimizeError as error:
        raise QueryFailedError(f"COLUMN_NOT_FOUND: line 1:8: {error}") from error
    except SqlglotError as error:
        raise _syntax_error(str(error)) from error


def _check_types(expression: exp.Query) -> None:
    for node in expression.walk():
        if isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.NullSafeEQ | exp.NullSafeNEQ):
            _check_alike(node, (node.this, node.expression))
        elif isinstance(node, exp.Between):
            _check_alike(node, (node.this, node.args["low"], node.args["high"]))
        elif isinstance(node, exp.In | exp.Coalesce):
            _check_alike(node, (node.this, *node.expressions))
        elif isinstance(node, exp.SetOperation):
            for left, right in zip(node.left.selects, node.right.selects, strict=False):
                _check_alike(node, (left, right))
        elif isinstance(node, exp.Div) and _is_whole(node.this) and _is_whole(node.expression):
            continue
        elif isinstance(node, exp.Div | exp.Avg) and any(map(_is_decimal, (node.this, node.args.get("expression")))):
            raise QueryFailedError(
                f"NOT_SUPPORTED: {node.sql('trino')}: the emulator divides decimals as Athena does (to a rounded "
                "decimal) where they are decimal(38, 0) only: cast to that, to bigint or double first"
            )


def _is_decimal(operand: exp.Expr | None) -> bool:
    return operand is not None and operand.type is not None and operand.type.this is _TYPES.DECIMAL


def _is_whole(operand: exp.Expr) -> bool:
    """Return whether an operand is a decimal(38, 0) as written: a cast to it, or a difference or remainder of such."""
    if isinstance(operand, exp.Paren):
        return _is_whole(operand.this)
    if isinstance(operand, exp.Sub | exp.Mod):
        return _is_whole(operand.this) and _is_whole(operand.expression)
    return isinstance(operand, exp.Cast) and operand.to.sql("trino") == "DECIMAL(38, 0)"


def _divided_as_athena_does(expression: exp.Query) -> exp.Query:
    """Write quotients of two decimal(38, 0), which Athena rounds half away from zero, over DuckDB's 128 bits."""
    divided = expression.copy()
    for division in reversed(list(divided.find_all(exp.Div))):  # the innermost first
        if _is_whole(division.this) and _is_whole(division.expression):
            over, by = (f"CAST({side.sql('duckdb')} AS HUGEINT)" for side in (division.this, division.expression))
            rest = f"abs({over}) % abs({by})"
            up = f"CASE WHEN {rest} >= abs({by}) - {rest} THEN 1 ELSE 0 END"
            rounded = f"(abs({over}) // abs({by}) + {up}) * sign({over}) * sign({by})"
            division.replace(exp.maybe_parse(f"CAST({rounded} AS DECIMAL(38, 0))", dialect="duckdb"))
    return divided


def _check_alike(node: exp.Expr, operands: Iterable[exp.Expr]) -> None:
    families: dict[str, str] = {}
    for operand in operands:
        for family, types in _FAMILIES.items():
            if operand.type and operand.type.this in types:
                families.setdefault(family, operand.sql("trino"))
    if len(families) > 1:
        pairs = " and ".join(f"{text} ({family})" for family, text in families.items())
        raise QueryFailedError(f"TYPE_MISMATCH: line 1:1: Cannot apply operator {node.key}: {pairs}", error_type=1006)


def _pruned(
    connection: duckdb.DuckDBPyConnection,
    scope: Scope,
    alias: str,
    definition: Definition,
    partitions: list[Partition],
) -> list[Partition]:
    """Leave out the partitions that the WHERE beside a table rules out by partition columns alone."""
    where = scope.expression.args.get("where")
    joins = scope.expression.args.get("joins") or ()
    if not where or not partitions or any(join.side for join in joins):
        return partitions
    conditions = [
        condition
        for condition in (where.this.flatten() if isinstance(where.this, exp.And) else [where.this])
        if (columns := list(condition.find_all(exp.Column)))
        and all(column.table == alias and column.name in definition.keys for column in columns)
        and not condition.find(exp.Query)
    ]
    if not conditions:
        return partitions
    data = {"number": pa.array(range(len(partitions)), pa.int64())}
    for number, key in enumerate(definition.keys):
        data[key] = pa.array([partition.values[number] for partition in partitions], pa.string())
    connection.register("known_partitions", pa.table(data))
    typed = ", ".join(
        f'CAST("{key}" AS {sql_type(type_, "duckdb")}) AS "{key}"' for key, type_ in definition.keys.items()
    )
    kept = connection.execute(
        f'SELECT number FROM (SELECT number, {typed} FROM known_partitions) AS "{alias}" '
        f"WHERE {exp.and_(*conditions).sql('duckdb')} ORDER BY number"
    ).fetchall()
    return [partitions[number] for (number,) in kept]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run DuckDB's SQL; return rows with Athena's types and names."""
    relation = connection.sql(sql)
    types = [str(type_) for type_ in relation.types]
    table = relation.to_arrow_table()
    columns = []
    for type_, column in zip(types, table.columns, strict=True):
        if type_ == "HUGEINT":
            # Athena's sum of integers is a bigint, and an overflow is an error.
            column = pc.cast(column, pa.int64())
        elif pa.types.is_timestamp(column.type):
            column = pc.cast(column, pa.timestamp("ms", column.type.tz), safe=False)
        columns.append(column)
    names = [_GENERATED_NAME.sub(r"_col\1", name) for name in table.column_names]
    return pa.Table.from_arrays(columns, names)
