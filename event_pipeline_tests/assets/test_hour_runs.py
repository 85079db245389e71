"""What runs record about each hour: single hours, ranges and backfills of days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import (
    ASSETS,
    GOLD,
    data_version,
    executed,
    failure,
    materialize,
    materialized_hours,
    metadata,
    newest,
    one,
    one_gold_table,
    verdicts,
)
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, event, purchase, rows, write_object

RANGE = HourRange(HOUR, HOUR.plus(3))
QUIET_HOUR = HOUR.plus(1)
BUILT_BEFORE_GOLD = ("raw_events", "silver_events", "silver_partitions")


@dataclass(frozen=True)
class Ran:
    """One run of the range, which tests only look at."""

    settings: Settings
    instance: dg.DagsterInstance
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The range after one run of all assets."""
    settings = load_settings(root=tmp_path_factory.mktemp("ranged"), workers=1)
    write_range(settings.root)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Ran(settings, instance, materialize(settings, instance, RANGE))


def write_range(root: Path) -> None:
    """Write three hours over midnight: 3 events and a late one, nothing, 2 events and a bad record."""
    write_object(root, HOUR, 0, [event(), purchase(second=1), event(second=2)])
    write_object(root, HOUR, 5, [event(second=-36 * 3600)])
    write_object(root, HOUR.plus(2), 0, [purchase(HOUR.plus(2)), event(HOUR.plus(2)), b"not json"])


def test_a_single_hour_goes_from_raw_objects_to_five_answers(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event(), purchase(second=1), event(second=-36 * 3600), b"not json"])
    result = materialize(settings, instance, one(HOUR))

    assert executed(result) == list(ASSETS)
    assert all(materialized_hours(instance, asset) == [HOUR] for asset in ASSETS)
    assert len(assert_agrees_with_oracle(LocalEngine(settings), root).silver) == 3


@pytest.mark.long
def test_a_range_goes_through_with_a_quiet_hour_in_it(ranged: Ran) -> None:
    assert executed(ranged.result) == list(ASSETS)
    assert all(materialized_hours(ranged.instance, asset) == list(RANGE) for asset in ASSETS)
    ledger = rows(LocalEngine(ranged.settings), "SELECT objects, silver_rows FROM ops.hour_ledger ORDER BY ALL")
    assert [tuple(row.values()) for row in ledger] == [(0, 0), (1, 2), (2, 4)]
    assert metadata(ranged.instance, "silver_events", QUIET_HOUR)["reason"] == "no raw objects: built as an empty hour"


@pytest.mark.long
def test_a_range_records_the_numbers_of_each_hour(ranged: Ran) -> None:
    silver = {hour: metadata(ranged.instance, "silver_events", hour) for hour in RANGE}
    counted = ("dagster/partition_row_count", "records", "quarantined", "duplicates", "objects", "unreadable_objects")
    assert {str(hour): [numbers[name] for name in counted] for hour, numbers in silver.items()} == {
        "2025-12-07T22": [4, 4, 0, 0, 2, 0],
        "2025-12-07T23": [0, 0, 0, 0, 0, 0],
        "2025-12-08T00": [2, 3, 1, 0, 1, 0],
    }
    raw_bytes = LocalEngine(ranged.settings).list_raw(HOUR).raw_bytes
    assert silver[HOUR]["bytes_in"] == raw_bytes == metadata(ranged.instance, "raw_events", HOUR)["bytes"]
    assert silver[HOUR]["bytes_out"] > 0
    assert silver[HOUR]["records_per_second"] > 0
    assert "| not_json | 1 |" in silver[HOUR.plus(2)]["quarantined_by_reason"]
    assert "| silver.events | added |" in metadata(ranged.instance, "silver_partitions", HOUR)["changes"]
    assert metadata(ranged.instance, "user_activity", HOUR)["days_folded"] == 2
    assert "| 2025-12-06 | 1 | folded |" in metadata(ranged.instance, "user_activity", HOUR)["days"]


@pytest.mark.parametrize("table", GOLD)
def test_the_last_hour_of_a_run_shows_the_published_rows_of_its_last_day(ranged: Ran, table: str) -> None:
    published = LocalEngine(ranged.settings).query(f"SELECT * FROM gold.{table} WHERE event_date = DATE '2025-12-08'")

    assert not any(name.startswith("preview") for name in metadata(ranged.instance, table, HOUR))
    header, _, *lines = metadata(ranged.instance, table, RANGE.last)["preview_2025-12-08"].splitlines()
    assert header.strip("| ").split(" | ") == published.column_names[1:]
    assert len(lines) == published.num_rows


def test_every_hour_of_a_range_has_a_result_of_every_check(ranged: Ran) -> None:
    checks = build_definitions(ranged.settings).resolve_asset_graph().asset_check_keys
    assert len(checks) == 19
    for check in checks:
        found = verdicts(ranged.instance, check.asset_key.to_user_string(), check.name)
        assert sorted(found, key=str) == list(RANGE), f"{check}: {found}"
        assert "PLANNED" not in found.values(), f"{check}: {found}"


def test_a_check_result_names_the_materialization_that_it_judged(ranged: Ran) -> None:
    for each in ranged.result.get_asset_check_evaluations():
        wanted = dg.AssetRecordsFilter(each.asset_key, asset_partitions=[each.partition or ""])
        record = ranged.instance.fetch_materializations(wanted, limit=1).records[0]
        assert each.target_materialization_data
        assert each.target_materialization_data.storage_id == record.storage_id


