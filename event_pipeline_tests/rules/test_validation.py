"""Validation of whole objects: the certified fast path against the reference, neighbours, counts, bounds.

What each hostile line must become is told by hand in `hostile.py` and held against the code in
`test_contract.py`; here the two paths of the code are held against each other.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.rules import certified
from event_pipeline.rules.certified import split_certified
from event_pipeline.rules.contract import (
    EVENT_FIELDS,
    MAX_UNKNOWN_FIELD_CHARACTERS,
    MAX_UNKNOWN_FIELDS,
    OTHER_UNKNOWN_FIELDS,
    QUARANTINE_REASONS,
    Limits,
)
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.json_object import split_object
from event_pipeline.rules.record import Event, InstantRange, Rejection, judge, validate_record
from event_pipeline.rules.validation import (
    EVENTS_SCHEMA,
    QUARANTINE_SCHEMA,
    ValidatedObject,
    validate_object,
)
from event_pipeline_tests.hostile import HOSTILE_LINES, LANDING_HOUR

HOUR = Hour.parse(LANDING_HOUR)
LIMITS = Limits()
ACCEPTED = InstantRange.of(HOUR, LIMITS)
KEY = HOUR.raw_key(HOUR.start)

Verdicts = dict[int, tuple[Any, ...]]
"""Line number -> the fields and `rescued` of an accepted record, or (reason, record) of a quarantined one."""


def validated(content: bytes, chunk_bytes: int = 1 << 20, limits: Limits = LIMITS) -> ValidatedObject:
    stored = gzip.compress(content, 1, mtime=0)
    return validate_object(
        io.BytesIO(stored), key=KEY, etag="e1", size=len(stored), hour=HOUR, limits=limits, chunk_bytes=chunk_bytes
    )


def verdicts_of(result: ValidatedObject) -> Verdicts:
    events = result.events.set_column(0, "timestamp", result.events["timestamp"].cast(pa.int64()))
    verdicts: Verdicts = {}
    for *fields, line_number in zip(*(column.to_pylist() for column in events.columns), strict=True):
        verdicts[line_number] = tuple(fields)
    for row in result.quarantine.to_pylist():
        assert row["line_number"] not in verdicts
        assert row["source_object"] == KEY
        verdicts[row["line_number"]] = (row["reason"], row["record"])
    return verdicts


def reference_verdict(line: bytes) -> tuple[Any, ...] | None:
    record = line.strip()
    if not record:
        return None
    verdict = judge(record, ACCEPTED)
    match verdict.outcome:
        case Event(values):
            return (*values.values(), verdict.rescued)
        case Rejection(reason):
            return (reason, record.decode("utf-8", "replace"))


def reference_verdicts(lines: list[bytes]) -> Verdicts:
    numbered = ((number, reference_verdict(line)) for number, line in enumerate(lines, 1))
    return {number: verdict for number, verdict in numbered if verdict is not None}


def clean_lines(count: int, seed: int = 1) -> list[bytes]:
    """Lines of the original producer's shape."""
    chance = random.Random(seed)
    lines = []
    for number in range(count):
        kind = chance.choices(("page_view", "add_to_cart", "remove_from_cart", "purchase", "search"), (5, 2, 1, 1, 1))[
            0
        ]
        is_sale, is_search = "cart" in kind or kind == "purchase", kind == "search"
        instant = HOUR.start + timedelta(microseconds=number * 997)
        fields = {
            "timestamp": instant.isoformat(),
            "user_id": f"u_{chance.randrange(90_000)}",
            "session_id": f"s_{chance.randrange(90_000)}",
            "event_type": kind,
            "product_id": None if is_search else f"p_{chance.randrange(1_001, 6_006)}",
            "quantity": chance.randrange(1, 6) if is_sale else None,
            "price": round(chance.uniform(9.99, 299.99), 2) if is_sale else None,
            "category": None if is_search else chance.choice(("home", "toys", "electronics")),
            "search_query": chance.choice(("yoga mat", "laptop")) if is_search else None,
        }
        lines.append(json.dumps(fields).encode())
    return lines


# --- The two paths --------------------------------------------------------------------------------------------

