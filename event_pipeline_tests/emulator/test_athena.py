"""Athena: only registered files are seen, types are Athena's, and what Athena would refuse is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.emulator.athena_results import java_double
from event_pipeline_tests.emulator.conftest import BUCKET, DATABASE, Account

VIEWS = {"product": "string", "views": "bigint"}


def views(**counts: int) -> pa.Table:
    return pa.table({"product": list(counts), "views": pa.array(counts.values(), pa.int64())})


def test_only_files_of_registered_partitions_are_seen(account: Account) -> None:
    account.make_table("seen", VIEWS, {"day": "date"})
    account.put_parquet("tables/seen/day=2025-12-06/stray.parquet", views(stray=1))
    account.put_parquet("runs/seen/first/a", views(first=1))
    account.put_parquet("runs/seen/first/nested/b", views(nested=2))
    account.put_parquet("runs/seen/first-and-more/c", views(neighbour=3))
    account.put_parquet("runs/seen/first/_hidden", views(hidden=4))
    assert account.rows("SELECT * FROM seen") == []
    account.register("seen", ["2025-12-07"], "runs/seen/first")
    assert account.rows("SELECT product, views, day FROM seen ORDER BY product") == [
        ["first", "1", "2025-12-07"],
        ["nested", "2", "2025-12-07"],
    ]


def test_repointing_a_partition_shows_the_other_run(account: Account) -> None:
    account.make_table("moved", VIEWS, {"day": "string"})
    account.put_parquet("runs/moved/1/a", views(old=1))
    account.put_parquet("runs/moved/2/a", views(new=2))
    account.register("moved", ["07"], "runs/moved/1/")
    location = f"s3://{BUCKET}/runs/moved/2/"
    assert account.rows(f"ALTER TABLE moved PARTITION (day = '07') SET LOCATION '{location}'") == []
    assert account.rows("SELECT product FROM moved") == [["new"]]


def test_a_partition_at_a_vanished_prefix_has_no_rows_and_no_error(account: Account) -> None:
    account.make_table("vanished", VIEWS, {"day": "string"})
    account.register("vanished", ["07"], "runs/vanished/1/")
    assert account.rows("SELECT count(*) FROM vanished") == [["0"]]


@pytest.mark.parametrize(
    ("column", "glue_type", "physical"),
    [
        (pa.array([1.5]), "decimal(10,2)", "DOUBLE"),
        (pa.array([Decimal("1.50")], pa.decimal128(38, 2)), "decimal(18,2)", "FIXED_LEN_BYTE_ARRAY"),
        (pa.array([1], pa.int64()), "int", "INT64"),
        (pa.array([1], pa.int64()), "double", "INT64"),
        (pa.array(["1"]), "bigint", "BYTE_ARRAY"),
        (pa.array(["2025-12-07"]), "date", "BYTE_ARRAY"),
        (pa.array([1], pa.int32()), "string", "INT32"),
    ],
)
def test_a_parquet_type_that_does_not_fit_is_bad_data(
    account: Account, column: pa.Array, glue_type: str, physical: str, request: pytest.FixtureRequest
) -> None:
    name = f"bad_{glue_type[:3]}_{physical.lower()}"
    account.make_table(name, {"held": glue_type, "product": "string"})
    account.put_parquet(f"tables/{name}/a", pa.table({"held": column, "product": ["p"]}))
    assert account.reason(f"SELECT held FROM {name}") == (
        f"HIVE_BAD_DATA: Field held's type {physical} in parquet file s3://{BUCKET}/tables/{name}/a is incompatible "
        f"with type {glue_type} defined in table schema"
    )
    # As on AWS, a column that is not asked for is not looked at.
    assert account.rows(f"SELECT product FROM {name}") == [["p"]]


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [(7, 2, "4"), (-7, 2, "-4"), (5, 4, "1"), (3, -2, "-2"), (10**38 - 1, 3, f"{'3' * 38}"), (0, 7, "0")],
)
def test_a_quotient_of_whole_decimals_is_rounded_half_away_from_zero(
    account: Account, dividend: int, divisor: int, quotient: str
) -> None:
    over, by = (f"CAST('{number}' AS decimal(38,0))" for number in (dividend, divisor))
    assert account.rows(f"SELECT {over} / {by} AS q") == [[quotient]]


def test_a_quotient_of_other_decimals_is_not_emulated(account: Account) -> None:
    assert "the emulator divides decimals" in account.reason("SELECT CAST(1 AS decimal(10,2)) / 3 AS q")


@pytest.mark.parametrize("of_partition", ["decimal(18,2)", "decimal(38,2)"])
def test_narrower_decimals_of_the_same_scale_are_read_as_the_wider_type_of_the_table(
    account: Account, of_partition: str
) -> None:
    name = f"widened_{of_partition[8:10]}"
    account.make_table(name, {"sum": "decimal(38,2)"}, {"day": "string"})
    narrow = pa.table({"sum": pa.array([Decimal("1.50")], pa.decimal128(18, 2))})
    account.put_parquet(f"runs/{name}/a", narrow)
    account.register(name, ["07"], f"runs/{name}/")
    glue = account.glue
    (partition,) = glue.get_partitions(DatabaseName=DATABASE, TableName=name)["Partitions"]
    partition["StorageDescriptor"]["Columns"][0]["Type"] = of_partition
    changed = {"Values": ["07"], "StorageDescriptor": partition["StorageDescriptor"]}
    glue.update_partition(DatabaseName=DATABASE, TableName=name, PartitionValueList=["07"], PartitionInput=changed)
    assert account.rows(f"SELECT sum FROM {name}") == [["1.50"]]


def test_columns_are_matched_by_name_and_a_missing_one_is_null(account: Account) -> None:
    account.make_table("by_name", {"one": "string", "two": "int", "three": "double"})
    account.put_parquet("tables/by_name/a", pa.table({"TWO": pa.array([2], pa.int32()), "one": ["1"], "extra": [0]}))
    assert account.rows("SELECT one, two, three FROM by_name") == [["1", "2", None]]


def test_timestamps_have_milliseconds_and_finer_ones_are_rounded(account: Account) -> None:
    instants = pa.array(["2025-12-07 22:59:59.999500", "2025-12-07 22:00:00.001499"]).cast(pa.timestamp("us"))
    account.make_table("instants", {"at": "timestamp"})
    account.put_parquet("tables/instants/a", pa.table({"at": instants}))
    assert account.rows("SELECT at FROM instants ORDER BY at") == [
        ["2025-12-07 22:00:00.001"],
        ["2025-12-07 23:00:00.000"],
    ]


def test_values_of_every_type_are_shown_as_athena_shows_them(account: Account) -> None:
    execution = account.execution(
        "SELECT CAST(12 AS bigint) AS a, CAST(0.25 AS double) AS b, CAST(1.5 AS decimal(18,2)) AS c, true AS d, "
        "DATE '2025-12-07' AS e, 'x \"y\"' AS f, CAST(NULL AS varchar) AS g, ARRAY['p', 'q'] AS h, "
        "MAP(ARRAY['k'], ARRAY[1]) AS i, CAST(12345678 AS double) AS j, CAST(7 AS integer) AS k, sum(1) AS l"
    )
    results = account.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])["ResultSet"]
    header, row = [[value.get("VarCharValue") for value in row["Data"]] for row in results["Rows"]]
    assert header == list("abcdefghijkl")
    assert row == [
        "12",
        "0.25",
        "1.50",
        "true",
        "2025-12-07",
        'x "y"',
        None,
        "[p, q]",
        "{k=1}",
        "1.2345678E7",
        "7",
        "1",
    ]
    columns = results["ResultSetMetadata"]["ColumnInfo"]
    assert [column["Type"] for column in columns] == (
        "bigint double decimal boolean date varchar varchar array map double integer bigint".split()
    )
    assert (columns[2]["Precision"], columns[2]["Scale"]) == (18, 2)
    csv = account.s3.get_object(Bucket=BUCKET, Key=execution["ResultConfiguration"]["OutputLocation"].split("/", 3)[3])
    assert csv["Body"].read().decode() == (
        '"a","b","c","d","e","f","g","h","i","j","k","l"\n'
        '"12","0.25","1.50","true","2025-12-07","x ""y""",,"[p, q]","{k=1}","1.2345678E7","7","1"\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (100.0, "100.0"), (1e7, "1.0E7"), (0.001, "0.001"), (0.00012, "1.2E-4"), (float("nan"), "NaN")],
)
def test_doubles_are_written_as_java_writes_them(value: float, text: str) -> None:
    assert java_double(value) == text


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELEC 1", "SYNTAX_ERROR"),
        ("SELECT FROM WHERE", "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", "SYNTAX_ERROR"),
        ("SELECT product::varchar FROM clean", "SYNTAX_ERROR: line 1:1: mismatched input '::'"),
        ("SELECT [1, 2]", "SYNTAX_ERROR: line 1:1: mismatched input '['"),
        ("SELECT * EXCLUDE (views) FROM clean", "SYNTAX_ERROR"),
        ("SELECT product, count(*) FROM clean GROUP BY ALL", "SYNTAX_ERROR"),
        ("SELECT current_date + INTERVAL 1 DAY", "SYNTAX_ERROR"),
        ("FROM clean", "SYNTAX_ERROR"),
        ("SELECT nope FROM clean", "COLUMN_NOT_FOUND"),
        ("SELECT product AS p, count(*) FROM clean GROUP BY p", "COLUMN_NOT_FOUND"),
        ("SELECT product AS p FROM clean WHERE p = 'a'", "COLUMN_NOT_FOUND"),
        ("SELECT * FROM nowhere", "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.shop.nowhere' does not exist"),
        ("SELECT * FROM other.clean", "SCHEMA_NOT_FOUND"),
        ("SELECT strftime(day, '%Y') FROM clean", "FUNCTION_NOT_FOUND: line 1:8: Function 'strftime' not registered"),
        ("SELECT 1 FROM clean WHERE views = '1'", "TYPE_MISMATCH"),
        ("SELECT 1 FROM clean WHERE day = '2025-12-07'", "TYPE_MISMATCH"),
        ("SELECT 1 FROM clean WHERE day BETWEEN '2025-12-07' AND '2025-12-08'", "TYPE_MISMATCH"),
        ("SELECT coalesce(views, 'none') FROM clean", "TYPE_MISMATCH"),
        ("SELECT product FROM clean UNION ALL SELECT views FROM clean", "TYPE_MISMATCH"),
        ("SELECT CAST(views AS decimal(10,2)) / 3 FROM clean", "NOT_SUPPORTED"),
        ("SELECT CAST('x' AS bigint)", "GENERIC_INTERNAL_ERROR"),
        ("INSERT INTO clean VALUES ('a', 1)", "SYNTAX_ERROR"),
        ("CREATE TABLE copy AS SELECT 1 AS one", "FAILED: ParseException"),
        ("DROP TABLE clean", "SYNTAX_ERROR"),
    ],
)
def test_what_athena_refuses_fails_with_a_reason(account: Account, sql: str, reason: str) -> None:
    if not account.glue.get_tables(DatabaseName=DATABASE, Expression="^clean$")["TableList"]:
        account.make_table("clean", VIEWS, {"day": "date"})
    status = account.execution(sql)["Status"]
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"].startswith(reason), status["StateChangeReason"]
    assert status["AthenaError"] == {
        "ErrorCategory": 2,
        "ErrorType": status["AthenaError"]["ErrorType"],
        "Retryable": False,
        "ErrorMessage": status["StateChangeReason"],
    }


