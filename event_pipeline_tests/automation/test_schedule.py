"""The schedule: which hour a tick asks for, and when it has nothing to ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.automation.run_hours import range_tags
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


def tick(settings: Settings, instance: dg.DagsterInstance, at: datetime = AFTER_THE_HOUR) -> dg.RunRequest | str | None:
    """Evaluate the schedule at an instant: the one run request, or why there is none."""
    definitions = build_definitions(settings)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=definitions.get_repository_def(),
        resources={"engine": LocalEngine(settings)},
    ) as context:
        data = definitions.resolve_schedule_def("hourly_schedule").evaluate_tick(context)
    return data.run_requests[0] if data.run_requests else data.skip_message


@pytest.mark.parametrize(
    ("at", "hour"),
    [
        (AFTER_THE_HOUR, "2025-12-07T22"),
        (datetime(2025, 12, 8, 0, 10, tzinfo=UTC), "2025-12-07T23"),
        (datetime(2025, 12, 8, 0, 0, tzinfo=UTC), "2025-12-07T23"),
    ],
)
def test_a_tick_asks_for_the_hour_that_just_closed(
    settings: Settings, instance: dg.DagsterInstance, root: Path, at: datetime, hour: str
) -> None:
    write_object(root, Hour.parse(hour), 0, [event(Hour.parse(hour))])
    request = tick(settings, instance, at)

    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/partition"] == Hour.parse(hour).partition_key
    assert request.run_key == hour


def test_an_hour_without_objects_is_asked_for_until_it_is_built_as_an_empty_hour(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    assert isinstance(tick(settings, instance), dg.RunRequest)

    build(LocalEngine(settings), [HOUR])
    assert tick(settings, instance) == "2025-12-07T22 is published already"


def test_an_hour_that_the_sensor_built_already_is_skipped(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    build(LocalEngine(settings), [HOUR])

    assert tick(settings, instance) == "2025-12-07T22 is published already"


def test_an_hour_that_lost_objects_is_skipped(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(LocalEngine(settings), [HOUR])
    shutil.rmtree(root / "raw")

    assert tick(settings, instance) == (
        "2025-12-07T22 has lost raw objects since it was built: the published build stays"
    )


def test_an_hour_that_a_run_works_on_is_skipped(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    tags = range_tags(HourRange(HOUR.plus(-3), HOUR.plus(1)))
    instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

    assert tick(settings, instance) == "A run of 2025-12-07T22 is queued or running"


def test_hours_before_the_first_partition_are_skipped(settings: Settings, instance: dg.DagsterInstance) -> None:
    later = settings.model_copy(update={"first_partition": HOUR.plus(1)})

    assert tick(later, instance) == "2025-12-07T22 lies before the first partition 2025-12-07T23"


def test_the_schedule_is_off_until_it_is_switched_on_and_ticks_at_its_minute(settings: Settings) -> None:
    schedule = build_definitions(settings).resolve_schedule_def("hourly_schedule")

    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "10 * * * *"
    assert schedule.execution_timezone == "UTC"
