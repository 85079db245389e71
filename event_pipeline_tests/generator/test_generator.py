"""What the generator writes: the same objects for the same seed, and the shares of faults that were asked for."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import re
import resource
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.generator import (
    BREAKAGES,
    GeneratedObject,
    GeneratorOptions,
    GeneratorOptionsError,
    RawFolderError,
    RecordCounts,
    Shape,
    generate,
    generate_live,
    write_object,
)
from event_pipeline.generator.catalogue import PRODUCTS, SEARCH_QUERIES
from event_pipeline.generator.faults import NOT_JSON, REPEATS, SPOILT_REASONS, encode_lines
from event_pipeline.generator.options import random_stream
from event_pipeline.generator.original import original_batches
from event_pipeline.generator.realistic import EVENTS_PER_SESSION, REALISTIC_PRODUCTS, plan_session, render_second
from event_pipeline.rules.contract import EVENT_TYPES, Limits
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.record import Event, Rejection, validate_record
from event_pipeline_tests import oracle

PROJECT = Path(__file__).parents[2]
REAL_SAMPLES = sorted((PROJECT / "../shared/real-input").glob("*.jsonl.gz"))

HOUR = Hour.parse("2025-12-07T22")
LANDED = datetime(2025, 12, 7, 22, 35, tzinfo=UTC)
SHAPES = tuple(Shape)
DIRTY: dict[str, Any] = {"bad_share": 0.1, "duplicate_share": 0.1, "late_share": 0.1}


def object_bytes(landed: datetime, options: GeneratorOptions, **more: Any) -> tuple[bytes, RecordCounts]:
    stream = io.BytesIO()
    counts = write_object(stream, landed, options, **more)
    return stream.getvalue(), counts


def object_lines(landed: datetime, options: GeneratorOptions, **more: Any) -> list[bytes]:
    return gzip.decompress(object_bytes(landed, options, **more)[0]).split(b"\n")


def events_of(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def instant_of(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def within_five_sigma(count: int, trials: int, probability: float) -> bool:
    return abs(count - trials * probability) <= 5 * math.sqrt(trials * probability * (1 - probability))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let writing beyond so many bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- Layout and bytes ---------------------------------------------------------------------------------------


def test_an_hour_has_its_files_at_even_minutes_under_keys_of_the_raw_layout(tmp_path: Path) -> None:
    seen: list[GeneratedObject] = []
    totals = generate(tmp_path, [HOUR], GeneratorOptions(events_per_file=20), seen.append)
    keys = list(files_below(tmp_path))
    assert keys == [
        f"events/year=2025/month=12/day=07/hour=22/minute={minute:02d}/events-20251207-22{minute:02d}00.jsonl.gz"
        for minute in range(0, 60, 5)
    ]
    assert [Hour.of_raw_key(key) for key in keys] == [HOUR] * 12
    assert [(each.key, each.written, each.counts.records) for each in seen] == [(key, True, 20) for key in keys]
    assert (totals.objects, totals.unchanged, totals.records) == (12, 0, 240)
    assert totals.size == sum(map(len, files_below(tmp_path).values()))


@pytest.mark.parametrize("files_per_hour", [1, 7, 60])
def test_any_number_of_files_up_to_sixty_gives_as_many_keys_and_windows_apart(
    tmp_path: Path, files_per_hour: int
) -> None:
    generate(tmp_path, [HOUR], GeneratorOptions(events_per_file=30, files_per_hour=files_per_hour))
    files = files_below(tmp_path)
    assert len(files) == files_per_hour
    instants = [instant_of(json.loads(line)) for each in files.values() for line in gzip.decompress(each).split(b"\n")]
    assert all(earlier < later for earlier, later in pairwise(instants))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("faults", [{}, DIRTY | {"broken_objects": 4}], ids=["clean", "dirty"])
def test_equal_arguments_give_equal_bytes(tmp_path: Path, shape: Shape, faults: dict[str, Any]) -> None:
    options = GeneratorOptions(events_per_file=200, shape=shape, **faults)
    hours = HourRange(HOUR, HOUR.plus(2))
    assert generate(tmp_path / "one", hours, options) == generate(tmp_path / "two", hours, options)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    other = GeneratorOptions(events_per_file=200, shape=shape, seed=8, **faults)
    generate(tmp_path / "three", hours, other)
    assert files_below(tmp_path / "three").keys() == files_below(tmp_path / "one").keys()
    assert files_below(tmp_path / "three") != files_below(tmp_path / "one")


@pytest.mark.parametrize(
    ("shape", "first_line"),
    [
        (
            "original",
            '{"timestamp": "2025-12-07T22:30:00.032144+00:00", "user_id": "u_66854", "session_id": "s_91669", '
            '"event_type": "remove_from_cart", "product_id": "p_6004", '
            '"quantity": 5, "price": 93.03, "category": "toys", "search_query": null}',
        ),
        (
            "realistic",
            '{"timestamp": "2025-12-07T22:30:00.006415+00:00", "user_id": "u_36095", "session_id": "s_6935ff810002", '
            '"event_type": "add_to_cart", "product_id": "p_2001", '
            '"quantity": 1, "price": 59.95, "category": "clothing", "search_query": null}',
        ),
    ],
)
def test_the_default_seed_gives_the_same_records_on_every_machine(shape: str, first_line: str) -> None:
    lines = object_lines(LANDED, GeneratorOptions(shape=Shape(shape)))
    assert lines[0].decode() == first_line


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("faults", [{}, DIRTY], ids=["clean", "dirty"])
def test_an_object_written_alone_equals_the_one_of_a_whole_generation(
    tmp_path: Path, shape: Shape, faults: dict[str, Any]
) -> None:
    options = GeneratorOptions(events_per_file=300, files_per_hour=4, shape=shape, **faults)
    seen: list[GeneratedObject] = []
    generate(tmp_path, HourRange(HOUR, HOUR.plus(2)), options, seen.append)
    for earlier, later in pairwise(seen):
        same_hour = Hour.containing(earlier.landed) == Hour.containing(later.landed)
        alone, counts = object_bytes(later.landed, options, previous=earlier.landed if same_hour else None)
        assert alone == (tmp_path / later.key).read_bytes()
        assert counts == later.counts


def test_an_object_is_one_gzip_member_without_time_and_name_and_ends_without_newline() -> None:
    stored, counts = object_bytes(LANDED, GeneratorOptions(events_per_file=50))
    assert stored[:4] == b"\x1f\x8b\x08\x00"
    assert stored[4:8] == bytes(4)
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    content = member.decompress(stored)
    assert member.eof
    assert member.unused_data == b""
    assert content.count(b"\n") == 49
    assert not content.endswith(b"\n")
    assert counts == RecordCounts(records=50)


def test_a_large_object_is_written_in_small_pieces() -> None:
    class Pieces(io.RawIOBase):
        sizes: list[int] = []

        def write(self, piece: Any) -> int:
            self.sizes.append(len(piece))
            return len(piece)

    stream = Pieces()
    assert write_object(stream, LANDED, GeneratorOptions(events_per_file=100_000)).records == 100_000  # type: ignore[arg-type]
    assert sum(stream.sizes) > 1_500_000
    assert max(stream.sizes) < 400_000


def test_a_fault_of_the_stream_reaches_the_caller() -> None:
    class Broken(io.RawIOBase):
        def write(self, piece: Any) -> int:
            raise ConnectionResetError("the bucket hung up")

    with pytest.raises(ConnectionResetError, match="the bucket hung up"):
        write_object(Broken(), LANDED, GeneratorOptions())  # type: ignore[arg-type]


def test_the_generator_needs_the_standard_library_only() -> None:
    child = (
        "import sys, event_pipeline; before = set(sys.modules); import event_pipeline.generator; "
        "print([name for name in set(sys.modules) - before if name.split('.')[0] not in sys.stdlib_module_names "
        "and not name.startswith(('event_pipeline.generator', 'event_pipeline.rules'))])"
    )
    done = subprocess.run([sys.executable, "-c", child], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- The original shape -------------------------------------------------------------------------------------


def test_events_lie_in_the_five_minutes_before_the_stamp_and_rise_strictly() -> None:
    instants = [instant_of(event) for event in events_of(object_lines(LANDED, GeneratorOptions(events_per_file=9000)))]
    assert len(instants) == 9000
    assert LANDED - timedelta(minutes=5) <= instants[0] < LANDED - timedelta(minutes=4, seconds=59)
    assert LANDED - timedelta(seconds=1) < instants[-1] < LANDED
    assert all(earlier < later for earlier, later in pairwise(instants))


def test_the_first_object_of_an_hour_holds_events_of_the_hour_before() -> None:
    hours = {Hour.containing(instant_of(event)) for event in events_of(object_lines(HOUR.start, GeneratorOptions()))}
    assert hours == {HOUR.plus(-1)}


def test_timestamps_still_rise_at_one_event_a_microsecond() -> None:
    options = GeneratorOptions(events_per_file=1_000_000)
    stamps = [line[15:41] for line in next(original_batches(options, LANDED, interval_seconds=1))]
    assert stamps == [f"2025-12-07T22:34:59.{microsecond:06d}" for microsecond in range(len(stamps))]


def test_a_whole_second_has_no_fraction() -> None:
    line = '{"timestamp": "2025-12-07T22:34:59.000000+00:00", "user_id": "u_10000"}'
    assert encode_lines([line]) == b'{"timestamp": "2025-12-07T22:34:59+00:00", "user_id": "u_10000"}'


def test_lines_are_spelt_as_json_dumps_spells_them() -> None:
    for shape in SHAPES:
        for line in object_lines(LANDED, GeneratorOptions(events_per_file=3000, shape=shape)):
            assert json.dumps(json.loads(line)).encode() == line


@pytest.mark.skipif(not REAL_SAMPLES, reason="the real samples do not stand beside this checkout")
def test_lines_have_the_structure_of_the_real_samples() -> None:
    def structure(line: bytes) -> str:
        """Line with every number as 9, and category and search string as their names."""
        text = re.sub(r"\d+", "9", line.decode())
        text = re.sub(r'"category": "[a-z]+"', '"category": "category"', text)
        return re.sub(r'"search_query": "[a-z ]+"', '"search_query": "search_query"', text)

    real = [line for sample in REAL_SAMPLES for line in gzip.decompress(sample.read_bytes()).strip().split(b"\n")]
    generated = object_lines(LANDED, GeneratorOptions(events_per_file=2000))
    assert len(real) == 200
    assert {structure(line) for line in generated} == {structure(line) for line in real}
    for name in ("search_query", "category", "product_id"):
        real_values = {event[name] for event in events_of(real)}
        assert real_values <= {event[name] for event in events_of(generated)}


def test_the_original_distributions_are_uniform_and_independent() -> None:
    events = events_of(object_lines(LANDED, GeneratorOptions(events_per_file=60_000)))
    count = len(events)
    types = Counter(event["event_type"] for event in events)
    shares = {"page_view": 0.5, "add_to_cart": 0.2, "remove_from_cart": 0.1, "purchase": 0.1, "search": 0.1}
    assert set(types) == {each.name for each in EVENT_TYPES}
    assert all(within_five_sigma(types[name], count, share) for name, share in shares.items())

    products = Counter((event["product_id"], event["category"]) for event in events if event["product_id"])
    assert set(products) == set(PRODUCTS)
    assert all(within_five_sigma(each, products.total(), 1 / 30) for each in products.values())
    queries = Counter(event["search_query"] for event in events if event["search_query"])
    assert set(queries) == set(SEARCH_QUERIES)
    assert len(queries) == 8
    assert all(within_five_sigma(each, queries.total(), 1 / 8) for each in queries.values())

    priced = [event for event in events if event["event_type"] not in ("page_view", "search")]
    quantities = Counter(event["quantity"] for event in priced)
    assert set(quantities) == {1, 2, 3, 4, 5}
    assert all(within_five_sigma(each, len(priced), 1 / 5) for each in quantities.values())
    prices = [event["price"] for event in priced]
    assert 9.99 <= min(prices) < 11
    assert 299 < max(prices) <= 299.99
    assert within_five_sigma(sum(price < 82.49 for price in prices), len(prices), 0.25)
    assert within_five_sigma(sum(price < 154.99 for price in prices), len(prices), 0.5)

    for name, prefix in (("user_id", "u"), ("session_id", "s")):
        ids = Counter(event[name] for event in events)
        assert all(re.fullmatch(rf"{prefix}_[1-9]\d{{4}}", each) for each in ids)
        assert within_five_sigma(len(ids), 90_000, 1 - (1 - 1 / 90_000) ** count)
        assert within_five_sigma(sum(event[name] < f"{prefix}_55000" for event in events), count, 0.5)
    together = sum(event["user_id"] < "u_55000" and event["session_id"] < "s_55000" for event in events)
    assert within_five_sigma(together, count, 0.25)


def test_fields_that_do_not_apply_are_present_and_null() -> None:
    names = ["timestamp", "user_id", "session_id", "event_type"]
    names += ["product_id", "quantity", "price", "category", "search_query"]
    nulls = {
        "page_view": {"quantity", "price", "search_query"},
        "search": {"product_id", "quantity", "price", "category"},
    }
    for shape in SHAPES:
        for event in events_of(object_lines(LANDED, GeneratorOptions(shape=shape))):
            assert list(event) == names
            missing = {name for name, value in event.items() if value is None}
            assert missing == nulls.get(event["event_type"], {"search_query"})


@pytest.mark.parametrize("shape", SHAPES)
def test_clean_data_is_accepted_whole(tmp_path: Path, shape: Shape) -> None:
    generate(tmp_path / "raw", [HOUR], GeneratorOptions(events_per_file=200, shape=shape))
    hour = oracle.read_root(tmp_path).hours[str(HOUR)]
    assert hour.records > 1500
    assert (hour.silver_rows, hour.duplicates, hour.unreadable) == (hour.records, 0, {})
    for stored in files_below(tmp_path).values():
        for line in gzip.decompress(stored).split(b"\n"):
            assert isinstance(validate_record(line, HOUR, Limits()).outcome, Event)


# --- The realistic shape ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def realistic_hour(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("realistic")
    generate(folder, [Hour.parse("2025-12-07T19")], GeneratorOptions(events_per_file=5000, shape=Shape.REALISTIC))
    return [events_of(gzip.decompress(stored).split(b"\n")) for stored in files_below(folder).values()]


def test_a_session_belongs_to_one_user_and_runs_on_into_the_next_object(
    realistic_hour: list[list[dict[str, Any]]],
) -> None:
    users: defaultdict[str, set[str]] = defaultdict(set)
    objects: defaultdict[str, set[int]] = defaultdict(set)
    for number, events in enumerate(realistic_hour):
        for event in events:
            users[event["session_id"]].add(event["user_id"])
            objects[event["session_id"]].add(number)
    assert len(users) > 10_000
    assert {len(each) for each in users.values()} == {1}
    assert sum(len(each) > 1 for each in objects.values()) > 1000
    assert max(len(each) for each in objects.values()) <= 4


def test_users_return_and_some_far_more_often_than_others(realistic_hour: list[list[dict[str, Any]]]) -> None:
    sessions: defaultdict[str, set[str]] = defaultdict(set)
    for events in realistic_hour:
        for event in events:
            sessions[event["user_id"]].add(event["session_id"])
    visits = sorted((len(each) for each in sessions.values()), reverse=True)
    assert visits[0] > 20
    assert visits[len(visits) // 2] == 1
    assert 0.15 < sum(visits[:900]) / sum(visits) < 0.5


def test_a_cart_follows_a_view_and_a_purchase_follows_a_cart(realistic_hour: list[list[dict[str, Any]]]) -> None:
    history: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for events in realistic_hour:
        for event in events:
            history[event["session_id"]].append(event)
    # Sessions that began before the hour lack their beginning here: those with events in the first 15 minutes.
    began_before = {event["session_id"] for events in realistic_hour[:3] for event in events}
    bought = 0
    for session, events in history.items():
        if session in began_before:
            continue
        assert events[0]["event_type"] in ("page_view", "search")
        assert instant_of(events[-1]) - instant_of(events[0]) < timedelta(minutes=15)
        viewed: set[str] = set()
        cart: Counter[tuple[str, int]] = Counter()
        for event in events:
            item = (event["product_id"], event["quantity"])
            if event["event_type"] == "page_view":
                viewed.add(event["product_id"])
            elif event["event_type"] == "add_to_cart":
                assert event["product_id"] in viewed
                cart[item] += 1
            elif event["event_type"] != "search":
                cart[item] -= 1
                assert cart[item] >= 0
                bought += event["event_type"] == "purchase"
    assert bought > 2000


def test_a_product_has_one_price_and_its_own_popularity_and_conversion(
    realistic_hour: list[list[dict[str, Any]]],
) -> None:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    prices: defaultdict[str, set[float]] = defaultdict(set)
    for events in realistic_hour:
        for event in events:
            if event["product_id"]:
                counts[event["product_id"]][event["event_type"]] += 1
                prices[event["product_id"]].add(event["price"])
    assert {name: each - {None} for name, each in prices.items()} == {
        product.product_id: {product.price} for product in REALISTIC_PRODUCTS
    }
    views = sorted((each["page_view"] for each in counts.values()), reverse=True)
    assert views[0] > 10 * views[-1]
    for product in REALISTIC_PRODUCTS[:10]:
        seen = counts[product.product_id]
        assert seen["add_to_cart"] / seen["page_view"] == pytest.approx(product.view_to_cart, abs=0.06)
        assert seen["purchase"] / seen["add_to_cart"] == pytest.approx(product.cart_to_purchase, abs=0.13)


def test_a_search_leads_to_a_product_of_the_category_that_answers_it(
    realistic_hour: list[list[dict[str, Any]]],
) -> None:
    sought: dict[str, str] = {}
    led = 0
    for events in realistic_hour:
        for event in events:
            query = sought.pop(event["session_id"], None)
            if query:
                assert (event["event_type"], event["category"]) == ("page_view", SEARCH_QUERIES[query])
                led += 1
            if event["search_query"]:
                sought[event["session_id"]] = event["search_query"]
    assert led > 5000


@pytest.mark.long
def test_traffic_follows_a_day_curve_whose_mean_is_events_per_file(tmp_path: Path) -> None:
    day = HourRange(Hour.parse("2025-12-07T00"), Hour.parse("2025-12-08T00"))
    per_hour: Counter[int] = Counter()

    def count(made: GeneratedObject) -> None:
        per_hour[made.landed.hour] += made.counts.records

    options = GeneratorOptions(events_per_file=600, files_per_hour=4, shape=Shape.REALISTIC)
    totals = generate(tmp_path, day, options, count)
    assert totals.records / totals.objects == pytest.approx(600, rel=0.05)
    assert min(per_hour, key=per_hour.__getitem__) in (3, 4, 5)
    assert max(per_hour, key=per_hour.__getitem__) in (19, 20, 21)
    assert per_hour[20] > 4 * per_hour[4]


def test_the_mean_of_events_per_session_is_the_measured_one() -> None:
    random = random_stream(1, "sessions of this test").random
    sessions = 60_000
    assert sum(len(plan_session(random)) for _ in range(sessions)) / sessions == pytest.approx(
        EVENTS_PER_SESSION, rel=0.02
    )


def test_timestamps_rise_strictly_in_realistic_objects() -> None:
    options = GeneratorOptions(events_per_file=60_000, shape=Shape.REALISTIC)
    instants = [instant_of(event) for event in events_of(object_lines(LANDED, options))]
    assert len(instants) > 40_000
    assert LANDED - timedelta(minutes=5) <= instants[0]
    assert instants[-1] < LANDED
    assert all(earlier < later for earlier, later in pairwise(instants))


def test_events_of_one_microsecond_are_moved_apart_within_their_second() -> None:
    def stamps(*microseconds: int) -> list[str]:
        return [line[35:41] for line in render_second(0, [(each, "", "") for each in microseconds])]

    assert stamps(7, 3, 3, 4) == ["000003", "000004", "000005", "000007"]
    assert stamps(999_999, 999_999) == ["000000", "500000"]


def test_a_quiet_interval_gives_an_empty_object_that_can_be_inflated() -> None:
    stored, counts = object_bytes(LANDED, GeneratorOptions(events_per_file=1, shape=Shape.REALISTIC))
    assert gzip.decompress(stored) == b""
    assert counts == RecordCounts()


# --- Faults -------------------------------------------------------------------------------------------------


def test_bad_records_cover_every_reason_and_are_judged_as_intended() -> None:
    stored, counts = object_bytes(LANDED, GeneratorOptions(events_per_file=8000, bad_share=1))
    found: Counter[str] = Counter()
    for line in gzip.decompress(stored).split(b"\n"):
        outcome = validate_record(line, HOUR, Limits()).outcome
        assert isinstance(outcome, Rejection), line
        assert oracle.judge(line.strip(), str(HOUR)).reason == outcome.reason
        found[outcome.reason] += 1
    assert found == counts.bad_by_reason
    assert set(found) == set(SPOILT_REASONS)
    assert set(found.values()) == {400}


@pytest.mark.parametrize("number", range(len(NOT_JSON)))
def test_every_way_to_spoil_a_line_leaves_no_json_object(number: int) -> None:
    for line in object_lines(LANDED, GeneratorOptions(events_per_file=20)):
        spoilt = NOT_JSON[number](line.decode()).encode("utf-8", "surrogateescape")
        assert b"\n" not in spoilt
        assert validate_record(spoilt, HOUR, Limits()).outcome == Rejection("not_json")


def test_bad_lines_include_bytes_that_are_not_utf_8() -> None:
    stored, _ = object_bytes(LANDED, GeneratorOptions(events_per_file=4000, bad_share=1))
    with pytest.raises(UnicodeDecodeError):
        gzip.decompress(stored).decode()


@pytest.mark.parametrize("repeat", REPEATS, ids=lambda repeat: repeat.__name__)
def test_every_way_to_repeat_a_record_is_the_same_event_in_other_bytes(repeat: Any) -> None:
    changed = 0
    for line in object_lines(LANDED, GeneratorOptions(events_per_file=50)):
        repeated = repeat(line.decode()).encode()
        verdict = validate_record(repeated, HOUR, Limits())
        assert verdict == validate_record(line, HOUR, Limits())
        assert isinstance(verdict.outcome, Event)
        changed += repeated != line
    assert changed > 10


@pytest.mark.parametrize("shape", SHAPES)
def test_shares_and_counts_are_what_the_contract_finds(tmp_path: Path, shape: Shape) -> None:
    options = GeneratorOptions(events_per_file=400, shape=shape, **DIRTY)
    seen: list[GeneratedObject] = []
    totals = generate(tmp_path / "raw", [HOUR], options, seen.append)
    hour = oracle.read_root(tmp_path).hours[str(HOUR)]
    assert hour.records == totals.records
    assert hour.duplicates == totals.duplicates
    assert hour.quarantined == sum((Counter(each.counts.bad_by_reason) for each in seen), Counter())
    assert set(hour.quarantined) == set(SPOILT_REASONS)
    for count in (totals.bad, totals.duplicates, totals.late):
        assert abs(count - 0.1 * totals.records) <= 24
    if shape is Shape.ORIGINAL:
        assert {each.counts.bad for each in seen} == {40}
        assert {each.counts.duplicates for each in seen} == {40}
        assert {each.counts.late for each in seen} == {40}


def test_a_small_share_shows_in_small_objects_too(tmp_path: Path) -> None:
    options = GeneratorOptions(events_per_file=10, bad_share=0.01, files_per_hour=60)
    totals = generate(tmp_path, HourRange(HOUR, HOUR.plus(10)), options)
    assert totals.records == 6000
    assert 30 <= totals.bad <= 100


@pytest.mark.long
def test_duplicates_reach_across_the_objects_of_an_hour_and_not_across_hours(tmp_path: Path) -> None:
    generate(tmp_path, HourRange(HOUR, HOUR.plus(2)), GeneratorOptions(events_per_file=400, duplicate_share=0.2))
    by_hour: defaultdict[Hour | None, dict[str, bytes]] = defaultdict(dict)
    for key, stored in files_below(tmp_path).items():
        by_hour[Hour.of_raw_key(key)][key] = stored
    assert list(by_hour) == [HOUR, HOUR.plus(1)]
    for hour, objects in by_hour.items():
        first, *later = (oracle.read_hour(str(hour), {key: stored}).duplicates for key, stored in objects.items())
        assert first == 80
        assert all(40 < each < 80 for each in later)
        assert oracle.read_hour(str(hour), objects).duplicates == 80 * 12


def test_duplicates_are_repeated_exactly_and_in_other_spellings() -> None:
    lines = object_lines(LANDED, GeneratorOptions(events_per_file=2000, duplicate_share=0.3))
    exact = len(lines) - len(set(lines))
    assert 150 < exact < 350


def test_an_object_of_duplicates_only_has_one_record_to_repeat(tmp_path: Path) -> None:
    stored, counts = object_bytes(LANDED, GeneratorOptions(events_per_file=500, duplicate_share=1))
    hour = oracle.read_hour(str(HOUR), {"one": stored})
    assert (hour.records, hour.silver_rows, hour.duplicates) == (500, counts.records - counts.duplicates, 499)


def test_late_events_are_accepted_and_lie_in_other_hours_up_to_seven_days_back() -> None:
    stored, counts = object_bytes(LANDED, GeneratorOptions(events_per_file=4000, late_share=0.5))
    assert counts.late == 2000
    instants = []
    for line in gzip.decompress(stored).split(b"\n"):
        assert isinstance(validate_record(line, HOUR, Limits()).outcome, Event)
        instants.append(instant_of(json.loads(line)))
    back = [HOUR.start - instant for instant in instants if instant < HOUR.start]
    ahead = [instant - HOUR.end for instant in instants if instant >= HOUR.end]
    assert len(back) + len(ahead) == 2000
    assert 300 < len(ahead) < 500
    assert max(ahead) < timedelta(minutes=5)
    assert min(back) < timedelta(minutes=2)
    assert sum(each > timedelta(days=1) for each in back) > 200
    assert timedelta(days=6) < max(back) < timedelta(days=7)


def test_records_without_fault_are_the_same_with_and_without_the_knobs() -> None:
    clean = set(object_lines(LANDED, GeneratorOptions(events_per_file=1000)))
    dirty = object_lines(LANDED, GeneratorOptions(events_per_file=1000, **DIRTY))
    assert len(dirty) == 1000
    assert len(clean.intersection(dirty)) == 700


@pytest.mark.parametrize(
    "shares",
    [{"bad_share": 1}, {"late_share": 1}, {"bad_share": 0.5, "late_share": 0.5}, {"bad_share": 0.7, "late_share": 0.3}],
    ids=str,
)
def test_shares_that_add_up_to_one_leave_no_plain_record(shares: dict[str, float]) -> None:
    clean = set(object_lines(LANDED, GeneratorOptions(events_per_file=1000)))
    stored, counts = object_bytes(LANDED, GeneratorOptions(events_per_file=1000, **shares))  # type: ignore[arg-type]
    assert counts.bad + counts.late == 1000
    assert clean.isdisjoint(gzip.decompress(stored).split(b"\n"))


def test_broken_objects_are_spread_and_broken_in_turn(tmp_path: Path) -> None:
    seen: list[GeneratedObject] = []
    totals = generate(
        tmp_path / "raw",
        HourRange(HOUR, HOUR.plus(2)),
        GeneratorOptions(events_per_file=100, broken_objects=6),
        seen.append,
    )
    broken = {each.key: each.broken for each in seen if each.broken}
    assert list(broken.values()) == [*BREAKAGES, "zero_bytes", "truncated_gzip"]
    assert [number for number, each in enumerate(seen) if each.broken] == [2, 6, 10, 14, 18, 22]
    found: dict[str, str] = {}
    for hour in oracle.read_root(tmp_path).hours.values():
        found |= hour.unreadable
        assert hour.records == hour.silver_rows == 900
    assert found == broken
    assert (totals.objects, totals.broken, totals.records) == (24, 6, 1800)


def test_records_of_a_broken_object_are_not_sent_again(tmp_path: Path) -> None:
    options = GeneratorOptions(events_per_file=100, files_per_hour=6, duplicate_share=0.3, broken_objects=3)
    totals = generate(tmp_path / "raw", [HOUR], options)
    assert oracle.read_root(tmp_path).hours[str(HOUR)].duplicates == totals.duplicates == 90


def test_all_objects_can_be_broken_but_not_more_than_there_are(tmp_path: Path) -> None:
    assert generate(tmp_path, [HOUR], GeneratorOptions(events_per_file=5, broken_objects=12)).broken == 12
    with pytest.raises(GeneratorOptionsError, match="broken_objects=13: this generation writes 12 objects"):
        generate(tmp_path / "more", [HOUR], GeneratorOptions(broken_objects=13))
    assert not (tmp_path / "more").exists()


# --- The raw folder -----------------------------------------------------------------------------------------


def test_generating_again_leaves_equal_files_alone_and_replaces_others(tmp_path: Path) -> None:
    options = GeneratorOptions(events_per_file=30)
    generate(tmp_path, [HOUR], options)
    files = files_below(tmp_path)
    for key in files:
        os.utime(tmp_path / key, (1_000_000_000, 1_000_000_000))
    first, *others = files
    (tmp_path / first).write_bytes(b"something else")
    (tmp_path / "events" / "stranger.txt").write_text("stays")

    seen: list[GeneratedObject] = []
    totals = generate(tmp_path, [HOUR], options, seen.append)
    assert (totals.objects, totals.unchanged) == (12, 11)
    assert [each.key for each in seen if each.written] == [first]
    assert files_below(tmp_path) == files | {"events/stranger.txt": b"stays"}
    assert {(tmp_path / key).stat().st_mtime for key in others} == {1_000_000_000}


def test_the_draft_of_a_killed_generation_goes_once_it_is_old(tmp_path: Path) -> None:
    draft = tmp_path / ".incoming" / "events.jsonl.gz.1"
    draft.parent.mkdir()
    draft.write_bytes(b"half an object")
    # A young file may belong to a generator at work; an old one is litter.
    generate(tmp_path, [HOUR], GeneratorOptions(events_per_file=2))
    assert draft.exists()
    os.utime(draft, (1_000_000_000, 1_000_000_000))
    generate(tmp_path, [HOUR], GeneratorOptions(events_per_file=2))
    assert list(draft.parent.iterdir()) == []


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_object(tmp_path: Path) -> None:
    with (
        largest_file(50_000),
        pytest.raises(RawFolderError, match=r"events-20251207-220000\.jsonl\.gz: File too large"),
    ):
        generate(tmp_path, [HOUR], GeneratorOptions(events_per_file=20_000))
    assert files_below(tmp_path) == {}


def test_a_raw_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("no folder")
    with pytest.raises(RawFolderError, match=rf"cannot write {tmp_path}/raw.*: Not a directory"):
        generate(tmp_path / "raw", [HOUR], GeneratorOptions())


def test_hours_are_written_once_and_in_order_of_time(tmp_path: Path) -> None:
    seen: list[GeneratedObject] = []
    options = GeneratorOptions(events_per_file=2, files_per_hour=1)
    generate(tmp_path, [HOUR.plus(3), HOUR, HOUR], options, seen.append)
    assert [each.landed for each in seen] == [HOUR.start, HOUR.plus(3).start]


# --- Live ---------------------------------------------------------------------------------------------------


class FakeClock:
    """A clock that only sleeping moves, and every look at it a little."""

    def __init__(self, start: datetime, *, look_seconds: float = 0.0, oversleep_seconds: float = 0.0) -> None:
        self.now = start
        self.slept: list[float] = []
        self._look = timedelta(seconds=look_seconds)
        self._oversleep = timedelta(seconds=oversleep_seconds)

    def __call__(self) -> datetime:
        self.now += self._look
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(timedelta(0), timedelta(seconds=seconds) + self._oversleep)


def live(folder: Path, clock: FakeClock, interval: int, count: int, **options: Any) -> list[GeneratedObject]:
    seen: list[GeneratedObject] = []
    generate_live(folder, interval, GeneratorOptions(**options), count, seen.append, clock=clock, sleep=clock.sleep)
    return seen


def test_live_writes_one_object_now_and_one_every_interval(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2025, 12, 7, 22, 59, 41, 250_000, tzinfo=UTC))
    seen = live(tmp_path, clock, interval=10, count=3, events_per_file=40)
    assert [each.landed.strftime("%H:%M:%S") for each in seen] == ["22:59:41", "22:59:51", "23:00:01"]
    assert [Hour.of_raw_key(each.key) for each in seen] == [HOUR, HOUR, HOUR.plus(1)]
    assert list(files_below(tmp_path)) == [each.key for each in seen]
    assert sum(clock.slept) == pytest.approx(19.75)
    for each in seen:
        events = events_of(gzip.decompress((tmp_path / each.key).read_bytes()).split(b"\n"))
        assert len(events) == 40
        assert all(each.landed - timedelta(seconds=10) <= instant_of(event) < each.landed for event in events)


@pytest.mark.parametrize("oversleep", [-0.3, 0.0, 0.4, 2.6])
def test_live_keys_stay_apart_whatever_the_sleep_does(tmp_path: Path, oversleep: float) -> None:
    start = datetime(2025, 12, 7, 22, 0, 0, 900_000, tzinfo=UTC)
    clock = FakeClock(start, look_seconds=0.11, oversleep_seconds=oversleep)
    seen = live(tmp_path, clock, interval=1, count=30, events_per_file=3)
    assert len({each.key for each in seen}) == 30
    assert all(later.landed - earlier.landed >= timedelta(seconds=1) for earlier, later in pairwise(seen))


def test_live_objects_know_faults_and_the_realistic_shape(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2025, 12, 7, 22, 20, tzinfo=UTC))
    options: dict[str, Any] = {"events_per_file": 100, "shape": "realistic", "broken_objects": 3, **DIRTY}
    seen = live(tmp_path / "raw", clock, interval=30, count=9, **options)
    hour = oracle.read_root(tmp_path).hours[str(HOUR)]
    assert list(hour.unreadable.values()) == ["zero_bytes", "truncated_gzip", "not_gzip"]
    assert hour.records == sum(each.counts.records for each in seen) > 300
    assert hour.duplicates == sum(each.counts.duplicates for each in seen) > 0


def test_stopping_live_leaves_whole_objects(tmp_path: Path) -> None:
    clock = FakeClock(datetime(2025, 12, 7, 22, 20, tzinfo=UTC))

    def interrupt_third_sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_live(tmp_path, 60, GeneratorOptions(events_per_file=7), clock=clock, sleep=interrupt_third_sleep)
    files = files_below(tmp_path)
    assert [gzip.decompress(stored).count(b"\n") for stored in files.values()] == [6, 6, 6]


@pytest.mark.parametrize(
    ("interval", "count", "options", "message"),
    [
        (0, 1, {}, r"interval_seconds=0: must be a whole number from 1 to 3600"),
        (0.5, 1, {}, r"interval_seconds=0\.5: must be a whole number from 1 to 3600"),
        (3601, 1, {}, r"interval_seconds=3601: must be a whole number from 1 to 3600"),
        (5, 0, {}, r"count=0: must be a whole number of at least 1, or none"),
        (5, None, {"broken_objects": 2}, r"broken_objects=2 without a count"),
        (5, 1, {"broken_objects": 2}, r"broken_objects=2: this generation writes 1 objects, so it must be 0 to 1"),
    ],
)
def test_live_says_what_it_does_not_allow(
    tmp_path: Path, interval: Any, count: int | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GeneratorOptionsError, match=message):
        generate_live(tmp_path, interval, GeneratorOptions(**options), count)
    assert files_below(tmp_path) == {}


# --- Options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events_per_file": 0}, r"events_per_file=0: must be a whole number from 1 to 10000000"),
        ({"events_per_file": 1.5}, r"events_per_file=1\.5: must be a whole number"),
        ({"events_per_file": True}, r"events_per_file=True: must be a whole number"),
        ({"files_per_hour": 0}, r"files_per_hour=0: must be a whole number from 1 to 60"),
        ({"files_per_hour": 61}, r"files_per_hour=61: must be a whole number from 1 to 60"),
        ({"seed": "seven"}, r"seed='seven': must be a whole number"),
        ({"shape": "surreal"}, r"shape='surreal': must be one of original, realistic"),
        ({"bad_share": -0.1}, r"bad_share=-0\.1: must be a number from 0 to 1"),
        ({"duplicate_share": 1.1}, r"duplicate_share=1\.1: must be a number from 0 to 1"),
        ({"late_share": float("nan")}, r"late_share=nan: must be a number from 0 to 1"),
        ({"late_share": "0.1"}, r"late_share='0\.1': must be a number from 0 to 1"),
        (
            {"bad_share": 0.5, "duplicate_share": 0.4, "late_share": 0.3},
            r"bad_share=0\.5 \+ duplicate_share=0\.4 \+ late_share=0\.3 is 1\.2: must be at most 1 in total",
        ),
        ({"broken_objects": -1}, r"broken_objects=-1: must be a whole number of at least 0"),
    ],
)
def test_options_say_which_value_is_wrong_and_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GeneratorOptionsError, match=message):
        GeneratorOptions(**options)


def test_the_shape_may_be_given_by_its_word() -> None:
    assert GeneratorOptions(shape="realistic").shape is Shape.REALISTIC  # type: ignore[arg-type]


def test_an_object_needs_a_landing_instant_with_a_time_zone() -> None:
    with pytest.raises(GeneratorOptionsError, match="landed=2025-12-07T22:35:00: must be an instant with a time"):
        write_object(io.BytesIO(), LANDED.replace(tzinfo=None), GeneratorOptions())
    in_delhi = LANDED.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert object_bytes(in_delhi, GeneratorOptions()) == object_bytes(LANDED, GeneratorOptions())