def test_whole_numbers_divide_to_a_whole_number(account: Account) -> None:
    assert account.rows("SELECT 7 / 2, CAST(7 AS double) / 2") == [["3", "3.5"]]


def test_bytes_scanned_are_those_of_the_asked_columns_in_the_partitions_left(account: Account) -> None:
    account.make_table("sizes", {"small": "int", "large": "string"}, {"day": "date"})
    table = pa.table({"small": pa.array(range(1000), pa.int32()), "large": [os.urandom(50).hex() for _ in range(1000)]})
    sizes = [
        account.put_parquet(f"runs/sizes/{day}/a", table, compression="none", use_dictionary=False) for day in (6, 7)
    ]
    for day in (6, 7):
        account.register("sizes", [f"2025-12-0{day}"], f"runs/sizes/{day}/")

    def scanned(sql: str) -> int:
        return int(account.execution(sql)["Statistics"]["DataScannedInBytes"])

    assert 0.95 * sum(sizes) < scanned("SELECT * FROM sizes") <= sum(sizes)
    one_day = scanned("SELECT * FROM sizes WHERE day = DATE '2025-12-07'")
    assert 0.95 * sizes[1] < one_day <= sizes[1]
    assert one_day == scanned("WITH d AS (SELECT * FROM sizes WHERE day >= DATE '2025-12-07') SELECT * FROM d")
    assert 4000 < scanned("SELECT sum(small) FROM sizes WHERE day = DATE '2025-12-07'") < 8000
    assert scanned("SELECT * FROM sizes WHERE day = DATE '2024-01-01'") == 0


