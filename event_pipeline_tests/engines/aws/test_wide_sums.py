"""Sums at the contract's maxima: exact in every Gold table, check and recount, and in data that older SQL made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import Engine, LeftoverKind
from event_pipeline.engines.finding import Level
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.state import HourState, hour_situations
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline.infrastructure.account import account_checks
from event_pipeline.inspection import verification
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_table, load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import AWS, AWS_WITH_SPARK
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, write_object

pytestmark = pytest.mark.long

HIGHEST_PRICE, HIGHEST_QUANTITY = 99_999_999.99, 1_000_000
DEAREST = Decimal("99999999990000.00")
"""Revenue of one purchase at the highest price and quantity."""
NEXT_HOUR, NEXT_DAY = HOUR.plus(1), HOUR.plus(2)
DAY = date(2025, 12, 7)
LIMITS = load_settings(root=Path("unused")).event_time_limits
TABLES = {table.name: table for table in load_gold_tables()}

on_both_engines = pytest.mark.parametrize("world", ["local", AWS], indirect=True)


def dearest(hour: Hour, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Different purchases at the highest price and quantity."""
    most = {"price": HIGHEST_PRICE, "quantity": HIGHEST_QUANTITY}
    return [purchase(hour, second, **(most | {"user_id": f"u_{second}"} | fields)) for second in range(count)]


def refresh(engine: Engine, tables: Sequence[GoldTable], *hours: Hour) -> None:
    """Refresh Gold tables of some hours."""
    for table in tables:
        engine.refresh_gold(table, hours, progress=lambda _: None)


def assert_proven(engine: Engine, tables: Sequence[GoldTable] = tuple(TABLES.values())) -> None:
    """Hold what is published to its checks, and to the independent recount."""
    for table in tables:
        days = [row["event_date"] for row in rows(engine, f"SELECT DISTINCT event_date FROM {table.table.full_name}")]
        assert [each for each in engine.reconcile(table, days) if each.gold != each.silver] == []
        assert engine.grain_faults(table, days) == []
    now = datetime.now(UTC)
    assert verification.verify(engine, tables, LIMITS, None, now, lambda *_: None).differences == []


@on_both_engines
def test_one_order_of_fifty_million_times_a_million_has_an_average(world: World) -> None:
    write_object(world.root, HOUR, 0, [purchase(price=50_000_000.00, quantity=1_000_000)])
    world.build([HOUR])
    world.assert_agrees_with_oracle()
    assert rows(world.engine, "SELECT total_revenue, avg_order_value FROM gold.hourly_revenue") == [
        {"total_revenue": Decimal("50000000000000.00"), "avg_order_value": Decimal("50000000000000.00")}
    ]
    assert_proven(world.engine)


@pytest.mark.parametrize("world", ["local", AWS, AWS_WITH_SPARK], indirect=True)
def test_hundreds_of_the_dearest_purchases_of_one_hour_and_of_several_days_add_up(world: World) -> None:
    hours = [HOUR, NEXT_HOUR, NEXT_DAY]
    for hour, count in zip(hours, (250, 120, 101), strict=True):
        write_object(world.root, hour, 0, [*dearest(hour, count), event(hour, 900), event(hour, 901, product_id="p_2")])
    late = dearest(HOUR, 130, product_id="p_late", category="toys", session_id="s_2")
    write_object(world.root, NEXT_DAY, 5, late)
    world.build(hours)
    world.assert_agrees_with_oracle()
    assert_proven(world.engine)
    revenue = world.engine.query(
        "SELECT event_date, event_hour, total_revenue, items_sold, avg_order_value FROM gold.hourly_revenue"
        " ORDER BY event_date, event_hour"
    )
    assert [tuple(row.values()) for row in revenue.to_pylist()] == [
        (DAY, 22, 380 * DEAREST, 380_000_000, DEAREST),
        (DAY, 23, 120 * DEAREST, 120_000_000, DEAREST),
        (date(2025, 12, 8), 0, 101 * DEAREST, 101_000_000, DEAREST),
    ]
    assert revenue.schema.field("total_revenue").type == pa.decimal128(38, 2)
    assert revenue.schema.field("avg_order_value").type == pa.decimal128(18, 2)
    by_category = world.engine.query("SELECT category, revenue FROM gold.category_performance ORDER BY 1, 2")
    assert by_category.schema.field("revenue").type == pa.decimal128(38, 2)
    assert [tuple(row.values()) for row in by_category.to_pylist()] == [
        ("books", 101 * DEAREST),
        ("books", 370 * DEAREST),
        ("toys", 130 * DEAREST),
    ]
    assert world.engine.silver_totals(DAY).revenue == 500 * DEAREST


