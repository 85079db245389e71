"""The Gold SQL rendered for Athena: as text that was looked at, and giving equal rows when it is rendered back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from event_pipeline.engines.dialect import parse_query, rename_databases, render, with_relations, with_star_named
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import QueryError
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import SECTIONS, load_gold_tables
from event_pipeline.settings import load_settings

TABLES = {table.name: table for table in load_gold_tables()}
RENDERED = Path(__file__).parent / "rendered"
HOURS = HourRange(Hour.parse("2025-12-07T22"), Hour.parse("2025-12-08T01"))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("section", SECTIONS)
def test_the_sql_for_athena_is_the_text_that_was_looked_at(name: str, section: str) -> None:
    expected = (RENDERED / f"{name}.{section}.sql").read_text(encoding="utf-8")
    assert render(getattr(TABLES[name], section), "athena") + "\n" == expected


@pytest.fixture(scope="module")
def silver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with `silver_events`, as the embedded engine builds it from generated hours."""
    root = tmp_path_factory.mktemp("dialect")
    options = GeneratorOptions(events_per_file=400, files_per_hour=3, seed=9, late_share=0.2, duplicate_share=0.1)
    generate(root / "raw", HOURS, options)
    engine = LocalEngine(load_settings(root=root, workers=1))
    list(engine.build_silver(list(HOURS), progress=lambda _: None))
    engine.register_hours(list(HOURS))
    with closing(duckdb.connect()) as connection:
        connection.register("built", engine.query("FROM silver.events"))
        connection.execute("CREATE TABLE silver_events AS FROM built")
        yield connection


def back(sql: str) -> str:
    """Render a query for Athena, and what Athena gets for DuckDB."""
    return sqlglot.parse_one(render(sql, "athena"), read="athena").sql("duckdb")


@pytest.mark.parametrize("name", TABLES)
def test_the_rendered_sql_gives_the_rows_and_types_of_the_original(
    silver: duckdb.DuckDBPyConnection, name: str
) -> None:
    table = TABLES[name]
    silver.execute(f"CREATE OR REPLACE TABLE partials AS {table.partial}")
    assert silver.execute("SELECT count(*) FROM partials").fetchall() != [(0,)]
    assert rows(silver, back(table.partial)) == rows(silver, table.partial)
    silver.execute(f"CREATE OR REPLACE TABLE gold_day AS {table.fold}")
    assert silver.sql(back(table.fold)).fetchall() == silver.sql(table.fold).fetchall()
    assert silver.sql(back(table.fold)).columns == silver.sql(table.fold).columns
    totals = ", ".join(f"7 AS {measure}" for measure in DayTotals().measures)
    silver.execute(f"CREATE OR REPLACE TABLE silver_totals AS SELECT {totals}")
    assert rows(silver, back(table.reconcile)) == rows(silver, table.reconcile)


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """Rows and types of a query, in an order of their own."""
    found = connection.sql(sql)
    return [*map(str, found.types), *sorted(map(repr, found.fetchall()))]


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [(7, 2, 3), (8, 2, 4), (0, 5, 0), (-7, 2, -3), (999_999_999_999_999, 7, 142_857_142_857_142)],
)
def test_whole_division_is_exact_after_rendering(dividend: int, divisor: int, quotient: int) -> None:
    with closing(duckdb.connect()) as connection:
        assert connection.sql(f"SELECT {dividend} // {divisor}").fetchall() == [(quotient,)]
        rendered = back(f"SELECT CAST(a // b AS BIGINT) AS q FROM (SELECT {dividend} AS a, {divisor} AS b) AS x")
        assert connection.sql(rendered).fetchall() == [(quotient,)]


def test_whole_divisions_within_each_other_are_exact_after_rendering() -> None:
    query = (
        "SELECT CAST((a // b) // c AS BIGINT) AS q, a // (b // c) AS r FROM (SELECT 1003 AS a, 10 AS b, 3 AS c) AS x"
    )
    with closing(duckdb.connect()) as connection:
        assert connection.sql(query).fetchall() == connection.sql(back(query)).fetchall() == [(33, 334)]


def test_an_integer_of_128_bits_is_a_decimal_of_38_digits_elsewhere() -> None:
    assert in_one_line(parse_query("SELECT CAST(a AS HUGEINT) + 1 AS b FROM t")) == (
        "SELECT CAST(a AS DECIMAL(38, 0)) + 1 AS b FROM t"
    )


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT frobnicate(a) FROM t", "the function FROBNICATE is not known"),
        ("SELECT a FROM t ORDER BY ALL", "only DuckDB has ORDER BY ALL"),
        ("SELECT * EXCLUDE (a) FROM t", "EXCLUDE, REPLACE and RENAME"),
        ("SELECT * REPLACE (a + 1 AS a) FROM t", "EXCLUDE, REPLACE and RENAME"),
        ("SELECT 1; SELECT 2", "has 2 statements (SELECT, SELECT)"),
        ("", "has 0 statements (none)"),
        ("DROP TABLE silver.events", "has 1 statement (DROP)"),
        ("MSCK REPAIR TABLE silver.events", "the SQL cannot be read"),
        ("INSERT INTO silver.events SELECT 1", "has 1 statement (INSERT)"),
        ("SELECT FROM WHERE", "the SQL cannot be read"),
    ],
)
def test_what_athena_would_not_understand_the_same_is_refused(sql: str, said: str) -> None:
    with pytest.raises(QueryError) as refused:
        render(sql, "athena")
    assert said in str(refused.value)


def test_relations_stand_in_for_tables() -> None:
    query = with_relations(parse_query("SELECT a FROM partials"), {"partials": parse_query("SELECT a FROM gold.x")})
    assert in_one_line(query) == "WITH partials AS (SELECT a FROM gold.x) SELECT a FROM partials"


def test_databases_get_the_names_of_the_catalog() -> None:
    query = rename_databases(parse_query("SELECT x.a FROM gold.x AS x JOIN silver.events USING (a)"), "test_{}".format)
    assert in_one_line(query) == "SELECT x.a FROM test_gold.x AS x JOIN test_silver.events USING (a)"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("FROM gold.x", "SELECT day, a FROM gold.x"),
        ("SELECT * FROM gold.x WHERE a = 1 ORDER BY a", "SELECT day, a FROM gold.x WHERE a = 1 ORDER BY a"),
        ("SELECT * FROM gold.x, gold.y", "SELECT * FROM gold.x, gold.y"),
        ("SELECT *, a + 1 FROM gold.x", "SELECT *, a + 1 FROM gold.x"),
        ("SELECT * FROM other.x", "SELECT * FROM other.x"),
    ],
)
def test_a_plain_star_names_columns_in_the_order_of_the_contract(sql: str, expected: str) -> None:
    columns: dict[str, Any] = {"gold.x": ["day", "a"], "gold.y": ["b"]}
    assert in_one_line(with_star_named(parse_query(sql), columns)) == expected


def in_one_line(query: exp.Query) -> str:
    """Render a query for Athena and join its lines."""
    return " ".join(render(query, "athena").split()).replace("( ", "(").replace(" )", ")")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT event_ts AT TIME ZONE 'America/New_York' FROM silver.events",
        "SELECT event_ts AT TIME ZONE 'Asia/Kolkata' AT TIME ZONE 'America/New_York' FROM silver.events",
    ],
)
def test_a_zone_that_means_something_else_in_athena_is_refused(sql: str) -> None:
    with pytest.raises(QueryError, match="AT TIME ZONE 'UTC' AT TIME ZONE"):
        render(sql, "athena")
