"""Housekeeping of the lake bucket: the same rule as on one machine, over prefixes, partitions and conditional puts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.errors import PipelineError
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import AwsError, EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, purchase

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
