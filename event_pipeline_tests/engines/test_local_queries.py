"""Queries: exactly the registered partitions, read-only, with the declared types."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.base import SilverBuild
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import PipelineError, QueryError, StorageError
from event_pipeline.rules.contract import HOUR_TABLES, Table
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, purchase, rows, write_object


@pytest.mark.parametrize(
    "table", [*HOUR_TABLES, *(gold.table for gold in load_gold_tables())], ids=lambda t: t.full_name
)
def test_every_table_can_be_queried_before_anything_was_built(engine: LocalEngine, table: Table) -> None:
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
            "event_hour": 22,
            "user_id": "u_1",
            "session_id": "s_1",
            "event_type": "purchase",
            "product_id": "p_1",
            "category": "books",
            "quantity": 3,
            "price": Decimal("0.10"),
            "revenue": Decimal("0.30"),
            "search_query": None,
            "rescued": None,
            "source_object": key,
            "year": "2025",
            "month": "12",
            "day": "07",
            "hour": "22",
        }
    ]


@pytest.mark.parametrize("table", ['SILVER."Events"', "silver.events", "(SELECT * FROM memory.silver.EVENTS)"])
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
        ("FROM read_text('/etc/hostname')", "read_text is not allowed"),
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


def test_a_link_out_of_the_lake_is_not_read(engine: LocalEngine, root: Path, tmp_path: Path) -> None:
    write_object(root, HOUR, 0, [purchase()])
    build(engine, [HOUR])
    (file,) = (root / "lake" / "runs" / "hours").rglob("events*.parquet")
    elsewhere = file.rename(tmp_path / "elsewhere.parquet")
    file.symlink_to(elsewhere)
    with pytest.raises(StorageError, match="leads outside the lake"):
        engine.query("SELECT * FROM silver.events")
    # The folder of all builds may be on another disk.
    file.unlink()
    elsewhere.rename(file)
    (root / "lake" / "runs").rename(tmp_path / "disk")
    (root / "lake" / "runs").symlink_to(tmp_path / "disk")
    assert len(rows(engine, "SELECT * FROM silver.events")) == 1


def test_a_query_that_needs_too_much_memory_says_which_setting_to_raise(settings: Settings) -> None:
    engine = LocalEngine(settings.model_copy(update={"duckdb_memory_mb": 128}))
    with pytest.raises(PipelineError, match="EVENT_PIPELINE_DUCKDB_MEMORY_MB"):
        engine.query("SELECT list(range) FROM range(200000000)")


def test_a_query_sees_no_half_of_a_build_that_is_published_meanwhile(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(root, HOUR, 0, [purchase()])
    build(engine, [HOUR])
    write_object(root, HOUR, 0, [purchase(user_id=f"u_{number}") for number in range(5)])
    published: list[SilverBuild] = []

    class PublishedBetween(sqlite3.Connection):
        """Lets another process publish before the files of a second table are read."""

        reads = 0

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if "FROM data_file" in sql:
                self.reads += 1
                if self.reads == 2:
                    monkeypatch.setattr(sqlite3, "connect", connect)
                    published.extend(build(engine, [HOUR]))
            return super().execute(sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=PublishedBetween))
    both = "SELECT (SELECT count(*) FROM silver.events) AS rows, (SELECT silver_rows FROM ops.hour_ledger) AS counted"
    assert rows(engine, both) == [{"rows": 1, "counted": 1}]
    assert len(published) == 1
    assert rows(engine, both) == [{"rows": 5, "counted": 5}]


_ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]
_OF_ZONES = """
    SELECT current_setting('TimeZone') AS zone, CAST(now() AS TIMESTAMP) > TIMESTAMP '2020-01-01' AS later,
        abs(date_diff('second', CAST(now() AS TIMESTAMP), to_timestamp(epoch(now()))::TIMESTAMP)) < 5 AS now_is_utc,
        current_date = CAST(now() AS DATE) AS today_is_utc,
        TIMESTAMPTZ '2025-12-07 22:30:00+00' AS given, CAST(TIMESTAMPTZ '2025-12-07 22:30:00+00' AS DATE) AS day,
        CAST(TIMESTAMP '2025-12-07 22:30:00' AS TIMESTAMPTZ) AS instant, CAST(event_ts AS TIMESTAMPTZ) AS event_instant,
        date_trunc('day', CAST(event_ts AS TIMESTAMPTZ)) AS event_day, strftime(now(), '%Z') AS name,
        hour(CAST(event_ts AS TIMESTAMPTZ)) AS event_hour
    FROM silver.events"""


@pytest.mark.parametrize("zone", _ZONES)
def test_answers_do_not_depend_on_the_zone_of_the_machine(root: Path, engine: LocalEngine, zone: str) -> None:
    write_object(root, HOUR, 0, [purchase()])
    build(engine, [HOUR])
    environment = os.environ | {"TZ": zone, "EVENT_PIPELINE_ROOT": str(root)}
    command = [sys.executable, "-m", "event_pipeline.cli", "query", _OF_ZONES, "--format", "json"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [
        {
            "zone": "UTC",
            "later": True,
            "now_is_utc": True,
            "today_is_utc": True,
            "given": "2025-12-07T22:30:00.000",
            "day": "2025-12-07",
            "instant": "2025-12-07T22:30:00.000",
            "event_instant": "2025-12-07T22:00:00.000",
            "event_day": "2025-12-07T00:00:00.000",
            "name": "UTC",
            "event_hour": 22,
        }
    ]


_ZONED_GOLD = """-- description: Instants as the zone of the session shows them.
-- grain: -
-- columns:
--   session_zone   string   Zone
--   newest_hour    int      Hour of the newest event
--   newest_day     date     Day of the newest event

