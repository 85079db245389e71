"""An emulated account for the tests of one module, with one bucket, one database and one workgroup."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_pipeline_tests.emulator import EmulatedAws

BUCKET = "lake"
DATABASE = "shop"
PARQUET_FORMAT = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
}


@pytest.fixture(scope="module")
def aws() -> Iterator[EmulatedAws]:
    """The account; pages are small so that whoever does not page is caught."""
    with EmulatedAws(page_size=100, minute_seconds=1, job_unseen_seconds=0) as emulated:
        make_account(emulated)
        yield emulated


def make_account(emulated: EmulatedAws) -> None:
    """Make the bucket, the database and the workgroup of these tests."""
    location = {"LocationConstraint": emulated.region}
    emulated.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
    emulated.client("glue").create_database(DatabaseInput={"Name": DATABASE})
    emulated.client("athena").create_work_group(
        Name="analysts",
        Configuration={
            "EnforceWorkGroupConfiguration": True,
            "ResultConfiguration": {"OutputLocation": f"s3://{BUCKET}/results/"},
        },
    )


class Account:
    """Shorthand for what tests do to the account again and again."""

    def __init__(self, aws: EmulatedAws) -> None:
        self.s3, self.glue, self.athena = (aws.client(service) for service in ("s3", "glue", "athena"))
        self._aws = aws

    def make_table(self, name: str, columns: dict[str, str], keys: dict[str, str] | None = None) -> None:
        """Make a Parquet table of its own folder."""
        self.glue.create_table(
            DatabaseName=DATABASE,
            TableInput={
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "PartitionKeys": _columns(keys or {}),
                "StorageDescriptor": {
                    "Columns": _columns(columns),
                    "Location": f"s3://{BUCKET}/tables/{name}/",
                    **PARQUET_FORMAT,
                },
            },
        )

    def put_parquet(self, key: str, table: pa.Table, **options: Any) -> int:
        """Put a Parquet object into the bucket; return its size."""
        file = io.BytesIO()
        pq.write_table(table, file, **options)
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue())
        return len(file.getvalue())

    def register(self, name: str, values: list[str], prefix: str) -> None:
        """Register a partition at a prefix of the bucket."""
        storage = self.glue.get_table(DatabaseName=DATABASE, Name=name)["Table"]["StorageDescriptor"]
        self.glue.create_partition(
            DatabaseName=DATABASE,
            TableName=name,
            PartitionInput={
                "Values": values,
                "StorageDescriptor": {**storage, "Location": f"s3://{BUCKET}/{prefix}"},
            },
        )

    def start(self, sql: str, **options: Any) -> str:
        """Start a query and return the id of its execution."""
        wanted = {"WorkGroup": "analysts", "QueryExecutionContext": {"Database": DATABASE}, **options}
        return str(self.athena.start_query_execution(QueryString=sql, **wanted)["QueryExecutionId"])

    def execution(self, sql: str, **options: Any) -> dict[str, Any]:
        """Run a query to its end and return what GetQueryExecution says of it."""
        return self._aws.wait_for_query(self.start(sql, **options))

    def rows(self, sql: str) -> list[list[str | None]]:
        """Run a query that must succeed and return its rows as text, without the header."""
        execution = self.execution(sql)
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
        pages = self.athena.get_paginator("get_query_results").paginate(QueryExecutionId=execution["QueryExecutionId"])
        found = [
            [value.get("VarCharValue") for value in row["Data"]] for page in pages for row in page["ResultSet"]["Rows"]
        ]
        return found[1:] if execution["StatementType"] == "DML" else found

    def reason(self, sql: str, **options: Any) -> str:
        """Run a query that must fail and return why."""
        status = self.execution(sql, **options)["Status"]
        assert status["State"] == "FAILED", status
        return str(status["StateChangeReason"])

    def keys(self, prefix: str) -> list[str]:
        """Return the keys below a prefix of the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]


@pytest.fixture
def account(aws: EmulatedAws) -> Iterator[Account]:
    """Shorthand over the module's account; faults that did not strike are forgotten afterwards."""
    yield Account(aws)
    aws.faults.clear()


def _columns(types: dict[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Type": type_} for name, type_ in types.items()]
