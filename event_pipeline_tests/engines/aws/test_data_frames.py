"""Data frames of the published data, on every engine."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.inspection.lineage import explain
from event_pipeline.lake import Lake
from event_pipeline.settings import load_settings
from event_pipeline_tests.engines.aws.conftest import everywhere
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, event, purchase, write_object

DAY, NEXT_DAY = date(2025, 12, 7), date(2025, 12, 8)


@pytest.mark.frames
@everywhere
def test_frames_are_equal_on_every_assembly(world: World) -> None:
    write_object(world.root, HOUR, 0, [event(), purchase(second=1, price=19.99, quantity=1)])
    world.build([HOUR])
    lake = Lake(Pipeline(world.engine, tuple(world.tables), load_settings(root=Path("unused"))))
    events = lake.table("silver.events", DAY).pandas()
    assert str(events["event_ts"].dtype) == "datetime64[us, UTC]"
    assert events["event_ts"].min() == HOUR.start
    assert sorted(events["price"].dropna()) == [Decimal("19.99")]
    assert len(lake.table("silver.events", NEXT_DAY)) == 0
    table = world.tables[0].name
    (answered,) = {len(lake.answer(table, DAY, NEXT_DAY)), len(lake.table(table, (DAY, NEXT_DAY)))}
    assert answered > 0


@everywhere
def test_a_number_is_walked_back_on_every_assembly(world: World) -> None:
    write_object(world.root, HOUR, 0, [event(), purchase(second=1, price=19.99, quantity=1), b"{"])
    # An hour without a purchase has no part in the revenue.
    write_object(world.root, HOUR.plus(1), 0, [event(HOUR, 5)])
    world.build([HOUR, HOUR.plus(1)])
    table = next(each for each in world.tables if each.name == "hourly_revenue")
    lineage = explain(world.engine, table, DAY, {"event_hour": "22"})
    assert (lineage.differences, lineage.rows, lineage.folded) == ([], 3, (HOUR,))
    assert [row["total_revenue"] for row in lineage.published] == [Decimal("19.99")]
    assert lineage.refused == {"not_json": 1}
