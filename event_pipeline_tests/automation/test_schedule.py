"""The schedule: which hours a tick asks for, and when it has nothing to ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.dagster_instance.run_hours import hours_of_tags, range_tags
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, event, write_object

AFTER_THE_HOUR = datetime(2025, 12, 7, 23, 10, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage on disk: a schedule's context opens it by reference."""
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


def tick(
    settings: Settings, instance: dg.DagsterInstance, at: datetime = AFTER_THE_HOUR
) -> Sequence[dg.RunRequest] | str | None:
    """Evaluate the schedule at an instant: the run requests, or why there are none."""
    # Set, so that it is not the hour of the first object.
    definitions = build_definitions(settings.model_copy(update={"first_partition": settings.first_partition}))
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources={"engine": LocalEngine(settings)},
    ) as context:
        data = definitions.resolve_schedule_def("hourly_schedule").evaluate_tick(context)
    return data.run_requests or data.skip_message


def asked_for(settings: Settings, instance: dg.DagsterInstance, at: datetime = AFTER_THE_HOUR) -> list[str]:
    """The ranges that a tick asks for, in its order: first hour and number of hours."""
    requests = tick(settings, instance, at)
    assert isinstance(requests, list), requests
    ranges = [hours_of_tags(request.tags) for request in requests]
    return [f"{hours.first} x {len(hours)}" for hours in ranges if hours]


@pytest.mark.parametrize(
    ("at", "hour"),
    [(AFTER_THE_HOUR, "2025-12-07T22"), (datetime(2025, 12, 8, 0, 10, tzinfo=UTC), "2025-12-07T23")],
)
def test_a_tick_asks_for_the_hour_that_just_closed(
    settings: Settings, instance: dg.DagsterInstance, root: Path, at: datetime, hour: str
) -> None:
    write_object(root, Hour.parse(hour), 0, [event(Hour.parse(hour))])

    assert asked_for(settings, instance, at) == [f"{hour} x 1"]


def test_an_hour_that_lacks_objects_is_left_to_its_grace(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])

    assert tick(settings, instance, AFTER_THE_HOUR - timedelta(minutes=1)) == (
        "Nothing to do from 2025-12-04T23 to 2025-12-07T23 (72 hours): 1 not complete yet, 71 without raw objects"
    )
    complete = settings.model_copy(update={"expected_objects": 1})
    assert asked_for(complete, instance, AFTER_THE_HOUR - timedelta(minutes=9)) == ["2025-12-07T22 x 1"]


def test_an_hour_without_objects_is_asked_for_until_it_is_built_as_an_empty_hour(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    assert asked_for(settings, instance) == ["2025-12-07T22 x 1"]

    build(LocalEngine(settings), [HOUR])
    assert tick(settings, instance) == (
        "Nothing to do from 2025-12-04T23 to 2025-12-07T23 (72 hours): 1 ready, 71 without raw objects"
    )


def test_every_gap_of_the_last_days_is_closed_in_few_runs_newest_first(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    """Dagster was off for nine hours: its own catch-up would ask for five of them."""
    settings = settings.model_copy(update={"hours_per_run": 4})
    built, down = HOUR.plus(-11), HourRange(HOUR.plus(-8), HOUR.plus(1))
    for hour in (built, *down):
        if hour != HOUR.plus(-7):
            write_object(root, hour, 0, [event(hour)])
    build(LocalEngine(settings), list(HourRange(built, down.first)))
    requests = asked_for(settings, instance)

    assert requests == ["2025-12-07T22 x 1", "2025-12-07T18 x 4", "2025-12-07T14 x 4"]
    build(LocalEngine(settings), list(down))
    assert tick(settings, instance) == (
        "Nothing to do from 2025-12-04T23 to 2025-12-07T23 (72 hours): 12 ready, 60 without raw objects"
    )


def test_what_lies_before_the_days_of_the_catch_up_is_left_to_the_sensor(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    one_day = settings.model_copy(update={"catch_up_days": 1})
    for hour in (HOUR.plus(-24), HOUR.plus(-23)):
        write_object(root, hour, 0, [event(hour)])

    assert asked_for(one_day, instance) == ["2025-12-06T23 x 24"]


def test_late_objects_and_runs_that_broke_off_are_asked_for(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    late, broken_off = HOUR.plus(-9), HOUR
    for hour in HourRange(late, HOUR.plus(1)):
        write_object(root, hour, 0, [event(hour)])
    engine = LocalEngine(settings)
    build(engine, list(HourRange(late, HOUR)))
    list(engine.build_silver([broken_off], progress=print))
    write_object(root, late, 5, [event(late, 301)])

    assert asked_for(settings, instance) == [f"{broken_off} x 1", f"{late} x 1"]


def test_an_hour_that_lost_objects_is_skipped(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(LocalEngine(settings), [HOUR])
    shutil.rmtree(root / "raw")

    assert tick(settings, instance) == (
        "Nothing to do from 2025-12-04T23 to 2025-12-07T23 (72 hours): 1 with lost objects, 71 without raw objects"
    )


def test_an_hour_that_a_run_works_on_is_skipped(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    tags = range_tags(HourRange(HOUR.plus(-3), HOUR.plus(1)))
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    assert tick(settings, instance) == (
        "Nothing to do from 2025-12-04T23 to 2025-12-07T23 (72 hours): 1 under way, 71 without raw objects"
    )


def test_the_same_tick_asks_under_the_same_run_keys(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    for hour in (HOUR.plus(-40), HOUR):
        write_object(root, hour, 0, [event(hour)])
    first, again = tick(settings, instance), tick(settings, instance)

    assert isinstance(first, list)
    assert isinstance(again, list)
    assert [each.run_key for each in first] == [each.run_key for each in again]
    assert len({each.run_key for each in first}) == len(first)


def test_hours_before_the_first_partition_are_skipped(settings: Settings, instance: dg.DagsterInstance) -> None:
    later = settings.model_copy(update={"first_partition": HOUR.plus(1)})

    assert tick(later, instance) == "2025-12-07T22 is before the first partition 2025-12-07T23"


def test_the_schedule_is_off_until_it_is_switched_on_and_ticks_at_its_minute(settings: Settings) -> None:
    schedule = build_definitions(settings).resolve_schedule_def("hourly_schedule")

    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "10 * * * *"
    assert schedule.execution_timezone == "UTC"
