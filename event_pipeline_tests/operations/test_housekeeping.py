"""Housekeeping as people and the daily schedule start it, and the history of Dagster that it forgets."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.cli import main
from event_pipeline.commands import housekeeping as commands
from event_pipeline.commands.options import ExitCode
from event_pipeline.dagster_instance.history import forget_run, old_runs, run_database
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.base import Engine, Leftover
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import LockTimeoutError
from event_pipeline.operations.housekeeping import find_housework, remove_housework
from event_pipeline.settings import Settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.engines.test_local_housekeeping import age
from event_pipeline_tests.materializing import QUIET, materialize, materialized_hours, one, one_gold_table
from event_pipeline_tests.pipeline import HOUR, build, event, write_object

NEXT_HOUR = HOUR.plus(1)


@pytest.fixture
def replaced(settings: Settings, root: Path) -> LocalEngine:
    """An hour whose first build was replaced long ago."""
    engine = LocalEngine(settings)
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    list(engine.build_silver([HOUR], force=True, progress=lambda _: None))
    engine.register_hours([HOUR])
    age(root, 30)
    return engine


def builds(root: Path) -> int:
    """How many builds of the hour lie on disk."""
    return len(list((root / "lake" / "runs" / "hours" / HOUR.hive_path).iterdir()))


def keep_house(settings: Settings, instance: dg.DagsterInstance, *, delete: bool) -> dict[str, Any]:
    """Run the job; the metadata of its one output."""
    result = (
        build_definitions(settings)
        .resolve_job_def("housekeeping")
        .execute_in_process(
            run_config={**QUIET, "ops": {"keep_house": {"config": {"delete": delete}}}}, instance=instance
        )
    )
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_the_job_lists_and_removes_only_when_told_to(
    replaced: LocalEngine, settings: Settings, root: Path, instance: dg.DagsterInstance
) -> None:
    listed = keep_house(settings, instance, delete=False)
    assert (listed["removed"], builds(root)) == (False, 2)
    assert listed["things"] > 1
    assert re.search(r"\| replaced build \| 1 \| 2 \|", listed["kinds"])
    removed = keep_house(settings, instance, delete=True)
    assert (removed["removed"], removed["things"], builds(root)) == (True, listed["things"], 1)
    assert keep_house(settings, instance, delete=True)["things"] == 0


def test_the_schedule_is_off_and_removes(settings: Settings) -> None:
    schedule = build_definitions(settings).resolve_schedule_def("housekeeping_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "30 3 * * *"
    tick = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=datetime.now(UTC)))
    (request,) = tick.run_requests or []
    assert request.run_config == {"ops": {"keep_house": {"config": {"delete": True}}}}


def test_the_command_shows_first_and_removes_when_told_to(
    replaced: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["housekeeping", *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out

    shown = run("--list")
    assert re.search(r"replaced build: runs/hours/.*a newer build has been published for over 7 days", shown)
    assert re.search(r"May go.*replaced build +1 +2 +[\d.]+ KiB", shown, re.DOTALL)
    assert "Nothing was removed: --delete removes it" in shown
    assert builds(root) == 2
    assert re.search(r"Removed.*replaced build +1 +2 ", run("--delete"), re.DOTALL)
    assert builds(root) == 1
    assert run("--delete") == "Nothing was removed.\n"
    assert run() == "Nothing is left over.\n"


class Busy:
    """An engine whose first leftover is held by another process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._refused = False

    def leftovers(self, now: datetime) -> list[Leftover]:
        return self._engine.leftovers(now)

    def remove(self, leftover: Leftover) -> None:
        if not self._refused:
            self._refused = True
            raise LockTimeoutError("another process has been working on it")
        self._engine.remove(leftover)


def test_what_another_process_holds_is_left_for_the_next_time(
    replaced: LocalEngine, settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: Any = Busy(replaced)
    work = find_housework(busy, None, settings, datetime.now(UTC))
    gone, kept = remove_housework(work, busy, None, settings, lambda *_: None)
    assert kept == ["another process has been working on it"]
    assert len(gone.leftovers) == len(work.leftovers) - 1
    assert len(replaced.leftovers(datetime.now(UTC))) == 1
    held: Any = Busy(replaced)
    monkeypatch.setattr(commands, "open_engine", lambda _: held)
    ended = run("housekeeping", "--delete")
    assert (ended.code, "left for the next time: another process" in ended.err) == (ExitCode.BUSY, True)
    assert run("housekeeping", "--delete").code == 0


@pytest.mark.long
def test_old_runs_are_forgotten_but_not_those_that_made_the_newest_materialization(
    settings: Settings, root: Path, tmp_path: Path
) -> None:
    folder = one_gold_table(tmp_path / "gold")
    for hour in (HOUR, NEXT_HOUR):
        write_object(root, hour, 0, [event(hour)])
    later = datetime.now(UTC) + timedelta(days=91)
    with prepare_instance(settings) as instance:
        first = materialize(settings, instance, one(HOUR), gold_folder=folder)
        materialize(settings, instance, one(NEXT_HOUR), gold_folder=folder)
        second = materialize(settings, instance, one(HOUR), gold_folder=folder)
        assert list(old_runs(instance, settings, datetime.now(UTC))) == []
        assert list(old_runs(instance, settings.model_copy(update={"run_history_days": 0}), later)) == []
        (old,) = old_runs(instance, settings, later)
        assert (old.run_id, old.job) == (first.run_id, "hourly_pipeline")
        assert old.size > 0
        for _ in range(2):
            forget_run(instance, settings, old)
        assert not instance.has_run(first.run_id)
        assert instance.has_run(second.run_id)
        assert not run_database(settings, first.run_id).exists()
        assert materialized_hours(instance, "silver_events") == [HOUR, NEXT_HOUR]
        assert list(old_runs(instance, settings, later)) == []
