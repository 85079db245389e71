"""The first partition of a data folder: its earliest hour, unless the setting says another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline, remember_first_partition, with_first_partition
from event_pipeline.errors import StorageError
from event_pipeline.operations.building import plan_build
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.pipeline import HOUR, event, write_object

FLOOR = Hour.parse("2025-11-01T00")


def first(root: Path) -> Hour:
    return with_first_partition(load_settings(root=root)).first_partition


def test_partitions_begin_with_the_earliest_hour_of_the_folder_and_move_back_but_never_forward(
    root: Path, settings: Settings
) -> None:
    assert first(root) == FLOOR
    remember_first_partition(settings)
    assert not root.exists()

    # Hours that are not read do not count: before what is read, of a clock that was never set, of another name.
    for hour in ("1970-01-01T00", "2025-10-31T23", "2300-01-01T00"):
        write_object(root, Hour.parse(hour), 0, [])
    (root / "raw" / FLOOR.plus(5).raw_prefix).mkdir(parents=True)
    (root / "raw" / FLOOR.plus(5).raw_prefix / "notes.txt").touch()
    assert first(root) == FLOOR
    write_object(root, HOUR, 0, [event()])
    assert first(root) == HOUR
    remember_first_partition(settings)

    write_object(root, HOUR.plus(-30), 0, [event()])
    assert first(root) == HOUR.plus(-30)
    remember_first_partition(settings)
    shutil.rmtree(root / "raw")
    assert first(root) == HOUR.plus(-30)
    assets = build_definitions(settings).get_repository_def().assets_defs_by_key.values()
    offered = {asset.partitions_def.get_first_partition_key() for asset in assets if asset.partitions_def}
    assert offered == {HOUR.plus(-30).partition_key}


def test_a_folder_of_an_earlier_version_begins_with_its_earliest_commit_record(root: Path) -> None:
    record = root / "lake" / "commits" / "hours" / f"{HOUR.hive_path}.json"
    record.parent.mkdir(parents=True)
    record.touch()
    write_object(root, HOUR.plus(1), 0, [event()])
    assert first(root) == HOUR


def test_an_object_that_lands_before_what_dagster_offers_is_named_there_and_built_by_run(
    root: Path, settings: Settings
) -> None:
    write_object(root, HOUR, 0, [event()])
    offered = with_first_partition(settings)
    key = write_object(root, HOUR.plus(-1), 0, [event(HOUR.plus(-1))])
    (named,) = LocalEngine(offered).unmatched_raw_keys()
    assert (named.key, named.reason.partition(":")[0]) == (key, f"before the first partition {HOUR}")
    assert "choose Reload under Deployment" in named.reason
    plan = plan_build(open_pipeline(settings), HOUR.plus(1).start, None)
    assert (plan.hours, plan.unmatched) == ((HOUR.plus(-1), HOUR), ())


def test_the_setting_wins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_object(root, HOUR, 0, [event()])
    monkeypatch.setenv("EVENT_PIPELINE_FIRST_PARTITION", "2025-11-15T00")
    assert first(root) == Hour.parse("2025-11-15T00")
    remember_first_partition(load_settings(root=root))
    assert not (root / "lake").exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"first_partition": "yesterday"}', '{"first_partition": 7}'])
def test_a_damaged_file_is_named(root: Path, text: str) -> None:
    kept = root / "lake" / "first_partition.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(text)
    with pytest.raises(StorageError, match=f"{kept} is damaged: remove it"):
        first(root)
