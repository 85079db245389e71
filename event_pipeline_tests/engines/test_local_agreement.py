"""Whatever lands, in whatever order, the embedded engine publishes what the oracle computes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from event_pipeline.engines.base import Engine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import GeneratorOptions, Shape, generate
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import assert_agrees_with_oracle, build, event, purchase, write_object

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


@pytest.mark.parametrize("shape", list(Shape))
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


def test_hours_built_one_by_one_in_any_order_agree_with_the_oracle(engine: Engine, root: Path) -> None:
    generate(root / "raw", AROUND_MIDNIGHT, DIRTY)
    hours = list(AROUND_MIDNIGHT)
    random.Random(3).shuffle(hours)
    for hour in hours:
        build(engine, [hour])
    assert_agrees_with_oracle(engine, root)


def test_several_processes_give_the_same_rows_as_one(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.engines.host.pool_builder.POOL_WORTH_BYTES", 0)
    generate(root / "raw", AROUND_MIDNIGHT, DIRTY)
    engine = LocalEngine(settings.model_copy(update={"workers": 2}))
    build(engine, list(AROUND_MIDNIGHT))
    assert_agrees_with_oracle(engine, root)


def test_the_real_sample_files_agree_with_the_oracle(engine: Engine, root: Path, real_samples: list[Path]) -> None:
    hour = Hour.parse("2025-11-19T17")
    for sample in real_samples:
        minute = sample.name[18:20]
        target = root / "raw" / hour.raw_prefix / f"minute={minute}" / sample.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(sample, target)
    build(engine, [hour])
    expected = assert_agrees_with_oracle(engine, root)
    assert len(expected.silver) == 200


def test_a_late_object_moves_the_older_day_too(engine: Engine, root: Path) -> None:
    yesterday, today = Hour.parse("2025-12-07T10"), Hour.parse("2025-12-08T10")
    write_object(root, yesterday, 0, [event(yesterday, 1), purchase(yesterday, 2)])
    write_object(root, today, 0, [event(today, 1)])
    build(engine, [yesterday, today])
    assert_agrees_with_oracle(engine, root)
    write_object(root, today, 5, [purchase(yesterday, 3, user_id="u_2"), purchase(today, 4)])
    build(engine, [today])
    assert_agrees_with_oracle(engine, root)


def test_a_replaced_object_takes_back_what_it_said_before(engine: Engine, root: Path) -> None:
    yesterday, today = Hour.parse("2025-12-07T10"), Hour.parse("2025-12-08T10")
    write_object(root, yesterday, 0, [event(yesterday, 1)])
    write_object(root, today, 0, [purchase(yesterday, 3), event(today, 1)])
    build(engine, [yesterday, today])
    write_object(root, today, 0, [event(today, 1, product_id="p_other")])
    build(engine, [today])
    expected = assert_agrees_with_oracle(engine, root)
    assert [row["event_date"].day for row in expected.gold["user_activity"]] == [7, 8]
    assert expected.gold["hourly_revenue"] == []


def test_a_day_whose_only_rows_were_taken_back_disappears(engine: Engine, root: Path) -> None:
    yesterday, today = Hour.parse("2025-12-07T10"), Hour.parse("2025-12-08T10")
    write_object(root, today, 0, [purchase(yesterday, 3), event(today, 1)])
    build(engine, [today])
    write_object(root, today, 0, [event(today, 1)])
    build(engine, [today])
    expected = assert_agrees_with_oracle(engine, root)
    assert len(expected.gold["user_activity"]) == 1


def test_ties_and_truncation_of_the_top_products_agree_with_the_oracle(engine: Engine, root: Path) -> None:
    hour = Hour.parse("2025-12-07T10")
    views = [
        event(hour, second, product_id=f"p_{product:03}", category=f"c_{product % 7}", user_id=f"u_{second}")
        for second, product in enumerate(product for product in range(150) for _ in range(1 + product % 3))
    ]
    write_object(root, hour, 0, views)
    build(engine, [hour])
    expected = assert_agrees_with_oracle(engine, root)
    assert 100 <= len(expected.gold["top_products"]) < 150