MOST = (HIGHEST_PRICE, HIGHEST_QUANTITY)
AVERAGES: list[tuple[list[tuple[float, int]], str]] = [
    # Exactly half a cent is left over where a sum is odd in cents.
    ([MOST, (HIGHEST_PRICE, 1)], "50000049995000.00"),
    ([MOST, (HIGHEST_PRICE, 999_999)], "99999949990000.01"),
    ([MOST, (0.01, 1), (0, 1)], "33333333330000.00"),
    ([MOST, (0.02, 1), (0, 1)], "33333333330000.01"),
    ([MOST] * 99 + [(0.49, 1)], "98999999990100.00"),
    ([MOST] * 99 + [(0.50, 1)], "98999999990100.01"),
    ([MOST] * 99 + [(0.51, 1)], "98999999990100.01"),
    ([(0.01, 1), (0, 1)], "0.01"),
    ([(0, 1)], "0.00"),
]
"""Price and quantity of the purchases of one hour, and the average of their revenue."""


@on_both_engines
def test_averages_are_rounded_half_up_whatever_their_size(world: World) -> None:
    lines = [
        purchase(HOUR, -3600 * number + second, price=price, quantity=quantity)
        for number, (orders, _) in enumerate(AVERAGES)
        for second, (price, quantity) in enumerate(orders)
    ]
    write_object(world.root, HOUR, 0, lines)
    table = TABLES["hourly_revenue"]
    world.land()
    list(world.engine.build_silver([HOUR], progress=lambda _: None))
    world.engine.register_hours([HOUR])
    refresh(world.engine, [table], HOUR)
    found = rows(
        world.engine, "SELECT total_revenue, avg_order_value FROM gold.hourly_revenue ORDER BY event_hour DESC"
    )
    assert found == [
        {
            "total_revenue": sum((Decimal(str(price)) * quantity for price, quantity in orders), Decimal("0.00")),
            "avg_order_value": Decimal(average),
        }
        for orders, average in AVERAGES
    ]
    assert_proven(world.engine, [table])


@on_both_engines
def test_whole_division_is_exact_beyond_64_bits(world: World) -> None:
    divisions = [
        (10**38 - 1, 10**20 - 1, 10**18),
        (99_999_999_990_000 * 10**21, 10**20, 999_999_999_900_000),
        (-20_000_000_000_000_000_001, 20, -(10**18)),
        (9_007_199_254_740_993, 1, 9_007_199_254_740_993),
        (7, 2, 3),
        (-7, 2, -3),
    ]
    values = ", ".join(
        f"(CAST('{dividend}' AS HUGEINT), CAST('{divisor}' AS HUGEINT), {number})"
        for number, (dividend, divisor, _) in enumerate(divisions)
    )
    sql = f"SELECT a // b AS quotient FROM (VALUES {values}) AS x(a, b, number) ORDER BY number"
    assert rows(world.engine, sql) == [{"quotient": quotient} for _, _, quotient in divisions]


# -- an existing lake, whose sums older SQL made narrow


RETIRED_AT = datetime.now(UTC) + timedelta(days=9)
MONEY = {"hourly_revenue": ("total_revenue", "event_hour"), "category_performance": ("revenue", "category")}


def old_gold(folder: Path) -> Path:
    """The Gold tables that sum money, as they were when sums were decimal(18,2)."""
    folder.mkdir()
    for path in (GOLD_FOLDER / f"{name}.sql" for name in MONEY):
        text = path.read_text().replace("decimal(38,2)", "decimal(18,2)").replace("DECIMAL(38, 2)", "DECIMAL(18, 2)")
        (folder / path.name).write_text(text.replace("AS HUGEINT", "AS BIGINT"))
    return folder


def engines(world: World, settings: Settings, folder: Path) -> tuple[Engine, Engine]:
    """The engine of the version before, and of this one, over the same lake."""
    kind = LocalEngine if world.bucket is None else AwsEngine
    return kind(settings, folder), kind(settings)