def test_a_query_above_the_scan_limit_of_its_workgroup_is_cancelled(account: Account) -> None:
    configuration = {"ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/results/"}}
    account.athena.create_work_group(
        Name="limited", Configuration={**configuration, "BytesScannedCutoffPerQuery": 10_000_000}
    )
    account.make_table("large", {"data": "string"})
    account.put_parquet("tables/large/a", pa.table({"data": [os.urandom(5_500_000).hex()]}), compression="none")
    execution = account.execution("SELECT length(data) FROM large", WorkGroup="limited")
    assert execution["Status"]["State"] == "CANCELLED"
    assert execution["Status"]["StateChangeReason"] == "Bytes scanned limit was exceeded"
    assert execution["Statistics"]["DataScannedInBytes"] > 11_000_000
    assert account.execution("SELECT length(data) FROM large")["Status"]["State"] == "SUCCEEDED"


def test_the_same_token_is_the_same_execution(account: Account) -> None:
    token = "t" * 40
    first = account.start("SELECT 1 AS one", ClientRequestToken=token)
    assert account.start("SELECT 1 AS one", ClientRequestToken=token) == first
    with pytest.raises(ClientError, match="Idempotent parameters do not match"):
        account.start("SELECT 2 AS two", ClientRequestToken=token)
    assert account.start("SELECT 1 AS one") != first


