"""The sensor, look by look: what it asks for, when it waits, and what it never asks for."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.assets.pipeline import hourly_pipeline_job, pipeline_assets
from event_pipeline.automation.sensor_cursor import Cursor
from event_pipeline.automation.sensors import new_raw_objects_sensor
from event_pipeline.dagster_instance.run_hours import PROCESS_TAG, hours_of_tags, process_tag, range_tags
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import materialize
from event_pipeline_tests.pipeline import HOUR, build, event, write_object

NOW = datetime(2025, 12, 8, 2, 30, tzinfo=UTC)
CURRENT = Hour.containing(NOW)


class Watch:
    """The sensor over one data folder, its cursor kept from look to look."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, engine: LocalEngine | None = None) -> None:
        self.settings = settings
        self.instance = instance
        self.engine = engine or LocalEngine(settings)
        self.now = NOW
        self.cursor: str | None = None
        self.run_keys: set[str] = set()
        self.restart(load_gold_tables())

    def restart(self, tables: tuple[GoldTable, ...]) -> None:
        """Start Dagster again, perhaps with other SQL; the cursor stays."""
        job = hourly_pipeline_job(pipeline_assets(self.settings))
        self.sensor = new_raw_objects_sensor(job, tables, self.settings, lambda: self.now)

    def look(self, after: timedelta = timedelta(seconds=30)) -> dg.SensorResult:
        """Evaluate one tick some time after the last one and keep the cursor, as the daemon does."""
        self.now += after
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources={"engine": self.engine}, sensor_name="new_raw_objects"
        )
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return result

    def asks_for(self, after: timedelta = timedelta(seconds=30)) -> list[str]:
        """The ranges for which the next look starts runs, in its order; Dagster takes each run key once."""
        requests = [each for each in self.look(after).run_requests or [] if each.run_key not in self.run_keys]
        self.run_keys.update(str(each.run_key) for each in requests)
        return [shown(request) for request in requests]


def shown(request: dg.RunRequest) -> str:
    """First hour and number of hours of a request."""
    hours = HourRange.of([Hour.parse(request.partition_key)]) if request.partition_key else hours_of_tags(request.tags)
    assert hours
    return f"{hours.first} x {len(hours)}"


def land(root: Path, hours: Iterable[Hour], minute: int = 0, at: datetime = NOW - timedelta(hours=1)) -> None:
    """Let one object of each hour land at an instant."""
    for hour in hours:
        path = root / "raw" / write_object(root, hour, minute, [event(hour, minute)])
        os.utime(path, (at.timestamp(), at.timestamp()))


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings with windows that a test can count."""
    return load_settings(
        root=root, workers=1, sensor_recent_hours=12, sensor_sweep_hours=24, quiet_seconds=60, retry_after_minutes=30
    )


@pytest.fixture
def watch(settings: Settings, instance: dg.DagsterInstance) -> Watch:
    """The sensor over the test's data folder."""
    return Watch(settings, instance)


def test_a_new_hour_is_requested_once(watch: Watch, root: Path) -> None:
    land(root, [HOUR])

    assert watch.asks_for() == ["2025-12-07T22 x 1"]
    assert watch.asks_for() == []
    assert watch.asks_for(timedelta(minutes=29)) == []