SHORT_HOSTILE_LINES = [each.line for each in HOSTILE_LINES if len(each.line) < 3_000]
TOKENS = [
    *(b'"', b",", b":", b"{", b"}", b"[", b"]", b"\\", b" ", b"\t", b"\r", b"\n", b"\x00", b"\x0b", b"\x1f", b"\x7f"),
    *(b"0", b"9", b".", b"e", b"-", b"+", b"1e5", b"1e400", b"E+5", b"00", b"0.1", b"-0", b"null", b"true", b"T", b"Z"),
    *(b"NaN", b"-NaN", b"Infinity", b"-Inf", b"/*", b"'", b"{}", b"{", b"\\u0041", b"\\n", b"\\ud800", b"\\udc00"),
    *(b"\\ud83d\\ude00", b"\xc3\xa9", b"\xff", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x84\xaa", b"\xed\xa0\x80"),
    *(b'"price": 2,', b'"user_id": null,', b'"user_\\u0069d": "u",', b'"x": 1,', b'"": 1,', b'{"price": 1}'),
]


NESTED = ["{}", '{"extra": 1}', '[{"a": [1, "}"]}]', "[1, NaN]", '{"a": 1, "a": 2}', "[[[[1]]]]", "{1}", '[{"b": 01}]']
"""Values of fields outside the contract, JSON or not."""


def values_of_hostile_lines() -> dict[str, list[str]]:
    values: dict[str, list[str]] = {name: [] for name in EVENT_FIELDS}
    for each in HOSTILE_LINES:
        if each.verdict != "not_json" and len(each.line) < 3_000:
            for name, text in split_object(each.line.strip().decode()).items():
                if name in values:
                    values[name].append(text)
    return values


class Mutator:
    """Makes lines at the edges of the grammar and of the rules; equal seeds make equal lines."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clean = clean_lines(2_000, seed)
        self.values = values_of_hostile_lines()
        self.mutations: tuple[Callable[[], bytes], ...] = (
            self.other_bytes,
            self.other_values,
            self.other_values,
            self.other_members,
            lambda: self.chance.choice(SHORT_HOSTILE_LINES),
        )

    def content(self, count: int, mutated_share: float) -> bytes:
        """Return lines of which some are mutated."""
        chance = self.chance
        lines = [
            chance.choice(self.mutations)() if chance.random() < mutated_share else chance.choice(self.clean)
            for _ in range(count)
        ]
        return b"\n".join(lines)

    def other_bytes(self) -> bytes:
        line = self.chance.choice(self.clean)
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            position = self.chance.randrange(len(line) + 1)
            cut = self.chance.choice((0, 0, 1, 1, 2, 9))
            line = line[:position] + self.chance.choice((b"", *TOKENS)) + line[position + cut :]
        return line

    def other_values(self) -> bytes:
        members = list(split_object(self.chance.choice(self.clean).decode()).items())
        for _ in range(self.chance.choice((1, 1, 2))):
            position = self.chance.randrange(len(members))
            name = members[position][0]
            source = name if self.chance.random() < 0.8 else self.chance.choice(EVENT_FIELDS)
            members[position] = (name, self.chance.choice(self.values[source]))
        return self.written(members)

    def other_members(self) -> bytes:
        members = list(split_object(self.chance.choice(self.clean).decode()).items())
        change = self.chance.randrange(3)
        if change == 0:
            self.chance.shuffle(members)
        elif change == 1:
            del members[self.chance.randrange(len(members))]
        else:
            name = self.chance.choice((*EVENT_FIELDS, "extra", "more", "", "user_\\u0069d", "ext\\u0072a", "\\ud800"))
            members.insert(self.chance.randrange(10), (name, self.chance.choice(self.values["price"] + NESTED)))
        return self.written(members)

    def written(self, members: list[tuple[str, str]]) -> bytes:
        comma = self.chance.choice((", ", ",", " , ", ",\t"))
        colon = self.chance.choice((": ", ":", " :"))
        return ("{" + comma.join(f'"{name}"{colon}{text}' for name, text in members) + "}").encode()


@pytest.mark.parametrize(
    ("seed", "line_count", "mutated_share", "chunk_sizes"),
    [
        pytest.param(1, 1_000, 1.0, (1,), id="every line alone", marks=pytest.mark.long),
        pytest.param(12, 5_000, 0.5, (2_000,), id="a few lines a chunk, half of them mutated"),
        pytest.param(3, 100_000, 1.0, (100_000, 1 << 20), id="all lines mutated", marks=pytest.mark.long),
        pytest.param(4, 15_000, 0.2, (10_000, 1 << 20), id="every fifth line mutated", marks=pytest.mark.long),
        pytest.param(5, 40_000, 0.01, (20_000, 1 << 20), id="hardly any line mutated", marks=pytest.mark.long),
    ],
)
def test_fast_path_and_reference_agree_on_mutated_lines(
    seed: int, line_count: int, mutated_share: float, chunk_sizes: tuple[int, ...]
) -> None:
    content = Mutator(seed).content(line_count, mutated_share)
    lines = content.split(b"\n")
    expected = reference_verdicts(lines)
    for chunk_bytes in chunk_sizes:
        result = validated(content, chunk_bytes)
        result.events.validate(full=True)
        found = verdicts_of(result)
        differing = [number for number in expected.keys() | found.keys() if expected.get(number) != found.get(number)]
        assert not differing, [
            (chunk_bytes, lines[number - 1][:500], expected.get(number), found.get(number)) for number in differing[:5]
        ]
        assert result.account.records == len(expected)
        assert result.account.unaccounted == 0
        numbers = result.events["line_number"].to_pylist()
        assert numbers == sorted(numbers)
    if line_count * mutated_share > 1_000:
        reasons = {verdict[0] for verdict in expected.values() if len(verdict) == 2}
        assert reasons == set(QUARANTINE_REASONS) - {"too_long"}


@pytest.mark.parametrize("alone", SHORT_HOSTILE_LINES[::7])
def test_the_fast_path_never_accepts_what_the_reference_refuses(alone: bytes) -> None:
    split = split_certified(alone, 1, ACCEPTED)
    assert split.line_count == alone.count(b"\n") + 1
    assert split.events.num_rows + len(split.others) == split.line_count
    if split.events.num_rows:
        assert isinstance(judge(alone.strip(), ACCEPTED).outcome, Event)


def judged_by_reference(content: bytes) -> int:
    return len([line for _, line in split_certified(content, 1, ACCEPTED).others if line.strip()])


def without_nulls(line: bytes) -> bytes:
    return json.dumps({name: value for name, value in json.loads(line).items() if value is not None}).encode()


def in_another_order(line: bytes) -> bytes:
    return json.dumps(dict(sorted(json.loads(line).items()))).encode()


def in_other_words(line: bytes) -> bytes:
    fields = json.loads(line)
    fields["category"] = fields["category"] and "Möbel & Küche"
    fields["search_query"] = fields["search_query"] and 'Grüße "😀" \\ {}'
    return json.dumps(fields, ensure_ascii=fields["search_query"] is None).encode()


@pytest.mark.parametrize(
    "rewritten",
    [
        pytest.param(lambda line: line, id="as the original producer writes it"),
        pytest.param(without_nulls, id="without nulls"),
        pytest.param(in_another_order, id="in another order"),
        pytest.param(in_other_words, id="beyond ASCII, with escapes"),
        pytest.param(lambda line: line.replace(b" ", b""), id="without spaces"),
        pytest.param(lambda line: line + b"\r", id="with carriage returns"),
        pytest.param(lambda line: line.replace(b"+00:00", b"Z"), id="with Z for the offset"),
        pytest.param(lambda line: line[:-1] + b', "device": "mobile"}', id="with an unknown field"),
        pytest.param(lambda line: line[:-1] + b', "c": {"v": [{"c": "}{\\""}], "w": null}}', id="with a nested one"),
        pytest.param(lambda line: line[:-1] + b', "c": {"v": [1.5e3 ]}, "d": [true]}', id="with two nested ones"),
        pytest.param(lambda line: b'{"v": 1.50, ' + line[1:-1] + b', "x y": null, "b":true}', id="with unknown fields"),
        pytest.param(
            lambda line: line.replace(b'"product_id', b'"n": -1e5 , "product_id', len(line) % 2),
            id="with one now and then",
        ),
    ],
)
def test_usual_forms_of_good_records_never_need_the_reference(rewritten: Callable[[bytes], bytes]) -> None:
    lines = [rewritten(line) for line in clean_lines(3_000)]
    assert judged_by_reference(b"\n".join(lines)) == 0
    assert judged_by_reference(b"\n".join(lines) + b"\n") == 0


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"timestamp": ', id="cut short"),
        pytest.param(b"null", id="a bare null"),
        pytest.param(b"{}{}", id="two objects"),
        pytest.param(b'{"price": 1e400, "price": 2}', id="a key twice"),
        pytest.param(clean_lines(1)[0].replace(b'"u_', b'"\xff_'), id="a byte that is no UTF-8"),
        pytest.param(clean_lines(1)[0].replace(b'"u_', b'"\\ud800_'), id="a lone surrogate"),
        pytest.param(clean_lines(1)[0].replace(b'"u_', b'"\x00_'), id="a NUL"),
    ],
)
def test_a_line_that_no_reader_accepts_costs_the_reference_itself_only(broken: bytes) -> None:
    lines = clean_lines(3_000)
    assert judged_by_reference(b"\n".join([*lines[:1_500], broken, *lines[1_500:]])) == 1
    assert judged_by_reference(b"\n".join([broken, *lines])) == 1


def test_two_records_on_a_line_and_one_on_two_lines_do_not_even_out() -> None:
    first, second, third = clean_lines(3)
    head, tail = third.split(b" ", 1)
    lines = [first + second, head, tail]
    assert verdicts_of(validated(b"\n".join(lines))) == {
        number: ("not_json", line.decode()) for number, line in enumerate(lines, 1)
    }


@pytest.mark.parametrize("edge", ["\u00a0", "\u0085", "\u2003", "\u001c", "\u001f", "\u0000", "\ufeff"])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_only_ascii_white_space_is_trimmed_from_a_query(edge: str, ascii_only: bool) -> None:
    search = next(fields for fields in map(json.loads, clean_lines(50)) if fields["event_type"] == "search")
    fields = search | {"search_query": f" \t\n\r\x0b\x0c{edge} a  b {edge}\x0c\x0b\r\n\t "}
    content = json.dumps(fields, ensure_ascii=ascii_only).encode()
    assert judged_by_reference(content) == 0
    assert validated(content).events["search_query"].to_pylist() == [f"{edge} a  b {edge}"]


def test_lines_that_break_a_rule_cost_the_reference_themselves_only() -> None:
    lines = clean_lines(3_000)
    lines[100] = lines[100].replace(b'"u_', b'"u ')
    lines[200] = lines[200].replace(b"2025-12-07", b"2025-12-06").replace(b"2025-12-06", b"2024-12-06")
    assert judged_by_reference(b"\n".join(lines)) == 2


def test_a_good_line_is_accepted_the_same_when_the_reader_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\n".join(clean_lines(500))
    fast = verdicts_of(validated(content))
    monkeypatch.setattr(certified, "_read", lambda block, line_count, runs: None)
    assert verdicts_of(validated(content)) == fast
    assert len(fast) == 500


# --- Neighbours and chunks ------------------------------------------------------------------------------------

POOL = [*clean_lines(12), b"", b" \r", *(each.line for each in HOSTILE_LINES if len(each.line) < 1_000)]
VERDICT_ALONE = {line: reference_verdict(line) for line in POOL}


@pytest.mark.long
@settings(max_examples=400)
@given(
    st.lists(st.one_of(st.sampled_from(POOL[:12]), st.sampled_from(POOL)), max_size=25),
    st.sampled_from([1, 60, 300, 2_000, 1 << 20]),
    st.booleans(),
)
def test_a_verdict_depends_on_no_neighbour_and_no_chunk_size(
    lines: list[bytes], chunk_bytes: int, ends_with_newline: bool
) -> None:
    content = b"\n".join(lines) + b"\n" * ends_with_newline
    found = verdicts_of(validated(content, chunk_bytes))
    assert found == {
        number: verdict for number, line in enumerate(lines, 1) if (verdict := VERDICT_ALONE[line]) is not None
    }


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([1, 20, 1 << 20]))
def test_any_bytes_get_one_verdict_a_record(content: bytes, chunk_bytes: int) -> None:
    content = content.removeprefix(b"\xef\xbb\xbf")
    result = validated(content, chunk_bytes)
    assert verdicts_of(result) == reference_verdicts(content.split(b"\n"))
    assert result.account.unaccounted == 0


@pytest.mark.parametrize("chunk_bytes", [1_000, 1 << 20])
def test_lines_of_many_megabytes_are_judged(chunk_bytes: int) -> None:
    good = clean_lines(3)
    lines = [
        good[0],
        good[1][:-1] + b', "extra": "' + b"x" * 5_000_000 + b'"}',
        b"x" * 5_000_000,
        good[2].replace(b'"u_', b'"u_' + b"9" * 3_000_000),
        b" " * 2_000_000,
        good[2],
    ]
    result = validated(b"\n".join(lines), chunk_bytes, Limits(max_line_bytes=10_000_000))
    assert result.events["line_number"].to_pylist() == [1, 2, 6]
    assert [(row["line_number"], row["reason"], len(row["record"])) for row in result.quarantine.to_pylist()] == [
        (3, "not_json", 5_000_000),
        (4, "invalid_user_id", len(lines[3])),
    ]
    assert result.account.unknown_fields == {"(not rescued)": 1, "extra": 1}


def test_the_verdict_does_not_depend_on_how_deep_the_caller_stands() -> None:
    line = clean_lines(1)[0][:-1] + b', "extra": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"

    def validate_below(frames: int) -> Verdicts:
        return validate_below(frames - 1) if frames else verdicts_of(validated(line))

    assert validate_below(sys.getrecursionlimit() - 200) == verdicts_of(validated(line)) == reference_verdicts([line])
    assert len(validated(line).events) == 1


# --- The account ----------------------------------------------------------------------------------------------


def test_the_account_of_an_object_says_where_every_record_went() -> None:
    good = clean_lines(4)
    bad_user = good[0].replace(b'"u_', b'"u ')
    lines = [*good, b"{", bad_user, b"", good[0], b"{", b'{"extra": 1, "more": 2}', good[1][:-1] + b', "extra": null}']
    stored = gzip.compress(b"\n".join(lines))
    result = validate_object(
        io.BytesIO(stored), key=KEY, etag="e1", size=len(stored), hour=HOUR, limits=LIMITS, chunk_bytes=1 << 20
    )
    account = result.account
    assert (account.key, account.etag, account.size, account.unreadable) == (KEY, "e1", len(stored), None)
    assert (account.records, account.silver_rows, account.quarantined, account.duplicates) == (10, 6, 4, 0)
    assert account.quarantined_by_reason == {"invalid_user_id": 1, "missing_timestamp": 1, "not_json": 2}
    assert account.unknown_fields == {"extra": 2, "more": 1}
    assert account.unknown_examples == {"extra": "1", "more": "2"}
    assert account.unaccounted == 0
    assert result.events.schema.equals(EVENTS_SCHEMA)
    assert result.quarantine.schema.equals(QUARANTINE_SCHEMA)


@pytest.mark.parametrize("chunk_bytes", [1, 400, 1 << 20])
def test_rows_are_in_the_order_of_their_lines_and_numbered_by_them(chunk_bytes: int) -> None:
    good = clean_lines(4)
    slow = good[1].replace(b'"user_id"', b'"user\\u005fid"')  # the fast path takes no escaped key
    assert slow != good[1]
    result = validated(b"\n".join([b"", b" ", good[0], slow, b"{", b"", good[2], b"[]", good[3]]), chunk_bytes)
    assert result.events["line_number"].to_pylist() == [3, 4, 7, 9]
    assert result.events["timestamp"].to_pylist() == validated(b"\n".join(good)).events["timestamp"].to_pylist()
    rows = [(row["reason"], row["line_number"], row["record"]) for row in result.quarantine.to_pylist()]
    assert rows == [("not_json", 5, "{"), ("not_json", 8, "[]")]
    assert result.account.unaccounted == 0


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \t\n\x0b\x0c"])
def test_an_object_without_records_is_readable_and_empty(content: bytes) -> None:
    result = validated(content)
    assert (result.account.records, result.account.unreadable) == (0, None)
    assert result.events.equals(EVENTS_SCHEMA.empty_table())
    assert result.quarantine.equals(QUARANTINE_SCHEMA.empty_table())


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (lambda stored: b"", "zero_bytes"),
        (lambda stored: b"plain text", "not_gzip"),
        (lambda stored: stored[:-1], "truncated_gzip"),
        (lambda stored: stored + b"x", "corrupt_gzip"),
    ],
)
def test_nothing_of_an_unreadable_object_is_half_read(damaged: Callable[[bytes], bytes], reason: str) -> None:
    stored = damaged(gzip.compress(b"\n".join([*clean_lines(2_000), b"{"])))
    result = validate_object(
        io.BytesIO(stored), key=KEY, etag="e1", size=len(stored), hour=HOUR, limits=LIMITS, chunk_bytes=10_000
    )
    assert result.account.unreadable == reason
    assert (result.account.records, result.account.quarantined_by_reason, result.account.unknown_fields) == (0, {}, {})
    assert result.events.equals(EVENTS_SCHEMA.empty_table())
    assert result.quarantine.equals(QUARANTINE_SCHEMA.empty_table())


def test_the_first_unknown_names_are_listed_and_all_others_counted_together() -> None:
    many = MAX_UNKNOWN_FIELDS + 50
    wide = json.dumps({f"name_{number:04}": number for number in range(many)}).encode()
    lines = [wide, b'{"late": 1, "later": 2}', b'{"name_0001": 1, "late": 1}', b"{}"]
    for chunk_bytes in (1, 1 << 20):
        names = validated(b"\n".join(lines), chunk_bytes).account.unknown_fields
        assert len(names) == MAX_UNKNOWN_FIELDS + 1
        assert (names["name_0000"], names["name_0001"], names[OTHER_UNKNOWN_FIELDS]) == (1, 2, 3)
        assert f"name_{many - 1:04}" not in names
        examples = validated(b"\n".join(lines), chunk_bytes).account.unknown_examples
        assert examples == {f"name_{number:04}": str(number) for number in range(MAX_UNKNOWN_FIELDS)}


@pytest.mark.parametrize(
    ("json_text", "shown"),
    [
        ('{ "a" : [1,\r2] }', r'{ "a" : [1,\r2] }'),
        ('"\u202e\u00e9"', '"\\u202e\u00e9"'),
        (r'"\ud800"', r'"\ud800"'),
        ("1e999", "1e999"),
        (f'"{"x" * 500_000}"', f'"{"x" * 79}…'),
    ],
)
def test_the_first_value_of_an_unknown_name_is_kept_short_and_visible(json_text: str, shown: str) -> None:
    lines = ["{", f'{{"extra":{json_text}}}', '{"extra": "later"}']
    assert validated("\n".join(lines).encode()).account.unknown_examples == {"extra": shown}


def test_a_giant_unknown_name_is_cut_where_one_sees_it() -> None:
    name = "n" * (MAX_UNKNOWN_FIELD_CHARACTERS + 1)
    names = validated(f'{{"{name}": 1, "{name}o": 1}}'.encode()).account.unknown_fields
    assert names == {name[:-1] + "…": 1}


def test_names_with_lone_surrogates_are_counted_in_a_form_that_can_be_written() -> None:
    names = validated(b'{"\\ud83d": 1, "a\\udc00b": 1}').account.unknown_fields
    assert names == {"\ufffd": 1, "a\ufffdb": 1}
    assert Counter(names) == Counter(json.loads(json.dumps(names).encode()))


# --- Time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamp", "accepted"),
    [
        ("2025-12-07T21:59:59.999999Z", False),
        ("2025-12-07T22:00:00Z", True),
        ("2025-12-07T22:59:59.999999999Z", True),
        ("2025-12-07T23:00:00Z", False),
    ],
)
def test_limits_of_zero_accept_the_landing_hour_alone(timestamp: str, accepted: bool) -> None:
    record = json.dumps(json.loads(clean_lines(1)[0]) | {"timestamp": timestamp}).encode()
    limits = Limits(timedelta(0), timedelta(0))
    outcome = validate_record(record, HOUR, limits).outcome
    assert isinstance(outcome, Event) is accepted
    assert accepted or outcome == Rejection("timestamp_out_of_range")
    # Without the digits that the fast path does not take, it is the one that judges.
    stored = io.BytesIO(gzip.compress(record.replace(b".999999999Z", b".999999Z")))
    account = validate_object(stored, key=KEY, etag="e", size=1, hour=HOUR, limits=limits).account
    assert (account.records, account.silver_rows) == (1, int(accepted))


@pytest.mark.parametrize("hour", ["0001-01-01T00", "9999-12-31T23"])
def test_limits_may_reach_beyond_the_calendar(hour: str) -> None:
    first_or_last = Hour.parse(hour)
    instant = first_or_last.start.isoformat()
    record = json.dumps(json.loads(clean_lines(1)[0]) | {"timestamp": instant}).encode()
    outcome = validate_record(record, first_or_last, LIMITS).outcome
    assert isinstance(outcome, Event)
    assert outcome["timestamp"] == (first_or_last.start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_every_day_of_the_calendar_is_certified_or_refused_alike() -> None:
    days = [f"{year:04}-{month:02}-{day:02}" for year in (0, 1, 1900, 2000, 2023, 2024, 2100, 9999)
            for month in range(14) for day in range(33)]  # fmt: skip
    template = clean_lines(1)[0]
    times = ("T00:00:00Z", "T23:59:59.999999+14:59", "T00:00:00.000001-14:59", "T24:00:00Z", "T12:00:60Z")
    lines = [
        template.replace(HOUR.start.isoformat().encode(), (day + times[number % 5]).encode())
        for number, day in enumerate(days)
    ]
    accepted = InstantRange(-(10**18), 10**18)
    split = split_certified(b"\n".join(lines), 0, accepted)
    certain, others = split.events, split.others
    instants = dict(
        zip(certain["line_number"].to_pylist(), certain["timestamp"].cast(pa.int64()).to_pylist(), strict=True)
    )
    for number, line in enumerate(lines):
        outcome = judge(line, accepted).outcome
        expected = outcome["timestamp"] if isinstance(outcome, Event) else None
        assert instants.get(number) == expected or (number, line) in others


# --- What it may lean on --------------------------------------------------------------------------------------

LEAN = """
import gzip, importlib.abc, io, sys

class OnlyLean(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in sys.stdlib_module_names or root.startswith(("pyarrow", "isal", "_sysconfigdata")):
            return None
        if name == "event_pipeline" or (name + ".").startswith("event_pipeline.rules."):
            return None
        raise ImportError(f"validation may not import {name}")

sys.meta_path.insert(0, OnlyLean())
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.validation import day_totals, silver_rows, validate_object

hour, content = Hour.parse(sys.argv[1]), gzip.compress(sys.stdin.buffer.read())
result = validate_object(io.BytesIO(content), key="k", etag="e", size=1, hour=hour, limits=Limits())
rows = silver_rows(result.events, "k")
print(rows.num_rows, result.quarantine.num_rows, len(day_totals(rows)))
"""


def test_validation_runs_on_pyarrow_and_the_standard_library_alone() -> None:
    content = b"\n".join([*clean_lines(50), b"{"])
    lean = subprocess.run(
        [sys.executable, "-c", LEAN, LANDING_HOUR], input=content, capture_output=True, timeout=60, check=False
    )
    assert (lean.stdout.decode().split(), lean.stderr.decode()) == (["50", "1", "1"], "")


# --- Unknown fields -------------------------------------------------------------------------------------------


def with_unknown_fields(count: int, seed: int, names: int) -> list[bytes]:
    """Good and bad lines with some of so many unknown fields, each with another value."""
    chance = random.Random(seed)
    lines = []
    for number, line in enumerate(clean_lines(count, seed)):
        more = "".join(
            f', "n{each}": {chance.choice((str(number), json.dumps(f"v{number}"), "null", "[1]"))}'
            for each in range(names)
            if chance.random() < 2 / names
        )
        spoilt = line.replace(b'"u_', b'"u ') if chance.random() < 0.05 else line
        lines.append(spoilt[:-1] + more.encode() + b"}")
    return lines


@pytest.mark.parametrize("names", [*(pytest.param(names, marks=pytest.mark.long) for names in (1, 3)), 150])
def test_counts_and_examples_of_unknown_fields_do_not_depend_on_chunks(names: int) -> None:
    lines = with_unknown_fields(1_000, names, names)
    if names == 1:
        lines = [line if b'"n0"' in line else line[:-1] + b', "n0": 7}' for line in lines]
    records: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for line in lines:
        members = split_object(line.decode())
        unknown = [name for name in members if name not in EVENT_FIELDS]
        listed = set[str]()
        for name in unknown:
            shown = name if name in records or len(records) < MAX_UNKNOWN_FIELDS else OTHER_UNKNOWN_FIELDS
            if shown not in records and shown != OTHER_UNKNOWN_FIELDS:
                examples[shown] = members[name]
            if shown not in listed:
                listed.add(shown)
                records[shown] += 1
    for chunk_bytes in (1, 20_000, 4 << 20):
        account = validated(b"\n".join(lines), chunk_bytes).account
        assert account.unknown_fields == records
        assert account.unknown_examples == examples
    assert (OTHER_UNKNOWN_FIELDS in records) == (names == 150)


def test_what_is_rescued_is_the_text_of_the_record_whichever_way_it_took() -> None:
    lines = [line[:-1] + b', "a": 1.50, "b c" :"\xc3\xa9\\n"}' for line in clean_lines(50)]
    lines[7] = lines[7][:-1] + b', "\\u0061bc": null}'
    lines[9] = lines[9].replace(b'"b c" :', b'"b c" : {"a": 1}, "d":')
    lines[11] = b'{"b c": 1, ' + lines[11][1:].replace(b', "b c" :"\xc3\xa9\\n"', b"")
    lines[13] = lines[13].replace(b"1.50", b"1" * 17_000)
    lines[15] = lines[15].replace(b"1.50", b'{"a": {"b c": [7, "\\u00e9"]}, "b c": 2}')
    lines[17] = lines[17].replace(b"1.50", b'[{"v": NaN}]')
    lines[19] = lines[19].replace(b"1.50", b"[" * 50 + b"]" * 50)
    result = validated(b"\n".join(lines))
    numbers = result.events["line_number"].to_pylist()
    rescued = dict(zip([number - 1 for number in numbers], result.events["rescued"].to_pylist(), strict=True))
    assert rescued[15] == '{"a":{"a": {"b c": [7, "\\u00e9"]}, "b c": 2},"b c":"é\\n"}'
    assert 17 not in rescued
    assert rescued[19] == '{"a":' + "[" * 50 + "]" * 50 + ',"b c":"é\\n"}'
    assert rescued[0] == '{"a":1.50,"b c":"é\\n"}'
    assert rescued[7] == '{"a":1.50,"b c":"é\\n","abc":null}'
    assert rescued[9] == '{"a":1.50,"b c":{"a": 1},"d":"é\\n"}'
    assert rescued[11] == '{"b c":1,"a":1.50}'
    assert rescued[13] == '{"b c":"é\\n"}'


UNKNOWN_NAMES = ("device", "v", "device v", "devic\\u0065", "~0", "~1", "price ", "x.y")
UNKNOWN_VALUES = (
    *(
        '"mobile"',
        '"\\u007e0"',
        '"a \\"device\\": 1"',
        '"~0"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"é"',
        '"a\\tb"',
        '"\\x"',
        '"',
    ),
    *("1", "-0", "1.50", "1e5", "01", "1.", "-", "NaN", "Infinity", "1" * 40, "true", "null", "nul", "", "tru e"),
    *(
        "[]",
        "{}",
        "[1,]",
        "[1 2]",
        "[,1]",
        '{"device": 1}',
        '{"device": 1, "device": 2}',
        '{"~0":0}',
        '{"v":[{"v":[]}]}',
    ),
    *('{"a"}', '{"a":1,}', '{"a" : [1, {"b":"}"}] }', "[[[[1]]]]", '[{"a":[1]}', '{"price": 1}', '{"user_id": "u"}'),
)


@pytest.mark.parametrize("is_strange", [pytest.param(False, id="plain"), pytest.param(True, id="strange")])
def test_unknown_fields_anywhere_are_rescued_as_the_reference_does(is_strange: bool) -> None:
    """Blocks of few shapes, so that the fast way serves them, with a strange member in some lines."""
    chance = random.Random(int(is_strange))
    rescued = 0
    for round_number in range(60):
        names = chance.sample(UNKNOWN_NAMES[:3] + UNKNOWN_NAMES[6:], chance.randrange(1, 5))
        shapes = [chance.sample(range(10), len(names)) for _ in range(chance.randrange(1, 3))]
        lines = []
        for line in clean_lines(40, round_number):
            members = [f'"{name}":{json_text}' for name, json_text in split_object(line.decode()).items()]
            for name, place in zip(names, chance.choice(shapes), strict=True):
                value = chance.choice(('"mobile"', "17", "1.50", "null", '[1, {"a": "b"}]'))
                members.insert(place, f'"{name}"{chance.choice(("", " "))}: {value}')
            if is_strange and chance.random() < 0.15:
                strange = f'"{chance.choice(UNKNOWN_NAMES)}":{chance.choice(UNKNOWN_VALUES)}'
                members.insert(chance.randrange(len(members) + 1), strange)
            lines.append(f"{{{', '.join(members)}}}".encode())
        result = validated(b"\n".join(lines), 4 << 20)
        assert verdicts_of(result) == reference_verdicts(lines)
        verdicts = [judge(line, ACCEPTED) for line in lines]
        assert result.account.unknown_fields == Counter(name for each in verdicts for name in each.unknown_fields)
        rescued += split_certified(b"\n".join(lines), 1, ACCEPTED).events["rescued"].null_count == 0
    assert rescued > 40  # by the fast way


ODD_MEMBERS = (
    *(b"", b', "device": null', b', "device": 1', b', "device": {"a": "b"}', b', "device": ["b"]', b', "device": ""'),
    *(
        b', "device": "a\tb"',
        b', "device": "a\\tb"',
        b', "device": "\xc3\xa9"',
        b', "device": "\xff"',
        b', "device": "' + b"x" * 17_000 + b'"',
    ),
    *(b', "device": "b", "device": "c"', b', "device": "b", "v": "c"', b', "v": "device"', b', "v": {"device": "b"}'),
    *(b', "device": "b"c', b', "device": "b" "c"', b', "device": nul', b', "devic\\u0065": "b"', b', "~0": "device"'),
)


@pytest.mark.parametrize("member", ODD_MEMBERS)
@pytest.mark.parametrize("also_missing", [False, True])
def test_one_unknown_field_of_texts_is_rescued_as_the_reference_does(member: bytes, also_missing: bool) -> None:
    texts = [f', "device": "model {number}"'.encode() for number in range(20)]
    if also_missing:
        texts[3] = b""
    lines = [line[:-1] + text + b"}" for line, text in zip(clean_lines(20), texts, strict=True)]
    certified = split_certified(b"\n".join(lines), 1, ACCEPTED)
    assert (len(certified.events), certified.unknown) == (20, {"device": 19 if also_missing else 20})
    lines[11] = clean_lines(20)[11][:-1] + member + b"}"
    assert verdicts_of(validated(b"\n".join(lines), 4 << 20)) == reference_verdicts(lines)
