"""`event-pipeline backfill` as people use it: what it says before it starts, and how it is paused and resumed."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.cli import main
from event_pipeline.commands.options import ExitCode
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import load_settings
from event_pipeline_tests.command import Run
from event_pipeline_tests.pipeline import HOUR, build, event, write_object

HOURS = HourRange(HOUR, HOUR.plus(4))
RANGE = ("--from", str(HOURS.first), "--to", str(HOURS.end))


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `event-pipeline backfill` over the test's data folder, in this process."""
    monkeypatch.setenv("EVENT_PIPELINE_HOURS_PER_RUN", "2")
    return functools.partial(run, "backfill")


@pytest.fixture
def _one_hour_of_three_is_built(root: Path) -> None:
    for hour in list(HOURS)[:3]:
        write_object(root, hour, 0, [event(hour)])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])


@pytest.mark.usefixtures("_one_hour_of_three_is_built")
def test_a_plan_is_printed_and_starts_nothing(run: Run, root: Path) -> None:
    planned = run(*RANGE, "--plan")

    assert planned.code == 0
    assert re.search(r"^to build +2 +2 new", planned.out, re.MULTILINE)
    assert re.search(r"^unchanged +1 ", planned.out, re.MULTILINE)
    assert re.search(r"^missing raw +1 +nothing landed: 1 hour \(2025-12-08T01\)", planned.out, re.MULTILINE)
    assert "1 run of up to 2 hours (EVENT_PIPELINE_HOURS_PER_RUN=2)" in planned.out
    assert "No time estimate: this data folder has no measured run yet." in planned.out
    assert "No backfill has been started yet" in run("status").out
    with dg.DagsterInstance.from_config(str(root / "dagster")) as instance:
        assert instance.get_backfills() == []


@pytest.mark.usefixtures("_one_hour_of_three_is_built")
def test_a_backfill_is_started_watched_paused_and_resumed(run: Run) -> None:
    started = run(*RANGE, "--yes")
    assert started.code == 0
    found = re.search(r"Backfill (\w+): 2 hours queued as 1 runs\.", started.out)
    assert found
    backfill_id = found[1]
    assert "No Dagster daemon is running" in started.err
    assert re.search(rf"{backfill_id} +2025-12-07T22 to 2025-12-08T02 +\S+ \S+ +running +4 +1 +2 ", run("status").out)

    assert f"Backfill {backfill_id} is paused: 0 queued runs cancelled" in run("pause", backfill_id).out
    stopped = run("status", backfill_id)
    assert re.search(r" stopped +4 +1 +2 ", stopped.out)
    assert f"`event-pipeline backfill resume {backfill_id}` builds" in stopped.out
    assert f"Backfill {backfill_id}: 2 hours queued as 1 runs." in run("resume", backfill_id).out
    assert run("resume", backfill_id).code == ExitCode.USAGE
    assert "is being cancelled" in run("cancel", backfill_id).out


def test_a_range_with_nothing_to_build_starts_nothing(run: Run, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])

    ended = run("--from", str(HOUR), "--to", str(HOUR.plus(1)))

    assert (ended.code, ended.out.strip().splitlines()[-1]) == (0, "Nothing to build.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--from and --to are missing"),
        (["--from", "2025-12-07T22"], "--to (exclusive) is missing"),
        (["--from", "2025-10-01T00", "--to", "2025-12-07T22"], "before the first partition 2025-11-01T00"),
        ([*RANGE], "no terminal to ask on: give --yes to start"),
        ([*RANGE, "--builder", "glue", "--plan"], "glue can build Silver only with EVENT_PIPELINE_ENV=aws"),
        ([*RANGE, "--builder", "spark", "--plan"], "'spark' is not one of"),
        (["status", "nosuch"], "there is no backfill 'nosuch'; known: none"),
        (["pause", "nosuch"], "there is no backfill 'nosuch'; known: none"),
    ],
)
def test_wrong_usage_is_answered_with_what_is_right(run: Run, root: Path, arguments: list[str], message: str) -> None:
    write_object(root, HOUR, 0, [event()])

    ended = run(*arguments)

    assert ended.code == ExitCode.USAGE
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_doctor_finds_a_pool_whose_limit_was_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    with prepare_instance(load_settings()) as instance:
        instance.event_log_storage.set_concurrency_slots("gold_user_activity", 7)

    with pytest.raises(SystemExit) as ended:
        main(["doctor"])

    assert ended.value.code == ExitCode.NOT_HELD
    assert re.search(r"fail +concurrency +pool gold_user_activity has the limit 7, not 1", capsys.readouterr().out)
