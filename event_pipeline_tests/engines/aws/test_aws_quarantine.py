"""The life of a refused record on AWS: shown by Athena, judged again by Glue, told apart by the commit records."""

from __future__ import annotations

import json

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.operations.replaying import ReplayReason, compare_builds, plan_replay, replay
from event_pipeline.reporting.quarantine import write_records
from event_pipeline.reporting.results import ResultFormat
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event, rows

NEXT_HOUR = HOUR.plus(1)
REASON = "timestamp_out_of_range"


@pytest.mark.long
def test_a_replay_builds_the_affected_hour_by_glue_and_moves_its_records(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    old = event(second=-10 * 86_400)
    land(aws, settings, HOUR, 0, [event(), old, old, b"no json \x1b[31m"])
    land(aws, settings, NEXT_HOUR, 0, [event(NEXT_HOUR), b"no json"])
    silver(engine, HOUR, NEXT_HOUR)
    write_records(engine, HOUR, REASON, 1, ResultFormat.JSON)
    (shown,) = json.loads(capsysbinary.readouterr().out)
    assert (shown["reason"], shown["line_number"], json.loads(shown["record"])) == (REASON, 2, old)
    assert plan_replay(engine, settings, None, REASON, force=False).hours == ()
    wider = settings.model_copy(update={"event_max_age_days": 14, "quarantine_error_share": 1.0})
    plan = plan_replay(engine, wider, None, REASON, force=False)
    assert [(each.hour, each.reason, each.quarantined) for each in plan.hours] == [(HOUR, ReplayReason.RULES, 2)]
    before = engine.hour_commits()
    (outcome,) = replay(plan, wider, force=False, progress=lambda *_: None)
    assert (outcome.succeeded, outcome.silver) == (True, {HOUR: "built"})
    after = AwsEngine(wider).hour_commits()
    result = compare_builds({HOUR: before[HOUR]}, after)
    assert result.left_quarantine == {REASON: 2}
    assert (result.after.silver_rows, result.after.duplicates, result.after.adds_up) == (2, 1, True)
    assert after[NEXT_HOUR] == before[NEXT_HOUR]
    assert rows(engine, "SELECT reason FROM silver.quarantine") == [{"reason": "not_json"}] * 2
