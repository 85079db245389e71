"""One answer for a range of days, on every engine: what the oracle computes if the range were one long day."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.names import gold_table, partial_table
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable, hour_values_of, load_gold_tables
from event_pipeline_tests import oracle
from event_pipeline_tests.engines.aws.conftest import AWS, AWS_BY_HOST, AWS_WITH_TWO_TABLES, MEMORY, everywhere
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, event, purchase, write_object

FIRST, DAYS = date(2025, 12, 4), 4
TABLES = {table.name: table for table in load_gold_tables()}


def answered(world: World, table: GoldTable, first: date, last: date) -> list[dict[str, Any]]:
    """Return the rows of a range."""
    with world.engine.answer(table, first, last) as answer:
        found: list[dict[str, Any]] = answer.rows.read_all().to_pylist()
    return found


def expected(silver: Sequence[oracle.Row], name: str, first: date, last: date) -> list[dict[str, Any]]:
    """Return what the oracle computes when every event of the range is on the same day."""
    one_day = [row | {"event_date": FIRST} for row in silver if first <= row["event_date"] <= last]
    return [{key: row[key] for key in row if key != "event_date"} for row in oracle.GOLD_TABLES[name](one_day)]


def write_days(world: World, seed: int) -> list[Hour]:
    """Write days on which users and products come back, with late events, and return their hours."""
    chance = random.Random(seed)
    hours = [Hour.parse(f"{FIRST + timedelta(days=day)}T{chance.randrange(24):02}") for day in range(DAYS)]
    for hour in hours:
        # A product viewed a little each day: never among a day's first, but among those of all days.
        steady = [event(hour, second, product_id="z_steady", category="books") for second in range(2)]
        write_object(world.root, hour, 0, [*steady, *_events(chance, hour)])
    return hours


def _events(chance: random.Random, hour: Hour) -> Iterator[dict[str, Any]]:
    for number in range(150):
        late = chance.randrange(3 * 86_400) if chance.random() < 0.2 else 0
        fields = {
            "user_id": f"u_{chance.randrange(30)}",
            "session_id": f"s_{chance.randrange(60)}",
            "product_id": f"p_{hour.start.day}_{chance.randrange(130)}",
            "category": chance.choice(["books", "toys"]),
        }
        second = 10 + number - late
        if chance.random() < 0.2:
            yield purchase(hour, second, quantity=chance.randint(1, 9), price=chance.randint(1, 9_999) / 100, **fields)
        elif chance.random() < 0.1:
            yield event(hour, second, event_type="search", search_query="x", user_id=fields["user_id"])
        else:
            yield event(hour, second, **fields)


slow_accounts = [pytest.param(each, marks=pytest.mark.long) for each in (AWS, AWS_BY_HOST)]


@pytest.mark.parametrize("world", ["local", MEMORY, *slow_accounts], indirect=True)
def test_ranges_of_every_table_are_what_the_oracle_computes(world: World) -> None:
    world.build(write_days(world, seed=1))
    silver = world.assert_agrees_with_oracle().silver
    for first, last in [(FIRST, FIRST + timedelta(days=2)), (date.min, date.max)]:
        for name, table in TABLES.items():
            assert answered(world, table, first, last) == expected(silver, name, first, last), (name, first, last)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("world", ["local"], indirect=True)
def test_all_ranges_of_other_days_are_what_the_oracle_computes(world: World, seed: int) -> None:
    world.build(write_days(world, seed))
    silver = world.assert_agrees_with_oracle().silver
    days = sorted({row["event_date"] for row in silver})
    for first in days:
        for last in days[days.index(first) :]:
            for name, table in TABLES.items():
                assert answered(world, table, first, last) == expected(silver, name, first, last), (name, first, last)


@pytest.mark.parametrize("world", ["local"], indirect=True)
def test_rows_of_days_do_not_add_up_to_what_a_range_answers(world: World) -> None:
    hours = [Hour.parse(f"{FIRST + timedelta(days=day)}T10") for day in range(2)]
    for hour in hours:
        # 100 products are viewed more often than the steady one, but others on each day.
        names = [(f"p_{hour.start.day}_{number:03}", 3) for number in range(100)] + [("z_steady", 2)]
        views = [(name, view) for name, count in names for view in range(count)]
        lines = [event(hour, second, product_id=name) for second, (name, _) in enumerate(views)]
        write_object(world.root, hour, 0, lines)
    world.build(hours)
    first, last = FIRST, FIRST + timedelta(days=1)
    assert world.engine.query("FROM gold.top_products WHERE product_id = 'z_steady'").num_rows == 0
    best = answered(world, TABLES["top_products"], first, last)[0]
    assert (best["product_id"], best["view_count"]) == ("z_steady", 4)
    (activity,) = answered(world, TABLES["user_activity"], first, last)
    summed = world.engine.query("SELECT sum(unique_users) AS users FROM gold.user_activity").to_pylist()
    assert (activity["unique_users"], int(summed[0]["users"])) == (1, 2)


@everywhere
def test_a_range_has_only_published_days_and_says_which(world: World) -> None:
    write_object(world.root, HOUR, 0, [event(), purchase(second=-86_400)])
    world.build([HOUR])
    day, table = HOUR.start.date(), TABLES["user_activity"]
    with world.engine.answer(table, day - timedelta(days=5), day) as answer:
        assert answer.range.days == (day - timedelta(days=1), day)
        assert answer.range.hours == (HOUR,)
        assert answer.rows.read_all().num_rows == 1
    silver = world.assert_agrees_with_oracle().silver
    for each in world.tables:
        assert answered(world, each, date.min, day) == expected(silver, each.name, date.min, day)
    with world.engine.answer(table, day + timedelta(days=1), day + timedelta(days=9)) as answer:
        assert answer.range.days == ()
        assert answer.rows.schema.names == [column.name for column in table.columns]
        assert answer.rows.read_all().num_rows == 0
    # What is not published, because its day is past its retention, is not brought back.
    assert isinstance(world.engine, PortEngine)
    world.engine._catalog.change((), {(gold_table(table.name), f"event_date={day}")})
    assert answered(world, table, day - timedelta(days=5), day)[0]["total_events"] == 1


@pytest.mark.parametrize("world", ["local", MEMORY], indirect=True)
def test_a_range_without_one_of_its_partials_is_refused(world: World) -> None:
    for hour in (HOUR, HOUR.plus(1)):
        write_object(world.root, hour, 0, [event(hour)])
    world.build([HOUR, HOUR.plus(1)])
    table, day = TABLES["user_activity"], HOUR.start.date()
    assert isinstance(world.engine, PortEngine)
    world.engine._catalog.change((), {(partial_table(table.name), HOUR.hive_path)})
    with pytest.raises(StorageError, match=r"hour=22: the catalog lost the partial of gold.user_activity.*repair"):
        answered(world, table, day, day)


def test_the_hours_of_three_years_fit_into_one_statement() -> None:
    days = HourRange(Hour.parse("2023-01-01T00"), Hour.parse("2026-01-01T00"))
    assert len(hour_values_of(days)) < 20_000
    gaps = [hour for hour in days if hour.start.day % 7 or hour.start.hour % 2]
    assert len(hour_values_of(gaps)) < 40_000


@pytest.mark.parametrize("world", [AWS_WITH_TWO_TABLES], indirect=True)
def test_a_range_on_athena_is_one_query_over_partials_alone(world: World) -> None:
    write_object(world.root, HOUR, 0, [event(), purchase(second=1)])
    world.build([HOUR])
    assert isinstance(world.engine, AwsEngine)
    assert world.bucket is not None
    requests = world.bucket[0].requests
    requests.clear()
    answered(world, TABLES["hourly_revenue"], HOUR.start.date(), HOUR.start.date())
    (started,) = requests.of("athena.StartQueryExecution")
    assert "partials" in str(started)
    assert "silver_events" not in str(started)
