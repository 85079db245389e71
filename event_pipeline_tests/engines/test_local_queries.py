"""Queries: exactly the registered partitions, read-only, with the declared types."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from event_pipeline.engines.base import PipelineError, QueryError, StorageError
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.contract import HOUR_TABLES
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, purchase, rows, write_object


@pytest.mark.parametrize(
    "table", [*HOUR_TABLES, *(gold.table for gold in load_gold_tables())], ids=lambda t: t.full_name
)
def test_every_table_can_be_queried_before_anything_was_built(engine: LocalEngine, table) -> None:  # type: ignore[no-untyped-def]
    found = engine.query(f"FROM {table.full_name}")
    assert found.num_rows == 0
    assert sorted(found.column_names) == sorted(column.name for column in table.columns + table.partition_columns)


def test_a_row_comes_back_with_its_exact_types(engine: LocalEngine, root: Path) -> None:
    key = write_object(
        root, HOUR, 0, [purchase(timestamp="2025-12-07T23:00:01.9999999+01:00", price="0.10", quantity=3)]
    )
    build(engine, [HOUR])
    assert rows(engine, "FROM silver.events") == [
        {
            "event_ts": datetime(2025, 12, 7, 22, 0, 1, 999000),  # noqa: DTZ001 - Silver's timestamps are UTC without zone
            "event_date": date(2025, 12, 7),
            "user_id": "u_1",
            "session_id": "s_1",
            "event_type": "purchase",
            "product_id": "p_1",
            "category": "books",
            "quantity": 3,
            "price": Decimal("0.10"),
            "revenue": Decimal("0.30"),
            "search_query": None,
            "source_object": key,
            "year": "2025",
            "month": "12",
            "day": "07",
            "hour": "22",
        }
    ]


@pytest.mark.parametrize("table", ['SILVER."Events"', "silver.events", "query_table('silver.' || 'eve' || 'nts')"])
def test_a_table_is_read_however_it_is_named(engine: LocalEngine, root: Path, table: str) -> None:
    write_object(root, HOUR, 0, [purchase()])
    build(engine, [HOUR])
    assert rows(engine, f"SELECT count(*) AS row_count FROM {table}") == [{"row_count": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t (a INT)",
        "DROP VIEW silver.events",
        "DELETE FROM silver.events",
        "INSERT INTO ops.hour_ledger VALUES (1)",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
        "SET threads = 1",
        "INSTALL httpfs",
        "PRAGMA version",
    ],
)
def test_anything_but_one_select_is_refused(engine: LocalEngine, sql: str) -> None:
    with pytest.raises(QueryError, match="write exactly one SELECT"):
        engine.query(sql)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM silver.events", "nope"),
        ("FROM silver.nope", "nope"),
        ("SELECT 'a'::INT", "Could not convert"),
        ("SELECT strptime('x', '%Y')", "Could not parse"),
        ("FROM read_text('/etc/hostname')", "disabled"),
        ("FROM '/etc/hostname'", "/etc/hostname"),
    ],
)
def test_sql_mistakes_and_other_files_give_the_engines_message(engine: LocalEngine, sql: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        engine.query(sql)


def test_a_registered_file_that_vanished_is_a_storage_error(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [purchase()])
    (built,) = build(engine, [HOUR])
    (root / "lake" / built.commit.files_of("silver.events")[0].path).unlink()
    with pytest.raises(StorageError, match="event-pipeline repair"):
        engine.query("FROM silver.events")


def test_a_query_that_needs_too_much_memory_says_which_setting_to_raise(settings: Settings) -> None:
    engine = LocalEngine(settings.model_copy(update={"duckdb_memory_mb": 128}))
    with pytest.raises(PipelineError, match="EVENT_PIPELINE_DUCKDB_MEMORY_MB"):
        engine.query("SELECT list(range) FROM range(200000000)")
