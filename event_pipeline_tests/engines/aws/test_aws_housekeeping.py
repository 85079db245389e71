"""Housekeeping of the lake bucket: the same rule as on one machine, over prefixes, partitions and conditional puts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import LeftoverKind
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import PipelineError
from event_pipeline.inspection.verification import verify
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import AwsError, EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, seen, silver
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows

USERS = next(table for table in load_gold_tables() if table.name == "user_activity")
NEXT_HOUR = HOUR.plus(1)
LATER = datetime.now(UTC) + timedelta(days=9)


def keep_house(engine: AwsEngine, now: datetime) -> dict[str, int]:
    """One round; kind -> how many were removed."""
    removed: dict[str, int] = {}
    for leftover in engine.leftovers(now):
        engine.remove(leftover)
        removed[leftover.kind] = removed.get(leftover.kind, 0) + 1
    return removed


def build(engine: AwsEngine, *hours: Hour, **options: bool) -> None:
    """Take hours the whole way, with one Gold table."""
    silver(engine, *hours, **options)
    engine.refresh_gold(USERS, hours, progress=lambda _: None)


@pytest.fixture
def keeping(settings: Settings) -> Settings:
    """Settings by which HOUR, and no later hour, is past its retention at some moment of the day before LATER."""
    return settings.model_copy(update={"silver_retention_days": (LATER - HOUR.end) // timedelta(days=1)})


def test_a_retired_hour_keeps_ledger_control_totals_and_gold(
    aws: EmulatedAws, keeping: Settings, tmp_path: Path
) -> None:
    engine = AwsEngine(keeping, one_gold_table(tmp_path / "gold"))
    retire_at = HOUR.end + timedelta(days=keeping.silver_retention_days)
    land(aws, keeping, HOUR, 0, [event(), purchase(second=1), b"no json"])
    land(aws, keeping, NEXT_HOUR, 0, [purchase(NEXT_HOUR, 1)])
    build(engine, HOUR, NEXT_HOUR)
    gold, totals = rows(engine, "SELECT * FROM gold.user_activity"), engine.silver_totals(HOUR.start.date())
    assert keep_house(engine, retire_at) == {LeftoverKind.RETIRED_HOUR: 1}
    assert seen(engine) == 1
    assert len(rows(engine, "SELECT * FROM ops.hour_ledger")) == 2
    assert rows(engine, "SELECT * FROM gold.user_activity") == gold
    assert engine.silver_totals(HOUR.start.date()) == totals
    assert list(engine.registered_builds()) == [NEXT_HOUR]
    states = Pipeline(engine, (USERS,), keeping).states(LATER)
    assert states == {HOUR: HourState.RETIRED, NEXT_HOUR: HourState.READY}
    assert engine.partition_faults(HOUR) == []
    assert {change.action.value for change in engine.repair()} == {"unchanged"}
    verified = verify(engine, [USERS], keeping.event_time_limits, None, LATER, lambda *_: None)
    assert (verified.differences, verified.retired) == ([], (HOUR,))
    # Materializing it again does nothing, late data of its day still counts.
    land(aws, keeping, NEXT_HOUR, 5, [purchase(HOUR, 5, user_id="u_late")])
    build(engine, HOUR, NEXT_HOUR)
    assert rows(engine, "SELECT unique_users, total_events FROM gold.user_activity") == [
        {"unique_users": 2, "total_events": 4}
    ]
    removed = keep_house(engine, retire_at)
    assert removed[LeftoverKind.RETIRED_FILES] == 1
    assert engine.partition_faults(HOUR) == []
    assert keep_house(engine, retire_at) == {}


@pytest.mark.parametrize("call", ["glue.BatchDeletePartition", "glue.BatchUpdatePartition", "s3.PutObject"])
def test_retiring_an_hour_that_breaks_off_is_completed_by_the_next_round(
    aws: EmulatedAws, keeping: Settings, tmp_path: Path, call: str
) -> None:
    engine = AwsEngine(keeping, one_gold_table(tmp_path / "gold"))
    land(aws, keeping, HOUR, 0, [event(), purchase(second=1)])
    build(engine, HOUR)
    totals = engine.silver_totals(HOUR.start.date())
    aws.fail_next(call, AwsError("AccessDeniedException", "denied", 403))
    with pytest.raises(PipelineError):
        keep_house(engine, LATER)
    assert engine.silver_totals(HOUR.start.date()) == totals
    keep_house(engine, LATER)
    assert engine.registered_builds() == {}
    assert engine.silver_totals(HOUR.start.date()) == totals
    assert {change.action.value for change in engine.repair()} == {"unchanged"}