-- section: partial
SELECT event_date, MAX(CAST(event_ts AS TIMESTAMPTZ)) AS newest FROM silver_events GROUP BY event_date

-- section: fold
SELECT current_setting('TimeZone') AS session_zone, CAST(hour(MAX(newest)) AS INTEGER) AS newest_hour,
    CAST(MAX(newest) AS DATE) AS newest_day
FROM partials

-- section: reconcile
SELECT 'days' AS measure, (SELECT COUNT(DISTINCT newest_day) FROM gold_day) AS gold, 1 AS silver
"""


@pytest.mark.parametrize("zone", _ZONES)
def test_gold_of_a_person_does_not_depend_on_the_zone_of_the_machine(tmp_path: Path, root: Path, zone: str) -> None:
    folder = tmp_path / "gold"
    folder.mkdir()
    (folder / "zoned.sql").write_text(_ZONED_GOLD, encoding="utf-8")
    write_object(root, HOUR, 0, [purchase()])
    program = f"""
from pathlib import Path
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
engine, hours = LocalEngine(load_settings(workers=1), gold_folder=Path({str(folder)!r})), [Hour.parse("2025-12-07T22")]
list(engine.build_silver(hours, progress=print))
engine.register_hours(hours)
(table,) = load_gold_tables(Path({str(folder)!r}))
engine.refresh_gold(table, hours, progress=print)
print(engine.query("SELECT * FROM gold.zoned").to_pylist())
"""
    environment = os.environ | {"TZ": zone, "EVENT_PIPELINE_ROOT": str(root)}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    day = "datetime.date(2025, 12, 7)"
    expected = f"[{{'event_date': {day}, 'session_zone': 'UTC', 'newest_hour': 22, 'newest_day': {day}}}]"
    assert ended.stdout.splitlines()[-1] == expected


@pytest.mark.long
def test_queries_and_builds_leave_no_file_open(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [purchase()])
    build(engine, [HOUR])
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    for _ in range(20):
        assert rows(engine, "SELECT count(*) AS n FROM silver.events JOIN gold.user_activity USING (event_date)") == [
            {"n": 1}
        ]
    build(engine, [HOUR], force=True)
    assert len(list(open_files.iterdir())) <= before + 2
