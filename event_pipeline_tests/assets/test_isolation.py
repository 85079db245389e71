"""One hour of a range that fails does not block other hours: what queries see, what Dagster shows, how the run ends."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run_iterator

from event_pipeline.assets import faults
from event_pipeline.assets.isolation import FAILED_HOURS_TAG, failures_of, hours_that_failed
from event_pipeline.dagster_instance.run_hours import range_tags
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.gold import GoldRefresher
from event_pipeline.engines.host import pool_builder
from event_pipeline.engines.host.decoded import ObjectReport, ObjectTask
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.local.raw import FileSource
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import (
    ASSETS,
    GOLD,
    QUIET,
    executed,
    materialize,
    materialized_hours,
    metadata,
    verdicts,
)
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object

HOURS = HourRange(HOUR, HOUR.plus(4))
BAD = HOUR.plus(1)
HEALTHY = [hour for hour in HOURS if hour != BAD]

PURCHASES = "SELECT CAST(sum(purchase_count) AS BIGINT) AS n FROM gold.hourly_revenue"

Breaks = Callable[[Path, pytest.MonkeyPatch], str]
"""Makes one hour fail; returns what its message says."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "BACKOFF", dg.RetryPolicy(max_retries=1, delay=0))


@pytest.fixture
def landed(root: Path) -> Path:
    """Four hours over midnight, each with a purchase and a view in two objects."""
    for hour in HOURS:
        write_object(root, hour, 0, [purchase(hour)])
        write_object(root, hour, 5, [event(hour, second=301)])
    return root


def bad_object(root: Path) -> Path:
    """The first object of the hour that fails."""
    return sorted((root / "raw" / BAD.raw_prefix).rglob("*.gz"))[0]


