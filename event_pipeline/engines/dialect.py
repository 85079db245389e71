"""Renders the pipeline's SQL, written in DuckDB's dialect, for another engine, or raises an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from event_pipeline.engines.statement import check_text
from event_pipeline.errors import QueryError
from event_pipeline.rules.printable import plural

_TERMINAL_CODE = re.compile(r"\x1b\[\d*m")

Dialect = Literal["athena", "duckdb"]

_WIDEST_WHOLE_NUMBER = "DECIMAL(38, 0)"
"""Athena has no integer of more than 64 bits; DuckDB's HUGEINT becomes this."""

_NOT_ELSEWHERE: tuple[tuple[type[exp.Expression], str], ...] = (
    (exp.Anonymous, "the function {} is not known to be the same elsewhere"),
    (exp.Command, "the statement {} is not a SELECT"),
)


_CHANGING = (
    exp.Into,
    exp.DML,
    exp.DDL,
    exp.Command,
    exp.Copy,
    exp.Set,
    exp.Use,
    exp.Attach,
    exp.Detach,
    exp.Pragma,
    exp.Alter,
    exp.Drop,
    exp.TruncateTable,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Analyze,
    exp.Cache,
    exp.Uncache,
    exp.Refresh,
    exp.LoadData,
    exp.Kill,
    exp.Grant,
    exp.Revoke,
    exp.Describe,
    exp.Show,
    exp.Lock,
    exp.Export,
    exp.Install,
)
"""Nodes that could change something or are statements of their own, anywhere in a tree."""


def parse_query(sql: str, dialect: Dialect = "duckdb") -> exp.Query:
    """Parse a single SELECT (with CTEs, unions, ...) in DuckDB's dialect or another one.

    Raises:
        QueryError: it is not one statement, or not a SELECT.
    """
    check_text(sql)
    try:
        statements = [statement for statement in sqlglot.parse(sql, read=dialect) if statement is not None]
    except RecursionError as error:
        raise QueryError("the SQL is nested too deeply: write it flatter") from error
    except SqlglotError as error:
        # sqlglot underlines the position with terminal codes.
        raise QueryError(f"the SQL cannot be read: {_TERMINAL_CODE.sub('', str(error))}") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        kinds = ", ".join(type(statement).__name__.upper() for statement in statements) or "none"
        raise QueryError(
            f"the query has {len(statements)} {plural(len(statements), 'statement')} ({kinds}): write exactly one "
            "SELECT; the tables are read-only"
        )
    return statements[0]


def check_reads_only(query: exp.Query, databases: Collection[str]) -> None:
    """Check that a query only reads tables of the given databases.

    Raises:
        QueryError: something in it could change data, or reads another place.
    """
    named = {each.alias.lower() for each in query.find_all(exp.CTE)}
    for node in query.walk():
        if isinstance(node, _CHANGING):
            raise QueryError(
                f"{type(node).__name__.upper()} in a query could change something: write exactly one SELECT; "
                f"the tables are read-only: {_shown(node)}"
            )
        if not isinstance(node, exp.Table):
            continue
        if node.catalog or not isinstance(node.this, exp.Identifier):
            raise QueryError(f"{_shown(node)} is not a table of {', '.join(sorted(databases))}")
        if node.db.lower() not in databases and (node.db or node.name.lower() not in named):
            raise QueryError(
                f"{_shown(node)} is not a table of {', '.join(sorted(databases))}: write database and table, for "
                "example silver.events"
            )


def render(query: str | exp.Query, to: Dialect) -> str:
    """Translate a SELECT from DuckDB's dialect to another one, without comments, on several lines.

    Raises:
        QueryError: it is not a SELECT, or uses a construct or function that may have another meaning there.
    """
    try:
        tree = parse_query(query) if isinstance(query, str) else query.copy()
        if to != "duckdb":
            _refuse_the_untranslatable(tree)
            _write_for_athena(tree)
        return tree.sql(dialect=to, comments=False, pretty=True, unsupported_level=ErrorLevel.RAISE)
    except RecursionError as error:
        raise QueryError(f"the SQL is nested too deeply to be rendered for {to}: write it flatter") from error
    except SqlglotError as error:
        raise QueryError(f"the SQL cannot be rendered for {to}: {error}") from error


