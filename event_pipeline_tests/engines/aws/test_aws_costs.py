"""What steps cost: recorded per hour, summed by the command, estimated before a backfill, old runs collected."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from event_pipeline.cli import app
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.costs import Meter, estimate
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_engine
from event_pipeline.errors import PipelineError
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event

USERS = next(table for table in load_gold_tables() if table.name == "user_activity")
TWO_HOURS = HourRange(HOUR, HOUR.plus(2))


def test_steps_record_what_they_cost_and_the_hours_of_a_run_share_it(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    for hour in TWO_HOURS:
        land(aws, settings, hour, 0, [event(hour)])
    first, second = silver(engine, *TWO_HOURS)
    assert first.cost is not None
    assert first.cost == second.cost
    # 3 workers of one DPU, a minute at least, shared by two hours.
    assert first.cost.dpu_seconds == 90
    assert first.cost.usd > Decimal(90) / 3600 * Decimal("0.44")
    refreshed = engine.refresh_gold(USERS, list(TWO_HOURS), progress=lambda _: None)
    assert refreshed.cost is not None
    # Three queries of 10 MB at least.
    assert refreshed.cost.usd > Decimal("0.00015")
    entries = engine.costs(TWO_HOURS)
    assert [(entry.hour, entry.step) for entry in entries] == [
        (hour, step) for hour in TWO_HOURS for step in ("gold.user_activity", "silver")
    ]
    assert sum(entry.cost.dpu_seconds for entry in entries) == 180
    engine.refresh_gold(USERS, list(TWO_HOURS), progress=lambda _: None)
    assert len(engine.costs(TWO_HOURS)) == 4
    asked = len(aws.requests.all())
    always = HourRange(Hour.parse("0001-01-01T00"), Hour.parse("9999-12-31T23"))
    assert engine.costs(always) == engine.costs(TWO_HOURS)
    assert len(aws.requests.all()) - asked < 20


def test_a_failed_run_costs_too(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    land(aws, settings, HOUR, 0, [event()])
    aws.kill_job_at("s3.PutObject", containing="manifest")
    with pytest.raises(PipelineError):
        silver(engine, HOUR)
    assert [(entry.step, entry.cost.dpu_seconds) for entry in engine.costs(TWO_HOURS)] == [("silver", Decimal(180))]


def test_queries_are_billed_for_ten_megabytes_at_least(settings: Settings, engine: AwsEngine) -> None:
    meter = Meter(engine._aws, settings)
    meter.query(0)
    meter.query(2_000_000_000_000)
    assert meter.cost().usd == Decimal("5") * 2 + Decimal("0.00005")


def test_an_estimate_grows_with_the_raw_data(root: Path) -> None:
    settings = load_settings(root=root, hours_per_run=24)

    def listing(hours: int, size: int) -> dict[object, RawListing]:
        objects = [RawObject(f"{number:02}", "etag", size, HOUR.start) for number in range(12)]
        return {HOUR.plus(n): RawListing(HOUR.plus(n), tuple(objects)) for n in range(hours)}

    day, week = (estimate(listing(hours, 10_700_000), 5, settings) for hours in (24, 168))  # type: ignore[arg-type]
    assert (day.hours, day.objects, day.glue_runs) == (24, 288, 1)
    assert (week.glue_runs, week.hours) == (7, 168)
    assert Decimal("0.05") < day.cost.usd < Decimal("1")
    assert week.cost.usd > 6 * day.cost.usd
    nothing = estimate({}, 5, settings)
    assert (nothing.glue_runs, nothing.cost.usd) == (0, Decimal(0))


@pytest.fixture
def command(aws: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> EmulatedAws:
    """An account that the command line works in."""
    for name, value in aws.settings_environment().items():
        monkeypatch.setenv(name, value)
    return aws


def test_the_command_sums_costs_and_estimates_before_a_backfill(
    command: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(command, settings, HOUR, 0, [event()])
    arguments = ["cost", "--from", str(HOUR), "--to", str(HOUR.plus(2))]
    before = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert before.exit_code == 0, before.output
    assert "1 hours with 1 raw objects" in before.output
    said = " ".join(before.output.split())
    assert "would start 1 Glue runs of 3 x G.1X workers" in said
    assert re.search(r"With --builder pool: no Glue run, about 0\.0\d+ USD\.", said)
    assert command.requests.of("glue.StartJobRun") == []
    empty = CliRunner().invoke(app, arguments)
    assert "No step of 2025-12-07T22 to 2025-12-08T00 (2 hours) has recorded a cost" in " ".join(empty.output.split())
    silver(engine, HOUR)
    engine.refresh_gold(USERS, [HOUR], progress=lambda _: None)
    after = CliRunner().invoke(app, arguments)
    assert after.exit_code == 0, after.output
    assert "gold.user_activity" in after.output
    assert "us-east-1, November 2026" in " ".join(after.output.split())


def test_an_estimate_knows_the_open_hour(
    command: EmulatedAws, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = Hour.containing(datetime.now(UTC))
    land(command, settings, hour, 0, [event(hour)])
    arguments = ["cost", "--from", str(hour), "--to", str(hour.plus(1)), "--dry-run"]
    monkeypatch.setenv("EVENT_PIPELINE_BUILD_MODE", "every_object")
    assert "1 hours with 1 raw objects" in CliRunner().invoke(app, arguments).output


def test_the_plan_of_a_backfill_says_what_it_costs_and_starts_nothing(
    command: EmulatedAws, settings: Settings, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(root))
    land(command, settings, HOUR, 0, [event()])
    planned = CliRunner().invoke(app, ["backfill", "--from", str(HOUR), "--to", str(HOUR.plus(2)), "--plan"])
    assert planned.exit_code == 0, planned.output
    said = " ".join(planned.output.split())
    assert "to build 1 1 new" in said
    assert "missing raw 1 nothing landed: 1 hour (2025-12-07T23)" in said
    assert "would start 1 Glue runs of 3 x G.1X workers" in said
    assert "USD. Nothing was started." in said
    monkeypatch.setenv("EVENT_PIPELINE_BUILDER", "pool")
    arguments = ["backfill", "--from", str(HOUR), "--to", str(HOUR.plus(2)), "--plan"]
    by_host = " ".join(CliRunner().invoke(app, arguments).output.split())
    assert "would start no Glue run (the Dagster host builds) and about" in by_host
    assert re.search(r"With --builder glue: 1 Glue runs, about 0\.0\d+ USD\.", by_host)
    by_glue = " ".join(CliRunner().invoke(app, [*arguments, "--builder", "glue"]).output.split())
    assert "would start 1 Glue runs of 3 x G.1X workers" in by_glue
    assert re.search(r"With --builder pool: no Glue run, about 0\.0\d+ USD\.", by_glue)
    assert command.requests.of("glue.StartJobRun") == []


def test_costs_are_those_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = CliRunner().invoke(app, ["cost", "--from", "2025-12-07T22", "--to", "2025-12-07T23"])
    assert "only aws has costs" in str(refused.exception)


def test_the_environment_opens_its_engine(root: Path, settings: Settings) -> None:
    assert isinstance(open_engine(load_settings(root=root)), LocalEngine)
    assert isinstance(open_engine(settings), AwsEngine)