def test_a_token_of_a_failed_query_finds_the_failed_query(account: Account, aws: EmulatedAws) -> None:
    aws.fail_next_query(
        "Query exhausted resources at this scale factor", retryable=True, system=True, containing="three"
    )
    failed = account.execution("SELECT 3 AS three", ClientRequestToken="f" * 40)
    assert failed["Status"]["AthenaError"]["Retryable"] is True
    assert failed["Status"]["AthenaError"]["ErrorCategory"] == 1
    again = account.execution("SELECT 3 AS three", ClientRequestToken="f" * 40)
    assert again["QueryExecutionId"] == failed["QueryExecutionId"]


def test_results_come_in_pages_and_only_of_succeeded_queries(account: Account) -> None:
    sql = "SELECT n FROM UNNEST(sequence(1, 2500)) AS t(n)"
    execution = account.execution(sql)
    page = account.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    assert len(page["ResultSet"]["Rows"]) == 1000
    assert page["ResultSet"]["Rows"][0]["Data"] == [{"VarCharValue": "n"}]
    assert sorted(int(n or 0) for (n,) in account.rows(sql)) == list(range(1, 2501))
    failed = account.execution("SELECT nope")
    with pytest.raises(ClientError, match="Final query state: FAILED"):
        account.athena.get_query_results(QueryExecutionId=failed["QueryExecutionId"])


