"""Records that two landing hours share are found from samples: exactly in small hours, reliably in big ones."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from event_pipeline.rules.accounting import DayTotals, HourAccount, ObjectAccount
from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.contract import EVENT_FIELDS
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.resent import (
    MOST_SAMPLED,
    SentAgain,
    bounded,
    described,
    neighbours_sent_again,
    sent_again,
)
from event_pipeline.rules.sampler import Sampler

HOUR = Hour.parse("2025-12-07T22")
TYPES = ("page_view", "page_view", "page_view", "purchase", "search")
PRODUCTS = tuple(f"p_{number}" for number in range(1001, 1031))


def events(seed: int, count: int, instant: int | None = None) -> pa.Table:
    """Events as the original producer makes them; with an instant, all of them have that one."""
    rng = random.Random(seed)
    types = rng.choices(TYPES, k=count)
    columns = [
        [instant if instant is not None else seed * 300_000_000 + number * 400 for number in range(count)],
        [f"u_{number}" for number in rng.choices(range(10_000, 100_000), k=count)],
        [f"s_{number}" for number in rng.choices(range(10_000, 100_000), k=count)],
        types,
        [None if each == "search" else rng.choice(PRODUCTS) for each in types],
        [None if each == "search" else "books" for each in types],
        [rng.randint(1, 5) if each == "purchase" else None for each in types],
        [rng.randint(999, 29_999) if each == "purchase" else None for each in types],
        ["shoes" if each == "search" else None for each in types],
        [None] * count,
        list(range(1, count + 1)),
    ]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, EVENTS_SCHEMA.types, strict=True)]
    return pa.table(arrays, schema=EVENTS_SCHEMA)


def sample(pieces: Iterable[pa.Table]) -> str:
    sampler = Sampler()
    for piece in pieces:
        sampler.add(piece)
    return sampler.finish()


def hour_of(objects: Sequence[pa.Table], name: str = "o") -> HourAccount:
    """The account of an hour of such objects; in-hour duplicates are counted as the engines count them."""
    seen: set[tuple[object, ...]] = set()
    accounts = []
    for number, table in enumerate(objects):
        rows = list(zip(*(table.column(field).to_pylist() for field in EVENT_FIELDS), strict=True))
        fresh = len(set(rows) - seen)
        seen.update(rows)
        accounts.append(
            ObjectAccount(f"{name}{number:02}", "e", 1, len(rows), fresh, len(rows) - fresh, sample=sample([table]))
        )
    # All of them are said to be of one day: which day it is does not matter here.
    return HourAccount(bounded(accounts), {"2025-12-07": DayTotals({"page_view": len(seen)})})


def revenue_of(table: pa.Table) -> Decimal:
    sold = zip(table["event_type"].to_pylist(), table["price"].to_pylist(), table["quantity"].to_pylist(), strict=True)
    return Decimal(sum(cents * number for kind, cents, number in sold if kind == "purchase")).scaleb(-2)


# -- the sample


def plain_order(row: dict[str, Any]) -> int:
    """The order of a record, calculated by hand."""
    mask = (1 << 64) - 1

    def last_bytes(text: str) -> int:
        encoded, number = text.encode(), 0
        for back in (1, 2, 3):
            number = number << 8 | encoded[max(len(encoded) - back, 0)]
        return number

    mixed = int(row["timestamp"]) * 0x9E3779B97F4A7C15 + int(row["price"] or 0) * 0xC2B2AE3D27D4EB4F
    mixed += last_bytes(str(row["user_id"])) * 0x165667B19E3779F9
    mixed += last_bytes(str(row["session_id"])) * 0xD6E8FEB86659FD93
    mixed &= mask
    for shift in (32, 29):
        mixed = (mixed ^ mixed >> shift) * 0xBF58476D1CE4E5B9 & mask
    return int(mixed >> 32)


def plain_entries(table: pa.Table) -> list[int]:
    """Order and digest of every record, calculated by hand, in order."""
    columns = [table.column("timestamp").cast(pa.int64()).to_pylist()]
    columns += [table.column(name).to_pylist() for name in EVENT_FIELDS[1:]]
    entries = []
    for row in zip(*columns, strict=True):
        order = plain_order(dict(zip(EVENT_FIELDS, row, strict=True)))
        digest = hashlib.blake2b(repr(row).encode(), digest_size=4).digest()
        entries.append(order << 32 | int.from_bytes(digest, "big"))
    return sorted(set(entries))


def entries_of(text: str) -> list[int]:
    from base64 import b64decode

    packed = b64decode(text.split(" ")[2])
    return [int.from_bytes(packed[start : start + 8], "little") for start in range(0, len(packed), 8)]


def short_ids() -> pa.Table:
    """Events whose ids have one to four characters, and one before 1970."""
    table = events(1, 300)
    ids = ["a", "b", "ab", "abc", "abcd", "xabcd"]
    table = table.set_column(1, EVENTS_SCHEMA.field(1), pa.array([ids[n % 6] for n in range(300)]))
    table = table.set_column(2, EVENTS_SCHEMA.field(2), pa.array([ids[n % 5] for n in range(300)]))
    return table.set_column(0, EVENTS_SCHEMA.field(0), pa.array([n - 100 for n in range(300)], pa.timestamp("us")))


@pytest.mark.parametrize("table", [events(3, 500), short_ids(), events(3, 500).slice(100, 77), events(1, 0)])
def test_a_small_object_is_sampled_whole_and_as_calculated_by_hand(table: pa.Table) -> None:
    text = sample([table])
    assert text.split(" ")[0] == "100000000"
    assert entries_of(text) == plain_entries(table)


def test_a_big_object_is_sampled_by_the_lowest_orders_however_it_is_cut() -> None:
    table = events(5, 100_000)
    whole = sample([table])
    lowest = plain_entries(table)[: MOST_SAMPLED + 1]
    bound = lowest[-1] >> 32
    assert int(whole.split(" ")[0], 16) == bound
    assert entries_of(whole) == [each for each in lowest if each >> 32 < bound]
    rng = random.Random(1)
    for size in (1_000, 4_640, 70_000):
        pieces = [table.slice(start, size) for start in range(0, table.num_rows, size)]
        assert sample(pieces) == whole
        rng.shuffle(pieces)
        assert sample(pieces) == whole


def test_records_that_are_equal_are_sampled_once() -> None:
    table = events(6, 3_000)
    assert entries_of(sample([table] * 40)) == plain_entries(table)


def test_the_sample_of_an_hour_is_bounded_whatever_its_objects() -> None:
    hour = hour_of([events(seed, 9_000) for seed in range(12)])
    texts = [each.sample or "" for each in hour.objects]
    bounds = {text.split(" ")[0] for text in texts}
    sampled = sum(len(entries_of(text)) for text in texts)
    assert len(bounds) == 1
    assert MOST_SAMPLED - 20 <= sampled <= MOST_SAMPLED
    assert sum(map(len, texts)) < 50_000


def test_records_of_two_objects_are_sampled_for_the_first_of_them() -> None:
    table = events(7, 50)
    hour = hour_of([table, table])
    assert [len(entries_of(each.sample or "")) for each in hour.objects] == [50, 0]


# -- what two hours share


def test_a_resent_object_of_a_small_hour_is_counted_and_summed_exactly() -> None:
    resent = events(1, 100)
    here = hour_of([events(11, 100), resent], "late")
    found = sent_again(here, hour_of([events(0, 100), resent, events(2, 100)]))
    assert found == SentAgain(100, revenue_of(resent), True, {"late01": "o01"})
    assert str(found) == f"100 records, revenue {revenue_of(resent):,.2f} USD (late01 like o01)"


def test_a_part_of_an_object_is_counted_exactly_in_a_small_hour() -> None:
    whole = events(1, 100)
    part = pa.concat_tables([whole.slice(20, 30), events(12, 40)])
    found = sent_again(hour_of([part]), hour_of([events(0, 100), whole]))
    assert found == SentAgain(30, revenue_of(whole.slice(20, 30)), True, {"o00": "o01"})


def test_a_resent_object_that_is_a_duplicate_in_its_own_hour_counts_once() -> None:
    resent = events(1, 100)
    found = sent_again(hour_of([resent, resent]), hour_of([resent, events(2, 50), resent]))
    assert found == SentAgain(100, revenue_of(resent), True, {"o00": "o00"})


@pytest.mark.parametrize("one_instant", [pytest.param(False, marks=pytest.mark.long), True])
def test_one_of_twelve_objects_of_a_big_hour_is_found(one_instant: bool) -> None:
    def made(seed: int) -> pa.Table:
        return events(seed, 15_000, seed * 300_000_000 if one_instant else None)

    first = [made(seed) for seed in range(12)]
    second = [*(made(seed) for seed in range(12, 24)), first[4]]
    here, there = hour_of(second, "late"), hour_of(first)
    found = sent_again(here, there)
    assert found is not None
    assert not found.is_exact
    rows = here.objects[12].silver_rows
    assert found.records == rows  # all that is sampled of the object is shared, so all of it is
    assert found.revenue == pytest.approx(revenue_of(first[4]), rel=Decimal("0.001"))
    assert found.objects == {"late12": "o04"}
    assert str(found).startswith(f"about {rows:,} records, revenue about ")
    assert sent_again(there, here) is not None
    assert sent_again(hour_of(second[:12], "late"), there) is None


@pytest.mark.long
def test_a_tenth_of_an_object_and_a_whole_hour_are_found() -> None:
    first = [events(seed, 15_000) for seed in range(12)]
    second = [events(seed, 15_000) for seed in range(12, 24)]
    second[3] = pa.concat_tables([second[3], first[2].slice(7_000, 1_500)])
    part = sent_again(hour_of(second), hour_of(first))
    assert part is not None
    assert part.records == pytest.approx(1_500, rel=0.5)
    assert list(part.objects.items()) == [("o03", "o02")]

    whole = sent_again(hour_of([*first, *second]), hour_of(first))
    assert whole is not None
    assert whole.records == 180_000
    assert len(whole.objects) == 12


@pytest.mark.long
def test_hours_of_the_same_instants_and_ids_that_share_nothing_raise_nothing() -> None:
    """300,000 events of one instant, from 90,000 users, sessions and 30 products: no two hours look more alike."""
    first = [events(seed, 25_000, 1) for seed in range(12)]
    second = [events(seed, 25_000, 1) for seed in range(100, 112)]
    assert sent_again(hour_of(first), hour_of(second)) is None


def test_few_equal_records_of_a_big_hour_are_below_the_threshold() -> None:
    first = [events(seed, 10_000) for seed in range(3)]
    second = [events(seed, 10_000) for seed in range(20, 23)]
    second[0] = pa.concat_tables([second[0], first[0].slice(0, 8)])
    assert sent_again(hour_of(second), hour_of(first)) is None


def test_hours_without_samples_and_damaged_ones_are_not_compared() -> None:
    table = events(1, 50)
    hour = hour_of([table])
    (only,) = hour.objects
    for other in (None, "", "x", "100000000 0 !!! ", "100000000 0 AAA= "):
        assert sent_again(hour, HourAccount((replace(only, sample=other),), hour.days)) is None
    unreadable = ObjectAccount("u", "e", 1, unreadable="not_gzip")
    assert sent_again(HourAccount(bounded((only, unreadable)), hour.days), hour) is not None
    assert [each.sample for each in bounded((only, replace(only, key="old", sample=None)))] == [None, None]


def test_neighbours_are_the_hours_of_seven_days_before_and_after() -> None:
    account = hour_of([events(1, 50)])
    accounts = {HOUR.plus(distance): account for distance in (-169, -168, -1, 0, 2, 168, 169)}
    assert list(neighbours_sent_again(HOUR, accounts)) == [HOUR.plus(each) for each in (-168, -1, 2, 168)]
    assert neighbours_sent_again(HOUR.plus(1), accounts) == {}


def test_many_hours_that_hold_the_same_are_named_by_three_of_them() -> None:
    shared = SentAgain(5, Decimal("1.00"), True, {"a": "b"})
    most = SentAgain(9, Decimal("2.00"), False, {f"o{n}": "b" for n in range(5)})
    found = {HOUR.plus(number): shared for number in range(20)} | {HOUR.plus(30): most}
    assert described(found) == (
        "2025-12-09T04 holds about 9 records, revenue about 2.00 USD (o0 like b, o1 like b, o2 like b and 2 more "
        "objects) as well; 2025-12-07T22 holds 5 records, revenue 1.00 USD (a like b) as well; 2025-12-07T23 holds 5 "
        "records, revenue 1.00 USD (a like b) as well; and 18 more hours"
    )
    assert described({}) == ""


def test_hours_with_too_few_events_of_the_same_days_are_not_compared() -> None:
    hour = hour_of([events(1, 2_000)])
    for shared, is_found in ((0, False), (1, False), (2, True)):
        days = {"2025-12-06": DayTotals({"page_view": 2_000}), "2025-12-07": DayTotals({"page_view": shared})}
        other = HourAccount(hour.objects, days)
        assert (sent_again(hour, other) is not None) == is_found