def test_numbers_are_recorded_as_numbers_so_that_dagster_plots_them(ranged: Ran) -> None:
    plotted = {
        asset: {
            name
            for name, value in newest(ranged.instance, asset, HOUR).metadata.items()
            if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)
        }
        for asset in ASSETS
    }
    assert plotted["raw_events"] >= {"objects", "bytes", "newest_object_after_hour_end_seconds"}
    assert plotted["silver_events"] >= {
        "dagster/partition_row_count",
        "records",
        "quarantined",
        "duplicates",
        "bytes_in",
        "bytes_out",
        "seconds",
        "records_per_second",
    }
    for table in GOLD:
        assert plotted[table] >= {"dagster/partition_row_count", "days_folded", "bytes_in", "bytes_out", "seconds"}


@pytest.mark.parametrize("asset", ASSETS)
def test_every_hour_of_a_range_is_one_point_of_a_plot(ranged: Ran, asset: str) -> None:
    events = ranged.result.asset_materializations_for_node(asset)
    numbers = {"raw_events": "objects", "silver_partitions": "changed_entries"}.get(asset, "bytes_out")

    assert [event.partition for event in events if numbers in event.metadata] == [hour.partition_key for hour in RANGE]


@pytest.mark.long
def test_an_hour_has_the_same_data_version_in_a_range_and_alone(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_range(root)
    materialize(settings, instance, RANGE, assets=BUILT_BEFORE_GOLD)
    of_range = {(asset, hour): data_version(instance, asset, hour) for asset in BUILT_BEFORE_GOLD for hour in RANGE}
    for hour in RANGE:
        materialize(settings, instance, one(hour), assets=BUILT_BEFORE_GOLD)

    assert {place: data_version(instance, *place) for place in of_range} == of_range
    assert of_range["raw_events", HOUR] == LocalEngine(settings).list_raw(HOUR).fingerprint
    assert len(set(of_range.values())) == 2 * len(RANGE)  # silver_partitions shows the data of silver_events


@pytest.mark.long
def test_only_an_hour_with_a_late_object_turns_stale(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    chain = (*BUILT_BEFORE_GOLD, "user_activity")
    write_range(root)
    materialize(settings, instance, RANGE, assets=chain)
    materialize(settings, instance, RANGE, assets=["raw_events"])
    assert stale(settings, instance, "silver_events") == []

    write_object(root, HOUR, 10, [event(second=3)])
    materialize(settings, instance, RANGE, assets=["raw_events"])
    assert stale(settings, instance, "silver_events") == [HOUR]

    materialize(settings, instance, RANGE, assets=["silver_events", "silver_partitions"])
    assert stale(settings, instance, "silver_events") == []
    assert stale(settings, instance, "user_activity") == [HOUR]


def test_materializing_again_changes_nothing_and_says_so(
    settings: Settings, instance: dg.DagsterInstance, root: Path, tmp_path: Path
) -> None:
    gold = one_gold_table(tmp_path / "gold")
    write_object(root, HOUR, 0, [event()])
    materialize(settings, instance, one(HOUR), gold_folder=gold)
    engine = LocalEngine(settings)
    before = engine.registered_builds()
    materialize(settings, instance, one(HOUR), gold_folder=gold)

    assert engine.registered_builds() == before
    assert metadata(instance, "silver_events", HOUR)["outcome"] == "unchanged"
    assert metadata(instance, "silver_partitions", HOUR)["changed_entries"] == 0
    assert metadata(instance, "user_activity", HOUR)["days_folded"] == 0
    assert metadata(instance, "user_activity", HOUR)["outcome"] == "unchanged"


def test_force_in_the_run_config_builds_again(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    materialize(settings, instance, one(HOUR), assets=BUILT_BEFORE_GOLD)
    before = LocalEngine(settings).registered_builds()
    materialize(settings, instance, one(HOUR), assets=BUILT_BEFORE_GOLD, silver={"force": True})

    assert metadata(instance, "silver_events", HOUR)["reason"] == "forced"
    assert LocalEngine(settings).registered_builds() != before


def test_an_hour_that_lost_objects_is_replaced_only_when_the_run_config_allows_it(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    lost = write_object(root, HOUR, 5, [event(second=1)])
    materialize(settings, instance, one(HOUR), assets=BUILT_BEFORE_GOLD)
    (root / "raw" / lost).unlink()

    refused = materialize(settings, instance, one(HOUR))
    assert lost in failure(refused)
    assert "--allow-lost-objects" in failure(refused)
    assert executed(refused) == ["raw_events"]
    assert len(rows(LocalEngine(settings), "FROM silver.events")) == 2

    allowed = materialize(settings, instance, one(HOUR), assets=BUILT_BEFORE_GOLD, silver={"allow_lost_objects": True})
    assert allowed.success
    assert len(rows(LocalEngine(settings), "FROM silver.events")) == 1


def test_an_empty_hour_shows_no_times_of_objects(ranged: Ran) -> None:
    assert metadata(ranged.instance, "raw_events", QUIET_HOUR) == {
        "summary": "0 raw objects, 0 B compressed",
        "objects": 0,
        "bytes": 0,
        "unmatched_keys": 0,
        "fingerprint": LocalEngine(ranged.settings).list_raw(QUIET_HOUR).fingerprint,
    }


def stale(settings: Settings, instance: dg.DagsterInstance, asset: str) -> list[Hour]:
    """The hours of the range that Dagster's UI marks as stale."""
    resolver = CachingStaleStatusResolver(
        instance, build_definitions(settings).resolve_asset_graph(), LoadingContextForTest(instance)
    )
    return [hour for hour in RANGE if resolver.get_stale_causes(dg.AssetKey(asset), hour.partition_key)]
