"""Tries the AWS engine on real AWS: makes resources of its own, builds hours, compares with the oracle, cleans up.

    make smoke-aws ARGUMENTS="--region us-east-1 --glue-role arn:aws:iam::123456789012:role/glue"

Everything it makes is named event-pipeline-smoke-<token>; nothing else is touched. It takes about ten minutes, two
Glue runs of two workers and some thirty Athena queries: about 0.10 USD. The role must be one that Glue can assume,
with s3:GetObject, PutObject, DeleteObject and ListBucket on `event-pipeline-smoke-*`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.catalog import PARTIALS_DATABASE
from event_pipeline.engines.aws.packaging import package_artifact, script_artifact, wheel_artifacts
from event_pipeline.engines.base import Cost, SilverOutcome
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Environment, Settings, load_settings
from event_pipeline_tests.emulator import resources
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, event, write_object

HOURS = HourRange(HOUR, HOUR.plus(2))
DIRTY = GeneratorOptions(
    events_per_file=2_000, files_per_hour=3, seed=7, bad_share=0.02, duplicate_share=0.02, late_share=0.1,
    broken_objects=1,
)  # fmt: skip
DATABASES = ("bronze", "silver", "gold", f"gold_{PARTIALS_DATABASE}", "ops")


def main(arguments: list[str] | None = None) -> int:
    """Run all steps and return 0; the first that fails ends it with its error, after the cleaning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--region", required=True, help="region to do it in")
    parser.add_argument("--glue-role", required=True, help="ARN of a role that Glue can assume")
    parser.add_argument("--keep", action="store_true", help="leave everything there, to look at it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="smoke-aws-") as folder:
        settings = smoke_settings(options.region, Path(folder), uuid.uuid4().hex[:8])
        session = boto3.Session(region_name=options.region)
        print(f"resources are named {settings.glue_job}, databases {settings.database_prefix}*")
        with ExitStack() as cleaning:
            make(settings, session.client, options.glue_role, cleaning)
            if options.keep:
                cleaning.pop_all()
            try_everything(settings, session.client("s3"))
    print("all of it is as it should be")
    return 0


def smoke_settings(region: str, root: Path, token: str) -> Settings:
    """Return settings that name nothing that exists."""
    name = f"event-pipeline-smoke-{token}"
    return load_settings(
        env=Environment.AWS,
        root=root,
        aws_region=region,
        raw_bucket=f"{name}-raw",
        lake_bucket=f"{name}-lake",
        artifacts_bucket=f"{name}-artifacts",
        database_prefix=f"smoke_{token}_",
        glue_job=name,
        glue_workers=2,
        athena_workgroup=name,
    )


def make(settings: Settings, client: Callable[[str], Any], role: str, cleaning: ExitStack) -> None:
    """Make buckets, databases, the bronze table, the workgroup and the job; `cleaning` takes them away again."""
    with step("resources made"):
        s3, glue, athena = client("s3"), client("glue"), client("athena")
        for bucket in (settings.raw_bucket, settings.lake_bucket, settings.artifacts_bucket):
            s3.create_bucket(Bucket=bucket, **location(settings.aws_region))
            cleaning.callback(remove_bucket, s3, bucket)
        for database in DATABASES:
            glue.create_database(DatabaseInput={"Name": f"{settings.database_prefix}{database}"})
            cleaning.callback(glue.delete_database, Name=f"{settings.database_prefix}{database}")
        glue.create_table(
            DatabaseName=f"{settings.database_prefix}bronze",
            TableInput=resources.bronze_table_input(settings.raw_bucket, settings.raw_prefix),
        )
        athena.create_work_group(Name=settings.athena_workgroup, Configuration=resources.work_group(settings))
        cleaning.callback(athena.delete_work_group, WorkGroup=settings.athena_workgroup, RecursiveDeleteOption=True)
        script, package, wheels = script_artifact(), package_artifact(), wheel_artifacts(settings.root / "wheels")
        for artifact in (script, package, *wheels):
            s3.put_object(Bucket=settings.artifacts_bucket, Key=artifact.key, Body=artifact.content)
        glue.create_job(**resources.job(settings, role, script, package, wheels))
        cleaning.callback(glue.delete_job, JobName=settings.glue_job)


def location(region: str) -> dict[str, Any]:
    """Return what CreateBucket wants to hear of a region: of us-east-1, nothing."""
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}


