"""The report has the same numbers as Gold and its range answers, on every engine."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.lake import Lake
from event_pipeline.report.page import write_report
from event_pipeline.rules.accounting import dollars_of
from event_pipeline.settings import load_settings
from event_pipeline_tests.engines.aws.conftest import AWS, MEMORY
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, event, purchase, write_object
from event_pipeline_tests.report_page import HOSTILE_CATEGORY, categories, products, read_report, revenue_of_hours

DAY, NEXT_DAY = date(2025, 12, 7), date(2025, 12, 8)


@pytest.mark.parametrize("world", ["local", MEMORY, pytest.param(AWS, marks=pytest.mark.long)], indirect=True)
def test_numbers_of_the_report_are_those_of_gold(world: World) -> None:
    hours = (HOUR, HOUR.plus(3))
    for number, hour in enumerate(hours):
        write_object(
            world.root,
            hour,
            0,
            [
                event(hour, 0, event_type="search", product_id=None, category=None, search_query="shoes"),
                *(event(hour, second, product_id=f"p_{second % 3}", user_id=f"u_{second}") for second in range(1, 9)),
                event(hour, 9, event_type="add_to_cart", product_id="p_1", quantity=1, price=0.1),
                purchase(hour, 10 + number, product_id="p_1", price=0.1, quantity=3, user_id=f"u_{number}"),
                purchase(
                    hour, 20, product_id="p_9", category=HOSTILE_CATEGORY, price=99_999_999.99, quantity=1_000_000
                ),
            ],
        )
    world.build(hours)
    pipeline = Pipeline(world.engine, tuple(world.tables), load_settings(root=world.root))
    lake = Lake(pipeline)

    content = read_report(write_report(pipeline, datetime.now(UTC), {}, world.root / "report.html").path)

    assert content["answers"]["days"] == [str(DAY), str(NEXT_DAY)]
    for first, last in ((0, 0), (1, 1), (0, 1)):
        days = [date.fromisoformat(content["answers"]["days"][each]) for each in (first, last)]
        found = {
            row["category"]: (*list(row.values())[1:7], row["revenue"])
            for row in lake.answer("category_performance", *days).arrow.to_pylist()
        }
        assert {name: (*row[:6], dollars_of(row[6])) for name, row in categories(content, first, last).items()} == found
        funnel = {
            (row["product_id"], row["category"]): (row["views"], row["add_to_carts"], row["purchases"], row["revenue"])
            for row in lake.answer("conversion_funnel", *days).arrow.to_pylist()
        }
        assert {each: (*row[:3], dollars_of(row[3])) for each, row in products(content, first, last).items()} == funnel
        hourly = lake.answer("hourly_revenue", *days).arrow.to_pylist()
        assert revenue_of_hours(content, first, last) == {row["event_hour"]: row["total_revenue"] for row in hourly}
    (people,) = lake.answer("user_activity", DAY, NEXT_DAY).arrow.to_pylist()
    assert content["answers"]["distinct"] == [
        {
            "first": 0,
            "last": 1,
            "users": people["unique_users"],
            "sessions": people["unique_sessions"],
            "events": people["total_events"],
        }
    ]
    assert (content["health"]["cost"] is None) == (world.bucket is None)
