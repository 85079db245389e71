"""What UNLOAD leaves behind: strays that no manifest names, and more files than any fold should have to read."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.query import load_gold_table, load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws, Fault
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event, rows

TABLES = {table.name: table for table in load_gold_tables()}
FUNNEL = TABLES["conversion_funnel"]
PRODUCTS = 40
DAY = date(2025, 12, 7)


def views(engine: AwsEngine) -> dict[str, int]:
    """Return the published views by product."""
    found = rows(engine, f"SELECT product_id, views FROM gold.conversion_funnel WHERE event_date = DATE '{DAY}'")
    return {row["product_id"]: row["views"] for row in found}


def many_products(aws: EmulatedAws, engine: AwsEngine, settings: Settings, hours: int = 1) -> dict[str, int]:
    """Publish Silver of some hours with views of so many products that UNLOAD may write all its files."""
    for hour in (HOUR.plus(-number) for number in range(hours)):
        land(aws, settings, hour, 0, [event(hour, 1 + n, product_id=f"p_{n:02}") for n in range(PRODUCTS)])
    silver(engine, *(HOUR.plus(-number) for number in range(hours)))
    return {f"p_{n:02}": hours for n in range(PRODUCTS)}


def keys(aws: EmulatedAws, settings: Settings, prefix: str) -> list[str]:
    """Return the keys below a prefix of the lake."""
    found = aws.client("s3").list_objects_v2(Bucket=settings.lake_bucket, Prefix=prefix)
    return [each["Key"] for each in found.get("Contents", [])]


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_no_manifest_names_is_never_published(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, times: int
) -> None:
    expected = many_products(aws, engine, settings)
    aws.leave_orphans(times)
    refreshed = engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert views(engine) == expected
    assert [each for each in engine.reconcile(FUNNEL, [DAY]) if each.gold != each.silver] == []
    # A partial and a fold, and one query more for each target that held a stray.
    assert refreshed.cost is not None
    assert refreshed.cost.queries == 2 + times


def test_strays_every_time_are_a_passing_fault_that_the_next_refresh_heals(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    expected = many_products(aws, engine, settings)
    aws.leave_orphans(3)
    with pytest.raises(
        TransientError,
        match=r"partials\.conversion_funnel: 3 times, there were files that UNLOAD's manifest does not list.*s3://",
    ):
        engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert views(engine) == {}
    engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert views(engine) == expected


def test_a_fold_reads_one_file_of_each_hour(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    hours = 3
    expected = many_products(aws, engine, settings, hours)
    aws.requests.clear()
    engine.refresh_gold(FUNNEL, [HOUR.plus(-number) for number in range(hours)], progress=lambda _: None)
    # Athena wrote more, which were read once, put together and deleted.
    assert len(aws.requests.of("s3.GetObject", "runs/partials/conversion_funnel")) > hours
    assert len(keys(aws, settings, "runs/partials/conversion_funnel/")) == hours
    assert len(keys(aws, settings, "runs/days/conversion_funnel/")) == 1
    assert views(engine) == expected
    assert all(engine.partition_faults(HOUR.plus(-number)) == [] for number in range(hours))


def test_files_that_are_large_together_stay_as_they_are(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.engines.aws.athena_sql._COMPACTED_BYTES", 0)
    expected = many_products(aws, engine, settings)
    engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert len(keys(aws, settings, "runs/partials/conversion_funnel/")) > 1
    assert views(engine) == expected


def test_a_refresh_that_broke_off_while_files_were_put_together_is_healed_by_the_next(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    expected = many_products(aws, engine, settings)
    deleting = aws.fail_next("s3.DeleteObjects", Fault.ACCESS_DENIED, None)
    with pytest.raises(StorageError, match="s3:DeleteObjects"):
        engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert deleting.struck
    assert views(engine) == {}
    aws.faults.clear()
    engine.refresh_gold(FUNNEL, [HOUR], progress=lambda _: None)
    assert views(engine) == expected


def test_timestamps_of_partials_survive_being_put_together(
    aws: EmulatedAws, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "first_views.sql").write_text(
        """-- description: In how many hours each product was viewed.
-- grain: product_id
-- columns:
--   product_id    string  The product
--   hours_seen  bigint  Hours with such a view

-- section: partial
SELECT event_date, product_id, MIN(event_ts) AS first_ts FROM silver_events GROUP BY event_date, product_id

-- section: fold
SELECT product_id, CAST(COUNT(first_ts) AS BIGINT) AS hours_seen FROM partials GROUP BY product_id

-- section: reconcile
SELECT 'one' AS measure, (SELECT COUNT(*) FROM gold_day WHERE FALSE) AS gold, 0 AS silver FROM silver_totals
"""
    )
    engine = AwsEngine(settings, tmp_path)
    many_products(aws, engine, settings)
    engine.refresh_gold(load_gold_table(tmp_path / "first_views.sql"), [HOUR], progress=lambda _: None)
    (key,) = keys(aws, settings, "runs/partials/first_views/")
    body = aws.client("s3").get_object(Bucket=settings.lake_bucket, Key=key)["Body"].read()
    first_ts = pq.read_table(pa.BufferReader(body)).column("first_ts")
    assert first_ts.type == pa.timestamp("ms")
    assert min(first_ts.to_pylist()) == HOUR.start.replace(tzinfo=None) + timedelta(seconds=1)
    assert rows(engine, "SELECT SUM(hours_seen) AS n FROM gold.first_views") == [{"n": PRODUCTS}]
