"""Answers `SHOW TABLES` and `DESCRIBE` of a published table from the declarations: names, types and meanings.

The answer is the same on every engine, and no engine is asked: on AWS it costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from event_pipeline.engines.base import PROSE
from event_pipeline.errors import QueryError
from event_pipeline.rules.contract import Column, Table

# Possessive: a long run of blanks or comments is passed once.
_BLANK = r"(?:\s|--[^\n]*(?:\n|\Z)|(?>/\*.*?\*/))*+"
_END = rf"{_BLANK};?{_BLANK}"

_DESCRIBE = re.compile(
    rf"{_BLANK}DESC(?:RIBE)?\s++(?:TABLE\s++)?"
    rf"(?P<quote1>\"?)(?P<database>\w+)(?P=quote1)\s*+\.\s*+(?P<quote2>\"?)(?P<name>\w+)(?P=quote2){_END}",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)

_SHOW = re.compile(
    rf"{_BLANK}SHOW\s++(?:ALL\s++)?TABLES"
    rf"(?:\s++(?:FROM|IN)\s++\"?(?P<database>\w+)\"?)?{_END}",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_TABLES_SCHEMA = pa.schema(
    [("table", pa.string()), ("partitions", pa.string()), pa.field("meaning", pa.string(), metadata={PROSE: b"yes"})]
)
_SCHEMA = pa.schema(
    [("column", pa.string()), ("type", pa.string()), pa.field("meaning", pa.string(), metadata={PROSE: b"yes"})]
)


def show_tables(sql: str, tables: Sequence[Table]) -> pa.Table | None:
    """Return the rows (table, partitions, meaning) that a statement asks for; None if it does not ask for tables.

    Raises:
        QueryError: there is no such database; the message lists them.
    """
    found = _SHOW.fullmatch(sql)
    if found is None:
        return None
    databases = sorted({table.database for table in tables})
    database = (found["database"] or "").lower()
    if database and database not in databases:
        raise QueryError(f"no database is named {database}: choose from {', '.join(databases)}")
    shown = [table for table in tables if not database or table.database == database]
    return pa.table(
        [
            [table.full_name for table in shown],
            [", ".join(column.name for column in table.partition_columns) for table in shown],
            [table.description for table in shown],
        ],
        schema=_TABLES_SCHEMA,
    )


def describe(sql: str, tables: Sequence[Table]) -> pa.Table | None:
    """Return the rows (column, type, meaning) that a statement asks for; None if it does not describe a table.

    Raises:
        QueryError: a table's database has no table of that name; the message lists the tables.
    """
    found = _DESCRIBE.fullmatch(sql)
    if found is None or found["database"].lower() not in {table.database for table in tables}:
        return None
    by_name = {table.full_name: table for table in tables}
    name = f"{found['database']}.{found['name']}".lower()
    if name not in by_name:
        raise QueryError(f"no table is named {name}: choose from {', '.join(sorted(by_name))}")
    columns = columns_shown(by_name[name])
    return pa.table(
        [
            [column.name for column in columns],
            [column.type for column in columns],
            [column.meaning for column in columns],
        ],
        schema=_SCHEMA,
    )


def columns_shown(table: Table) -> tuple[Column, ...]:
    """Return the columns in the order of `SELECT *`: those of Gold begin with the event day."""
    if table.database == "gold":
        return (*table.partition_columns, *table.columns)
    return (*table.columns, *table.partition_columns)
