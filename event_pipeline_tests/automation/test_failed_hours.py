"""Hours that fail by themselves: who asks for them again, when, with whom, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.alerts.facts import failed_runs
from event_pipeline.assets import faults
from event_pipeline.assets.pipeline import hourly_pipeline_job, pipeline_assets
from event_pipeline.automation.schedules import hourly_schedule
from event_pipeline.automation.sensors import new_raw_objects_sensor
from event_pipeline.dagster_instance.attempts import attempts
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.dagster_instance.run_hours import PARTITION_TAG, hours_of_tags
from event_pipeline.dagster_instance.storage import RunState, latest_run_states
from event_pipeline.engines.host import pool_builder
from event_pipeline.engines.host.decoded import ObjectReport, ObjectTask
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local.raw import FileSource, unreadable
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.operations.backfills import BACKFILL_TAG, backfill_statuses, plan_backfill, start_backfill
from event_pipeline.operations.building import build, plan_build
from event_pipeline.operations.runs import RangeOutcome, run_range
from event_pipeline.reporting.backfills import print_backfills
from event_pipeline.reporting.build_summary import outcome_line, print_findings
from event_pipeline.reporting.terminal import messages, output
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import event, rows, write_object

TABLES = load_gold_tables()


class Machine:
    """A data folder with Dagster's storage, its sensor as the daemon evaluates it, and runs in this process."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, gold: Path) -> None:
        self.settings, self.instance, self.gold = settings, instance, gold
        self.engine = LocalEngine(settings, gold)
        self.tables = load_gold_tables(gold)
        # Ahead of the clock by which runs end, however long they take: the waits are then those from look to look.
        self.now = datetime.now(UTC) + timedelta(hours=1)
        self.cursor: str | None = None
        self.taken: set[str] = set()

    def look(self, after: timedelta = timedelta(seconds=30)) -> list[dg.RunRequest]:
        """Evaluate the sensor and return the requests whose run keys Dagster did not take before."""
        self.now += after
        job = hourly_pipeline_job(pipeline_assets(self.settings, self.gold))
        sensor = new_raw_objects_sensor(job, self.tables, self.settings, lambda: self.now)
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources={"engine": self.engine})
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        fresh = [each for each in result.run_requests or [] if each.run_key not in self.taken]
        self.taken |= {str(each.run_key) for each in fresh}
        return fresh

    def runs(self, requests: list[dg.RunRequest]) -> list[RangeOutcome]:
        """Do what was requested, here."""
        return [
            run_range(hours_of(each), self.settings, self.instance, progress=lambda *_: None, gold_folder=self.gold)
            for each in requests
        ]


def hours_of(request: dg.RunRequest) -> HourRange:
    """The hours of a request."""
    single = {"dagster/partition": request.partition_key} if request.partition_key else {}
    hours = hours_of_tags({**request.tags, **single})
    assert hours
    return hours


@pytest.fixture
def hours() -> HourRange:
    """Four hours that are over, the newest of them some hours ago."""
    first = Hour.containing(datetime.now(UTC)).plus(-8)
    return HourRange(first, first.plus(4))


@pytest.fixture
def bad(hours: HourRange, root: Path, monkeypatch: pytest.MonkeyPatch) -> Hour:
    """The hour that fails, until the test undoes what was patched."""
    for hour in hours:
        write_object(root, hour, 0, [event(hour)])
    failing, original = hours.first.plus(1), pool_builder.validate_to_scratch

    def refused(task: ObjectTask) -> ObjectReport:
        if task.hour == failing:
            assert isinstance(task.source, FileSource)
            raise unreadable(task.source.path, task.listed, PermissionError(13, "Permission denied"))
        return original(task)

    monkeypatch.setattr(pool_builder, "validate_to_scratch", refused)
    monkeypatch.setattr(faults, "BACKOFF", dg.RetryPolicy(max_retries=0))
    return failing


