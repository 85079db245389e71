"""The oracle is trusted because these numbers were worked out by hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from event_pipeline_tests import oracle
from event_pipeline_tests.hostile import HOSTILE_LINES, LANDING_HOUR, SILVER, HostileLine

DECEMBER_7 = date(2025, 12, 7)
DECEMBER_8 = date(2025, 12, 8)
HOUR_23 = "events/year=2025/month=12/day=07/hour=23"
HOUR_00 = "events/year=2025/month=12/day=08/hour=00"


def gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def event(time: str, user: str, session: str, event_type: str, **fields: Any) -> bytes:
    named = {"timestamp": time, "user_id": user, "session_id": session, "event_type": event_type}
    return json.dumps(named | fields).encode()


def product(product_id: str, category: str, quantity: Any = None, price: Any = None) -> dict[str, Any]:
    return {"product_id": product_id, "category": category, "quantity": quantity, "price": price}


def write_raw(root: Path, objects: Mapping[str, bytes]) -> Path:
    for key, stored in objects.items():
        path = root / "raw" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored)
    return root


FIRST = event("2025-12-07T23:00:01+00:00", "u_1", "s_1", "page_view", **product("p_1", "books"))
A_PURCHASE = event("2025-12-07T23:00:03Z", "u_1", "s_1", "purchase", **product("p_1", "books", 2, 10.0))
FIRST_SPELLED_OTHERWISE = (
    b'{"referrer": "mail", "category": " BOOKS", "product_id": "p_1", "event_type": "Page_View", "price": 7,'
    b' "session_id": "s_1", "user_id": "u_1", "timestamp": "2025-12-08T00:00:01.0000009+0100"}'
)
LAST_OF_A_DAY = event("2025-12-07T23:59:59.9996Z", "u_1", "s_1", "page_view", **product("p_1", "books"))
NO_CENTS = event("2025-12-07T23:05:02Z", "u_3", "s_3", "purchase", **product("p_1", "toys", 1, 0.051))
TOO_EARLY = event("2025-11-30T23:59:59.999999Z", "u_4", "s_4", "search", search_query="x")
WHOLE = gz(FIRST + b"\n" + A_PURCHASE)

WORKED_OBJECTS = {
    f"{HOUR_23}/minute=00/events-20251207-230000.jsonl.gz": gz(
        b"\n".join(
            [
                FIRST,
                event("2025-12-07T23:00:02Z", "u_1", "s_1", "add_to_cart", **product("p_1", "books", 2, 10)),
                A_PURCHASE,
                event("2025-12-07T22:59:59Z", "u_2", "s_2", "page_view", **product("p_2", "toys")),
                b" \t\r",
                b"  {broken \xff\r",
                event("2025-12-07T23:00:05Z", "u_2", "s_2", "search", search_query=" Red "),
                FIRST_SPELLED_OTHERWISE,
            ]
        )
    ),
    f"{HOUR_23}/minute=05/events-20251207-230500.jsonl.gz": gz(
        b"\xef\xbb\xbf"
        + event("2025-12-07T23:04:59.0009Z", "u_3", "s_3", "purchase", **product("p_1", "toys", "1", "0.05"))
        + b"\r\n"
        + A_PURCHASE
        + b"\r\n"
        + NO_CENTS
        + b"\r\n"
    )
    + gz(event("2025-12-08T00:00:00.0004Z", "u_1", "s_9", "page_view", **product("p_1", "books")) + b"\n"),
    f"{HOUR_23}/minute=10/events-20251207-231000.jsonl.gz": b"",
    f"{HOUR_23}/minute=15/events-20251207-231500.jsonl.gz": FIRST,
    f"{HOUR_23}/minute=20/events-20251207-232000.jsonl.gz": WHOLE[:-1],
    f"{HOUR_23}/minute=25/events-20251207-232500.jsonl.gz": WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:],
    f"{HOUR_23}/minute=30/notes.txt": b"not an event",
    f"{HOUR_00}/minute=00/events-20251208-000000.jsonl.gz": gz(
        b"\n".join(
            [
                LAST_OF_A_DAY,
                FIRST,
                event("2025-12-08T00:10:00Z", "u_4", "s_4", "remove_from_cart", **product("p_3", "home", 1, 5)),
                TOO_EARLY,
                event("2025-12-08T00:11:00Z", 12345, "s_4", "page_view", **product("p_3", "home")),  # type: ignore[arg-type]
            ]
        )
    ),
}


@pytest.fixture
def worked(tmp_path: Path) -> oracle.Expected:
    return oracle.read_root(write_raw(tmp_path, WORKED_OBJECTS))


def test_every_record_of_the_worked_hours_is_accounted_for(worked: oracle.Expected) -> None:
    assert list(worked.hours) == ["2025-12-07T23", "2025-12-08T00"]
    hour_23, hour_00 = worked.hours.values()
    assert (hour_23.objects, hour_23.records, hour_23.silver_rows, hour_23.duplicates) == (6, 11, 7, 2)
    assert hour_23.quarantined == {"not_json": 1, "invalid_price": 1}
    assert hour_23.unknown_fields == {"referrer": 1}
    assert hour_23.raw_bytes == sum(len(WORKED_OBJECTS[key]) for key in list(WORKED_OBJECTS)[:6])
    assert (hour_00.objects, hour_00.records, hour_00.silver_rows, hour_00.duplicates) == (1, 5, 4, 0)
    assert hour_00.quarantined == {"timestamp_out_of_range": 1}
    assert hour_00.unreadable == {}


def test_unreadable_objects_and_stray_keys_are_named(worked: oracle.Expected) -> None:
    assert worked.hours["2025-12-07T23"].unreadable == {
        f"{HOUR_23}/minute=10/events-20251207-231000.jsonl.gz": "zero_bytes",
        f"{HOUR_23}/minute=15/events-20251207-231500.jsonl.gz": "not_gzip",
        f"{HOUR_23}/minute=20/events-20251207-232000.jsonl.gz": "truncated_gzip",
        f"{HOUR_23}/minute=25/events-20251207-232500.jsonl.gz": "corrupt_gzip",
    }
    assert worked.unmatched_keys == [f"{HOUR_23}/minute=30/notes.txt"]


def test_quarantine_rows_show_the_line_and_where_it_stood(worked: oracle.Expected) -> None:
    hour_23 = {"year": "2025", "month": "12", "day": "07", "hour": "23"}
    hour_00 = {"year": "2025", "month": "12", "day": "08", "hour": "00"}
    assert worked.quarantine == [
        {
            "reason": "not_json",
            "source_object": f"{HOUR_23}/minute=00/events-20251207-230000.jsonl.gz",
            "line_number": 6,
            "record": "{broken \ufffd",
            **hour_23,
        },
        {
            "reason": "invalid_price",
            "source_object": f"{HOUR_23}/minute=05/events-20251207-230500.jsonl.gz",
            "line_number": 3,
            "record": NO_CENTS.decode(),
            **hour_23,
        },
        {
            "reason": "timestamp_out_of_range",
            "source_object": f"{HOUR_00}/minute=00/events-20251208-000000.jsonl.gz",
            "line_number": 4,
            "record": TOO_EARLY.decode(),
            **hour_00,
        },
    ]


def test_silver_rows_are_typed_and_cut_to_the_millisecond(worked: oracle.Expected) -> None:
    purchase = next(row for row in worked.silver if row["user_id"] == "u_3")
    assert purchase == {
        "event_ts": datetime.fromisoformat("2025-12-07T23:04:59.000"),
        "event_date": DECEMBER_7,
        "event_hour": 23,
        "user_id": "u_3",
        "session_id": "s_3",
        "event_type": "purchase",
        "product_id": "p_1",
        "category": "toys",
        "quantity": 1,
        "price": Decimal("0.05"),
        "revenue": Decimal("0.05"),
        "search_query": None,
        "rescued": None,
        "source_object": f"{HOUR_23}/minute=05/events-20251207-230500.jsonl.gz",
        "year": "2025",
        "month": "12",
        "day": "07",
        "hour": "23",
    }
    late = worked.hours["2025-12-08T00"].silver[0]
    assert late["event_ts"] == datetime.fromisoformat("2025-12-07T23:59:59.999")
    assert (late["event_date"], late["day"], late["hour"]) == (DECEMBER_7, "08", "00")
    cart = worked.silver[1]
    assert (cart["event_type"], cart["price"], cart["revenue"]) == ("add_to_cart", Decimal("10.00"), None)
    search = next(row for row in worked.silver if row["event_type"] == "search")
    assert (search["search_query"], search["product_id"], search["quantity"]) == ("Red", None, None)


def rows(columns: str, *values: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(columns.split(), each, strict=True)) for each in values]


def test_conversion_funnel_by_hand(worked: oracle.Expected) -> None:
    third, zero = 1 / 3, Decimal("0.00")
    assert worked.gold["conversion_funnel"] == rows(
        "event_date product_id category views add_to_carts purchases items_sold revenue"
        " view_to_cart_rate cart_to_purchase_rate view_to_purchase_rate",
        (DECEMBER_7, "p_1", "books", 3, 1, 1, 2, Decimal("20.00"), third, 1.0, third),
        (DECEMBER_7, "p_1", "toys", 0, 0, 1, 1, Decimal("0.05"), None, None, None),
        (DECEMBER_7, "p_2", "toys", 1, 0, 0, 0, zero, 0.0, None, 0.0),
        (DECEMBER_8, "p_1", "books", 1, 0, 0, 0, zero, 0.0, None, 0.0),
        (DECEMBER_8, "p_3", "home", 1, 0, 0, 0, zero, 0.0, None, 0.0),
    )


def test_hourly_revenue_by_hand(worked: oracle.Expected) -> None:
    # 20.00 + 0.05 over two purchases is 10.025: half up, where half even would give 10.02.
    assert worked.gold["hourly_revenue"] == rows(
        "event_date event_hour total_revenue purchase_count items_sold avg_order_value",
        (DECEMBER_7, 23, Decimal("20.05"), 2, 3, Decimal("10.03")),
    )


def test_top_products_by_hand(worked: oracle.Expected) -> None:
    assert worked.gold["top_products"] == rows(
        "event_date view_rank category_rank product_id category view_count",
        (DECEMBER_7, 1, 1, "p_1", "books", 3),
        (DECEMBER_7, 2, 1, "p_2", "toys", 1),
        (DECEMBER_8, 1, 1, "p_1", "books", 1),
        (DECEMBER_8, 2, 1, "p_3", "home", 1),
    )


def test_category_performance_by_hand(worked: oracle.Expected) -> None:
    assert worked.gold["category_performance"] == rows(
        "event_date category total_events page_views add_to_carts remove_from_carts purchases searches revenue",
        (DECEMBER_7, "(none)", 1, 0, 0, 0, 0, 1, Decimal("0.00")),
        (DECEMBER_7, "books", 5, 3, 1, 0, 1, 0, Decimal("20.00")),
        (DECEMBER_7, "toys", 2, 1, 0, 0, 1, 0, Decimal("0.05")),
        (DECEMBER_8, "books", 1, 1, 0, 0, 0, 0, Decimal("0.00")),
        (DECEMBER_8, "home", 2, 1, 0, 1, 0, 0, Decimal("0.00")),
    )


def test_user_activity_by_hand(worked: oracle.Expected) -> None:
    assert worked.gold["user_activity"] == rows(
        "event_date unique_users unique_sessions total_events events_per_user events_per_session sessions_per_user",
        (DECEMBER_7, 3, 3, 8, 8 / 3, 8 / 3, 1.0),
        (DECEMBER_8, 3, 2, 3, 1.0, 1.5, 2 / 3),
    )


def views(pairs: Iterable[tuple[str, str]]) -> dict[str, bytes]:
    """Return an object with a page view a second, of products in categories."""
    time = datetime.fromisoformat("2025-12-07T23:00:00")
    lines = [
        event((time + timedelta(seconds=at)).isoformat(), "u_1", "s_1", "page_view", **product(*pair))
        for at, pair in enumerate(pairs)
    ]
    return {f"{HOUR_23}/minute=00/events-20251207-230000.jsonl.gz": gz(b"\n".join(lines))}


CUTS = views(
    [
        *((f"f_{number:02}", "few") for number in range(11)),
        *((f"m_{number:03}", "many") for number in reversed(range(101)) for _ in range(2)),
    ]
)
TIES = views([("p_2", "a"), ("p_10", "b"), ("p_1", "b"), ("P_9", "z"), ("p_1", "a")])
ONE_ID = {
    f"{HOUR_23}/minute=00/events-20251207-230000.jsonl.gz": gz(
        event("2025-12-07T23:00:00Z", "x_1", "x_1", "page_view", **product("p_1", "books"))
    )
}
"""A user and a session that are called alike."""
BY_HAND = {"worked": WORKED_OBJECTS, "cuts": CUTS, "ties": TIES, "one id": ONE_ID}
"""Raw objects whose Gold rows are worked out by hand in this module; engines are given them as well."""


def test_a_user_and_a_session_with_one_id_are_two(tmp_path: Path) -> None:
    (row,) = oracle.read_root(write_raw(tmp_path, ONE_ID)).gold["user_activity"]
    assert (row["unique_users"], row["unique_sessions"], row["total_events"]) == (1, 1, 1)


def test_top_products_keeps_100_of_the_day_and_10_of_each_category(tmp_path: Path) -> None:
    top = oracle.read_root(write_raw(tmp_path, CUTS)).gold["top_products"]
    # 101 products viewed twice rank before 11 viewed once: rank 101 goes, f_00 to f_09 stay with ranks 102-111.
    assert [row["view_rank"] for row in top] == [*range(1, 101), *range(102, 112)]
    assert [row["product_id"] for row in top] == [
        *(f"m_{number:03}" for number in range(100)),
        *(f"f_{number:02}" for number in range(10)),
    ]
    assert [row["category_rank"] for row in top[100:]] == list(range(1, 11))
    assert {row["view_count"] for row in top[100:]} == {1}


def test_ties_are_broken_by_product_and_then_category(tmp_path: Path) -> None:
    top = oracle.read_root(write_raw(tmp_path, TIES)).gold["top_products"]
    assert [(row["product_id"], row["category"], row["category_rank"]) for row in top] == [
        ("P_9", "z", 1),
        ("p_1", "a", 1),
        ("p_1", "b", 1),
        ("p_10", "b", 2),
        ("p_2", "a", 2),
    ]


def test_a_category_named_like_that_of_searches_is_refused(tmp_path: Path) -> None:
    lines = [
        event("2025-12-07T23:00:00Z", "u_1", "s_1", "page_view", **product("p_1", "(none)")),
        event("2025-12-07T23:00:00Z", "u_1", "s_1", "search", search_query="x"),
    ]
    key = f"{HOUR_23}/minute=00/events-20251207-230000.jsonl.gz"
    (row,) = oracle.read_root(write_raw(tmp_path, {key: gz(b"\n".join(lines))})).gold["category_performance"]
    assert (row["category"], row["total_events"], row["page_views"], row["searches"]) == ("(none)", 1, 0, 1)


def test_a_raw_folder_that_is_empty_expects_nothing(tmp_path: Path) -> None:
    expected = oracle.read_root(tmp_path)
    assert (expected.hours, expected.unmatched_keys, expected.silver) == ({}, [], [])
    assert expected.gold == {name: [] for name in oracle.GOLD_TABLES}


def test_the_two_real_files_give_what_grep_and_awk_count(tmp_path: Path, real_samples: list[Path]) -> None:
    hour = "events/year=2025/month=11/day=19/hour=17"
    write_raw(
        tmp_path,
        {f"{hour}/minute={path.name[18:20]}/{path.name}": path.read_bytes() for path in real_samples},
    )
    expected = oracle.read_root(tmp_path)
    day = date(2025, 11, 19)
    (account,) = expected.hours.values()
    assert (account.hour, account.objects, account.raw_bytes) == ("2025-11-19T17", 2, 3744)
    assert (account.records, account.silver_rows, account.duplicates) == (200, 200, 0)
    assert (account.quarantined, account.unreadable, account.unknown_fields) == ({}, {}, {})
    assert expected.gold["hourly_revenue"] == rows(
        "event_date event_hour total_revenue purchase_count items_sold avg_order_value",
        (day, 17, Decimal("8294.14"), 23, 75, Decimal("360.61")),
    )
    by_category = {row["category"]: row for row in expected.gold["category_performance"]}
    assert by_category["(none)"]["searches"] == 16
    assert sum(row["page_views"] for row in by_category.values()) == 99
    assert sum(row["add_to_carts"] for row in by_category.values()) == 36
    assert sum(row["remove_from_carts"] for row in by_category.values()) == 26
    assert (by_category["toys"]["total_events"], by_category["toys"]["revenue"]) == (32, Decimal("928.36"))
    assert [(row["product_id"], row["view_count"]) for row in expected.gold["top_products"][:4]] == [
        ("p_1002", 7),
        ("p_2003", 6),
        ("p_3003", 6),
        ("p_4003", 6),
    ]
    assert len(expected.gold["conversion_funnel"]) == 30
    funnel = next(row for row in expected.gold["conversion_funnel"] if row["product_id"] == "p_4003")
    assert (funnel["views"], funnel["add_to_carts"], funnel["purchases"]) == (6, 0, 2)
    (activity,) = expected.gold["user_activity"]
    assert (activity["unique_users"], activity["unique_sessions"], activity["total_events"]) == (200, 199, 200)


@pytest.mark.parametrize("hostile", [pytest.param(each, id=each.name) for each in HOSTILE_LINES])
def test_the_oracle_gives_the_verdict_written_by_hand(hostile: HostileLine) -> None:
    hour = oracle.read_hour(LANDING_HOUR, {"events/one": gz(hostile.line)})
    reason = next(iter(hour.quarantined), SILVER)
    assert (reason, hour.records) == (hostile.verdict, 1)
    if reason == SILVER:
        event = oracle.judge(hostile.line.strip(), LANDING_HOUR).event
        assert event is not None
        shown = event._asdict() | {
            "timestamp": oracle.at_microsecond(event.timestamp).isoformat(timespec="microseconds")
        }
        assert {name: shown[name] for name in hostile.values} == hostile.values
    else:
        assert not hostile.values


def test_no_two_accepted_hostile_lines_are_duplicates() -> None:
    hour = oracle.read_hour(LANDING_HOUR, {"events/all": gz(b"\n".join(each.line for each in HOSTILE_LINES))})
    assert (hour.records, hour.duplicates) == (len(HOSTILE_LINES), 0)
    assert hour.silver_rows == sum(each.verdict == SILVER for each in HOSTILE_LINES)


def test_hostile_names_are_unique_and_every_reason_of_the_contract_is_met() -> None:
    assert len({each.name for each in HOSTILE_LINES}) == len(HOSTILE_LINES)
    reasons = {
        f"{fault}_{field}"
        for fault in ("missing", "invalid")
        for field in oracle.FIELDS
        if (fault, field) != ("invalid", "event_type")
    }
    assert {each.verdict for each in HOSTILE_LINES} == reasons | {
        SILVER,
        "not_json",
        "timestamp_out_of_range",
        "unknown_event_type",
    }


def test_the_oracle_parses_json_as_the_standard_library_does() -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    def distinct(pairs: list[tuple[str, Any]]) -> Any:
        return pairs

    compared = 0
    for each in HOSTILE_LINES:
        if len(each.line) > 50_000:
            continue  # json.loads limits depth and digits
        text = each.line.strip().decode("utf-8", "replace")
        try:
            pairs = json.loads(text, parse_int=str, parse_constant=refuse, object_pairs_hook=distinct)
            names = [name for name, _ in pairs] if text.startswith("{") else None
        except ValueError:
            names = None
        if names is None or len(set(names)) != len(names):
            with pytest.raises(oracle.NotJsonError):
                oracle.members(text)
        else:
            assert list(oracle.members(text)) == names
        compared += 1
    assert compared > 800


def test_unknown_names_are_counted_once_per_record_that_bears_them() -> None:
    lines = [
        b'{"a": 1, "b": {"c": 1}, "user_id": null}',
        b'{"a": 2, "a": 3}',
        b'{"a": 4, "\\ud800": 5, "\\ud801": 6}',
        b'{"a": NaN}',
    ]
    hour = oracle.read_hour("2025-12-07T22", {"events/one": gz(b"\n".join(lines))})
    assert hour.unknown_fields == {"a": 2, "b": 1, "\ufffd": 1}
    assert hour.quarantined == {"missing_timestamp": 2, "not_json": 2}


def test_limits_of_the_time_range_are_settings() -> None:
    limits = oracle.Limits(before_start=timedelta(0), after_end=timedelta(hours=1))

    def reason(time: str) -> str | None:
        line = event(time, "u_1", "s_1", "search", search_query="x")
        return oracle.judge(line, "2025-12-07T22", limits).reason

    assert reason("2025-12-07T21:59:59.999999Z") == "timestamp_out_of_range"
    assert reason("2025-12-07T22:00:00Z") is None
    assert reason("2025-12-07T23:59:59.999999Z") is None
    assert reason("2025-12-08T00:00:00Z") == "timestamp_out_of_range"


def test_lines_are_split_at_line_feeds_only_and_numbered_with_blank_ones() -> None:
    content = b"\xef\xbb\xbf\n\r\n a \x0c\x0b\r\nb\rc\n\n\xef\xbb\xbfd\n\t"
    assert list(oracle.records_of(content)) == [(3, b"a"), (4, b"b\rc"), (6, b"\xef\xbb\xbfd")]


@pytest.mark.parametrize(
    ("stored", "content"),
    [
        pytest.param(gz(b""), b"", id="an empty member"),
        pytest.param(gz(b"ab"), b"ab", id="one member"),
        pytest.param(gz(b"a") + gz(b"") + gz(b"b"), b"ab", id="several members"),
        pytest.param(gz(b"ab") + bytes(512), b"ab", id="padding of zero bytes"),
    ],
)
def test_gzip_members_are_read_one_after_another(stored: bytes, content: bytes) -> None:
    assert oracle.inflate(stored) == content


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        pytest.param(b"", "zero_bytes", id="zero bytes"),
        pytest.param(b"{}", "not_gzip", id="plain text"),
        pytest.param(b"\x1f", "not_gzip", id="half the magic bytes"),
        pytest.param(b"PK\x03\x04" + bytes(30), "not_gzip", id="another archive"),
        pytest.param(gz(b"ab")[:2], "truncated_gzip", id="the magic bytes alone"),
        pytest.param(gz(b"ab")[:-1], "truncated_gzip", id="one byte short"),
        pytest.param(gz(b"ab")[:-8], "truncated_gzip", id="no trailer"),
        pytest.param(gz(b"a") + gz(b"b")[:-1], "truncated_gzip", id="the second member short"),
        pytest.param(gz(b"a") + b"\x1f", "truncated_gzip", id="one byte of the second member"),
        pytest.param(gz(b"ab")[:-8] + b"XXXX" + gz(b"ab")[-4:], "corrupt_gzip", id="a wrong checksum"),
        pytest.param(gz(b"ab")[:-4] + b"\x03\0\0\0", "corrupt_gzip", id="a wrong length"),
        pytest.param(gz(b"ab") + b"{}", "corrupt_gzip", id="text behind the member"),
        pytest.param(gz(b"ab")[:3] + b"\x20" + gz(b"ab")[4:], "corrupt_gzip", id="a reserved flag"),
        pytest.param(gz(b"a") + gz(b"b")[:-8] + bytes(8), "corrupt_gzip", id="the second checksum wrong"),
    ],
)
def test_unreadable_objects_are_told_apart(stored: bytes, reason: str) -> None:
    with pytest.raises(oracle.UnreadableError, match=f"^{reason}$"):
        oracle.inflate(stored)


@pytest.mark.parametrize(
    "key",
    [
        f"{HOUR_23}/minute=60/events-20251207-230000.jsonl.gz",
        f"{HOUR_23}/minute=5/events-20251207-230000.jsonl.gz",
        f"{HOUR_23}/events-20251207-230000.jsonl.gz",
        f"{HOUR_23}/minute=00/events-20251207-230000.jsonl",
        f"{HOUR_23}/minute=00/events-20251207-2300.jsonl.gz",
        f"{HOUR_23}/minute=00/_events-20251207-230000.jsonl.gz",
        f"{HOUR_23}/minute=00/deeper/events-20251207-230000.jsonl.gz",
        "events/year=2025/month=13/day=07/hour=23/minute=00/events-20251207-230000.jsonl.gz",
        "events/year=2025/month=02/day=29/hour=23/minute=00/events-20251207-230000.jsonl.gz",
        "events/year=2025/month=12/day=07/hour=24/minute=00/events-20251207-230000.jsonl.gz",
        "events/year=２０２５/month=12/day=07/hour=23/minute=00/events-20251207-230000.jsonl.gz",
    ],
)
def test_keys_outside_the_raw_layout_have_no_landing_hour(key: str) -> None:
    assert oracle.landing_hour_of(key) is None