def with_relations(query: exp.Query, relations: Mapping[str, exp.Query]) -> exp.Query:
    """Replace the tables with these names by relations, as common table expressions."""
    found = query.copy()
    for name, relation in relations.items():
        found = found.with_(name, as_=relation, copy=False)
    return found


def rename_databases(query: exp.Query, name_of: Callable[[str], str]) -> exp.Query:
    """Replace the database in every `<database>.<table>` of a query by its name in the catalog."""
    renamed = query.copy()
    for table in renamed.find_all(exp.Table):
        if table.db:
            table.set("db", exp.to_identifier(name_of(table.db)))
    return renamed


def with_star_named(query: exp.Query, columns_of: Mapping[str, Sequence[str]]) -> exp.Query:
    """Expand a plain `SELECT * FROM <table>` to its columns, so that every engine returns the same order.

    `columns_of` maps full table names to columns. Athena always puts partition columns last.
    """
    named = query.copy()
    tables = list(named.find_all(exp.Table))
    if isinstance(named, exp.Select) and len(tables) == 1 and [type(each) for each in named.expressions] == [exp.Star]:
        columns = columns_of.get(f"{tables[0].db}.{tables[0].name}", ())
        if columns:
            named.set("expressions", [exp.column(name) for name in columns])
    return named


def _shown(node: exp.Expr) -> str:
    try:
        return node.sql(dialect="duckdb")[:80]
    except (SqlglotError, RecursionError):
        return node.name or type(node).__name__


def _refuse_the_untranslatable(tree: exp.Query) -> None:
    for kind, reason in _NOT_ELSEWHERE:
        for found in tree.find_all(kind):
            raise QueryError(f"{reason.format(found.name.upper())}: {found.sql(dialect='duckdb')[:80]}")
    if any(order.this.name.upper() == "ALL" for order in tree.find_all(exp.Ordered)):
        raise QueryError("only DuckDB has ORDER BY ALL: list the columns")
    for zoned in tree.find_all(exp.AtTimeZone):
        # For a column without a zone, DuckDB assumes that zone, Athena UTC.
        inner = zoned.this.unnest()
        if not _is_utc(zoned) and not (isinstance(inner, exp.AtTimeZone) and _is_utc(inner)):
            raise QueryError(
                f"{_shown(zoned)}: AT TIME ZONE alone means different things in DuckDB and in Athena: write "
                "CAST(event_ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' AS TIMESTAMP)"
            )
    for star in tree.find_all(exp.Star):
        if any(star.args.get(key) for key in ("except_", "except", "replace", "rename")):
            raise QueryError("only DuckDB has * EXCLUDE, REPLACE and RENAME: list the columns")


def _is_utc(zoned: exp.AtTimeZone) -> bool:
    zone = zoned.args.get("zone")
    return isinstance(zone, exp.Literal) and zone.name.upper() == "UTC"


def _write_for_athena(tree: exp.Query) -> None:
    """Rewrite in place what sqlglot would render with another meaning: integer division and 128-bit integers."""
    for division in reversed(list(tree.find_all(exp.IntDiv))):  # innermost first
        division.replace(_whole_division(division))
    for type_ in tree.find_all(exp.DataType):
        if type_.this is exp.DataType.Type.INT128:
            type_.replace(exp.DataType.build(_WIDEST_WHOLE_NUMBER))


def _whole_division(division: exp.IntDiv) -> exp.Expression:
    """Return a // b as a BIGINT: (a - a % b) / b with the widest integers of Athena.

    sqlglot would use DOUBLE, which is not exact, and a bare / is integer division in Athena but gives a fraction in
    DuckDB; without a remainder both give the same integer. The operands may exceed 64 bits.
    """
    left, right = (
        exp.cast(side.unnest().copy(), _WIDEST_WHOLE_NUMBER) for side in (division.this, division.expression)
    )
    whole = exp.Paren(this=exp.Sub(this=left, expression=exp.Mod(this=left.copy(), expression=right.copy())))
    return exp.cast(exp.Div(this=whole, expression=right, typed=True, safe=False), "BIGINT")
