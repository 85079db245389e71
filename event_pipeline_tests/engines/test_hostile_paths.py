"""The folder that holds the data changes no value: neither Hive names in its path nor characters of patterns."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.contract import HOUR_TABLES
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.pipeline import HOUR, build, event, in_order, purchase, rows, write_object

FOLDERS = [
    "category=shop",
    "year=2024/month=13/hour=07",
    "run_id=1/event_date=2020-01-01/user_id=nobody",
    'it\'s a 100% "p%20q"',
    "a?mode=memory&b#c",
    "what?/a*b",
    "**",
    "[x]",
    "{a,b}/{uuid}",
    "Bücher 書/~/$HOME/back\\slash/-rf",
]
QUICK_FOLDERS = ["category=shop", "[x]", "Bücher 書/~/$HOME/back\\slash/-rf"]
"""Those of every run of the tests: a name that says a partition, a pattern, signs of a shell."""
HOURS = [HOUR, HOUR.plus(2)]
TABLES = [*(table.full_name for table in HOUR_TABLES[:2]), *(gold.table.full_name for gold in load_gold_tables())]


def _built(root: Path) -> LocalEngine:
    root.mkdir(parents=True)
    write_object(root, HOUR, 0, [purchase(price="0.10", quantity=3), event(category="toys"), {"user_id": "u"}])
    write_object(root, HOUR.plus(2), 0, [purchase(HOUR.plus(2), category="home")])
    engine = LocalEngine(load_settings(root=root, workers=1))
    build(engine, HOURS)
    return engine


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The rows of every table below a folder without any peculiarity."""
    engine = _built(tmp_path_factory.mktemp("plain") / "data")
    return {name: in_order(rows(engine, f"SELECT * FROM {name}")) for name in TABLES}


@pytest.mark.parametrize(
    "folder",
    QUICK_FOLDERS + [pytest.param(each, marks=pytest.mark.long) for each in FOLDERS if each not in QUICK_FOLDERS],
)
def test_the_path_of_the_data_folder_changes_no_value(
    tmp_path: Path, folder: str, expected: dict[str, list[str]]
) -> None:
    # Neighbours that a pattern would find as well.
    for neighbour in ("a", "aXb", "x", "b", "uuid"):
        (tmp_path / neighbour).mkdir()
    engine = _built(tmp_path / folder / "data")
    assert rows(engine, "SELECT category, year, month, day, hour, revenue FROM silver.events ORDER BY event_ts, 1") == [
        {"category": "books", "year": "2025", "month": "12", "day": "07", "hour": "22", "revenue": Decimal("0.30")},
        {"category": "toys", "year": "2025", "month": "12", "day": "07", "hour": "22", "revenue": None},
        {"category": "home", "year": "2025", "month": "12", "day": "08", "hour": "00", "revenue": Decimal("19.98")},
    ]
    assert {name: in_order(rows(engine, f"SELECT * FROM {name}")) for name in TABLES} == expected
    assert all(expected.values())
    assert [engine.partition_faults(hour) for hour in HOURS] == [[], []]
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    counts = engine.count_rows(commit)
    assert (counts.silver_rows, counts.quarantined_by_reason) == (2, {"missing_timestamp": 1})
    days = [date(2025, 12, 7), date(2025, 12, 8)]
    for table in load_gold_tables():
        assert engine.grain_faults(table, days) == []
        assert all(measure.gold == measure.silver for measure in engine.reconcile(table, days))


def test_partition_columns_prune_files(engine: LocalEngine, root: Path) -> None:
    for each in range(3):
        write_object(root, HOUR.plus(each), 0, [purchase(HOUR.plus(each))])
    build(engine, [HOUR.plus(each) for each in range(3)])
    plan = engine.query("EXPLAIN ANALYZE SELECT count(user_id) FROM silver.events WHERE day = '08' AND hour = '00'")
    text = str(plan.to_pylist())
    assert "Scanning Files: 1/3" in text or "Total Files Read: 1" in text, text