def try_everything(settings: Settings, s3: Any) -> None:
    """Walk hours the whole way, late event and rerun included, and hold every table to the oracle."""
    engine, costs = AwsEngine(settings), list[Cost | None]()
    with step("raw objects landed"):
        generate(settings.root / "raw", HOURS, DIRTY)
        land(settings, s3)
    with step("Silver of two hours by one Glue run"):
        for build in engine.build_silver(list(HOURS), progress=say):
            assert build.outcome is SilverOutcome.BUILT
            costs.append(build.cost)
    with step("partitions registered"):
        engine.register_hours(list(HOURS))
        assert [fault for hour in HOURS for fault in engine.partition_faults(hour)] == []
    with step("five Gold tables by Athena"):
        costs += refresh_all(engine, list(HOURS))
    with step("every table equals the oracle's"):
        assert_agrees_with_oracle(engine, settings.root)
        for table in load_gold_tables():
            days = engine.touched_days(table, HOURS.first)
            assert [each for each in engine.reconcile(table, days) if each.gold != each.silver] == []
            assert engine.grain_faults(table, days) == []
    with step("an object that lands later moves an older day"):
        write_object(settings.root, HOURS.last, 55, [event(HOURS.first, 1, user_id="u_late")], second=30)
        land(settings, s3)
        (late,) = engine.build_silver([HOURS.last], progress=say)
        assert late.reason == "input changed"
        engine.register_hours([HOURS.last])
        costs += [late.cost, *refresh_all(engine, [HOURS.last])]
        assert_agrees_with_oracle(engine, settings.root)
    with step("a second run changes nothing"):
        again = list(engine.build_silver(list(HOURS), progress=say))
        assert {build.outcome for build in again} == {SilverOutcome.UNCHANGED}
        assert {change.action.value for change in engine.repair()} == {"unchanged"}
        assert [hour for table in load_gold_tables() for hour in engine.hours_behind(table)] == []
    with step("Bronze can be queried"):
        (found,) = engine.query(
            "SELECT COUNT(*) AS lines FROM bronze.events "
            f"WHERE year = '{HOUR.start:%Y}' AND month = '{HOUR.start:%m}' AND day = '{HOUR.start:%d}'"
        ).to_pylist()
        assert found["lines"] > 0
    spent = sum((cost for cost in costs if cost), Cost())
    say(f"cost about {spent.usd:.4f} USD: {spent.dpu_seconds} DPU-seconds, {spent.bytes_scanned:,} bytes scanned")


def refresh_all(engine: AwsEngine, hours: list[Hour]) -> list[Cost | None]:
    """Refresh every Gold table and return what it cost."""
    return [engine.refresh_gold(table, hours, progress=say).cost for table in load_gold_tables()]


def land(settings: Settings, s3: Any) -> None:
    """Put every object of the raw folder into the raw bucket, as a producer does, unless it is there."""
    raw = settings.root / "raw"
    there = {each["Key"] for each in s3.list_objects_v2(Bucket=settings.raw_bucket).get("Contents", [])}
    for path in sorted(raw.rglob("*.gz")):
        key = path.relative_to(raw).as_posix()
        if key not in there:
            s3.put_object(Bucket=settings.raw_bucket, Key=key, Body=path.read_bytes(), ContentEncoding="gzip")


def remove_bucket(s3: Any, bucket: str) -> None:
    """Delete a bucket of ours with all it holds."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if keys := [{"Key": each["Key"]} for each in page.get("Contents", [])]:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    s3.delete_bucket(Bucket=bucket)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say what was done and how long it took."""
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:7.1f} s  {name}", flush=True)


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"           {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
