"""Rows of the catalog that were lost or changed: named by the doctor, restored by repair, and never built upon."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.finding import Level
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.inspection.doctor import examine
from event_pipeline.operations.building import plan_build
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

pytestmark = pytest.mark.long

NEXT_HOUR = HOUR.plus(2)
"""The day after: late events of it belong to the day before."""
QUERIES = ("FROM silver.events", "FROM silver.quarantine", "FROM ops.hour_ledger", "FROM gold.user_activity")
COLUMNS = {
    "partition": ("table_name", "partition", "build_id", "committed_at", "made_from", "version"),
    "data_file": ("table_name", "partition", "path", "row_count", "size_bytes"),
    "silver_day": ("hour", "event_date", "totals"),
    "partial_day": ("table_name", "hour", "event_date"),
    "day_input": ("table_name", "event_date", "hour", "build_id"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours through to one Gold table, in a folder beside its Gold folder; not to be changed."""
    place = tmp_path_factory.mktemp("built")
    folder, root = one_gold_table(place / "gold"), place / "data"
    engine = LocalEngine(load_settings(root=root, workers=1), folder)
    write_object(root, HOUR, 0, [event(), purchase(second=1), {"bad": 1}])
    write_object(root, NEXT_HOUR, 0, [event(NEXT_HOUR), event(NEXT_HOUR, -7200, user_id="u_2"), {"bad": 2}])
    run(engine, folder, [HOUR, NEXT_HOUR])
    return place


@pytest.fixture
def engine(built: Path, tmp_path: Path) -> LocalEngine:
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return LocalEngine(load_settings(root=tmp_path / "data", workers=1), tmp_path / "gold")


def run(engine: LocalEngine, folder: Path, hours: list[Hour]) -> None:
    """Build hours the whole way."""
    list(engine.build_silver(hours, progress=lambda _: None))
    engine.register_hours(hours)
    for table in load_gold_tables(folder):
        engine.refresh_gold(table, hours, progress=lambda _: None)


def plain_run(engine: LocalEngine, root: Path) -> list[Hour]:
    """Build what `event-pipeline run` without a range would, and return it."""
    pipeline = Pipeline(engine, load_gold_tables(root.parent / "gold"), load_settings(root=root))
    due = list(plan_build(pipeline, datetime.now(UTC), None).hours)
    if due:
        run(engine, root.parent / "gold", due)
    return due


def dump(root: Path) -> dict[str, list[Any]]:
    """All rows of the catalog."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as session:
        return {table: sorted(session.execute(f"SELECT * FROM {table}").fetchall()) for table in COLUMNS}


def change(root: Path, statement: str, *values: Any) -> None:
    """Run a statement on the catalog, as an accident would."""
    with closing(sqlite3.connect(root / "catalog.sqlite")) as session:
        session.execute(statement, values)
        session.commit()


def damages(root: Path, table: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Statements that each delete one row of a kind, or change one of its columns."""
    found = dump(root)[table]
    kinds = {row[0] if "table_name" in COLUMNS[table] else "": row for row in found}
    for row in kinds.values():
        where = " AND ".join(f"{name} IS ?" for name in COLUMNS[table])
        yield f"DELETE FROM {table} WHERE {where}", row
        for name in COLUMNS[table]:
            yield f"UPDATE {table} SET {name} = {name} || '7' WHERE {where}", row


def named(root: Path) -> bool:
    """Return whether the doctor finds the published builds at fault."""
    settings = load_settings(root=root)
    findings = examine(settings, LocalEngine(settings, root.parent / "gold"))
    return any(each.subject == "published builds" and each.level is Level.FAIL for each in findings)


@pytest.mark.parametrize("table", COLUMNS)
def test_whatever_happens_to_a_row_repair_restores_what_the_commit_records_say(
    engine: LocalEngine, tmp_path: Path, table: str
) -> None:
    root = tmp_path / "data"
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    engine.repair()
    sound = dump(root)
    assert engine.disagreements() == []
    for statement, values in damages(root, table):
        change(root, statement, *values)
        assert dump(root) != sound
        assert engine.disagreements(), statement
        assert any(each.action != "unchanged" for each in engine.repair()), statement
        assert dump(root) == sound, statement