def test_an_hour_that_is_built_is_not_requested(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    build(watch.engine, [HOUR])

    assert watch.look().skip_reason == dg.SkipReason("50 hours checked, 0 due")


def test_an_hour_that_lacks_objects_waits_for_the_grace_after_its_end(watch: Watch, root: Path) -> None:
    land(root, [CURRENT])

    assert watch.asks_for() == []
    assert watch.asks_for(timedelta(minutes=30)) == []
    assert "1 not complete yet" in str(watch.look(timedelta(minutes=9)).skip_reason)
    assert watch.asks_for() == [f"{CURRENT} x 1"]


def test_an_hour_with_all_its_objects_is_requested_when_it_is_over(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    watch = Watch(settings.model_copy(update={"expected_objects": 2}), instance)
    land(settings.root, [CURRENT])
    land(settings.root, [CURRENT], minute=5)

    assert watch.asks_for() == []
    assert watch.asks_for(timedelta(minutes=29, seconds=29)) == []
    assert watch.asks_for(timedelta(seconds=1)) == [f"{CURRENT} x 1"]


@pytest.mark.parametrize("ahead", [timedelta(seconds=50), timedelta(minutes=5), timedelta(days=3)])
def test_an_object_of_the_future_holds_its_hour_back_no_longer_than_one_that_is_being_written(
    watch: Watch, root: Path, ahead: timedelta
) -> None:
    land(root, [HOUR], at=NOW + ahead)
    asked = [request for _ in range(4) for request in watch.asks_for()]

    assert asked == ["2025-12-07T22 x 1"]


def test_a_clock_that_is_behind_delays_an_hour_and_loses_none(watch: Watch, root: Path) -> None:
    """The producers are three hours ahead of this machine: for it, their hours have not begun."""
    land(root, [CURRENT.plus(3)], at=NOW + timedelta(hours=3))
    asked = {offset: watch.asks_for(timedelta(hours=1)) for offset in range(1, 5)}

    assert asked == {1: [], 2: [], 3: [], 4: [f"{CURRENT.plus(3)} x 1"]}


def test_an_hour_is_left_alone_until_its_newest_object_is_quiet(watch: Watch, root: Path) -> None:
    land(root, [HOUR], minute=0)
    land(root, [HOUR], minute=5, at=NOW)

    result = watch.look(timedelta(seconds=59))
    assert (result.run_requests, "1 not quiet yet" in str(result.skip_reason)) == ([], True)
    assert watch.asks_for(timedelta(seconds=1)) == ["2025-12-07T22 x 1"]


def test_a_late_object_makes_a_built_hour_due_again(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    build(watch.engine, [HOUR])
    land(root, [HOUR], minute=5)

    assert watch.asks_for() == ["2025-12-07T22 x 1"]


def test_a_replaced_object_makes_a_built_hour_due_again(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    build(watch.engine, [HOUR])
    replaced = root / "raw" / write_object(root, HOUR, 0, [event(user_id="u_2")])
    os.utime(replaced, ((NOW - timedelta(minutes=30)).timestamp(),) * 2)

    assert watch.asks_for() == ["2025-12-07T22 x 1"]


def test_an_object_that_is_replaced_and_put_back_is_requested_each_time(watch: Watch, root: Path) -> None:
    asked = []
    # Not three: the first request is that of a new hour, all later ones are those of a changed one.
    for user in ("u_1", "u_2", "u_1", "u_2"):
        path = root / "raw" / write_object(root, HOUR, 0, [event(user_id=user)])
        os.utime(path, ((NOW - timedelta(minutes=30)).timestamp() + int(user[-1]),) * 2)
        asked += watch.asks_for()
        build(watch.engine, [HOUR])

    assert asked == ["2025-12-07T22 x 1"] * 4


def test_new_input_is_requested_at_once_although_the_old_was_requested_a_moment_ago(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    first = watch.look().run_requests or []
    land(root, [HOUR], minute=5)
    second = watch.look().run_requests or []

    assert [shown(each) for each in (*first, *second)] == ["2025-12-07T22 x 1"] * 2
    assert first[0].run_key != second[0].run_key


def test_an_hour_that_lost_objects_is_never_requested(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    land(root, [HOUR], minute=5)
    build(watch.engine, [HOUR])
    next((root / "raw").glob("**/minute=05/*")).unlink()

    assert watch.asks_for() == []


def test_many_hours_are_joined_into_ranges_newest_first(settings: Settings, instance: dg.DagsterInstance) -> None:
    watch = Watch(settings.model_copy(update={"hours_per_run": 3, "sensor_recent_hours": 24}), instance)
    land(settings.root, [CURRENT.plus(-offset) for offset in (1, 2, 3, 4, 8, 10, 11)])

    assert watch.asks_for() == [
        "2025-12-08T01 x 1",
        "2025-12-07T22 x 3",
        "2025-12-07T18 x 1",
        "2025-12-07T15 x 2",
    ]


def test_older_hours_have_their_turn_while_the_recent_ones_are_looked_at_every_time(watch: Watch, root: Path) -> None:
    midnight = Hour.parse("2025-12-07T00")
    old = [midnight.plus(-offset) for offset in (1, 24, 25, 50)]
    land(root, old)

    assert watch.asks_for() == [f"{old[0]} x 1", f"{old[1]} x 1"]
    assert watch.asks_for() == [f"{old[2]} x 1"]
    land(root, [HOUR])
    requests = watch.look().run_requests or []
    assert [shown(each) for each in requests] == ["2025-12-07T22 x 1", f"{old[3]} x 1"]
    assert [each.tags.get("dagster/priority") for each in requests] == ["10", "5"]


def test_the_sweep_begins_again_when_it_has_met_the_recent_hours(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    watch = Watch(settings.model_copy(update={"first_partition": Hour.parse("2025-12-05T20")}), instance)

    swept = [Cursor.from_json(watch.look().cursor).sweep_before for _ in range(4)]
    assert swept == [date(2025, 12, 6), None, date(2025, 12, 6), None]


def test_whoever_forgoes_the_sweep_looks_at_the_recent_days_alone(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    watch = Watch(settings.model_copy(update={"sensor_sweep_hours": 0}), instance)

    assert watch.look().skip_reason == dg.SkipReason("26 hours checked, 0 due")


def test_hours_before_the_first_partition_are_never_requested(settings: Settings, instance: dg.DagsterInstance) -> None:
    watch = Watch(settings.model_copy(update={"first_partition": HOUR}), instance)
    land(settings.root, [HOUR.plus(-1), HOUR])

    assert watch.asks_for() == ["2025-12-07T22 x 1"]


def test_an_hour_that_stays_unbuilt_is_asked_for_again_after_twice_as_long_each_time(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    watch = Watch(settings.model_copy(update={"sensor_recent_hours": 48}), instance)
    land(settings.root, [HOUR])
    keys = [watch.look().run_requests]
    waits = [30, 60, 120, 240, 480, 960, 1440, 1440]
    for minutes in waits:
        assert watch.asks_for(timedelta(minutes=minutes) - timedelta(seconds=1)) == []
        keys.append(watch.look(timedelta(seconds=1)).run_requests)
        # The hour must stay among the recent ones, so the days that pass are taken back from the clock.
        watch.now, watch.cursor = NOW, shift_requests(watch, watch.now - NOW)

    assert len({key[0].run_key for key in keys if key}) == 1 + len(waits)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_an_hour_is_not_asked_for_while_a_run_of_it_waits_or_runs(
    watch: Watch, root: Path, status: dg.DagsterRunStatus
) -> None:
    land(root, [HOUR, HOUR.plus(1), HOUR.plus(3)])
    add_run(watch, range_tags(HourRange(HOUR, HOUR.plus(2))), status)

    assert watch.asks_for() == ["2025-12-08T01 x 1"]
    assert "2 under way" in str(watch.look().skip_reason)


def test_a_run_whose_process_is_gone_is_not_waited_for(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    run = add_run(watch, {"dagster/partition": HOUR.partition_key}, dg.DagsterRunStatus.STARTED)
    gone = process_tag(run.run_id)[PROCESS_TAG].replace(f":{os.getpid()}:", f":{2**22 + 1}:")
    watch.instance.add_run_tags(run.run_id, {PROCESS_TAG: gone})

    assert watch.asks_for() == ["2025-12-07T22 x 1"]
    # Nor does it keep the place of a run that could go on.
    ended = watch.instance.get_run_by_id(run.run_id)
    assert ended
    assert ended.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize("stage", ["committed", "registered"])
def test_an_hour_whose_run_broke_off_after_silver_is_requested(watch: Watch, root: Path, stage: str) -> None:
    land(root, [HOUR])
    list(watch.engine.build_silver([HOUR], progress=print))
    if stage == "registered":
        watch.engine.register_hours([HOUR])

    assert watch.asks_for() == ["2025-12-07T22 x 1"]


def test_new_rules_alone_do_not_rebuild_history(settings: Settings, instance: dg.DagsterInstance) -> None:
    land(settings.root, [HOUR])
    build(LocalEngine(settings), [HOUR])
    watch = Watch(settings.model_copy(update={"event_max_age_days": 3}), instance)

    assert watch.asks_for() == []


def with_new_sql() -> tuple[GoldTable, ...]:
    first, *others = load_gold_tables()
    return (replace(first, version="of other SQL"), *others)


def test_new_sql_is_noticed_although_the_days_are_settled(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    build(watch.engine, [HOUR])
    for _ in range(3):
        assert watch.asks_for() == []
    assert HOUR.start.date() in Cursor.from_json(watch.cursor).settled
    watch.restart(with_new_sql())

    assert watch.asks_for() == ["2025-12-07T22 x 1"]


def test_new_sql_is_asked_for_at_once_and_under_another_key(watch: Watch, root: Path) -> None:
    land(root, [HOUR])
    list(watch.engine.build_silver([HOUR], progress=print))
    watch.engine.register_hours([HOUR])
    assert watch.asks_for() == ["2025-12-07T22 x 1"]
    assert watch.asks_for() == []
    watch.restart(with_new_sql())

    assert watch.asks_for() == ["2025-12-07T22 x 1"]
    # Nor may a lost cursor lead to a key that Dagster has taken.
    watch.restart(load_gold_tables())
    watch.cursor = None
    assert watch.asks_for() == []


def test_the_cursor_forgets_hours_that_are_no_longer_due(watch: Watch, root: Path) -> None:
    land(root, [HOUR, HOUR.plus(1)])
    watch.look()
    assert set(Cursor.from_json(watch.cursor).requests) == {HOUR, HOUR.plus(1)}
    build(watch.engine, [HOUR])
    watch.look()

    assert set(Cursor.from_json(watch.cursor).requests) == {HOUR.plus(1)}


def test_the_cursor_remembers_what_it_asked_for_among_hours_whose_turn_it_is_not(watch: Watch, root: Path) -> None:
    old = Hour.parse("2025-12-06T04")
    land(root, [old])
    assert watch.asks_for() == [f"{old} x 1"]
    watch.look()

    assert set(Cursor.from_json(watch.cursor).requests) == {old}


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"format": 1, "sweep_from": null, "requests": {}}',
        '{"format": 2, "sweep_before": "yesterday", "requests": {}, "settled": {}, "noticed": [], "receipts": []}',
        '{"format": 2, "sweep_before": null, "requests": {"2025-12-07T22": ["f", 0]}, "settled": {}, "noticed": [],'
        ' "receipts": []}',
        '{"format": 2, "sweep_before": null, "requests": {}, "settled": {}, "noticed": 5, "receipts": []}',
        '{"format": 2, "sweep_before": null, "requests": {}, "settled": {}, "noticed": [], "receipts": "one"}',
    ],
)
def test_a_cursor_that_cannot_be_read_starts_afresh_and_says_so(
    watch: Watch, root: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    land(root, [HOUR])
    watch.cursor = text
    with caplog.at_level(logging.WARNING):
        assert watch.asks_for() == ["2025-12-07T22 x 1"]

    assert "starts afresh" in caplog.text


class HalfListing(LocalEngine):
    """An engine whose listing of days fails at the second one."""

    calls = 0

    def list_raw_hours(self, hours: HourRange | None = None) -> dict[Hour, RawListing]:
        self.calls += 1
        if self.calls == 2:
            raise StorageError("raw/events: permission denied")
        return super().list_raw_hours(hours)


def test_a_listing_that_fails_half_way_advances_nothing(settings: Settings, instance: dg.DagsterInstance) -> None:
    watch = Watch(settings, instance, HalfListing(settings))
    land(settings.root, [HOUR, HOUR.plus(2)])
    with pytest.raises(StorageError, match="permission denied"):
        watch.look()

    assert watch.cursor is None
    assert watch.asks_for() == ["2025-12-08T00 x 1", "2025-12-07T22 x 1"]


def test_a_tick_that_is_evaluated_twice_asks_under_the_same_run_key(watch: Watch, root: Path) -> None:
    land(root, [HOUR, HOUR.plus(1)])
    first = watch.look(timedelta(0)).run_requests or []
    watch.cursor = None
    again = watch.look(timedelta(0)).run_requests or []

    assert [each.run_key for each in first] == [each.run_key for each in again]


def test_what_the_sensor_asks_for_builds_the_hours(settings: Settings, instance: dg.DagsterInstance) -> None:
    settings = settings.model_copy(update={"expected_objects": 1})
    definitions = build_definitions(settings)
    closed = Hour.containing(datetime.now(UTC)).plus(-2)
    for hour in (closed, closed.plus(1)):
        write_object(settings.root, hour, 0, [event(hour)])
        path = next((settings.root / "raw" / hour.raw_prefix).glob("**/*.gz"))
        os.utime(path, (hour.end.timestamp() - 120,) * 2)

    def tick(cursor: str | None) -> dg.SensorExecutionData:
        context = dg.build_sensor_context(
            instance,
            cursor=cursor,
            definitions=definitions,
            sensor_name="new_raw_objects",
            resources={"engine": LocalEngine(settings)},
        )
        return definitions.resolve_sensor_def("new_raw_objects").evaluate_tick(context)

    data = tick(None)
    (request,) = data.run_requests or []
    hours = hours_of_tags(request.tags)
    assert hours == HourRange(closed, closed.plus(2))
    assert materialize(settings, instance, hours).success
    assert not tick(data.cursor).run_requests


def test_the_sensor_is_off_until_it_is_switched_on(settings: Settings) -> None:
    sensor = build_definitions(settings).resolve_sensor_def("new_raw_objects")

    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == settings.sensor_interval_seconds


def shift_requests(watch: Watch, by: timedelta) -> str:
    """Return the cursor as if every request had been made that much earlier."""
    fields = json.loads(watch.cursor or "")
    for request in fields["requests"].values():
        request[2] -= round(by.total_seconds())
    return json.dumps(fields)


def add_run(watch: Watch, tags: dict[str, str], status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """Put a run of the pipeline into Dagster's storage."""
    job = build_definitions(watch.settings).resolve_job_def("hourly_pipeline")
    return watch.instance.create_run_for_job(job, tags=tags, status=status)
