"""Trino reads every form that the pipeline's files and partitions have, and answers every statement of the docs."""

from __future__ import annotations

import gzip
import json
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.errors import QueryError
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.conftest import DATABASE, Account, make_account
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.engines.aws.test_aws_hostile_sql import OF_ATHENA
from event_pipeline_tests.pipeline import HOUR, purchase, rows, write_object
from event_pipeline_tests.trino.server import MOST_STAGES, TrinoError, TrinoServer
from event_pipeline_tests.trino.statements import TrinoStatements

pytestmark = pytest.mark.trino

INSTANT = datetime.fromisoformat("2025-12-07 22:00:01.123")
VALUES = pa.table(
    {
        "money": pa.array([Decimal("12.34"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
        "wide": pa.array([Decimal("9" * 36 + ".99"), None, Decimal("0.00")], pa.decimal128(38, 2)),
        "number": pa.array([1, None, -(2**63)], pa.int64()),
        "ratio": pa.array([0.1, None, 1e300], pa.float64()),
        "label": pa.array(["žluťoučký 🐎", None, ""], pa.string()),
        "instant": pa.array([INSTANT, None, INSTANT], pa.timestamp("us")),
        "day": pa.array([date(2025, 12, 7), None, date(1969, 12, 31)], pa.date32()),
        "reasons": pa.array([[("not_json", 2)], None, []], pa.map_(pa.string(), pa.int64())),
    }
)
GLUE_TYPES = {
    "money": "decimal(10,2)",
    "wide": "decimal(38,2)",
    "number": "bigint",
    "ratio": "double",
    "label": "string",
    "instant": "timestamp",
    "day": "date",
    "reasons": "map<string,bigint>",
}
ROWS = [
    [
        "12.34",
        "9" * 36 + ".99",
        "1",
        "0.1",
        "žluťoučký 🐎",
        "2025-12-07 22:00:01.123",
        "2025-12-07",
        "{not_json=2}",
    ],
    [None] * 8,
    ["-0.01", "0.00", str(-(2**63)), "1.0E300", "", "2025-12-07 22:00:01.123", "1969-12-31", "{}"],
]


@pytest.mark.parametrize(
    "form",
    [
        {"compression": "zstd"},
        {"compression": "snappy", "use_dictionary": False},
        {"store_decimal_as_integer": True},
        {"coerce_timestamps": "ms"},
        {"use_deprecated_int96_timestamps": True},
        {"data_page_version": "2.0", "compression": "gzip"},
        {"use_dictionary": False, "column_encoding": {"number": "DELTA_BINARY_PACKED"}},
        {"use_dictionary": False, "column_encoding": {"label": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"row_group_size": 1, "write_page_index": True},
    ],
    ids=str,
)
def test_a_form_of_parquet(aws: EmulatedAws, form: dict[str, Any]) -> None:
    make_account(aws)
    account = Account(aws)
    account.make_table("forms", GLUE_TYPES, {"event_date": "date"})
    account.put_parquet("runs/forms/part", VALUES, **form)
    account.register("forms", ["2025-12-07"], "runs/forms/")
    found = account.rows(f"SELECT {', '.join(GLUE_TYPES)} FROM forms WHERE event_date = DATE '2025-12-07'")
    assert sorted(found, key=str) == sorted(ROWS, key=str)
    assert account.rows("SELECT count(*) FROM forms WHERE event_date = DATE '2025-12-08'") == [["0"]]
    assert account.rows("SELECT sum(money), max(wide), count(number) FROM forms") == [["12.33", "9" * 36 + ".99", "2"]]


def test_a_partition_without_files_has_no_rows(aws: EmulatedAws) -> None:
    make_account(aws)
    account = Account(aws)
    account.make_table("emptied", {"number": "bigint"}, {"event_date": "date"})
    account.register("emptied", ["2025-12-07"], "runs/gone/")
    assert account.rows("SELECT count(*) FROM emptied") == [["0"]]


def test_raw_objects_by_projected_partitions(aws: EmulatedAws, settings: Settings) -> None:
    lines = [json.dumps({"timestamp": "2025-12-07T22:00:01Z", "user_id": "u_1", "price": 9.99}), "no json"]
    whole = gzip.compress("\n".join(lines).encode())
    put(aws, settings, "events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220500.jsonl.gz", whole)
    asked = "FROM bronze.events WHERE year = '2025' AND month = '12' AND day = '07' AND hour = '22'"
    account = Account(aws)
    found = query(aws, account, settings, f"SELECT event_timestamp, user_id, price, hour, minute {asked}")
    assert found == [
        ["2025-12-07T22:00:01Z", "u_1", "9.99", "22", "05"],
        [None, None, None, "22", "05"],
    ]
    cut = gzip.compress(b"{}\n" * 1000)[:-12]
    put(aws, settings, "events/year=2025/month=12/day=07/hour=22/minute=10/events-20251207-221000.jsonl.gz", cut)
    assert query(aws, account, settings, f"SELECT count(*) {asked} AND minute = '05'") == [["2"]]
    failed = aws.wait_for_query(account.start(f"SELECT count(user_id) {asked}", WorkGroup=settings.athena_workgroup))
    assert failed["Status"]["State"] == "FAILED"
    assert "HIVE_CURSOR_ERROR" in failed["Status"]["StateChangeReason"]


def test_what_the_pages_show_is_answered(world: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "queries.md").read_text(encoding="utf-8")
    write_object(world.root, HOUR, 0, [purchase(), purchase(second=3_599)])
    world.build([HOUR])
    (example,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert [(f"{row['event_ts']}", f"{row['in_new_york']}") for row in rows(world.engine, example)] == [
        ("2025-12-07 22:00:00", "2025-12-07 17:00:00"),
        ("2025-12-07 22:59:59", "2025-12-07 17:59:59"),
    ]
    summer = example.replace("event_ts AT TIME", "CAST('2025-07-07 22:00:00' AS TIMESTAMP) AT TIME")
    assert {f"{row['in_new_york']}" for row in rows(world.engine, summer)} == {"2025-07-07 18:00:00"}


def test_hostile_statements_never_reach_trino(engine: AwsEngine, aws: EmulatedAws) -> None:
    for sql in OF_ATHENA:
        with pytest.raises(QueryError):
            engine.query(sql)
    assert isinstance(aws.statements, TrinoStatements)
    assert aws.statements.read == []


def test_trino_refuses_a_plan_of_too_many_stages(trino: TrinoServer, aws: EmulatedAws) -> None:
    make_account(aws)
    Account(aws).make_table("scanned", {"number": "bigint"})
    many = " UNION ALL ".join(["SELECT count(*) FROM scanned"] * MOST_STAGES)
    with pytest.raises(TrinoError, match="QUERY_HAS_TOO_MANY_STAGES"):
        trino.run(many, DATABASE)


def put(aws: EmulatedAws, settings: Settings, key: str, stored: bytes) -> None:
    aws.client("s3").put_object(Bucket=settings.raw_bucket, Key=key, Body=stored, ContentEncoding="gzip")


def query(aws: EmulatedAws, account: Account, settings: Settings, sql: str) -> list[list[str | None]]:
    execution = aws.wait_for_query(account.start(sql, WorkGroup=settings.athena_workgroup))
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    page = account.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    return [[value.get("VarCharValue") for value in row["Data"]] for row in page["ResultSet"]["Rows"]][1:]