def test_a_workgroup_that_enforces_its_output_location_wins_over_the_client(account: Account) -> None:
    elsewhere = {"OutputLocation": f"s3://{BUCKET}/elsewhere/"}
    execution = account.execution("SELECT 1 AS one", ResultConfiguration=elsewhere)
    location = execution["ResultConfiguration"]["OutputLocation"]
    assert location == f"s3://{BUCKET}/results/{execution['QueryExecutionId']}.csv"
    assert account.keys("elsewhere/") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"WorkGroup": "nobody"}, "WorkGroup nobody is not found"),
        ({"WorkGroup": "primary"}, "No output location provided"),
        (
            {"WorkGroup": "primary", "ResultConfiguration": {"OutputLocation": "s3://no-such-bucket/x/"}},
            "Unable to verify/create output bucket no-such-bucket",
        ),
    ],
)
def test_a_query_without_a_place_for_its_results_is_refused(
    account: Account, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        account.start("SELECT 1 AS one", **options)


def test_a_query_is_queued_and_can_be_stopped(aws: EmulatedAws, account: Account) -> None:
    states = set()
    execution_id = account.start(
        "SELECT count(*) FROM UNNEST(sequence(1, 9000)) AS a(x), UNNEST(sequence(1, 9000)) AS b(y)"
    )
    while "RUNNING" not in states:
        states.add(
            account.athena.get_query_execution(QueryExecutionId=execution_id)["QueryExecution"]["Status"]["State"]
        )
    account.athena.stop_query_execution(QueryExecutionId=execution_id)
    assert aws.wait_for_query(execution_id)["Status"]["State"] == "CANCELLED"


def test_unload_writes_files_without_order_to_an_empty_prefix_only(account: Account) -> None:
    target = f"s3://{BUCKET}/unload/plain/"
    sql = (
        "UNLOAD (SELECT product, n, TIMESTAMP '2025-12-07 22:00:00.001' AS at "
        f"FROM (VALUES ('a', 1), ('b', 2), ('c', 3)) AS t(product, n) ORDER BY n) TO '{target}' "
        "WITH (format = 'PARQUET', compression = 'ZSTD', compression_level = 3)"
    )
    execution = account.execution(sql)
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    results = account.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])
    assert results["UpdateCount"] == 3
    assert results["ResultSet"]["Rows"] == []
    keys = account.keys("unload/plain/")
    assert len(keys) == 3
    manifest = execution["Statistics"]["DataManifestLocation"].removeprefix(f"s3://{BUCKET}/")
    listed = account.s3.get_object(Bucket=BUCKET, Key=manifest)["Body"].read().decode().splitlines()
    assert sorted(listed) == sorted(f"s3://{BUCKET}/{key}" for key in keys)
    parts = [pq.ParquetFile(io.BytesIO(account.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())) for key in keys]
    rows = [row for part in parts for row in part.read().to_pylist()]
    assert sorted((row["product"], row["n"]) for row in rows) == [("a", 1), ("b", 2), ("c", 3)]
    metadata = parts[0].metadata
    assert [metadata.schema.column(n).physical_type for n in range(3)] == ["BYTE_ARRAY", "INT32", "INT96"]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert account.reason(sql) == f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{target}' already exists"
    assert account.keys("unload/plain/") == keys


def test_unload_of_no_rows_writes_no_file(account: Account) -> None:
    sql = f"UNLOAD (SELECT 1 AS n WHERE 1 = 2) TO 's3://{BUCKET}/unload/none/' WITH (format = 'PARQUET')"
    assert account.rows(sql) == []
    assert account.keys("unload/none/") == []


def test_unload_into_partitions_leaves_their_columns_out_of_the_files(account: Account) -> None:
    values = "(VALUES (1, 'a'), (2, 'a'), (3, 'b'))"
    options = "format = 'PARQUET', partitioned_by = ARRAY['product']"
    sql = f"UNLOAD (SELECT n, product FROM {values} AS t(n, product)) TO 's3://{BUCKET}/unload/parts' WITH ({options})"
    assert account.rows(sql) == []
    folders = sorted({key.rsplit("/", 1)[0] for key in account.keys("unload/parts/")})
    assert folders == ["unload/parts/product=a", "unload/parts/product=b"]
    body = account.s3.get_object(Bucket=BUCKET, Key=account.keys("unload/parts/product=b/")[0])["Body"].read()
    assert pq.read_table(io.BytesIO(body)).to_pylist() == [{"n": 3}]