@pytest.fixture
def machine(root: Path, tmp_path: Path, hours: HourRange) -> Iterator[Machine]:
    """The machine, with one Gold table."""
    settings = load_settings(
        root=root,
        workers=1,
        expected_objects=1,
        quiet_seconds=0,
        retry_after_minutes=30,
        sensor_sweep_hours=0,
        first_partition=str(hours.first),
    )
    with prepare_instance(settings) as instance:
        yield Machine(settings, instance, one_gold_table(tmp_path / "gold"))


def test_a_run_that_was_cancelled_says_nothing_of_the_hours_that_failed_before(instance: dg.DagsterInstance) -> None:
    hour, job = Hour.parse("2025-12-07T22"), dg.GraphDefinition(name="nothing").to_job()
    for status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        instance.create_run_for_job(job, tags={PARTITION_TAG: hour.partition_key}, status=status)
    assert attempts(instance, [hour])[hour].failed == 2
    instance.create_run_for_job(job, tags={PARTITION_TAG: hour.partition_key}, status=dg.DagsterRunStatus.SUCCESS)
    assert attempts(instance, [hour])[hour].failed == 0


@pytest.mark.long
def test_the_sensor_asks_for_the_failed_hour_by_itself_after_waits_that_double(
    machine: Machine, bad: Hour, hours: HourRange
) -> None:
    (first,) = machine.look()
    assert hours_of(first) == hours
    machine.runs([first])
    assert len(rows(machine.engine, "FROM silver.events")) == 3
    assert rows(machine.engine, "SELECT sum(total_events) AS n FROM gold.user_activity") == [{"n": 3}]

    fresh = hours.end
    write_object(machine.settings.root, fresh, 0, [event(fresh)])
    (beside,) = machine.look()
    assert hours_of(beside) == HourRange.of([fresh])
    machine.runs([beside])
    waited = timedelta(seconds=30)
    for minutes in (30, 60, 120):
        assert machine.look(timedelta(minutes=minutes) - waited - timedelta(seconds=30)) == []
        (again,) = machine.look()
        assert hours_of(again) == HourRange.of([bad])
        machine.runs([again])
        waited = timedelta()


def test_an_hour_that_failed_is_not_asked_for_together_with_new_ones(
    machine: Machine, bad: Hour, hours: HourRange
) -> None:
    machine.runs(machine.look())
    # Its neighbour, or the two would not be joined in any case.
    fresh = bad.plus(1)
    write_object(machine.settings.root, fresh, 5, [event(fresh, 301)])
    requests = machine.look(timedelta(minutes=31))

    assert sorted(str(hours_of(each)) for each in requests) == sorted(
        str(HourRange.of([hour])) for hour in (bad, fresh)
    )


@pytest.mark.long
def test_a_reset_cursor_asks_again_at_once_under_a_key_of_its_own(machine: Machine, bad: Hour) -> None:
    machine.runs(machine.look())
    machine.runs(machine.look(timedelta(minutes=31)))
    machine.cursor = None
    (again,) = machine.look()

    assert hours_of(again) == HourRange.of([bad])
    assert machine.look() == []
    machine.runs([again])
    (later,) = machine.look(timedelta(minutes=31))
    assert hours_of(later) == HourRange.of([bad])


def test_two_looks_at_the_same_state_with_the_same_cursor_ask_under_the_same_key(machine: Machine, bad: Hour) -> None:
    machine.runs(machine.look())
    before = machine.cursor
    asked = machine.look(timedelta(minutes=31))
    machine.cursor = before

    assert len(asked) == 1
    assert machine.look() == []


