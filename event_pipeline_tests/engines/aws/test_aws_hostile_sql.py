"""On AWS a query is refused before anything is sent unless it only reads the project's databases."""

from __future__ import annotations

import time

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.errors import QueryError
from event_pipeline.rules.contract import HOUR_TABLES, Table
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.hostile_sql import statements

OF_ATHENA = """
UNLOAD (SELECT 1) TO 's3://bucket/x/' WITH (format = 'PARQUET')
WITH x AS (UNLOAD (SELECT 1) TO 's3://bucket/x/' WITH (format = 'PARQUET')) SELECT 1
MSCK REPAIR TABLE silver.events
INSERT INTO silver.events SELECT * FROM silver.events
CREATE TABLE silver.other WITH (external_location = 's3://bucket/x/') AS SELECT 1
CREATE EXTERNAL TABLE silver.other (a int) LOCATION 's3://bucket/x/'
DROP TABLE silver.events
ALTER TABLE silver.events DROP PARTITION (year = '2025')
ALTER TABLE silver.events SET LOCATION 's3://bucket/x/'
MERGE INTO silver.events t USING silver.events s ON true WHEN MATCHED THEN DELETE
VACUUM silver.events
OPTIMIZE silver.events REWRITE DATA USING BIN_PACK
PREPARE p FROM SELECT 1
EXECUTE p
GRANT SELECT ON silver.events TO ROLE other
SET SESSION x = 1
USING EXTERNAL FUNCTION f(x VARCHAR) RETURNS VARCHAR LAMBDA 'exfiltrate' SELECT f('a')
SELECT * FROM other.events
SELECT * FROM partials.user_activity
SELECT * FROM awsdatacatalog.silver.events
SELECT * FROM events
SELECT * FROM information_schema.tables
SELECT * FROM default.events
SELECT * FROM TABLE(system.query(query => 'SELECT 1'))
SELECT (SELECT count(*) FROM other.events) FROM silver.events
WITH a AS (SELECT * FROM other.events) SELECT * FROM a
SELECT * FROM silver.events WHERE EXISTS (SELECT 1 FROM other.secrets)
SELECT * FROM silver.events UNION ALL SELECT * FROM other.events
SELECT * FROM silver.events; SELECT 1
SELECT * INTO other.t FROM silver.events
SELECT * FROM silver.events FOR UPDATE
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
DESCRIBE other.events
DESCRIBE partials.user_activity
DESCRIBE SELECT * FROM silver.events
DESCRIBE silver.events; DROP TABLE silver.events
DESCRIBE silver.nothing
SHOW COLUMNS IN silver.events
""".strip().splitlines()

_PLACES = {
    "root": "/data",
    "file": "/data/lake/a.parquet",
    "commit": "/data/lake/commits/a.json",
    "outside": "/outside.csv",
    "address": "00",
}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> AwsEngine:
    """An engine of an account that nobody can reach: a statement that were sent would fail otherwise."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    return AwsEngine(
        load_settings(env="aws", aws_region="us-east-1", raw_bucket="raw", lake_bucket="lake", artifacts_bucket="code")
    )


_COMPUTES_ON_AWS = ("SELECT getenv", "SELECT nextval", "SELECT setval", "SELECT read_text")
"""No tables and no statement: Athena knows no such function, and they are refused as not translatable."""


@pytest.mark.parametrize("template", [*statements(), *OF_ATHENA])
def test_no_hostile_statement_is_sent_to_athena(engine: AwsEngine, template: str) -> None:
    sql = template.replace("\v", "\n")
    for name, place in _PLACES.items():
        sql = sql.replace(f"{{{name}}}", place)
    with pytest.raises(QueryError):
        engine.query(sql)


@pytest.mark.parametrize("depth", [500, 5_000])
def test_deep_sql_is_a_query_error(engine: AwsEngine, depth: int) -> None:
    with pytest.raises(QueryError, match="nested too deeply"):
        engine.query("SELECT " + "(" * depth + "1" + ")" * depth)


@pytest.mark.parametrize(
    "table", [*HOUR_TABLES, *(gold.table for gold in load_gold_tables())], ids=lambda t: t.full_name
)
def test_a_table_is_described_without_asking_aws(engine: AwsEngine, table: Table) -> None:
    for sql in (f"DESCRIBE {table.full_name}", f"-- why\n/* so */ desc {table.full_name.upper()} ;"):
        found = {row["column"]: (row["type"], row["meaning"]) for row in engine.query(sql).to_pylist()}
        assert found == {
            column.name: (column.type, column.meaning) for column in table.columns + table.partition_columns
        }


def test_a_name_that_no_table_has_is_answered_with_those_that_exist(engine: AwsEngine) -> None:
    with pytest.raises(QueryError, match=r"no table is named gold.top_product: choose from .*, gold.top_products, "):
        engine.query("DESCRIBE gold.top_product")


def test_a_statement_that_almost_describes_is_read_in_no_time(engine: AwsEngine) -> None:
    for sql in ("/**/" * 50_000, " " * 100_000 + "x", "DESC" + " " * 100_000, "--" * 50_000 + "\n" + "/*" * 50_000):
        started = time.process_time()
        with pytest.raises(QueryError):
            engine.query(sql)
        assert time.process_time() - started < 5
