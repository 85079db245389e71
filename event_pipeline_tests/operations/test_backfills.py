"""Backfills that people start: their plan, their place behind live runs, and how they are paused and resumed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.workspace.context import WorkspaceProcessContext

from event_pipeline.assets.builder_choice import BUILDER_TAG
from event_pipeline.dagster_instance.concurrency import limit_faults
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.dagster_instance.run_hours import LIVE_TAGS, PROCESS_TAG, hours_of_tags, hours_under_way, range_tags
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.state import DUE_STATES, HourState
from event_pipeline.errors import BackfillError, NotBuildableError
from event_pipeline.inspection.status import read_status
from event_pipeline.operations.backfills import (
    BackfillPlan,
    BackfillState,
    BackfillStatus,
    backfill_statuses,
    builder_to_resume,
    cancel_backfill,
    hours_to_resume,
    is_daemon_heard,
    measured_speed,
    pause_backfill,
    plan_backfill,
    start_backfill,
)
from event_pipeline.operations.runs import run_range
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, SilverBuilderKind, load_settings
from event_pipeline_tests.dagster_daemon import (
    WaitingRunLauncher,
    finish,
    look_at_backfills,
    look_at_queue,
    storage,
    workspace,
)
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, write_object

NOW = datetime(2025, 12, 20, tzinfo=UTC)
HOURS = HourRange(HOUR, HOUR.plus(8))
STARTED, QUEUED, CANCELED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.CANCELED

# Dagster's daemon uses its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::dagster.BetaWarning")


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings for runs of three hours at most."""
    return load_settings(root=root, workers=1, hours_per_run=3)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in the data folder, as the commands prepare it; launched runs wait for the test."""
    prepare_instance(settings).dispose()
    with storage(settings.dagster_home, WaitingRunLauncher) as instance:
        yield instance


@pytest.fixture
def daemon(instance: dg.DagsterInstance, settings: Settings, tmp_path: Path) -> Iterator[WorkspaceProcessContext]:
    """What Dagster's daemons work with."""
    with workspace(instance, settings, tmp_path) as context:
        yield context


def land(root: Path, hours: HourRange) -> None:
    """One object with one event for every hour."""
    for hour in hours:
        write_object(root, hour, 0, [event(hour)])


def plan(settings: Settings, instance: dg.DagsterInstance, hours: HourRange = HOURS) -> BackfillPlan:
    """The plan of a range, long after its hours."""
    return plan_backfill(open_pipeline(settings), instance, NOW, hours)


def status(settings: Settings, instance: dg.DagsterInstance, backfill_id: str | None = None) -> BackfillStatus:
    """How the only backfill stands, or one of several."""
    (found,) = backfill_statuses(instance, open_pipeline(settings), NOW, backfill_id)
    return found