def test_the_schedule_waits_for_the_retry_and_asks_for_the_hour_by_itself(
    machine: Machine, bad: Hour, hours: HourRange
) -> None:
    def scheduled(at: datetime) -> list[HourRange]:
        job = hourly_pipeline_job(pipeline_assets(machine.settings, machine.gold))
        context = dg.build_schedule_context(
            machine.instance, scheduled_execution_time=at, resources={"engine": machine.engine}
        )
        result = hourly_schedule(job, machine.tables, machine.settings)(context)
        return [hours_of(each) for each in result] if isinstance(result, list) else []

    machine.runs(machine.look())
    ended = attempts(machine.instance, [bad])[bad].last

    assert not any(bad in each for each in scheduled(ended + timedelta(minutes=29)))
    assert HourRange.of([bad]) in scheduled(ended + timedelta(minutes=31))
    machine.runs([dg.RunRequest(partition_key=bad.partition_key)])
    ended = attempts(machine.instance, [bad])[bad].last
    assert not any(bad in each for each in scheduled(ended + timedelta(minutes=59)))
    assert HourRange.of([bad]) in scheduled(ended + timedelta(minutes=61))


@pytest.mark.long
def test_the_command_builds_the_others_names_the_hour_last_and_takes_it_by_itself_next_time(
    machine: Machine, bad: Hour, hours: HourRange, capfd: pytest.CaptureFixture[str]
) -> None:
    def run() -> list[RangeOutcome]:
        plan = plan_build(Pipeline(machine.engine, TABLES, machine.settings), datetime.now(UTC), None)
        return list(build(plan, machine.settings, force=False, allow_lost_objects=False, progress=lambda *_: None))

    (outcome,) = run()
    assert (outcome.succeeded, sorted(outcome.silver)) == (False, [hour for hour in hours if hour != bad])
    assert list(outcome.failed_hours) == [bad]
    assert str(outcome_line(outcome)).endswith(": failed, 3 built, 1 failed")
    print_findings([outcome], messages())
    said = " ".join(capfd.readouterr().err.split())
    assert f"failed {bad}: silver_events: events/" in said
    assert "cannot be opened (Permission denied): let the user of the pipeline read it" in said
    assert said.endswith(
        f"1 hour ({bad}) failed without affecting other hours of the same runs. Once the cause is fixed, "
        "event-pipeline run builds what is missing."
    )
    write_object(machine.settings.root, hours.first, 5, [event(hours.first, 301)])
    assert [each.hours for each in run()] == [HourRange.of([hours.first]), HourRange.of([bad])]


def test_status_and_alerts_name_the_failed_hour_alone(
    machine: Machine, bad: Hour, hours: HourRange, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.runs(machine.look())
    assert latest_run_states(machine.settings.dagster_home) == {bad: RunState.FAILED}
    (failed,) = failed_runs(machine.instance, hours.first.start)
    assert failed.hours == (bad,)
    assert "Permission denied" in failed.error

    monkeypatch.undo()
    machine.runs([dg.RunRequest(partition_key=bad.partition_key)])
    assert latest_run_states(machine.settings.dagster_home) == {}
    assert failed_runs(machine.instance, hours.first.start) == []
    assert attempts(machine.instance, list(hours))[bad].failed == 0


def test_a_backfill_names_the_hours_that_failed_while_it_went_on(
    machine: Machine, bad: Hour, hours: HourRange, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline(machine.engine, machine.tables, machine.settings)
    plan = plan_backfill(pipeline, machine.instance, datetime.now(UTC), hours)
    backfill_id = start_backfill(plan, machine.settings, machine.instance)
    (outcome,) = [
        run_range(each, machine.settings, machine.instance, progress=lambda *_: None, gold_folder=machine.gold)
        for each in plan.runs
    ]
    machine.instance.add_run_tags(outcome.run_id, {BACKFILL_TAG: backfill_id})
    (status,) = backfill_statuses(machine.instance, pipeline, datetime.now(UTC), backfill_id)

    assert (status.published, status.left, status.failed_hours) == (3, 1, (bad,))
    print_backfills([status], output())
    said = " ".join(capfd.readouterr().out.split())
    assert f"Backfill {backfill_id}: 1 hour ({bad}) failed, the other hours of the same runs went on." in said