@pytest.mark.parametrize(
    ("query", "options", "reason"),
    [
        ("SELECT 1", "format = 'PARQUET'", "COLUMN_NAME_NOT_SPECIFIED"),
        ("SELECT 1 AS a, 2 AS a", "format = 'PARQUET'", "DUPLICATE_COLUMN_NAME"),
        ("SELECT NULL AS a", "format = 'PARQUET'", "COLUMN_TYPE_UNKNOWN"),
        ("SELECT now() AS a", "format = 'PARQUET'", "NOT_SUPPORTED: Unsupported Hive type"),
        ("SELECT 1 AS a", "format = 'CSV'", "NOT_SUPPORTED"),
        ("SELECT 1 AS a", "format = 'PARQUET', compression = 'LZMA'", "INVALID_TABLE_PROPERTY"),
        ("SELECT 1 AS a", "format = 'PARQUET', overwrite = 'true'", "INVALID_TABLE_PROPERTY"),
        (
            "SELECT CAST(n AS varchar) AS a, n FROM UNNEST(sequence(1, 101)) AS t(n)",
            "format = 'PARQUET', partitioned_by = ARRAY['n']",
            "HIVE_TOO_MANY_OPEN_PARTITIONS",
        ),
    ],
)
def test_unload_that_athena_refuses_writes_nothing(account: Account, query: str, options: str, reason: str) -> None:
    sql = f"UNLOAD ({query}) TO 's3://{BUCKET}/unload/refused/' WITH ({options})"
    assert account.reason(sql).startswith(reason)
    assert account.keys("unload/refused/") == []


def test_unload_that_fails_late_leaves_its_files_behind(aws: EmulatedAws, account: Account) -> None:
    aws.fail_next_query(
        "INTERNAL_ERROR: node lost", system=True, retryable=True, after_effect=True, containing="orphan"
    )
    sql = f"UNLOAD (SELECT 1 AS n) TO 's3://{BUCKET}/unload/orphan/' WITH (format = 'PARQUET')"
    assert account.reason(sql) == "INTERNAL_ERROR: node lost"
    assert len(account.keys("unload/orphan/")) == 1


def test_ddl_makes_databases_tables_and_partitions(account: Account) -> None:
    assert account.rows("CREATE DATABASE IF NOT EXISTS ddl") == []
    assert account.rows("CREATE DATABASE IF NOT EXISTS ddl") == []
    assert "already exists" in account.reason("CREATE DATABASE ddl")
    create = (
        "CREATE EXTERNAL TABLE IF NOT EXISTS ddl.sold (`product` string COMMENT 'what', price decimal(10,2)) "
        "PARTITIONED BY (day date, hour string) STORED AS PARQUET "
        f"LOCATION 's3://{BUCKET}/tables/sold/' TBLPROPERTIES ('classification'='parquet')"
    )
    assert account.rows(create) == []
    assert account.rows(create) == []
    table = account.glue.get_table(DatabaseName="ddl", Name="sold")["Table"]
    assert table["StorageDescriptor"]["Columns"] == [
        {"Name": "product", "Type": "string", "Comment": "what"},
        {"Name": "price", "Type": "decimal(10,2)"},
    ]
    assert table["PartitionKeys"] == [{"Name": "day", "Type": "date"}, {"Name": "hour", "Type": "string"}]
    add = "ALTER TABLE ddl.sold ADD {} PARTITION (day='2025-12-07', hour='22') LOCATION 's3://lake/runs/sold/1/'"
    assert account.rows(add.format("")) == []
    assert "already exists" in account.reason(add.format(""))
    assert account.rows(add.format("IF NOT EXISTS")) == []
    assert account.rows("SHOW PARTITIONS ddl.sold") == [["day=2025-12-07/hour=22"]]
    drop = "ALTER TABLE ddl.sold DROP {} PARTITION (day='2025-12-07', hour='22')"
    assert account.rows(drop.format("")) == []
    assert "not found" in account.reason(drop.format(""))
    assert account.rows(drop.format("IF EXISTS")) == []
    assert "must name ['day', 'hour']" in account.reason("ALTER TABLE ddl.sold ADD PARTITION (day='2025-12-07')")
    assert account.rows("SHOW PARTITIONS ddl.sold") == []


def test_msck_repair_adds_what_it_finds_and_drops_nothing(account: Account) -> None:
    account.make_table("repaired", VIEWS, {"year": "string", "month": "string"})
    account.put_parquet("tables/repaired/year=2025/month=12/a", views(a=1))
    account.put_parquet("tables/repaired/month=12/year=2025/b", views(b=1))
    account.register("repaired", ["2024", "01"], "runs/repaired/gone/")
    assert account.rows("MSCK REPAIR TABLE repaired") == [
        ["Repair: Added partition to metastore repaired:year=2025/month=12"]
    ]
    assert account.rows("SHOW PARTITIONS repaired") == [["year=2024/month=01"], ["year=2025/month=12"]]
    assert account.rows("SELECT product, year FROM repaired") == [["a", "2025"]]


