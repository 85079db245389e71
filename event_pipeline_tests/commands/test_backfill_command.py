"""`event-pipeline backfill` as people use it: what it says before it starts, and how it is paused and resumed."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.cli import main
from event_pipeline.commands.options import ExitCode
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour, HourRange
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


def built_under_older_rules(root: Path, hour: Hour, unknown: dict[str, int]) -> None:
    """Change a commit record to one of a time when the rules were others, and some declared fields unknown."""
    record = Layout(root).hour_commit(hour)
    fields = json.loads(record.read_text())
    fields["rules_version"] = "older"
    fields["account"]["unknown_fields"] = unknown
    record.write_text(json.dumps(fields))


def test_a_plan_says_which_hours_gain_by_a_field_that_was_declared_since(run: Run, root: Path) -> None:
    for hour in HOURS:
        write_object(root, hour, 0, [event(hour)])
    build(LocalEngine(load_settings(root=root, workers=1)), list(HOURS)[:3])
    built_under_older_rules(root, HOUR, {"category": 1_200, "never_declared": 7})
    built_under_older_rules(root, HOUR.plus(1), {"never_declared": 7})
    built_under_older_rules(root, HOUR.plus(2), {"category": 2_400, "quantity": 1, "(other)": 3})

    planned = run(*RANGE, "--plan")

    assert planned.code == 0
    assert re.search(r"^to build +4 +1 new, 3 outdated", planned.out, re.MULTILINE)
    lines = [line.rstrip() for line in planned.out.splitlines()]
    assert " 2025-12-07T22  category 1,200" in lines
    assert " 2025-12-08T00  category 2,400, quantity 1" in lines
    assert not [line for line in lines if "2025-12-07T23 " in line]
    assert "2 hours hold 3,600 values of category, 1 value of quantity that a rebuild reads." in lines
    assert "2 runs of up to 2 hours" in planned.out
    assert lines[-1].startswith("No time estimate")


@pytest.mark.long
def test_a_plan_lists_the_first_hours_that_gain_and_sums_all(run: Run, root: Path) -> None:
    hours = HourRange(HOUR, HOUR.plus(26))
    for hour in hours:
        write_object(root, hour, 0, [event(hour)])
    build(LocalEngine(load_settings(root=root, workers=1)), list(hours))
    for hour in hours:
        built_under_older_rules(root, hour, {"category": 1})

    planned = run("--from", str(hours.first), "--to", str(hours.end), "--plan")

    assert planned.out.count("  category 1\n") == 24
    assert "and 2 more hours\n26 hours hold 26 values of category that a rebuild reads.\n" in planned.out


def test_a_plan_says_nothing_of_gains_without_any(run: Run, root: Path) -> None:
    write_object(root, HOUR, 0, [event(extra=1)])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])
    built_under_older_rules(root, HOUR, {"extra": 1})
    planned = run(*RANGE, "--plan")
    assert "1 outdated" in planned.out
    assert "gains" not in planned.out
    assert "that a rebuild reads" not in planned.out


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