def runs(instance: dg.DagsterInstance, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
    """Runs in some states, oldest first."""
    return list(instance.get_runs(filters=dg.RunsFilter(statuses=list(statuses)), ascending=True))


def first_hour(run: dg.DagsterRun) -> Hour:
    """The first hour that a run is about."""
    hours = hours_of_tags(run.tags)
    assert hours
    return hours.first


def queue_live_run(context: WorkspaceProcessContext, hour: Hour) -> str:
    """Queue a run of an hour as the sensor does and return its id."""
    location = context.create_request_context().get_code_location("event_pipeline")
    (repository,) = location.get_repositories().values()
    job = repository.get_full_job("hourly_pipeline")
    run = context.instance.create_run_for_job(
        context_job(context),
        tags={**LIVE_TAGS, **range_tags(HourRange.of([hour]))},
        status=dg.DagsterRunStatus.NOT_STARTED,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
    )
    context.instance.submit_run(run.run_id, context.create_request_context())
    return run.run_id


def context_job(context: WorkspaceProcessContext) -> dg.JobDefinition:
    """The pipeline's job as the code location defines it."""
    from event_pipeline.definitions import build_definitions

    return build_definitions(load_settings(root=Path(context.instance.root_directory))).resolve_job_def(
        "hourly_pipeline"
    )


def test_a_plan_says_what_becomes_of_every_hour(settings: Settings, instance: dg.DagsterInstance, root: Path) -> None:
    engine = LocalEngine(settings)
    ready, changed, lost, new, busy, silent = (HOUR.plus(number) for number in range(6))
    land(root, HourRange(ready, silent))
    second = write_object(root, lost, 5, [event(lost, 1)])
    build(engine, [ready, changed, lost])
    write_object(root, changed, 5, [event(changed, 1)])
    (root / "raw" / second).unlink()
    with workspace(instance, settings, root) as context:
        queue_live_run(context, busy)

    planned = plan(settings, instance, HourRange(ready, silent.plus(1)))

    assert planned.states == {
        HourState.READY: (ready,),
        HourState.CHANGED: (changed,),
        HourState.LOST_OBJECTS: (lost,),
        HourState.NEW: (new,),
        HourState.NO_RAW: (silent,),
    }
    assert planned.under_way == (busy,)
    assert planned.to_build == (changed, new)
    assert planned.runs == (HourRange.of([changed]), HourRange.of([new]))
    listings = engine.list_raw_hours()
    assert planned.raw_bytes == listings[changed].raw_bytes + listings[new].raw_bytes


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        (HourRange(Hour.parse("2025-10-31T23"), Hour.parse("2025-11-01T02")), "before the first partition"),
        (HourRange(Hour.containing(NOW), Hour.containing(NOW).plus(1)), "is not over yet"),
    ],
)
def test_hours_that_do_not_exist_yet_are_refused(
    settings: Settings, instance: dg.DagsterInstance, hours: HourRange, message: str
) -> None:
    with pytest.raises(NotBuildableError, match=message):
        plan(settings, instance, hours)


def test_a_started_backfill_is_queued_in_the_planned_runs_behind_live_ones(
    settings: Settings, instance: dg.DagsterInstance, daemon: WorkspaceProcessContext, root: Path
) -> None:
    land(root, HOURS)
    planned = plan(settings, instance)
    backfill_id = start_backfill(planned, settings, instance)
    # The sensor leaves the hours alone from the first moment, and not only when they are queued.
    assert hours_under_way(instance) == set(HOURS)
    assert plan(settings, instance).under_way == tuple(HOURS)
    look_at_backfills(daemon)

    assert [hours_of_tags(run.tags) for run in runs(instance, QUEUED)] == list(planned.runs)
    assert [len(hours) for hours in planned.runs] == [3, 3, 2]
    for run in runs(instance, QUEUED):
        assert run.tags["dagster/priority"] == "-10"
        assert run.tags["event_pipeline/backfill"] == run.tags[BACKFILL_ID_TAG] == backfill_id
    assert hours_under_way(instance) == set(HOURS)
    shown = status(settings, instance)
    assert (shown.state, shown.hours, shown.left, shown.queued) == (BackfillState.RUNNING, HOURS, 8, 3)


@pytest.mark.long
def test_a_backfill_names_its_builder_on_every_run_and_keeps_it_when_it_is_resumed(
    settings: Settings, instance: dg.DagsterInstance, daemon: WorkspaceProcessContext, root: Path
) -> None:
    land(root, HOURS)
    backfill_id = start_backfill(plan(settings, instance), settings, instance, builder=SilverBuilderKind.GLUE)
    look_at_backfills(daemon)
    assert [run.tags[BUILDER_TAG] for run in runs(instance, QUEUED)] == ["glue"] * 3
    assert builder_to_resume(instance, backfill_id) is SilverBuilderKind.GLUE

    pause_backfill(instance, backfill_id)
    start_backfill(plan(settings, instance), settings, instance, backfill_id)
    look_at_backfills(daemon)
    assert [BUILDER_TAG in run.tags for run in runs(instance, QUEUED)] == [False] * 3
    assert builder_to_resume(instance, backfill_id) is None


