"""Gold refreshes: only what is new, completed after any interruption, never lost to another process."""

from __future__ import annotations

import multiprocessing
import random
import re
import shutil
from contextlib import closing
from datetime import date
from decimal import Context, Decimal
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.base import Engine, GoldRefresh
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object

DAY = date(2025, 12, 7)
NEXT_HOUR = HOUR.plus(1)
TABLES = {table.name: table for table in load_gold_tables()}


def refresh(engine: Engine, table: GoldTable, *hours: Hour, force: bool = False) -> GoldRefresh:
    """Refresh one table."""
    return engine.refresh_gold(table, hours, force=force, progress=lambda _: None)


def test_a_refresh_makes_the_partial_of_the_new_hour_only(engine: LocalEngine, root: Path) -> None:
    for hour in (HOUR, NEXT_HOUR):
        write_object(root, hour, 0, [event(hour), purchase(hour, 1)])
    build(engine, [HOUR])
    list(engine.build_silver([NEXT_HOUR], progress=lambda _: None))
    engine.register_hours([NEXT_HOUR])
    refreshed = refresh(engine, TABLES["conversion_funnel"], HOUR, NEXT_HOUR)
    assert refreshed.partial_rows == {NEXT_HOUR: 1}
    assert refreshed.day_rows == {DAY: 1}


