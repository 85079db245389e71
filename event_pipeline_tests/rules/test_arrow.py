"""Silver rows and control totals: every cent and every millisecond, up to the largest there can be."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.arrow import (
    EVENTS_SCHEMA,
    QUARANTINE_SCHEMA,
    SILVER_SCHEMA,
    arrow_type,
    day_totals,
    silver_rows,
)
from event_pipeline.rules.contract import (
    EVENT_TYPES,
    HOUR_TABLES,
    SILVER_EVENTS,
    SILVER_QUARANTINE,
)

MAX_PRICE_CENTS = 9_999_999_999
MAX_QUANTITY = 1_000_000
KEY = "events/year=2025/month=12/day=07/hour=22/minute=00/events-20251207-220000.jsonl.gz"
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00")
NOON = datetime.fromisoformat("2025-12-07T12:00:00")


def event(event_type: str = "purchase", instant: datetime = NOON, **fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = dict.fromkeys(EVENTS_SCHEMA.names)
    plain |= {"timestamp": instant, "user_id": "u_1", "session_id": "s_1", "event_type": event_type, "line_number": 1}
    if event_type == "search":
        plain |= {"search_query": "shoes"}
    else:
        plain |= {"product_id": "p_1", "category": "toys"}
        if event_type != "page_view":
            plain |= {"quantity": 1, "price": 100}
    return plain | fields


def table(*events: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(events), EVENTS_SCHEMA)


def test_schemas_are_those_of_the_contract() -> None:
    assert SILVER_SCHEMA.names == [column.name for column in SILVER_EVENTS.columns]
    assert QUARANTINE_SCHEMA.names == [column.name for column in SILVER_QUARANTINE.columns]
    assert SILVER_SCHEMA.field("event_ts").type == pa.timestamp("ms")
    assert SILVER_SCHEMA.field("revenue").type == pa.decimal128(18, 2)
    assert QUARANTINE_SCHEMA.field("line_number").type == pa.int64()


def test_every_type_of_the_contract_has_an_arrow_form() -> None:
    for each in HOUR_TABLES:
        for column in (*each.columns, *each.partition_columns):
            assert isinstance(arrow_type(column.type), pa.DataType)
    assert arrow_type("map<string,bigint>") == pa.map_(pa.string(), pa.int64())


@pytest.mark.parametrize("glue_type", ["", "varchar", "decimal", "decimal(10)", "INT", "timestamp ", "map<int,int>"])
def test_an_unknown_type_is_refused_with_the_known_ones(glue_type: str) -> None:
    with pytest.raises(ValueError, match=r"is not a type of the contract: string, int, .* or decimal\(p,s\)"):
        arrow_type(glue_type)


def test_a_purchase_becomes_a_silver_row() -> None:
    bought = event(instant=datetime.fromisoformat("2025-12-07T22:15:30.123999"), quantity=3, price=2999, line_number=7)
    assert silver_rows(table(bought), KEY).to_pylist() == [
        {
            "event_ts": datetime.fromisoformat("2025-12-07T22:15:30.123"),
            "event_date": date.fromisoformat("2025-12-07"),
            "event_hour": 22,
            "user_id": "u_1",
            "session_id": "s_1",
            "event_type": "purchase",
            "product_id": "p_1",
            "category": "toys",
            "quantity": 3,
            "price": Decimal("29.99"),
            "revenue": Decimal("89.97"),
            "search_query": None,
            "rescued": None,
            "source_object": KEY,
        }
    ]


@pytest.mark.parametrize("event_type", [each.name for each in EVENT_TYPES if each.name != "purchase"])
def test_only_purchases_have_revenue(event_type: str) -> None:
    (row,) = silver_rows(table(event(event_type)), KEY).to_pylist()
    assert row["revenue"] is None
    assert row["price"] == (Decimal("1.00") if "cart" in event_type else None)


@pytest.mark.parametrize(
    ("instant", "truncated", "day"),
    [
        ("2025-12-07T00:59:59.999600", "2025-12-07T00:59:59.999", "2025-12-07"),
        ("2025-12-07T23:59:59.999999", "2025-12-07T23:59:59.999", "2025-12-07"),
        ("2025-12-08T00:00:00.000999", "2025-12-08T00:00:00.000", "2025-12-08"),
        ("1970-01-01T00:00:00.000001", "1970-01-01T00:00:00.000", "1970-01-01"),
        ("1969-12-31T23:59:59.999999", "1969-12-31T23:59:59.999", "1969-12-31"),
        ("1969-12-31T00:00:00.000000", "1969-12-31T00:00:00.000", "1969-12-31"),
        ("1969-12-30T23:59:59.999001", "1969-12-30T23:59:59.999", "1969-12-30"),
        ("0001-01-01T00:00:00.000001", "0001-01-01T00:00:00.000", "0001-01-01"),
        ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999", "9999-12-31"),
    ],
)
def test_instants_are_truncated_toward_the_past_and_stay_in_their_day(instant: str, truncated: str, day: str) -> None:
    events = table(event(instant=datetime.fromisoformat(instant)))
    (row,) = silver_rows(events, KEY).to_pylist()
    assert (row["event_ts"], row["event_date"]) == (datetime.fromisoformat(truncated), date.fromisoformat(day))
    assert list(day_totals(silver_rows(events, "k"))) == [day]


CENTS = st.integers(0, MAX_PRICE_CENTS)
QUANTITIES = st.integers(1, MAX_QUANTITY)


@given(st.lists(st.tuples(CENTS, QUANTITIES), min_size=1, max_size=20))
def test_money_is_exact_to_the_cent(sales: list[tuple[int, int]]) -> None:
    events = table(*(event(price=cents, quantity=quantity) for cents, quantity in sales))
    rows = silver_rows(events, KEY).to_pylist()
    assert [row["price"] for row in rows] == [Decimal(cents).scaleb(-2) for cents, _ in sales]
    revenue = [Decimal(cents * quantity).scaleb(-2) for cents, quantity in sales]
    assert [row["revenue"] for row in rows] == revenue
    assert day_totals(silver_rows(events, "k"))["2025-12-07"].revenue == sum(revenue)


def test_the_dearest_day_there_can_be_is_summed_exactly() -> None:
    dearest = table(event(price=MAX_PRICE_CENTS, quantity=MAX_QUANTITY))
    assert silver_rows(dearest, KEY).column("revenue").to_pylist() == [Decimal("99999999990000.00")]
    (totals,) = day_totals(silver_rows(dearest.take([0] * 100_000), "k")).values()
    # Ten thousand such purchases in cents are beyond 64 bits already.
    assert totals.revenue == Decimal("9999999999000000000.00")
    assert totals.items_sold == 100_000 * MAX_QUANTITY


def test_totals_count_every_type_on_its_own_day() -> None:
    chance = random.Random(4)
    events = []
    for _ in range(2_000):
        instant = NOON + timedelta(days=chance.randrange(-2, 2), microseconds=chance.randrange(86_400_000_000))
        kind = chance.choice(EVENT_TYPES).name
        sale = {"quantity": chance.randrange(1, 9), "price": chance.randrange(30_000)}
        events.append(event(kind, instant, **(sale if "cart" in kind or kind == "purchase" else {})))
    expected: dict[str, DayTotals] = {}
    for each in events:
        bought = each["event_type"] == "purchase"
        one = DayTotals(
            {each["event_type"]: 1},
            items_sold=each["quantity"] if bought else 0,
            revenue=Decimal(each["quantity"] * each["price"]).scaleb(-2) if bought else Decimal("0.00"),
        )
        day = each["timestamp"].date().isoformat()
        expected[day] = expected.get(day, DayTotals()) + one
    in_chunks = pa.concat_tables([table(*events[:700]), table(), table(*events[700:])])
    totals = day_totals(silver_rows(in_chunks, "k"))
    assert totals == expected
    assert list(totals) == sorted(totals)
    assert len(totals) == 5


def test_a_day_without_purchases_has_no_revenue() -> None:
    (totals,) = day_totals(silver_rows(table(event("search"), event("add_to_cart")), "k")).values()
    assert totals == DayTotals({"add_to_cart": 1, "search": 1})
    assert str(totals.revenue) == "0.00"


def test_no_events_give_no_rows_and_no_days() -> None:
    nothing = table()
    assert silver_rows(nothing, KEY).equals(SILVER_SCHEMA.empty_table())
    assert day_totals(silver_rows(nothing, "k")) == {}
    assert day_totals(silver_rows(EVENTS_SCHEMA.empty_table(), "k")) == {}


def test_a_slice_of_events_gives_the_rows_of_the_slice() -> None:
    events = table(*(event(price=cents, line_number=cents) for cents in range(100)))
    part = events.slice(37, 5)
    assert silver_rows(part, KEY).column("price").to_pylist() == [Decimal(cents).scaleb(-2) for cents in range(37, 42)]
    assert day_totals(silver_rows(part, "k"))["2025-12-07"].revenue == Decimal("1.95")
