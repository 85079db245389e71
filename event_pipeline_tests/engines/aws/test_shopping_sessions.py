"""The example of a sixth table, docs/examples/shopping_sessions.sql, copied in as a person would, on every engine."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline_tests import oracle
from event_pipeline_tests.engines.aws.conftest import AWS, AWS_BY_HOST
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "shopping_sessions.sql"
DAY = date(2025, 12, 7)


@pytest.fixture
def copied(world: World, tmp_path: Path) -> World:
    """The same world, with the example beside one of the five tables."""
    folder = tmp_path / "gold"
    folder.mkdir()
    for file in (EXAMPLE, GOLD_FOLDER / "hourly_revenue.sql"):
        shutil.copy(file, folder)
    engine = type(world.engine)(world.engine._settings, folder)  # type: ignore[attr-defined, call-arg]
    return World(engine, world.root, world.bucket, load_gold_tables(folder))


def expected(silver: Iterable[oracle.Row]) -> list[dict[str, Any]]:
    """Compute the table from events, one session after the other."""
    days = defaultdict[date, dict[str, list[oracle.Row]]](lambda: defaultdict(list))
    for row in silver:
        days[row["event_date"]][row["session_id"]].append(row)
    found = []
    for day, sessions in sorted(days.items()):
        types = [{row["event_type"] for row in events} for events in sessions.values()]
        carts = [each for each in types if "add_to_cart" in each]
        abandoned = sum("purchase" not in each for each in carts)
        bought = sum("purchase" in each for each in types)
        revenue = sum((row["revenue"] or Decimal(0) for events in sessions.values() for row in events), Decimal("0.00"))
        found.append(
            {
                "event_date": day,
                "sessions": len(sessions),
                "sessions_with_view": sum("page_view" in each for each in types),
                "sessions_with_cart": len(carts),
                "sessions_with_purchase": bought,
                "abandoned_carts": abandoned,
                "conversion_rate": bought / len(sessions),
                "abandonment_rate": abandoned / len(carts) if carts else None,
                "revenue": revenue,
                "revenue_per_session": (revenue / len(sessions)).quantize(Decimal("0.01"), ROUND_HALF_UP),
            }
        )
    return found


@pytest.mark.parametrize("world", ["local", AWS, AWS_BY_HOST], indirect=True)
def test_sessions_are_counted_over_hours_and_days(copied: World) -> None:
    first, second, next_day = HOUR, HOUR.plus(1), HOUR.plus(2)
    cart = {"event_type": "add_to_cart"}
    bought = {"price": 0.05, "quantity": 1}
    write_object(
        copied.root,
        first,
        0,
        [
            event(first, session_id="s_looks"),
            purchase(first, 1, session_id="s_cart", **cart, **bought),
            purchase(first, 2, session_id="s_later", **cart, **bought),
            purchase(first, 3, session_id="s_buys", **bought),
        ],
    )
    write_object(
        copied.root, second, 0, [purchase(second, session_id="s_later", price=0.05, quantity=2), event(second)]
    )
    # The session goes on after midnight: a cart of the day before is abandoned on that day.
    write_object(copied.root, next_day, 0, [purchase(next_day, session_id="s_cart", **bought)])
    copied.build([first, second, next_day])
    silver = oracle.read_root(copied.root, oracle.DEFAULT_LIMITS).silver
    (first_day, second_day) = rows(copied.engine, "SELECT * FROM gold.shopping_sessions ORDER BY event_date")
    assert [first_day, second_day] == expected(silver)
    assert (first_day["sessions"], first_day["sessions_with_cart"], first_day["abandoned_carts"]) == (5, 2, 1)
    assert (first_day["revenue"], first_day["revenue_per_session"]) == (Decimal("0.15"), Decimal("0.03"))
    assert second_day["sessions_with_purchase"] == 1
    table = next(table for table in copied.tables if table.name == "shopping_sessions")
    measures = copied.engine.reconcile(table, [DAY])
    assert [(each.name, each.gold, each.silver) for each in measures] == [("revenue", Decimal("0.15"), Decimal("0.15"))]
