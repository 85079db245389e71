"""The setting that says when an hour is built, from the sensor's look to the run: complete, or with every object."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from event_pipeline.assets.checks import raw_verdicts
from event_pipeline.assets.partitions import landing_hours
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import BuildMode, Settings, load_settings
from event_pipeline_tests.automation.test_sensor import CURRENT, NOW, Watch, land
from event_pipeline_tests.materializing import materialize, one, one_gold_table
from event_pipeline_tests.pipeline import build, event, write_object


@pytest.fixture
def settings(root: Path) -> Settings:
    return load_settings(root=root, workers=1, build_mode="every_object", expected_objects=3)


@pytest.fixture
def watch(settings: Settings, instance: dg.DagsterInstance) -> Watch:
    watch = Watch(settings, instance)
    watch.engine = LocalEngine(settings, clock=lambda: watch.now)
    return watch


def test_every_object_of_the_open_hour_is_asked_for_at_the_next_look(watch: Watch, root: Path) -> None:
    asked = []
    for minute in (0, 5, 10):
        land(root, [CURRENT], minute, at=watch.now)
        asked.append(watch.asks_for())
        build(watch.engine, [CURRENT])
        asked.append(watch.asks_for())

    assert asked == [[f"{CURRENT} x 1"], []] * 3


def test_an_hour_built_while_it_was_open_is_asked_for_once_more_when_it_is_complete(watch: Watch, root: Path) -> None:
    for minute in (0, 5, 10):
        land(root, [CURRENT], minute)
    assert watch.asks_for() == [f"{CURRENT} x 1"]
    build(watch.engine, [CURRENT])
    assert watch.asks_for() == []
    assert watch.asks_for(CURRENT.end - watch.now) == [f"{CURRENT} x 1"]
    build(watch.engine, [CURRENT])
    assert watch.asks_for() == []


def test_an_hour_that_lacks_objects_is_built_whole_after_the_grace(watch: Watch, root: Path) -> None:
    land(root, [CURRENT])
    build(watch.engine, [CURRENT])
    assert watch.asks_for(CURRENT.end - watch.now + timedelta(minutes=9)) == []
    assert watch.asks_for(timedelta(minutes=1)) == [f"{CURRENT} x 1"]


def test_an_hour_that_has_not_begun_by_this_clock_is_left_alone(watch: Watch, root: Path) -> None:
    land(root, [CURRENT.plus(1)], at=NOW)

    assert watch.asks_for() == []


def test_the_current_hour_is_a_partition_only_where_it_may_be_built(settings: Settings) -> None:
    def last(mode: BuildMode) -> str | None:
        with partition_loading_context(effective_dt=NOW):
            return landing_hours(settings.model_copy(update={"build_mode": mode})).get_last_partition_key()

    assert last(BuildMode.EVERY_OBJECT) == CURRENT.partition_key
    assert last(BuildMode.COMPLETE) == CURRENT.plus(-1).partition_key


def test_an_hour_that_is_not_over_is_not_blamed_for_objects_that_are_still_to_come(settings: Settings) -> None:
    def verdict(now: datetime) -> tuple[bool, str]:
        found = raw_verdicts(RawListing(CURRENT, ()), settings, now)["expected_objects"]
        return found.passed, found.description

    assert verdict(NOW) == (True, "The hour has 0 raw objects so far and is not over")
    assert verdict(CURRENT.end) == (False, "The hour has 0 raw objects instead of the expected 3")


def test_the_open_hour_goes_the_whole_way_through_dagster(
    settings: Settings, instance: dg.DagsterInstance, root: Path, tmp_path: Path
) -> None:
    hour = Hour.containing(datetime.now(UTC))
    gold = one_gold_table(tmp_path / "gold")
    users = []
    for minute in (0, 5):
        write_object(root, hour, minute, [event(hour, user_id=f"u_{minute}")])
        assert materialize(settings, instance, one(hour), gold_folder=gold).success
        (row,) = LocalEngine(settings).query("SELECT unique_users FROM gold.user_activity").to_pylist()
        users.append(row["unique_users"])

    assert users == [1, 2]
