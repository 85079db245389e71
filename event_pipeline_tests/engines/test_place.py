"""What a place says of itself by its settings alone, and what costs of a place that bills nothing are."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline.assets.pipeline import pipeline_assets
from event_pipeline.engines.open import open_engine
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import Environment, Settings, SilverBuilderKind, SqlKind, load_settings
from event_pipeline_tests.pipeline import HOUR


def settings_of_aws(root: Path, **more: object) -> Settings:
    return load_settings(
        env=Environment.AWS,
        root=root,
        aws_region="eu-central-1",
        raw_bucket="raw",
        lake_bucket="lake",
        artifacts_bucket="artifacts",
        **more,
    )


def kinds_shown(settings: Settings) -> dict[str, set[str]]:
    assets = {asset.key.to_user_string(): next(iter(asset.specs)).kinds for asset in pipeline_assets(settings)}
    return {name: assets[name] for name in ("raw_events", "silver_events", "silver_partitions", "hourly_revenue")}


@pytest.mark.parametrize(
    ("builder", "sql", "silver", "gold"),
    [
        (SilverBuilderKind.GLUE, SqlKind.ATHENA, "glue", "athena"),
        (SilverBuilderKind.POOL, SqlKind.ATHENA, "python", "athena"),
        (SilverBuilderKind.GLUE, SqlKind.DUCKDB, "glue", "duckdb"),
        (SilverBuilderKind.POOL, SqlKind.DUCKDB, "python", "duckdb"),
    ],
)
def test_dagster_shows_what_makes_the_assets_on_aws(
    root: Path, builder: SilverBuilderKind, sql: SqlKind, silver: str, gold: str
) -> None:
    assert kinds_shown(settings_of_aws(root, builder=builder, sql=sql)) == {
        "raw_events": {"json", "s3"},
        "silver_events": {silver, "parquet"},
        "silver_partitions": {"table", "glue"},
        "hourly_revenue": {gold, "parquet"},
    }


def test_dagster_shows_what_makes_the_assets_on_this_machine(root: Path) -> None:
    assert kinds_shown(load_settings(root=root)) == {
        "raw_events": {"json"},
        "silver_events": {"python", "parquet"},
        "silver_partitions": {"table"},
        "hourly_revenue": {"duckdb", "parquet"},
    }


def test_an_engine_is_at_the_place_of_its_settings(root: Path) -> None:
    local, aws = open_engine(load_settings(root=root)).place, open_engine(settings_of_aws(root)).place
    assert (local.raw, local.folder, local.upload, local.deployed) == (f"{root.absolute()}/raw", root, "", False)
    assert (aws.raw, aws.folder, aws.deployed) == ("s3://raw/", root.absolute() / "dagster", True)
    assert aws.upload == f"aws s3 sync {root.absolute()}/raw s3://raw/"


def test_this_machine_bills_nothing(root: Path) -> None:
    engine = open_engine(load_settings(root=root))
    assert engine.costs(HourRange.of([HOUR])) is None
    assert engine.estimate([HOUR]) is None