def denied(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Permission is denied to the object; tests may run as root, to whom nothing is denied."""
    return refuse_to_open(
        root, monkeypatch, PermissionError(13, "Permission denied"), "Permission denied.*let the user"
    )


def failing_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The disk gives an input/output error whenever the object is read."""
    return refuse_to_open(root, monkeypatch, OSError(5, "Input/output error"), "Input/output error.*disk or network")


def vanishing(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The object is listed, and gone whenever it is opened."""
    return refuse_to_open(root, monkeypatch, FileNotFoundError(2, "gone"), "was replaced or removed while it was read")


def refuse_to_open(root: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str) -> str:
    bad, original = bad_object(root), os.open

    def opened(path: Path | str, *args: int, **named: int) -> int:
        if path == bad:
            raise error
        return original(path, *args, **named)

    monkeypatch.setattr(os, "open", opened)
    return f"{bad.name}.*{said}"


def damaged_record(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The published commit record of the hour is cut short."""
    record = root / "lake" / "commits" / "hours" / f"{BAD.hive_path}.json"
    build(LocalEngine(load_settings(root=root, workers=1)), [BAD])
    record.write_text(record.read_text()[:100])
    return f"{record.name}.*move it away"


def bug(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The judge itself fails over the object."""
    original = pool_builder.validate_to_scratch

    def judged(task: ObjectTask) -> ObjectReport:
        return original(task) if task.hour != BAD else 1 // 0  # type: ignore[return-value]

    monkeypatch.setattr(pool_builder, "validate_to_scratch", judged)
    return "ZeroDivisionError.*a bug"


def lost_objects(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hour lost an object since it was published."""
    build(LocalEngine(load_settings(root=root, workers=1)), [BAD])
    bad_object(root).unlink()
    return "1 raw objects of the published build are lost"


BREAKS = [denied, failing_disk, vanishing, damaged_record, bug, lost_objects]


@pytest.mark.parametrize(
    "breaks",
    [
        denied,
        lost_objects,
        *(pytest.param(breaks, marks=pytest.mark.long) for breaks in BREAKS if breaks not in (denied, lost_objects)),
    ],
)
def test_the_other_hours_of_the_range_are_published_down_to_gold(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch, breaks: Breaks
) -> None:
    said = breaks(landed, monkeypatch)
    result = materialize(settings, instance, HOURS)
    monkeypatch.undo()

    engine = LocalEngine(settings)
    published_before = breaks in (damaged_record, lost_objects)
    shown = list(HOURS) if published_before else HEALTHY
    assert seen(engine) == {hour: 2 for hour in shown}
    assert rows(engine, "SELECT CAST(sum(purchase_count) AS BIGINT) AS n FROM gold.hourly_revenue") == [
        {"n": len(shown)}
    ]
    run = instance.get_run_by_id(result.run_id)
    assert run
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert hours_that_failed(run) == frozenset({BAD})
    assert run.tags[FAILED_HOURS_TAG] == f"{run.run_id}:{BAD}"
    assert executed(result) == ["raw_events", "silver_events", "silver_partitions"]
    (failure,) = failures_of(result.all_events)
    # Whether the bytes are those of the build is asked first, and the record is read for that.
    step = "raw_events" if breaks is damaged_record else "silver_events"
    assert (failure.hour, failure.step) == (BAD, step)
    for message in (failure.reason, *said_by_failed_steps(result)):
        assert_matches(said, message)
    for asset in ASSETS[1:]:
        assert materialized_hours(instance, asset) == HEALTHY, asset
    for table in GOLD:
        assert verdicts(instance, table, "equals_silver") | {BAD: ""} == {
            **dict.fromkeys(HEALTHY, "SUCCEEDED"),
            BAD: "",
        }
    assert metadata(instance, "silver_events", HOUR)["records"] == 2


@pytest.mark.parametrize("breaks", [denied, pytest.param(bug, marks=pytest.mark.long)])
def test_the_hour_is_published_by_the_next_run_once_it_is_mended(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch, breaks: Breaks
) -> None:
    breaks(landed, monkeypatch)
    materialize(settings, instance, HOURS)
    monkeypatch.undo()
    assert materialize(settings, instance, HourRange.of([BAD])).success

    assert_agrees_with_oracle(LocalEngine(settings), landed)
    assert all(materialized_hours(instance, asset) == list(HOURS) for asset in ASSETS)


def test_a_single_hour_that_fails_says_so_and_publishes_nothing(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = denied(landed, monkeypatch)
    result = materialize(settings, instance, HourRange.of([BAD]))

    assert executed(result) == ["raw_events"]
    (message,) = said_by_failed_steps(result)
    assert_matches(said, message)
    assert seen(LocalEngine(settings)) == {}


def test_hours_that_all_fail_fail_the_step_with_every_reason(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_builder, "validate_to_scratch", lambda task: 1 // 0)
    result = materialize(settings, instance, HOURS)

    assert executed(result) == ["raw_events"]
    (message,) = said_by_failed_steps(result)
    assert message.startswith("4 hours (2025-12-07T22 to 2025-12-08T02): ZeroDivisionError")
    assert materialized_hours(instance, "silver_events") == []


def test_silver_alone_fails_at_its_end_and_keeps_what_it_built(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = denied(landed, monkeypatch)
    result = materialize(settings, instance, HOURS, assets=["silver_events"])

    assert executed(result) == []
    (message,) = said_by_failed_steps(result)
    assert_matches(f"{BAD}: .*{said}.*3 hours .* succeeded", message)
    assert materialized_hours(instance, "silver_events") == HEALTHY
    assert list(LocalEngine(settings).hour_commits()) == HEALTHY


def test_an_hour_that_breaks_a_blocking_check_is_shown_to_nobody_and_the_others_are(
    settings: Settings, instance: dg.DagsterInstance, landed: Path
) -> None:
    engine = LocalEngine(settings)
    builds = {each.commit.hour: each for each in engine.build_silver(list(HOURS), progress=print)}
    damaged = landed / "lake" / builds[BAD].commit.files_of("silver.events")[0].path
    damaged.chmod(0o644)
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    result = materialize(settings, instance, HOURS)

    assert seen(engine) == {hour: 2 for hour in HEALTHY}
    assert verdicts(instance, "silver_events", "conservation_law") == {
        **dict.fromkeys(HEALTHY, "SUCCEEDED"),
        BAD: "FAILED",
    }
    assert all(materialized_hours(instance, asset) == HEALTHY for asset in ASSETS[1:])
    assert all(f"{BAD}: silver_events: conservation_law: " in message for message in said_by_failed_steps(result))


@pytest.mark.long
def test_an_hour_whose_partial_cannot_be_made_keeps_no_other_hour_or_table_back(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GoldRefresher._make_partial

    def made(refresher: GoldRefresher[Any], hour: Hour, *arguments: Any) -> int | None:
        if hour == BAD and refresher._table.name == "user_activity":
            raise MemoryError
        return original(refresher, hour, *arguments)

    monkeypatch.setattr(GoldRefresher, "_make_partial", made)
    result = materialize(settings, instance, HOURS)
    monkeypatch.undo()

    engine = LocalEngine(settings)
    assert executed(result) == [asset for asset in ASSETS if asset != "user_activity"]
    (message,) = said_by_failed_steps(result)
    assert message.startswith(f"{BAD}: out of memory: give the process more memory. 3 hours")
    assert rows(engine, "SELECT event_date, total_events FROM gold.user_activity ORDER BY ALL") == [
        {"event_date": HOUR.start.date(), "total_events": 2},
        {"event_date": HOURS.last.start.date(), "total_events": 4},
    ]
    assert rows(engine, PURCHASES) == [{"n": 4}]
    assert materialized_hours(instance, "user_activity") == HEALTHY
    assert materialized_hours(instance, "hourly_revenue") == list(HOURS)


@pytest.mark.long
def test_steps_that_are_executed_again_after_a_failure_remember_what_failed_before_them(
    settings: Settings, instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silver ended without an error for Dagster, which executes only the steps again that failed."""
    said = lost_objects(landed, monkeypatch)
    first = materialize(settings, instance, HOURS)
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    again = instance.create_run_for_job(
        job,
        run_config=QUIET,
        execution_plan=create_execution_plan(job, QUIET, step_keys_to_execute=list(GOLD)),
        tags=range_tags(HOURS),
        parent_run_id=first.run_id,
        root_run_id=first.run_id,
    )
    events = list(execute_run_iterator(InMemoryJob(job), again, instance))

    failures = [event.step_failure_data.user_failure_data for event in events if event.is_step_failure]
    assert len(failures) == len(GOLD)
    assert all(said in (each.description or "") for each in failures if each)
    assert all(materialized_hours(instance, table) == HEALTHY for table in GOLD)


MARKER = "marker"


def die_over_the_marker(task: ObjectTask) -> ObjectReport:
    """Judge an object in a worker; be killed over the hour's marked object, as by the kernel when memory is short."""
    assert isinstance(task.source, FileSource)
    if task.source.path.parent.joinpath(MARKER).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return ORIGINAL(task)


ORIGINAL = pool_builder.validate_to_scratch


@pytest.mark.long
def test_a_worker_that_is_killed_over_one_object_costs_that_hour_alone(
    instance: dg.DagsterInstance, landed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bad_object(landed).parent / MARKER).touch()
    monkeypatch.setattr(pool_builder, "POOL_WORTH_BYTES", 0)
    monkeypatch.setattr(pool_builder, "validate_to_scratch", die_over_the_marker)
    settings = load_settings(root=landed, workers=2)
    result = materialize(settings, instance, HOURS)

    engine = LocalEngine(settings)
    assert seen(engine) == {hour: 2 for hour in HEALTHY}
    (failure,) = failures_of(result.all_events)
    assert_matches(
        rf"{bad_object(landed).name} \(\d+ bytes\): the process that reads it was killed.*memory", failure.reason
    )
    assert failure.hour == BAD


def seen(engine: LocalEngine) -> dict[Hour, int]:
    """Rows of Silver by hour, as queries see them."""
    found = rows(engine, "SELECT year, month, day, hour, count(*) AS n FROM silver.events GROUP BY ALL ORDER BY ALL")
    return {Hour.parse("{year}-{month}-{day}T{hour}".format(**row)): row["n"] for row in found}


def said_by_failed_steps(result: dg.ExecuteInProcessResult) -> list[str]:
    """What each failed step says to a person."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    described = [each.user_failure_data for each in failures]
    assert described
    assert all(described), [each.error for each in failures]
    return [each.description or "" for each in described if each]


def assert_matches(pattern: str, text: str) -> None:
    """Check that a text contains a pattern."""
    assert re.search(pattern, text), text