@pytest.fixture
def upgraded(world: World, root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """A lake of three hours and two days made by old SQL, as both versions see it; new objects have landed since."""
    settings = load_settings(root=root, workers=1)
    if world.bucket is not None:
        settings = request.getfixturevalue("settings")
    settings = settings.model_copy(update={"silver_retention_days": (RETIRED_AT - NEXT_DAY.end) // timedelta(days=1)})
    folder = old_gold(tmp_path / "old")
    old, new = engines(world, settings, folder)
    for hour in (HOUR, NEXT_HOUR, NEXT_DAY):
        write_object(root, hour, 0, [event(hour), purchase(hour, 1, price=19.99), purchase(hour, 2, price=0.02)])
    world.land()
    list(old.build_silver([HOUR, NEXT_HOUR, NEXT_DAY], progress=lambda _: None))
    old.register_hours([HOUR, NEXT_HOUR, NEXT_DAY])
    refresh(old, load_gold_tables(folder), HOUR, NEXT_HOUR, NEXT_DAY)
    assert old.query("SELECT total_revenue FROM gold.hourly_revenue").schema.types == [pa.decimal128(18, 2)]
    return old, new


def money(engine: Engine, table: str) -> list[Decimal]:
    """The published sums of a table by day and grain; they have the wide type."""
    column, grain = MONEY[table]
    found = engine.query(f"SELECT {column} FROM gold.{table} ORDER BY event_date, {grain}")
    assert found.schema.types == [pa.decimal128(38, 2)]
    sums: list[Decimal] = found.column(column).to_pylist()
    return sums


@on_both_engines
def test_a_lake_of_narrow_sums_is_folded_again_into_wide_ones(world: World, upgraded: tuple[Engine, Engine]) -> None:
    _, new = upgraded
    for table, values in (("hourly_revenue", ["40.02"] * 3), ("category_performance", ["80.04", "40.02"])):
        # Before anything is folded again the old days are read as what they are.
        assert money(new, table) == [Decimal(value) for value in values]
        assert new.hours_behind(TABLES[table]) == [HOUR, NEXT_HOUR, NEXT_DAY]
        refresh(new, [TABLES[table]], HOUR, NEXT_HOUR, NEXT_DAY)
        assert new.hours_behind(TABLES[table]) == []
        assert money(new, table) == [Decimal(value) for value in values]
    assert_proven(new, [TABLES[name] for name in MONEY])


@on_both_engines
@pytest.mark.parametrize("first", [NEXT_HOUR, NEXT_DAY], ids=str)
def test_hours_upgraded_one_after_the_other_mix_with_narrow_partials_and_days(
    world: World, upgraded: tuple[Engine, Engine], first: Hour
) -> None:
    _, new = upgraded
    write_object(world.root, first, 5, dearest(first, 150))
    world.land()
    list(new.build_silver([first], progress=lambda _: None))
    new.register_hours([first])
    wide = [TABLES[name] for name in MONEY]
    refresh(new, wide, first)
    hourly = [Decimal("40.02") + (150 * DEAREST if hour == first else 0) for hour in (HOUR, NEXT_HOUR, NEXT_DAY)]
    assert money(new, "hourly_revenue") == hourly
    assert money(new, "category_performance") == [hourly[0] + hourly[1], hourly[2]]
    assert_proven(new, wide)


@on_both_engines
def test_narrow_partials_of_retired_hours_are_folded_with_wide_ones(
    world: World, upgraded: tuple[Engine, Engine]
) -> None:
    old, new = upgraded
    # One of the two hours of the first day, and the only one of the second.
    retired = [each for each in old.leftovers(RETIRED_AT) if each.place in (str(HOUR), str(NEXT_DAY))]
    assert [each.kind for each in retired] == [LeftoverKind.RETIRED_HOUR] * 2
    for leftover in retired:
        old.remove(leftover)
    write_object(world.root, NEXT_HOUR, 5, dearest(NEXT_HOUR, 150))
    world.land()
    list(new.build_silver([NEXT_HOUR], progress=lambda _: None))
    new.register_hours([NEXT_HOUR])
    wide = [TABLES[name] for name in MONEY]
    refresh(new, wide, NEXT_HOUR)
    more = Decimal("40.02") + 150 * DEAREST
    assert money(new, "hourly_revenue") == [Decimal("40.02"), more, Decimal("40.02")]
    assert money(new, "category_performance") == [Decimal("40.02") + more, Decimal("40.02")]
    assert_proven(new, wide)
    situations = hour_situations(new, wide, LIMITS.rules_version, datetime.now(UTC))
    assert {hour: each.state for hour, each in situations.items()} == {
        HOUR: HourState.RETIRED,
        NEXT_HOUR: HourState.READY,
        NEXT_DAY: HourState.RETIRED,
    }


def test_a_gold_table_of_the_catalog_gets_the_wider_type_and_keeps_all_else(
    aws: EmulatedAws, settings: Settings, tmp_path: Path
) -> None:
    table = TABLES["hourly_revenue"]
    (narrow,) = (each for each in load_gold_tables(old_gold(tmp_path / "old")) if each.name == table.name)
    AwsEngine(settings)._catalog.ensure(narrow.table)
    glue = aws.client("glue")
    before = glue.get_table(DatabaseName="gold", Name=table.name)["Table"]
    given = {name: before[name] for name in ("Name", "StorageDescriptor", "PartitionKeys", "TableType")}
    glue.update_table(
        DatabaseName="gold",
        TableInput={**given, "Description": "of finance", "Parameters": {**before["Parameters"], "owner": "finance"}},
    )
    assert doctor_of(settings, table) == (
        Level.OK,
        "gold.hourly_revenue: its next refresh gives it the columns and types of this version",
    )
    AwsEngine(settings)._catalog.ensure(table.table)
    assert doctor_of(settings, table) == (Level.OK, "gold.hourly_revenue: 5 columns as in the contract")
    after = glue.get_table(DatabaseName="gold", Name=table.name)["Table"]
    types = {each["Name"]: each["Type"] for each in after["StorageDescriptor"]["Columns"]}
    assert types == {column.name: column.type for column in table.columns}
    assert after["Description"] == "of finance"
    assert after["Parameters"]["owner"] == "finance"
    assert after["PartitionKeys"] == before["PartitionKeys"]
    assert after["StorageDescriptor"]["Location"] == before["StorageDescriptor"]["Location"]


def doctor_of(settings: Settings, table: GoldTable) -> tuple[Level, str]:
    """What the doctor finds about a Gold table."""
    finding = dict(account_checks(settings, [table]))[f"table {table.table.full_name}"]()
    return finding.level, finding.found


def test_a_gold_table_of_another_scale_is_not_widened(aws: EmulatedAws, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "hourly_revenue.sql"
    text = (GOLD_FOLDER / path.name).read_text()
    path.write_text(text.replace("total_revenue     decimal(38,2)", "total_revenue     decimal(18,4)"))
    AwsEngine(settings)._catalog.ensure(load_gold_table(path).table)
    with pytest.raises(StorageError, match=r"column total_revenue is decimal\(18,4\), not decimal\(38,2\)"):
        AwsEngine(settings)._catalog.ensure(TABLES["hourly_revenue"].table)
    level, found = doctor_of(settings, TABLES["hourly_revenue"])
    assert (level, "total_revenue is decimal(18,4)" in found) == (Level.FAIL, True)


@on_both_engines
def test_a_day_that_was_frozen_by_its_sums_goes_on(world: World, upgraded: tuple[Engine, Engine]) -> None:
    old, new = upgraded
    write_object(world.root, NEXT_HOUR, 5, dearest(NEXT_HOUR, 101))
    world.land()
    list(old.build_silver([NEXT_HOUR], progress=lambda _: None))
    old.register_hours([NEXT_HOUR])
    narrow = load_gold_tables(old_gold(world.root.parent / "older"))
    for table in narrow:
        with pytest.raises((PipelineError, duckdb.Error), match="out of range|18"):
            refresh(old, [table], NEXT_HOUR)
    for name in MONEY:
        assert NEXT_HOUR in new.hours_behind(TABLES[name])
        refresh(new, [TABLES[name]], NEXT_HOUR)
    assert money(new, "hourly_revenue") == [Decimal("40.02"), Decimal("40.02") + 101 * DEAREST, Decimal("40.02")]
    assert_proven(new, [TABLES[name] for name in MONEY])


def test_repair_registers_a_narrow_day_in_a_wide_table(
    aws: EmulatedAws, settings: Settings, root: Path, tmp_path: Path
) -> None:
    world = World(AwsEngine(settings, folder := old_gold(tmp_path / "old")), root, (aws, settings.raw_bucket))
    write_object(root, HOUR, 0, [purchase(price=19.99)])
    world.land()
    list(world.engine.build_silver([HOUR], progress=lambda _: None))
    world.engine.register_hours([HOUR])
    refresh(world.engine, load_gold_tables(folder), HOUR)
    aws.client("glue").delete_table(DatabaseName="gold", Name="hourly_revenue")
    new = AwsEngine(settings)
    new.repair()
    assert money(new, "hourly_revenue") == [Decimal("39.98")]