@pytest.mark.long
def test_live_runs_overtake_a_backfill_and_limits_are_never_exceeded(
    settings: Settings, instance: dg.DagsterInstance, daemon: WorkspaceProcessContext, root: Path
) -> None:
    land(root, HourRange(HOUR, HOUR.plus(24)))
    start_backfill(plan(settings, instance, HourRange(HOUR, HOUR.plus(24))), settings, instance)
    look_at_backfills(daemon)
    look_at_queue(daemon)
    assert [run.tags["dagster/priority"] for run in runs(instance, STARTED)] == ["-10", "-10"]

    live = [queue_live_run(daemon, HOUR.plus(24 + number)) for number in range(3)]
    started = [run.run_id for run in runs(instance, STARTED)]
    while under_way := runs(instance, STARTED):
        of_backfill = [run for run in under_way if BACKFILL_ID_TAG in run.tags]
        assert len(under_way) <= 3
        assert len(of_backfill) <= 2
        look_at_queue(daemon)
        started += [run.run_id for run in runs(instance, STARTED) if run.run_id not in started]
        finish(instance, runs(instance, STARTED)[-1])

    assert started[2:5] == live
    assert len(started) == 11
    assert runs(instance, QUEUED) == []


@pytest.mark.long
def test_a_backfill_is_paused_and_resumed_with_exactly_what_is_left(
    settings: Settings, instance: dg.DagsterInstance, daemon: WorkspaceProcessContext, root: Path
) -> None:
    land(root, HOURS)
    backfill_id = start_backfill(plan(settings, instance), settings, instance)
    look_at_backfills(daemon)
    look_at_queue(daemon)
    with pytest.raises(BackfillError, match=f"backfill {backfill_id} is running"):
        hours_to_resume(instance, backfill_id)

    assert pause_backfill(instance, backfill_id) == (1, 2)
    look_at_backfills(daemon)
    look_at_queue(daemon)
    assert runs(instance, QUEUED) == []
    assert status(settings, instance).state is BackfillState.STOPPING
    for run in runs(instance, STARTED):
        build(LocalEngine(settings), list(hours_of_tags(run.tags) or ()))
        finish(instance, run)
    paused = status(settings, instance)
    assert (paused.state, paused.left, paused.published) == (BackfillState.STOPPED, 2, 6)
    assert (paused.succeeded, paused.taken_back, paused.is_resumable) == (2, 1, True)
    with pytest.raises(BackfillError, match="nothing to pause"):
        pause_backfill(instance, backfill_id)

    planned = plan(settings, instance, hours_to_resume(instance, backfill_id))
    assert planned.to_build == (HOUR.plus(6), HOUR.plus(7))
    assert start_backfill(planned, settings, instance, backfill_id) == backfill_id
    look_at_backfills(daemon)
    look_at_queue(daemon)
    resumed = status(settings, instance)
    assert (resumed.state, resumed.running, resumed.hours) == (BackfillState.RUNNING, 1, HOURS)


def test_a_cancelled_backfill_stops_its_runs_and_can_be_resumed(
    settings: Settings, instance: dg.DagsterInstance, daemon: WorkspaceProcessContext, root: Path
) -> None:
    land(root, HOURS)
    backfill_id = start_backfill(plan(settings, instance), settings, instance)
    look_at_backfills(daemon)
    look_at_queue(daemon)
    pause_backfill(instance, backfill_id)
    cancel_backfill(instance, backfill_id)
    assert status(settings, instance).state is BackfillState.STOPPING
    for _ in range(3):
        look_at_backfills(daemon)

    assert Counter(run.status for run in instance.get_runs()) == {CANCELED: 3}
    assert (status(settings, instance).state, status(settings, instance).left) == (BackfillState.STOPPED, 8)
    assert hours_to_resume(instance, backfill_id) == HOURS
    with pytest.raises(BackfillError, match="nothing to cancel"):
        cancel_backfill(instance, backfill_id)


