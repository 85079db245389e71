"""Whatever lands, in whatever order, the embedded engine publishes what the oracle computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline.engines.base import Engine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import GeneratorOptions, Shape, generate
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import assert_agrees_with_oracle, build

AROUND_MIDNIGHT = HourRange(Hour.parse("2025-12-07T22"), Hour.parse("2025-12-08T02"))
DIRTY = GeneratorOptions(
    events_per_file=150,
    files_per_hour=4,
    seed=11,
    bad_share=0.2,
    duplicate_share=0.15,
    late_share=0.2,
    broken_objects=4,
)


@pytest.mark.parametrize("shape", [Shape.REALISTIC, pytest.param(Shape.ORIGINAL, marks=pytest.mark.long)])
def test_dirty_hours_agree_with_the_oracle(engine: Engine, root: Path, shape: Shape) -> None:
    options = GeneratorOptions(
        events_per_file=150, files_per_hour=4, seed=5, shape=shape,
        bad_share=0.2, duplicate_share=0.15, late_share=0.2, broken_objects=4,
    )  # fmt: skip
    generate(root / "raw", AROUND_MIDNIGHT, options)
    build(engine, list(AROUND_MIDNIGHT))
    expected = assert_agrees_with_oracle(engine, root)
    assert sum(hour.duplicates for hour in expected.hours.values()) > 0
    assert len(expected.silver) > 500
    assert sum(len(hour.unreadable) for hour in expected.hours.values()) == 4


@pytest.mark.long
def test_several_processes_give_the_same_rows_as_one(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.engines.host.pool_builder.POOL_WORTH_BYTES", 0)
    generate(root / "raw", AROUND_MIDNIGHT, DIRTY)
    engine = LocalEngine(settings.model_copy(update={"workers": 2}))
    build(engine, list(AROUND_MIDNIGHT))
    assert_agrees_with_oracle(engine, root)
