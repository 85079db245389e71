"""The check that Gold equals Silver, between the steps of another run that moves hours of the same day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from event_pipeline.assets.checks import MOVED, gold_verdicts
from event_pipeline.assets.results import CheckVerdict
from event_pipeline.engines.gold import GoldRefresher
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable, load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

BESIDE = HOUR.plus(1)
DAY = HOUR.start.date()


@pytest.fixture
def engine(settings: Settings, root: Path) -> LocalEngine:
    """One hour of the day, published to all Gold tables."""
    write_object(root, HOUR, 0, [purchase(), event(second=1, event_type="search", search_query="x")])
    engine = LocalEngine(settings)
    build(engine, [HOUR])
    return engine


def silver(engine: LocalEngine, hour: Hour) -> None:
    """Take an hour as far as queries see its Silver."""
    list(engine.build_silver([hour], progress=lambda _: None))
    engine.register_hours([hour])


def verdict(engine: LocalEngine, table: GoldTable) -> CheckVerdict:
    """What the check finds of the day."""
    return gold_verdicts(engine, table, [DAY], {})[DAY]["equals_silver"]


@pytest.mark.parametrize("table", load_gold_tables(), ids=lambda table: table.name)
def test_a_run_beside_does_not_fail_the_check_at_any_of_its_steps(
    engine: LocalEngine, root: Path, table: GoldTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verdict(engine, table).description == "Gold adds up to Silver, revenue to the cent"

    write_object(root, BESIDE, 0, [purchase(BESIDE), event(BESIDE, 1)])
    silver(engine, BESIDE)  # an hour that Gold does not show yet: the day is what it was
    assert (verdict(engine, table).passed, verdict(engine, table).description) == (
        True,
        "Gold adds up to Silver, revenue to the cent",
    )

    write_object(root, HOUR, 5, [purchase(second=301)])
    silver(engine, HOUR)  # other Silver than the day was folded from
    assert (verdict(engine, table).passed, verdict(engine, table).description) == (True, MOVED)

    with monkeypatch.context() as patch:
        patch.setattr(GoldRefresher, "_fold_days", lambda *_: iter(()))
        engine.refresh_gold(table, [HOUR, BESIDE], progress=lambda _: None)  # partials, and no fold yet
    assert (verdict(engine, table).passed, verdict(engine, table).description) == (True, MOVED)

    engine.refresh_gold(table, [HOUR, BESIDE], progress=lambda _: None)
    assert (verdict(engine, table).passed, verdict(engine, table).description) == (
        True,
        "Gold adds up to Silver, revenue to the cent",
    )
    assert all(each.gold == each.silver for each in engine.reconcile(table, [DAY]))


def test_a_wrong_day_is_found_beside_an_hour_that_gold_does_not_show_yet(
    engine: LocalEngine, root: Path, change_day: Callable[[], None]
) -> None:
    write_object(root, BESIDE, 0, [purchase(BESIDE)])
    silver(engine, BESIDE)
    change_day()
    table = next(table for table in load_gold_tables() if table.name == "hourly_revenue")

    assert not verdict(engine, table).passed
    assert "revenue: 39.96 in Gold, 19.98 in Silver" in verdict(engine, table).description


@pytest.fixture
def change_day(engine: LocalEngine, root: Path) -> Callable[[], None]:
    """Doubles the rows of the published day of hourly_revenue."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def change() -> None:
        (path,) = (root / "lake" / "runs" / "days" / "hourly_revenue").rglob("*.parquet")
        path.chmod(0o644)
        rows = pq.read_table(path, partitioning=None)
        pq.write_table(pa.concat_tables([rows, rows]), path)

    return change