def test_an_unknown_backfill_is_named_beside_the_known_ones(settings: Settings, instance: dg.DagsterInstance) -> None:
    with pytest.raises(BackfillError, match="there is no backfill 'nosuch'; known: none"):
        pause_backfill(instance, "nosuch")


@pytest.mark.long
def test_runs_of_a_backfill_publish_its_hours_beside_a_live_run_of_one_of_them(
    settings: Settings, root: Path, tmp_path: Path
) -> None:
    hours = HourRange(HOUR, HOUR.plus(3))
    land(root, hours)
    with prepare_instance(settings) as prepared:
        assert measured_speed(prepared) is None
        planned = plan(settings, prepared, hours)
        start_backfill(planned, settings, prepared)
        run_range(HourRange.of([HOUR.plus(1)]), settings, prepared, progress=lambda line, hour: None)
    with (
        storage(settings.dagster_home, SyncInMemoryRunLauncher) as instance,
        workspace(instance, settings, tmp_path) as daemon,
    ):
        look_at_backfills(daemon)
        look_at_queue(daemon)
        for _ in range(2):
            look_at_backfills(daemon)

        finished = status(settings, instance)
        speed = measured_speed(instance)
        executed = [(run.run_id, run.tags[PROCESS_TAG].split(":")[1::2]) for run in instance.get_runs()]
        outcomes = [
            record.asset_materialization.metadata["outcome"].value
            for record in instance.fetch_materializations(dg.AssetKey("silver_events"), limit=20).records
            if record.asset_materialization and record.asset_materialization.partition == HOUR.plus(1).partition_key
            if "outcome" in record.asset_materialization.metadata
        ]
    assert (finished.state, finished.left, finished.published, finished.succeeded) == (BackfillState.FINISHED, 0, 3, 1)
    assert outcomes == ["unchanged", "built"]
    assert [said for _, said in executed] == [[str(os.getpid()), run_id] for run_id, _ in executed]
    assert speed
    assert (speed.runs, speed.raw_bytes) == (2, planned.raw_bytes)
    assert speed.seconds_for(2 * planned.raw_bytes) == pytest.approx(2 * speed.seconds)
    assert_agrees_with_oracle(LocalEngine(settings), root)


def test_a_new_instance_has_every_limit_and_one_that_was_set_up_otherwise_is_found_out(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert limit_faults(instance, settings) == []
    wider = settings.model_copy(update={"silver_pool_limit": 4})
    assert limit_faults(instance, wider) == ["pool silver has the limit 1, not 4"]
    with dg.DagsterInstance.local_temp(str(tmp_path)) as bare:
        faults = limit_faults(bare, settings)
    assert faults[:2] == [
        "pool silver has no limit of its own, not 1",
        "pool gold_category_performance has no limit of its own, not 1",
    ]
    assert faults[-1].startswith("backfills may take every run")


def test_a_daemon_is_heard_only_while_it_is_up(instance: dg.DagsterInstance) -> None:
    assert not is_daemon_heard(instance)


def test_a_plan_knows_the_open_hours_that_the_status_calls_due(root: Path, instance: dg.DagsterInstance) -> None:
    land(root, HourRange(HOUR.plus(-1), HOUR.plus(1)))
    now, both = HOUR.start + timedelta(minutes=20), HourRange(HOUR.plus(-1), HOUR.plus(1))
    every_object = load_settings(root=root, workers=1, build_mode="every_object")
    planned = plan_backfill(open_pipeline(every_object), instance, now, both)
    due = [
        each.hour for each in read_status(open_pipeline(every_object), now, both, {}).hours if each.state in DUE_STATES
    ]
    assert list(planned.to_build) == due == list(both)
    with pytest.raises(NotBuildableError, match="is not over yet"):
        plan_backfill(open_pipeline(load_settings(root=root, workers=1)), instance, now, both)
