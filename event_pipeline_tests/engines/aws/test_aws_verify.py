"""The recount on AWS: published rows are read from S3 by range, never page by page from Athena's results."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.errors import StorageError
from event_pipeline.inspection.verification import Verification, verify
from event_pipeline.rules.contract import SILVER_EVENTS
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws, Fault
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOLD = load_gold_tables()[:1]
ROWS = 2_500
"""Of each object: more than two pages of Athena's results, which hold 1,000 rows."""


def recount(engine: AwsEngine, settings: Settings) -> Verification:
    """Verify everything."""
    return verify(engine, GOLD, settings.event_time_limits, None, NOW, lambda *_: None)


@pytest.fixture
def built(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> AwsEngine:
    """Two built hours; the first has thousands of Silver rows and of quarantined records."""
    land(aws, settings, HOUR, 0, [event(user_id=f"u_{number}") for number in range(ROWS)])
    land(aws, settings, HOUR, 5, [b"{"] * ROWS)
    land(aws, settings, HOUR.plus(1), 0, [event(HOUR.plus(1))])
    hours = [HOUR, HOUR.plus(1)]
    silver(engine, *hours)
    for table in GOLD:
        engine.refresh_gold(table, hours, progress=lambda _: None)
    return AwsEngine(settings)


def test_no_rows_come_as_pages_of_results(built: AwsEngine, settings: Settings) -> None:
    proven = recount(built, settings)
    assert proven.differences == []
    assert [(each.silver_rows, each.quarantined) for each in proven.hours] == [(ROWS, ROWS), (1, 0)]
    requests = built._aws.requests
    asked = 1 + 2 * len(GOLD)
    assert requests["athena.StartQueryExecution"] == asked, "counts of Silver; days and comparison of each Gold table"
    assert requests["athena.GetQueryResults"] == asked, "one page each"
    # Three raw objects, two commit records, and of each of the five files its footer and its rows.
    assert requests["s3.GetObject"] <= 3 + 2 + 2 * 5, requests


def test_files_beside_the_committed_ones_are_found_as_queries_find_them(
    aws: EmulatedAws, built: AwsEngine, settings: Settings
) -> None:
    s3 = aws.client("s3")
    commit = built.hour_commit(HOUR)
    assert commit
    (committed,) = [file.path for file in commit.files_of(SILVER_EVENTS.full_name)]
    stored = s3.get_object(Bucket=settings.lake_bucket, Key=committed)["Body"].read()
    folder = committed.rpartition("/")[0]
    s3.put_object(Bucket=settings.lake_bucket, Key=f"{folder}/_hidden.parquet", Body=stored)
    assert recount(built, settings).differences == []
    s3.put_object(Bucket=settings.lake_bucket, Key=f"{folder}/stray.parquet", Body=stored)
    found = {(each.what, each.found) for each in recount(built, settings).differences if each.place == str(HOUR)}
    key = HOUR.raw_key(HOUR.start)
    doubled = f"{2 * ROWS:,}"
    assert {(f"silver.events rows from {key}", doubled), ("silver.events rows that queries count", doubled)} <= found


def test_files_that_cannot_be_read_are_named_with_the_cause(
    aws: EmulatedAws, built: AwsEngine, settings: Settings
) -> None:
    def rows() -> int:
        return sum(batch.num_rows for batch in built.shown_rows(SILVER_EVENTS, HOUR))

    commit = built.hour_commit(HOUR)
    assert commit
    (path,) = [file.path for file in commit.files_of(SILVER_EVENTS.full_name)]
    # The cause comes through pyarrow as it is.
    aws.fail_next("s3.GetObject", Fault.ACCESS_DENIED, containing="events-0.parquet")
    with pytest.raises(StorageError, match=f"s3:GetObject on s3://.*{path}: denied .* the role needs s3:GetObject"):
        rows()
    for damaged in (b"no Parquet at all", b"PAR1" + bytes(100) + b"PAR1"):
        aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=path, Body=damaged)
        with pytest.raises(StorageError, match=f"s3://{settings.lake_bucket}/{path}: a data file cannot be read"):
            rows()
    aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=path, Body=b"")
    assert rows() == 0, "an empty object is no file to Athena"
    assert list(built.shown_rows(SILVER_EVENTS, HOUR.plus(5))) == [], "an hour that the catalog does not show"