@pytest.mark.parametrize("table", COLUMNS)
def test_no_run_publishes_wrong_rows_from_a_damaged_catalog(engine: LocalEngine, tmp_path: Path, table: str) -> None:
    root = tmp_path / "data"
    answers = [rows(engine, query) for query in QUERIES]
    for statement, values in damages(root, table):
        change(root, statement, *values)
        plain_run(engine, root)
        run(engine, root.parent / "gold", [HOUR])
        # Rows of Gold's own entries hide or mix up what is published: only repair finds those.
        assert "gold." in str(values) or rows(engine, QUERIES[-1]) == answers[-1], (statement, values)
        engine.repair()
        plain_run(engine, root)
        assert [rows(engine, query) for query in QUERIES[3:]] == answers[3:], (statement, values)
        assert [len(rows(engine, query)) for query in QUERIES] == [len(answer) for answer in answers]
        assert plain_run(engine, root) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM partial_day",
        "DELETE FROM data_file WHERE table_name = 'silver.events'",
        "DELETE FROM silver_day",
        "UPDATE data_file SET path = (SELECT path FROM data_file WHERE table_name = 'ops.hour_ledger' LIMIT 1)"
        " WHERE table_name = 'silver.events'",
        "UPDATE partition SET partition = 'nothing' WHERE table_name = 'silver.events' AND partition LIKE '%day=07%'",
        "INSERT INTO partition VALUES ('silver.events', 'year=2025/month=12/day=06/hour=01', 'r', 't', 'm', 'v')",
    ],
)
def test_the_doctor_names_logical_damage(engine: LocalEngine, tmp_path: Path, statement: str) -> None:
    root = tmp_path / "data"
    assert not named(root)
    change(root, statement)
    assert named(root)
    engine.repair()
    assert not named(root)


def test_lost_partial_days_do_not_empty_a_gold_day(engine: LocalEngine, tmp_path: Path) -> None:
    root = tmp_path / "data"
    change(root, "DELETE FROM partial_day")
    write_object(root, HOUR, 5, [event(second=301, user_id="u_3")])
    assert HOUR in plain_run(engine, root)
    days = {str(row["event_date"]): row["unique_users"] for row in rows(engine, "FROM gold.user_activity")}
    assert days == {"2025-12-07": 3, "2025-12-08": 1}


@pytest.mark.parametrize("table", ["silver.events", "silver.quarantine", "ops.hour_ledger"])
def test_an_hour_whose_files_are_gone_is_due(engine: LocalEngine, tmp_path: Path, table: str) -> None:
    root = tmp_path / "data"
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    assert plain_run(engine, root) == []
    (file,) = commit.files_of(table)
    (root / "lake" / file.path).unlink()
    assert named(root)
    assert plain_run(engine, root) == [HOUR]
    assert not named(root)
    assert plain_run(engine, root) == []
    assert len(rows(engine, "FROM silver.events")) == 4


def test_a_partial_whose_file_is_gone_is_made_again_before_its_day_is_folded(
    engine: LocalEngine, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    for path in (root / "lake" / "runs" / "partials" / "user_activity" / NEXT_HOUR.hive_path).rglob("*.parquet"):
        path.unlink()
    write_object(root, HOUR, 5, [event(second=301, user_id="u_3")])
    run(engine, root.parent / "gold", [HOUR])
    days = {str(row["event_date"]): row["unique_users"] for row in rows(engine, "FROM gold.user_activity")}
    assert days == {"2025-12-07": 3, "2025-12-08": 1}


def test_the_gold_check_looks_at_days_that_the_catalog_lost(engine: LocalEngine, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (table,) = load_gold_tables(root.parent / "gold")
    change(root, "DELETE FROM partial_day")
    assert [str(day) for day in engine.touched_days(table, NEXT_HOUR)] == ["2025-12-07", "2025-12-08"]
