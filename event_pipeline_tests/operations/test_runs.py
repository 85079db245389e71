"""Runs inside this process, as the command line does them, and the storage that they share with the UI."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.dagster_instance.outcomes import FailedCheck
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.dagster_instance.run_hours import hours_of_tags
from event_pipeline.engines.local import LocalEngine
from event_pipeline.operations.runs import RangeOutcome, run_range
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import ASSETS, GOLD, materialized_hours, one, one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, rows, write_object

HOURS = HourRange(HOUR, HOUR.plus(2))


Run = Callable[..., RangeOutcome]


@dataclass
class Told:
    """What a run told the process that started it."""

    lines: list[str] = field(default_factory=list)
    hours: list[Hour] = field(default_factory=list)

    def __call__(self, line: str, hour: Hour | None) -> None:
        self.lines.append(line)
        if hour:
            self.hours.append(hour)


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings for hours of one object."""
    return load_settings(root=root, workers=1, expected_objects=1, silver_pool_limit=2)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in the data folder."""
    with prepare_instance(settings) as instance:
        yield instance


@pytest.fixture
def run(settings: Settings, instance: dg.DagsterInstance, tmp_path: Path) -> Run:
    """Run hours with one Gold table."""
    return partial(run_range, settings=settings, instance=instance, gold_folder=one_gold_table(tmp_path / "gold"))


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_disk_that_fails_under_dagsters_storage_is_named_with_a_remedy(
    run: Run,
    settings: Settings,
    instance: dg.DagsterInstance,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails_at: int,
) -> None:
    write_object(root, HOUR, 0, [event()])
    claimed, times = instance.event_log_storage.claim_concurrency_slot, count(1)

    def fails(*claim: Any) -> Any:
        if next(times) == fails_at:
            raise sqlite3.OperationalError("disk I/O error")
        return claimed(*claim)

    monkeypatch.setattr(instance.event_log_storage, "claim_concurrency_slot", fails)
    outcome = run(HourRange.of([HOUR]), progress=Told())
    assert outcome.error == (
        f"{settings.dagster_home}: the disk is full or failing (sqlite3.OperationalError: disk I/O error): free some "
        "space and run again; what was published stays"
    )
    assert run(HourRange.of([HOUR]), progress=Told()).succeeded


def test_a_range_is_built_reported_and_recorded_where_the_ui_looks(
    settings: Settings, instance: dg.DagsterInstance, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_object(root, HOUR, 0, [event()])
    write_object(root, HOUR.plus(1), 0, b"not gzip")
    told = Told()
    outcome = run_range(HOURS, settings, instance, progress=told)

    assert (outcome.hours, outcome.succeeded, outcome.error) == (HOURS, True, None)
    assert outcome.silver == {HOUR: "built", HOUR.plus(1): "built"}
    (failed,) = outcome.failed_checks
    assert (failed.asset, failed.check, failed.hour, failed.severity) == (
        "silver_events",
        "unreadable_objects",
        HOUR.plus(1),
        "ERROR",
    )
    assert failed.description.endswith("events-20251207-230000.jsonl.gz: not_gzip")
    assert told.hours == list(HOURS)
    assert [line.split(":")[0] for line in told.lines] == [
        "raw_events",
        "2025-12-07T22",
        "2025-12-07T23",
        "silver_partitions",
        *GOLD,
    ]
    assert capfd.readouterr() == ("", "")

    run = instance.get_run_by_id(outcome.run_id)
    assert run
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert hours_of_tags(run.tags) == HOURS
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as of_the_ui:
        assert all(materialized_hours(of_the_ui, asset) == list(HOURS) for asset in ASSETS)


@pytest.mark.long
def test_a_single_hour_and_force(settings: Settings, instance: dg.DagsterInstance, root: Path, run: Run) -> None:
    write_object(root, HOUR, 0, [event()])
    outcomes = [run(one(HOUR), force=force, progress=Told()) for force in (False, True)]

    assert [outcome.silver[HOUR] for outcome in outcomes] == ["built", "built"]
    recorded = instance.get_run_by_id(outcomes[0].run_id)
    assert recorded
    assert recorded.tags["dagster/partition"] == HOUR.partition_key


def test_a_refusal_is_one_clear_message(settings: Settings, instance: dg.DagsterInstance, root: Path, run: Run) -> None:
    write_object(root, HOUR, 0, [event()])
    lost = write_object(root, HOUR, 5, [event(second=1)])
    list(LocalEngine(settings).build_silver([HOUR], progress=print))
    (root / "raw" / lost).unlink()

    refused = run(one(HOUR), progress=Told())
    assert not refused.succeeded
    assert (refused.error or "").startswith("silver_events: 2025-12-07T22: 1 raw objects of the published build")
    assert "Traceback" not in (refused.error or "")
    assert refused.silver == {}

    allowed = run(one(HOUR), allow_lost_objects=True, progress=Told())
    assert (allowed.succeeded, allowed.silver) == (True, {HOUR: "built"})


def test_a_blocking_check_is_the_reason_why_the_run_failed(settings: Settings, root: Path, run: Run) -> None:
    write_object(root, HOUR, 0, [event()])
    engine = LocalEngine(settings)
    (build,) = engine.build_silver([HOUR], progress=print)
    damaged = root / "lake" / build.commit.files_of("silver.events")[0].path
    damaged.chmod(0o644)
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    outcome = run(one(HOUR), progress=Told())

    assert not outcome.succeeded
    (failed,) = outcome.failed_checks
    assert failed == FailedCheck("conservation_law", "silver_events", HOUR, "ERROR", failed.description)
    assert outcome.error == f"silver_events 2025-12-07T22: conservation_law: {failed.description}"
    assert engine.registered_builds() == {}


def test_an_unexpected_error_names_the_step_and_itself(run: Run) -> None:
    def mistaken(line: str, hour: Hour | None) -> None:
        raise LookupError("no such line")

    outcome = run(one(HOUR), progress=mistaken)

    assert outcome.error == "raw_events: LookupError: no such line"


def test_an_interrupt_ends_the_run_and_leaves_nothing_half(
    settings: Settings, instance: dg.DagsterInstance, root: Path, run: Run
) -> None:
    for hour in HOURS:
        write_object(root, hour, 0, [event(hour)])

    def interrupt_after_the_first_hour(line: str, hour: Hour | None) -> None:
        if hour == HOUR:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(HOURS, progress=interrupt_after_the_first_hour)

    (interrupted,) = instance.get_runs()
    assert interrupted.status is dg.DagsterRunStatus.FAILURE
    engine = LocalEngine(settings)
    assert list(engine.hour_commits()) == [HOUR]
    assert engine.registered_builds() == {}

    again = run(HOURS, progress=Told())
    assert again.silver == {HOUR: "unchanged", HOUR.plus(1): "built"}
    assert len(rows(engine, "FROM silver.events")) == 2


def test_a_run_that_must_wait_for_another_one_says_so(instance: dg.DagsterInstance, root: Path, run: Run) -> None:
    storage = instance.event_log_storage
    for step in ("silver_events", "silver_partitions"):
        storage.claim_concurrency_slot("silver", "another-run", step)
    told = Told()

    def let_go_when_told(line: str, hour: Hour | None) -> None:
        told(line, hour)
        if line.startswith("waiting"):
            storage.free_concurrency_slots_for_run("another-run")

    outcome = run(one(HOUR), progress=let_go_when_told)

    assert told.lines[0] == "waiting for pool silver, which is taken by run another-, another-"
    assert outcome.succeeded