def test_a_partition_must_say_how_it_is_read_and_agree_with_its_table(account: Account) -> None:
    account.make_table("careless", VIEWS, {"day": "string"})
    where = {"DatabaseName": DATABASE, "TableName": "careless"}
    storage: dict[str, Any] = {"Columns": [], "Location": f"s3://{BUCKET}/runs/careless/"}
    account.glue.create_partition(**where, PartitionInput={"Values": ["06"], "StorageDescriptor": storage})
    assert account.reason("SELECT views FROM careless").startswith("HIVE_UNSUPPORTED_FORMAT")
    account.glue.delete_partition(**where, PartitionValues=["06"])
    table = account.glue.get_table(DatabaseName=DATABASE, Name="careless")["Table"]["StorageDescriptor"]
    storage = {**table, "Columns": [{"Name": "views", "Type": "double"}]}
    account.glue.create_partition(**where, PartitionInput={"Values": ["07"], "StorageDescriptor": storage})
    assert account.reason("SELECT views FROM careless").startswith("HIVE_PARTITION_SCHEMA_MISMATCH")


def test_json_is_read_by_projection_without_registered_partitions(aws: EmulatedAws, account: Account) -> None:
    from event_pipeline_tests.emulator.resources import bronze_table_input

    account.glue.create_table(DatabaseName=DATABASE, TableInput=bronze_table_input(BUCKET))
    lines = [json.dumps({"timestamp": "2025-12-07T22:00:01Z", "user_id": "u_1", "price": 9.99}), "no json"]
    account.s3.put_object(
        Bucket=BUCKET,
        Key="events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220500.jsonl.gz",
        Body=gzip.compress("\n".join(lines).encode()),
        ContentEncoding="gzip",
    )
    account.s3.put_object(Bucket=BUCKET, Key="events/year=2025/month=12/day=7/hour=22/minute=05/x.gz", Body=b"1")
    assert account.rows("SELECT event_timestamp, user_id, price, hour, minute FROM events WHERE year = '2025'") == [
        ["2025-12-07T22:00:01Z", "u_1", "9.99", "22", "05"],
        [None, None, None, "22", "05"],
    ]
    broken = "events/year=2025/month=12/day=08/hour=00/minute=05/events-20251208-000500.jsonl.gz"
    account.s3.put_object(Bucket=BUCKET, Key=broken, Body=gzip.compress(b"{}")[:-4])
    assert account.reason("SELECT * FROM events WHERE day = '08'").startswith("HIVE_CURSOR_ERROR: Failed to read file")


def test_a_select_is_unloaded_to_one_to_thirty_files_always_the_same_number(account: Account) -> None:
    def files(first: int, folder: str) -> int:
        execution = account.execution(
            f"UNLOAD (SELECT n FROM UNNEST(sequence({first}, {first + 39})) AS t(n)) "
            f"TO 's3://{BUCKET}/unload/{folder}/' WITH (format = 'PARQUET')"
        )
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
        return len(account.keys(f"unload/{folder}/"))

    counted = [files(first, f"many-{first}") for first in range(6)]
    assert len(set(counted)) > 1
    assert all(1 <= each <= 30 for each in counted)
    assert files(0, "again") == counted[0]


def test_orphans_lie_beside_what_the_manifest_names(aws: EmulatedAws, account: Account) -> None:
    aws.leave_orphans()
    execution = account.execution(
        f"UNLOAD (SELECT 1 AS one) TO 's3://{BUCKET}/unload/stray/' WITH (format = 'PARQUET')"
    )
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    manifest = execution["Statistics"]["DataManifestLocation"].removeprefix(f"s3://{BUCKET}/")
    listed = account.s3.get_object(Bucket=BUCKET, Key=manifest)["Body"].read().decode().splitlines()
    assert (len(account.keys("unload/stray/")), len(listed)) == (2, 1)
