"""A Glue job without Spark: builds a plan with the shared judge in one process, for tests that are not about the job.

It keeps to what `glue_scripts/silver_events.py` promises: files, then the manifest; ETags of the plan; duplicates
left out; hours that fail leave the others built.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pyarrow as pa
from botocore.exceptions import ClientError

from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.rules.accounting import DayTotals, HourAccount
from event_pipeline.rules.contract import SILVER_EVENTS, SILVER_QUARANTINE, Limits
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.resent import bounded
from event_pipeline.rules.silver_files import EventsFile, write_quarantine
from event_pipeline.rules.validation import ValidatedObject, day_totals, silver_rows, validate_object


class JobError(Exception):
    """An hour could not be built."""


def main() -> None:
    """Build all hours of the plan."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", required=True)
    parser.add_argument("--token", required=True)
    arguments, _ = parser.parse_known_args()
    s3 = boto3.client("s3")
    bucket, key = split(arguments.plan)
    plan = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert plan["token"] == arguments.token
    print(f"{len(plan['hours'])} hours planned", flush=True)
    age, lead = (timedelta(seconds=plan["limits"][f"max_{name}_seconds"]) for name in ("age", "lead"))
    sizes = {name: plan["limits"][name] for name in ("max_line_bytes", "max_object_bytes", "max_object_records")}
    limits = Limits(age, lead, **sizes)
    erased = plan["erasures"]
    erasures = Erasures(bytes.fromhex(erased["key"]), frozenset(map(bytes.fromhex, erased["digests"])))
    failures = []
    for hour in plan["hours"]:
        try:
            build(s3, hour, (plan["raw_bucket"], plan["raw_prefix"]), limits, erasures)
        except (ClientError, JobError) as error:
            failures.append(f"{hour['hour']}: {error}")
            lake, prefix = split(hour["target"])
            s3.put_object(Bucket=lake, Key=f"{prefix}failure.txt", Body=failures[-1].encode())
    if failures:
        raise JobError("; ".join(failures))


def build(s3: Any, planned: dict[str, Any], raw: tuple[str, str], limits: Limits, erasures: Erasures) -> None:
    """Build one hour up to its manifest."""
    hour = Hour.parse(planned["hour"])
    lake, prefix = split(planned["target"])
    listed = sorted(planned["objects"], key=lambda each: each["key"])
    objects = [read(s3, raw, each, hour, limits, erasures) for each in listed]
    seen: set[tuple[Any, ...]] = set()
    accounts, days, content = [], dict[str, DayTotals](), io.BytesIO()
    with EventsFile(content) as file:
        for each in objects:
            events = first_of_equals(each.events, seen)
            accounts.append(
                replace(each.account, silver_rows=len(events), duplicates=len(each.events) - len(events))
            )  # fmt: skip
            rows = silver_rows(events, each.account.key)
            for day, totals in day_totals(rows).items():
                days[day] = days.get(day, DayTotals()) + totals
            file.write(rows)
    files = []
    if total := sum(each.silver_rows for each in accounts):
        files.append(put(s3, lake, f"{prefix}events/events-0.parquet", content, SILVER_EVENTS.full_name, total))
    quarantine = [each.quarantine for each in objects if len(each.quarantine)]
    if quarantine:
        content = io.BytesIO()
        quarantined = write_quarantine(content, (batch for table in quarantine for batch in table.to_batches()))
        key = f"{prefix}quarantine/quarantine-0.parquet"
        files.append(put(s3, lake, key, content, SILVER_QUARANTINE.full_name, quarantined))
    account = HourAccount.of(bounded(accounts), days)
    if planned["decoded"]:
        # What it decodes is of no use to later runs; that it lies there and goes is what tests look at.
        s3.put_object(Bucket=lake, Key=f"{planned['decoded']}{len(objects)}/report.json", Body=b"{}")
    committed_at = datetime.fromisoformat(planned["open_at"]) if planned["open_at"] else datetime.now(UTC)
    manifest = HourCommit(hour, planned["build_id"], committed_at, limits.rules_version, account, tuple(files))
    s3.put_object(Bucket=lake, Key=f"{prefix}manifest.json", Body=manifest.to_json().encode())


def read(
    s3: Any, raw: tuple[str, str], listed: dict[str, Any], hour: Hour, limits: Limits, erasures: Erasures
) -> ValidatedObject:
    """Validate one object, as it was listed below a prefix of a bucket."""
    bucket, prefix = raw
    try:
        stored = s3.get_object(Bucket=bucket, Key=prefix + listed["key"], IfMatch=f'"{listed["etag"]}"')["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("PreconditionFailed", "412", "NoSuchKey", "404"):
            raise JobError(f"s3://{bucket}/{listed['key']}: {error}") from error
        raise JobError(f"{listed['key']} was replaced or removed while it was read: list the hour again") from error
    return validate_object(io.BytesIO(stored), **listed, hour=hour, limits=limits, erasures=erasures)


def first_of_equals(events: pa.Table, seen: set[tuple[Any, ...]]) -> pa.Table:
    """Leave out events that equal an earlier one of the hour."""
    rows = zip(*(events.column(name).to_pylist() for name in events.column_names if name != "line_number"), strict=True)
    kept = []
    for row in rows:
        kept.append(row not in seen)
        seen.add(row)
    return events.filter(pa.array(kept, pa.bool_()))


def put(s3: Any, bucket: str, key: str, content: io.BytesIO, table: str, rows: int) -> DataFile:
    """Write one file and describe it."""
    body = content.getvalue()
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    return DataFile(table, key, rows, len(body), hashlib.sha256(body).hexdigest())


def split(url: str) -> tuple[str, str]:
    """Return bucket and key."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


if __name__ == "__main__":
    main()
