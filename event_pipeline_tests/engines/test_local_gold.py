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
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from event_pipeline.engines.base import Engine, GoldRefresh
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.sql import silver_totals_query
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, rows, write_object
from event_pipeline_tests.test_oracle import BY_HAND, write_raw

DAY = date(2025, 12, 7)
NEXT_HOUR = HOUR.plus(1)
TABLES = {table.name: table for table in load_gold_tables()}


def refresh(engine: Engine, table: GoldTable, *hours: Hour, force: bool = False) -> GoldRefresh:
    """Refresh one table."""
    return engine.refresh_gold(table, hours, force=force, progress=lambda _: None)


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


def test_a_day_that_another_version_folded_from_the_same_partials_is_folded_again(
    engine: LocalEngine, root: Path, tmp_path: Path
) -> None:
    hours, plain = (HOUR, NEXT_HOUR), TABLES["conversion_funnel"]
    for hour in hours:
        write_object(root, hour, 0, [event(hour)])
    build(engine, hours, [plain])
    folder = tmp_path / "gold"
    shutil.copytree(GOLD_FOLDER, folder)
    path = folder / "conversion_funnel.sql"
    path.write_text(path.read_text().replace("SUM(views)", "2 * SUM(views)"))
    doubled = {table.name: table for table in load_gold_tables(folder)}[plain.name]
    assert doubled.fold != plain.fold
    # Both versions run side by side, as during an update: each hour has its partial by one of them.
    turns = [(doubled, HOUR, 4), (plain, NEXT_HOUR, 2), (doubled, HOUR, 4)]
    for table, hour, views in turns:
        assert refresh(engine, table, hour).day_rows == {DAY: 1}
        assert rows(engine, "SELECT views FROM gold.conversion_funnel") == [{"views": views}]


def test_the_sixth_table_that_the_documents_add_is_one_file(settings: Settings, root: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-table.md").read_text(encoding="utf-8")
    (sixth,) = re.findall(r"`event_pipeline/rules/gold/search_terms\.sql`:\n\n```sql\n(.*?)```", page, re.DOTALL)
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


@pytest.mark.long
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


@pytest.mark.parametrize("worked", BY_HAND)
def test_halves_ties_and_cuts_that_were_worked_out_by_hand_are_the_engines_as_well(
    engine: LocalEngine, root: Path, worked: str
) -> None:
    write_raw(root, BY_HAND[worked])
    build(engine, sorted({hour for key in BY_HAND[worked] if (hour := Hour.of_raw_key(key))}))
    assert_agrees_with_oracle(engine, root)


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


ONE_LIST = [(n, n, f"p_{n:03}", "a", 3) for n in range(1, 102)]


@pytest.mark.parametrize(
    ("table", "gold", "silver", "unequal"),
    [
        ("hourly_revenue", [(9, "19.99", 1, 1, "19.99")], DayTotals({"purchase": 1}, 1, Decimal("19.98")), ["revenue"]),
        ("top_products", ONE_LIST[:1], DayTotals({"page_view": 4}), ["views"]),
        ("top_products", ONE_LIST[:1], DayTotals({"page_view": 2}), ["views"]),
        ("top_products", ONE_LIST, DayTotals({"page_view": 302}), ["views"]),
        ("top_products", ONE_LIST, DayTotals({"page_view": 304}), []),
    ],
    ids=["a cent more", "a view lost", "a view more", "more than all views", "a list that was cut off"],
)
def test_a_day_is_compared_with_the_control_totals_of_silver(
    table: str, gold: list[tuple[Any, ...]], silver: DayTotals, unequal: list[str]
) -> None:
    columns = ", ".join(f"{column.name} {column.type}" for column in TABLES[table].columns)
    with closing(duckdb.connect()) as connection:
        connection.execute(f"CREATE TABLE gold_day ({columns})")
        connection.execute(f"INSERT INTO gold_day VALUES {', '.join(map(repr, gold))}")
        connection.execute(f"CREATE VIEW silver_totals AS {silver_totals_query(silver)}")
        measures = connection.sql(TABLES[table].reconcile).fetchall()
    assert [name for name, in_gold, in_silver in measures if in_gold != in_silver] == unequal


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
