"""What the code expects of an account: created once, and good enough for the first query and the first objects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from event_pipeline.generator import GeneratorOptions
from event_pipeline.rules.hour import Hour
from event_pipeline_tests.emulator.conftest import BUCKET, Account
from event_pipeline_tests.emulator.feed import feed_hours, feed_live
from event_pipeline_tests.emulator.server import EmulatedAws


def test_a_new_account_answers_queries_over_raw_objects_and_empty_tables(aws: EmulatedAws, account: Account) -> None:
    aws.create_resources()
    settings = aws.settings()
    totals = feed_hours(
        account.s3,
        settings.raw_bucket,
        [Hour.parse("2025-12-07T22")],
        GeneratorOptions(events_per_file=10, files_per_hour=3),
    )
    assert (totals.objects, totals.records) == (3, 30)
    rows = account.rows(
        "SELECT hour, minute, count(event_timestamp) FROM bronze.events WHERE year = '2025' "
        "GROUP BY hour, minute ORDER BY minute"
    )
    assert rows == [["22", "00", "10"], ["22", "20", "10"], ["22", "40", "10"]]
    for table in ("silver.events", "silver.quarantine", "ops.hour_ledger"):
        assert account.rows(f"SELECT count(*) FROM {table}") == [["0"]]
    job = account.glue.get_job(JobName=settings.glue_job)["Job"]
    assert job["GlueVersion"] == "5.1"
    for location in (job["Command"]["ScriptLocation"], job["NonOverridableArguments"]["--extra-py-files"]):
        bucket, _, key = location.removeprefix("s3://").partition("/")
        assert account.s3.head_object(Bucket=bucket, Key=key)["ContentLength"] > 0
    listed = account.s3.list_objects_v2(Bucket=settings.raw_bucket)["Contents"][0]["Key"]
    assert account.s3.head_object(Bucket=settings.raw_bucket, Key=listed)["ContentEncoding"] == "gzip"


def test_a_live_feed_puts_objects_of_the_present(account: Account, aws: EmulatedAws) -> None:
    feed_live(account.s3, BUCKET, 1, GeneratorOptions(events_per_file=10), count=1)
    (key,) = account.keys("events/")
    assert Hour.of_raw_key(key)


def emulate(folder: Path, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command behind `make aws-local` in a folder, with a Python program to work in it."""
    command = [sys.executable, "-m", "event_pipeline_tests.emulator", "--port", "0", *options]
    checkout = str(Path(__file__).parents[2])
    return subprocess.run(
        [*command, "--", sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": checkout, "AWS_PROFILE": "somebody"},
        capture_output=True,
        text=True,
    )


def test_a_command_works_in_the_emulated_account_and_its_exit_code_counts(tmp_path: Path) -> None:
    program = """
import boto3
from event_pipeline.settings import load_settings
settings = load_settings()
listed = boto3.client("s3").list_objects_v2(Bucket=settings.raw_bucket)
print(settings.env.value, listed["KeyCount"], settings.root.name)
raise SystemExit(3)
"""
    done = emulate(tmp_path, program, "--hours", "1", "--events-per-file", "5", "--live", "0")
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[-1] == "aws 12 data-aws-local"
    exports = (tmp_path / "data-aws-local" / "environment").read_text(encoding="utf-8")
    assert "unset AWS_PROFILE" in exports
    assert "export EVENT_PIPELINE_ENV=aws" in exports


def test_a_folder_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "data-aws-local").mkdir()
    (tmp_path / "data-aws-local" / "precious").touch()
    done = emulate(tmp_path, "print('never')")
    assert done.returncode == 1
    assert "was not made by this command: move it away" in done.stderr
    assert (tmp_path / "data-aws-local" / "precious").exists()
