"""The Glue table of a Gold table's partials, whose columns follow from the SQL of the partials."""

from __future__ import annotations

import duckdb

from event_pipeline.engines.names import PARTIALS_DATABASE
from event_pipeline.errors import QueryError
from event_pipeline.rules.contract import LANDING_HOUR_COLUMNS, SILVER_EVENTS, Column, Table
from event_pipeline.rules.query import GoldTable

_SQL_TYPES = {"string": "VARCHAR", "int": "INTEGER"}
_GLUE_TYPES = {
    "VARCHAR": "string",
    "INTEGER": "int",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}


def partials_table(table: GoldTable) -> Table:
    """Return the catalog table of a Gold table's partials, with the types that DuckDB infers from its SQL.

    Raises:
        QueryError: a column has a type that the catalog does not support.
    """
    empty = ", ".join(
        f"CAST(NULL AS {sql_type(column.type)}) AS {column.name}"
        for column in (*SILVER_EVENTS.columns, *LANDING_HOUR_COLUMNS)
    )
    try:
        with duckdb.connect(config={"python_enable_replacements": False}) as connection:
            connection.execute(f"CREATE VIEW silver_events AS SELECT {empty} WHERE FALSE")
            found = connection.execute(f"DESCRIBE {table.partial}").fetchall()
    except duckdb.Error as error:
        raise QueryError(f"gold.{table.name}, section partial: {error}") from error
    columns = []
    for name, duckdb_type, *_ in found:
        plain = duckdb_type.replace(" ", "")
        glue_type = plain.lower() if plain.startswith("DECIMAL(") else _GLUE_TYPES.get(plain)
        if glue_type is None:
            raise QueryError(
                f"gold.{table.name}: the partial's column {name} is {duckdb_type}: cast it to one of "
                f"{', '.join(_GLUE_TYPES)} or DECIMAL(p, s)"
            )
        columns.append(Column(name, glue_type, f"Of the partial of gold.{table.name}"))
    description = f"Partials of gold.{table.name}, one partition per landing hour; only the pipeline reads them."
    return Table(PARTIALS_DATABASE, table.name, description, tuple(columns), LANDING_HOUR_COLUMNS)


def sql_type(glue_type: str) -> str:
    """Return the SQL name of a Glue type that both DuckDB and Athena understand."""
    return _SQL_TYPES.get(glue_type, glue_type.upper())