def test_an_interrupted_refresh_leaves_its_hour_behind_and_the_next_completes_it(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES["user_activity"]
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    write_object(root, HOUR, 5, [event(second=300, user_id="u_2")])
    list(engine.build_silver([HOUR], progress=lambda _: None))
    engine.register_hours([HOUR])
    with monkeypatch.context() as patch:
        patch.setattr("event_pipeline.engines.gold.GoldRefresher._fold", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refresh(engine, table, HOUR)
    assert engine.hours_behind(table) == [HOUR]
    assert rows(engine, "SELECT unique_users FROM gold.user_activity") == [{"unique_users": 1}]
    refreshed = refresh(engine, table, HOUR)
    assert (refreshed.unchanged_hours, refreshed.day_rows) == ((HOUR,), {DAY: 1})
    assert rows(engine, "SELECT unique_users FROM gold.user_activity") == [{"unique_users": 2}]


def test_a_gold_file_that_vanished_is_made_again(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    shutil.rmtree(root / "lake" / "runs" / "days" / "user_activity")
    shutil.rmtree(root / "lake" / "runs" / "partials" / "user_activity")
    refreshed = refresh(engine, TABLES["user_activity"], HOUR)
    assert (refreshed.partial_rows, refreshed.day_rows) == ({HOUR: 2}, {DAY: 1})
    assert_agrees_with_oracle(engine, root)


def test_other_sql_makes_partials_and_days_again(engine: LocalEngine, root: Path, tmp_path: Path) -> None:
    write_object(root, HOUR, 0, [event(), purchase(second=1)])
    build(engine, [HOUR])
    folder = tmp_path / "gold"
    shutil.copytree(GOLD_FOLDER, folder)
    path = folder / "conversion_funnel.sql"
    path.write_text(path.read_text().replace("WHERE product_id IS NOT NULL", "WHERE product_id = 'p_none'"))
    changed = {table.name: table for table in load_gold_tables(folder)}["conversion_funnel"]
    assert engine.hours_behind(changed) == [HOUR]
    refresh(engine, changed, HOUR)
    assert rows(engine, "FROM gold.conversion_funnel") == []
    assert engine.hours_behind(TABLES["conversion_funnel"]) == [HOUR]


def test_the_sixth_table_that_the_readme_adds_is_one_file(settings: Settings, root: Path, tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (sixth,) = re.findall(r"`event_pipeline/rules/gold/search_terms\.sql`:\n\n```sql\n(.*?)```", readme, re.DOTALL)
    folder = tmp_path / "gold"
    shutil.copytree(GOLD_FOLDER, folder)
    (folder / "search_terms.sql").write_text(sixth)
    engine = LocalEngine(settings, folder)
    searches = [event(second=n, event_type="search", search_query=text) for n, text in enumerate(["b", "a", "b"])]
    write_object(root, HOUR, 0, searches)
    build(engine, [HOUR])
    (table,) = [table for table in load_gold_tables(folder) if table.name == "search_terms"]
    assert engine.hours_behind(table) == [HOUR]
    refresh(engine, table, HOUR)
    assert rows(engine, "FROM gold.search_terms ORDER BY ALL") == [
        {"event_date": DAY, "search_query": "a", "searches": 1},
        {"event_date": DAY, "search_query": "b", "searches": 2},
    ]
    assert [(measure.name, measure.gold, measure.silver) for measure in engine.reconcile(table, [DAY])] == [
        ("searches", 3, 3)
    ]


def build_in_process(root: Path, hour: str) -> None:
    """Build one hour the whole way in another process."""
    build(LocalEngine(load_settings(root=root, workers=1)), [Hour.parse(hour)])


def test_hours_that_fold_one_day_at_once_do_not_lose_each_other(engine: LocalEngine, root: Path) -> None:
    hours = [HOUR.plus(offset) for offset in range(-3, 1)]
    generate(root / "raw", hours, GeneratorOptions(events_per_file=100, files_per_hour=2, late_share=0.1))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build_in_process, args=(root, str(hour))) for hour in hours]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(hours)
    assert_agrees_with_oracle(engine, root)
    assert all(engine.hours_behind(table) == [] for table in TABLES.values())


def test_control_totals_equal_the_published_days(engine: LocalEngine, root: Path) -> None:
    options = GeneratorOptions(
        events_per_file=200, files_per_hour=2, bad_share=0.1, duplicate_share=0.1, late_share=0.2
    )
    generate(root / "raw", [HOUR, NEXT_HOUR], options)
    build(engine, [HOUR, NEXT_HOUR])
    for table in TABLES.values():
        days = engine.touched_days(table, HOUR)
        assert len(days) > 1
        measures = engine.reconcile(table, days)
        assert len(measures) >= len(days)
        assert [measure for measure in measures if measure.gold != measure.silver] == []
        assert engine.grain_faults(table, days) == []


def test_averages_are_exact_for_any_number_of_purchases() -> None:
    chance, dearest = random.Random(6), 9_999_999_999_000_000
    counts = [1, 2, 3, 101, 10**9 + 7, 10**15, 4 * 10**18, *(chance.randrange(1, 10**18) for _ in range(17))]
    sums = [count * dearest - chance.randrange(count * dearest + 1) for count in counts[:-8]]
    # The last ones have exactly half a cent left over, or the least that is below it.
    sums += [count * (dearest - 1) + count // 2 - odd % 2 for odd, count in enumerate(counts[-8:])]
    values = ", ".join(
        f"({hour}, CAST('{Decimal(cents).scaleb(-2, Context(prec=38))}' AS DECIMAL(38, 2)), {count}, 0)"
        for hour, (cents, count) in enumerate(zip(sums, counts, strict=True))
    )
    with closing(duckdb.connect()) as connection:
        columns = "event_hour, total_revenue, purchase_count, items_sold"
        connection.execute(f"CREATE VIEW partials AS SELECT * FROM (VALUES {values}) AS made({columns})")
        found = connection.sql(TABLES["hourly_revenue"].fold).fetchall()
    assert [average for *_, average in found] == [
        Decimal((2 * cents + count) // (2 * count)).scaleb(-2) for cents, count in zip(sums, counts, strict=True)
    ]


def edit_day(root: Path, table: str, change: str) -> None:
    """Rewrite the published file of a Gold day by SQL over its rows."""
    (path,) = (root / "lake" / "runs" / "days" / table).rglob("*.parquet")
    edited = path.with_suffix(".edited")
    select = change.format(day=f"read_parquet('{path}', hive_partitioning = false)")
    with closing(duckdb.connect()) as connection:
        connection.execute(f"COPY ({select}) TO '{edited}' (FORMAT parquet)")
    edited.rename(path)


def test_a_cent_too_much_in_gold_is_found(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [purchase()])
    build(engine, [HOUR])
    edit_day(root, "hourly_revenue", "SELECT * REPLACE (total_revenue + 0.01 AS total_revenue) FROM {day}")
    wrong = [each for each in engine.reconcile(TABLES["hourly_revenue"], [DAY]) if each.gold != each.silver]
    assert [(each.name, each.gold, each.silver) for each in wrong] == [("revenue", Decimal("19.99"), Decimal("19.98"))]


def test_a_row_that_stands_twice_in_gold_is_found(engine: LocalEngine, root: Path) -> None:
    write_object(root, HOUR, 0, [event()])
    build(engine, [HOUR])
    edit_day(root, "top_products", "SELECT * FROM {day} UNION ALL SELECT * FROM {day}")
    assert engine.grain_faults(TABLES["top_products"], [DAY]) == [
        {"event_date": DAY, "product_id": "p_1", "category": "books", "rows_found": 2}
    ]


def test_gold_files_have_the_columns_and_types_of_their_header(engine: LocalEngine, root: Path) -> None:
    arrow_names = {"bigint": "int64", "int": "int32", "string": "string", "double": "double"}
    write_object(root, HOUR, 0, [event(), purchase(second=1)])
    build(engine, [HOUR])
    for table in TABLES.values():
        (path,) = (root / "lake" / "runs" / "days" / table.name).rglob("*.parquet")
        schema = pq.read_schema(path)
        declared = {column.name: arrow_names.get(column.type, column.type) for column in table.columns}
        found = {field.name: str(field.type).replace("decimal128", "decimal").replace(" ", "") for field in schema}
        assert found == declared, table.name
