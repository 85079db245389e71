"""The pipeline's validation against the contract: hostile lines judged by hand, and the oracle on mutated ones."""

from __future__ import annotations

import gzip
import io
import random
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.validation import (
    Event,
    Rejection,
    ValidatedObject,
    silver_rows,
    validate_object,
    validate_record,
)
from event_pipeline_tests import oracle
from event_pipeline_tests.hostile import (
    HOSTILE_LINES,
    LANDING_HOUR,
    PURCHASE,
    SEARCH,
    SILVER,
    VIEW,
    HostileLine,
)

HOUR = Hour.parse(LANDING_HOUR)
LIMITS = Limits()
KEY = f"{HOUR.raw_prefix}minute=00/events-20251207-220000.jsonl.gz"
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
CHUNK_SIZES = (1, 4_096, 1_048_576)
each_hostile_line = pytest.mark.parametrize("hostile", [pytest.param(each, id=each.name) for each in HOSTILE_LINES])

Judged = dict[int, tuple[Any, ...]]
"""Line number -> (reason, record) of a quarantined line, or the nine normalised fields of an accepted one."""


def gz(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def validated(stored: bytes, chunk_bytes: int = 1_048_576) -> ValidatedObject:
    return validate_object(
        io.BytesIO(stored),
        key=KEY,
        etag="etag",
        size=len(stored),
        hour=HOUR,
        limits=LIMITS,
        chunk_bytes=chunk_bytes,
    )


def judged_by_pipeline(result: ValidatedObject) -> Judged:
    judged: Judged = {}
    for row in result.events.to_pylist():
        line_number = row.pop("line_number")
        assert line_number not in judged
        row["timestamp"] = (row["timestamp"] - EPOCH) // timedelta(microseconds=1)
        del row["rescued"]  # not one of the fields that make records equal
        judged[line_number] = normalised(row)
    for row in result.quarantine.to_pylist():
        assert row["source_object"] == KEY
        assert row["line_number"] not in judged
        judged[row["line_number"]] = (row["reason"], row["record"])
    return judged


def normalised(values: Mapping[str, Any]) -> oracle.Event:
    price = None if values["price"] is None else Decimal(values["price"]).scaleb(-2)
    return oracle.Event(**{**values, "price": price})


def judged_by_oracle(content: bytes) -> Judged:
    judged: Judged = {}
    for line_number, record, too_long in oracle.lines_of(content, oracle.DEFAULT_LIMITS):
        verdict = oracle.Verdict("too_long") if too_long else oracle.judge(record, LANDING_HOUR)
        judged[line_number] = verdict.event or (verdict.reason, record.decode("utf-8", "replace"))
    return judged


def differences(content: bytes, result: ValidatedObject) -> list[str]:
    """Say line by line where the pipeline and the oracle part; empty when they agree."""
    expected, got = judged_by_oracle(content), judged_by_pipeline(result)
    lines = content.removeprefix(oracle.BYTE_ORDER_MARK).split(b"\n")
    return [
        f"line {number}: {lines[number - 1][:400]!r}\n    contract: {expected.get(number)!s:.400}\n"
        f"    pipeline: {got.get(number)!s:.400}"
        for number in sorted(expected.keys() | got.keys())
        if expected.get(number) != got.get(number)
    ]


@each_hostile_line
def test_a_single_record_gets_the_verdict_of_the_contract(hostile: HostileLine) -> None:
    outcome = validate_record(hostile.line, HOUR, LIMITS).outcome
    if isinstance(outcome, Rejection):
        assert outcome.reason == hostile.verdict
    else:
        assert hostile.verdict == SILVER
        assert_values(outcome, hostile)


def assert_values(event: Event, hostile: HostileLine) -> None:
    shown = normalised(event.values)._asdict()
    instant = EPOCH + timedelta(microseconds=shown["timestamp"])
    shown["timestamp"] = instant.isoformat(timespec="microseconds")
    assert {name: shown[name] for name in hostile.values} == hostile.values


@each_hostile_line
def test_an_object_of_one_line_gets_the_verdict_of_the_contract(hostile: HostileLine) -> None:
    result = validated(gz(hostile.line))
    assert result.account.records == 1
    if hostile.verdict == SILVER:
        (row,) = result.events.to_pylist()
        row["timestamp"] = (row["timestamp"] - EPOCH) // timedelta(microseconds=1)
        assert row.pop("line_number") == 1
        del row["rescued"]
        assert_values(Event(row), hostile)
        assert (result.account.silver_rows, result.account.quarantined) == (1, 0)
    else:
        (row,) = result.quarantine.to_pylist()
        record = hostile.line.strip().decode("utf-8", "replace")
        assert row == {
            "reason": hostile.verdict,
            "source_object": KEY,
            "line_number": 1,
            "record": record,
        }
        assert result.account.quarantined_by_reason == {hostile.verdict: 1}
        assert result.events.num_rows == 0


@pytest.fixture(scope="module")
def all_hostile_lines() -> bytes:
    return b"\n".join(each.line for each in HOSTILE_LINES)


@pytest.fixture(scope="module")
def expected_of_all(all_hostile_lines: bytes) -> oracle.LandingHour:
    return oracle.read_hour(LANDING_HOUR, {KEY: gz(all_hostile_lines)})


@pytest.mark.parametrize(
    "chunk_bytes", [*(pytest.param(size, marks=pytest.mark.long) for size in CHUNK_SIZES[:-1]), CHUNK_SIZES[-1]]
)
def test_all_hostile_lines_in_one_object_change_nothing_for_each_other(
    all_hostile_lines: bytes, expected_of_all: oracle.LandingHour, chunk_bytes: int
) -> None:
    result = validated(gz(all_hostile_lines), chunk_bytes)
    assert differences(all_hostile_lines, result) == []
    account = result.account
    assert (account.records, account.silver_rows) == (expected_of_all.records, expected_of_all.silver_rows)
    assert account.quarantined_by_reason == expected_of_all.quarantined
    assert account.unaccounted == 0
    short = {name: count for name, count in expected_of_all.unknown_fields.items() if len(name) <= 100}
    assert {name: count for name, count in account.unknown_fields.items() if len(name) <= 100} == short
    assert account.unknown_examples.keys() == account.unknown_fields.keys() - {"(not rescued)"}
    for name, value in expected_of_all.unknown_values.items():
        if name in short and len(value) <= 80 and value.isascii() and value.isprintable():
            assert account.unknown_examples[name] == value


def test_a_long_unknown_name_is_counted_under_its_first_hundred_characters() -> None:
    for length, shown in ((100, "x" * 100), (101, "x" * 100 + "…")):
        assert validated(gz(f'{{"{"x" * length}": 1}}'.encode())).account.unknown_fields == {shown: 1}


def test_unknown_fields_are_counted_of_records_that_other_rules_refuse() -> None:
    line = b'{"timestamp": null, "referrer": 1, "user_id": {"nested": 1}}'
    verdict = validate_record(line, HOUR, LIMITS)
    assert verdict.unknown_fields == oracle.judge(line, LANDING_HOUR).unknown_fields == ("referrer",)
    assert validated(gz(line)).account.unknown_fields == {"referrer": 1}


def test_accepted_hostile_lines_become_the_silver_rows_of_the_oracle(
    all_hostile_lines: bytes, expected_of_all: oracle.LandingHour
) -> None:
    got = silver_rows(validated(gz(all_hostile_lines)).events, KEY).to_pylist()
    partition = expected_of_all.partition
    assert [row | partition for row in got] == expected_of_all.silver


GOOD = b'{"timestamp": "2025-12-07T22:00:00Z", "user_id": "u_1", "session_id": "s_1", "event_type": "search",'
GOOD += b' "search_query": "red"}'


@pytest.mark.parametrize("chunk_bytes", CHUNK_SIZES)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n", id="a line feed"),
        pytest.param(b" \r\n\t\n\x0b\x0c\n", id="blank lines"),
        pytest.param(b"\xef\xbb\xbf", id="a byte order mark alone"),
        pytest.param(b"\xef\xbb\xbf\n" + GOOD, id="a byte order mark on a line of its own"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="a byte order mark before a record"),
        pytest.param(b"\xef\xbb\xbf  " + GOOD, id="a byte order mark and spaces before a record"),
        pytest.param(b" \xef\xbb\xbf" + GOOD, id="a byte order mark behind a space"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, id="two byte order marks"),
        pytest.param(GOOD + b"\n\xef\xbb\xbf" + GOOD, id="a byte order mark before the second record"),
        pytest.param(b"\n\xef\xbb\xbf" + GOOD, id="a byte order mark behind a blank line"),
        pytest.param(b"\xef\xbb\xbf{\n", id="a byte order mark before a broken record"),
        pytest.param(b"\xef\xbb", id="half a byte order mark"),
        pytest.param(GOOD, id="no newline at the end"),
        pytest.param(GOOD + b"\n", id="a newline at the end"),
        pytest.param(GOOD + b"\r\n" + GOOD + b"\r\n", id="carriage returns"),
        pytest.param(GOOD + b"\r" + GOOD, id="carriage returns alone are no line ends"),
        pytest.param(GOOD + b"\n\n\n" + GOOD + b"\n \n" + GOOD + b"x", id="blank lines count as lines"),
        pytest.param(b"\x0b\x0c" + GOOD + b"\x0c\x0b\r", id="outer white space of all kinds"),
        pytest.param(b"\x1c" + GOOD, id="a file separator is not white space"),
        pytest.param(GOOD + b"\x85", id="a Latin-1 next line is not white space"),
        pytest.param(GOOD + b"\xe2\x80\xa8" + GOOD, id="a line separator ends no line"),
        pytest.param(b"null\n" + GOOD, id="a bare null first"),
        pytest.param(GOOD + b"\nnull", id="a bare null last"),
        pytest.param(b"x" * 1_100_000 + b"\n" + GOOD, id="a line longer than any chunk"),
        pytest.param(b"\n" * 10_000 + GOOD, id="ten thousand blank lines"),
        pytest.param(b"\xe2\x82\n\xac" + GOOD, id="a character cut by a line feed"),
        pytest.param(b"\xf0\x9f\x98{\xff\xff\xed\xa0\x80", id="bytes that are no UTF-8"),
    ],
)
def test_lines_are_found_and_numbered_as_the_contract_says(content: bytes, chunk_bytes: int) -> None:
    result = validated(gz(content), chunk_bytes)
    assert differences(content, result) == []
    assert result.account.records == len(list(oracle.records_of(content)))
    assert result.account.unreadable is None


def unreadable(stored: bytes) -> str | None:
    try:
        oracle.inflate(stored)
    except oracle.UnreadableError as reason:
        return str(reason)
    return None


SMALL = gz(GOOD + b"\n") + gz(b"\n" + GOOD)


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"", id="zero bytes"),
        pytest.param(GOOD, id="plain text"),
        pytest.param(b"\x1f", id="half the magic bytes"),
        pytest.param(b"\x1f\x9d" + bytes(30), id="compress, not gzip"),
        pytest.param(b"\x28\xb5\x2f\xfd" + bytes(30), id="zstd"),
        pytest.param(SMALL[:2], id="the magic bytes alone"),
        pytest.param(SMALL[:-1], id="one byte short"),
        pytest.param(SMALL[:-8], id="no trailer"),
        pytest.param(gz(GOOD)[:-8] + bytes(4) + gz(GOOD)[-4:], id="a wrong checksum"),
        pytest.param(gz(GOOD)[:-4] + bytes(4), id="a wrong length"),
        pytest.param(gz(GOOD) + SMALL[:-8] + bytes(4) + SMALL[-4:], id="a wrong checksum later"),
        pytest.param(gz(GOOD) + b"trailing text", id="text behind the member"),
        pytest.param(gz(GOOD) + b"\0\0x", id="padding and text behind the member"),
        pytest.param(gz(GOOD) + b"\0" * 512, id="padding of zero bytes"),
        pytest.param(gz(GOOD) + b"\0" * 512 + gz(GOOD), id="padding between members"),
        pytest.param(gz(b""), id="an empty member"),
        pytest.param(gz(b"") * 1000 + gz(GOOD), id="a thousand empty members"),
        pytest.param(gz(GOOD[:40]) + gz(GOOD[40:]), id="a record across two members"),
        pytest.param(gz(b"\xef") + gz(b"\xbb\xbf" + GOOD), id="a byte order mark across two members"),
    ],
)
def test_objects_are_read_whole_or_set_aside_whole(stored: bytes) -> None:
    result = validated(stored)
    reason = unreadable(stored)
    assert result.account.unreadable == reason
    assert (result.account.key, result.account.etag, result.account.size) == (KEY, "etag", len(stored))
    if reason is None:
        assert differences(oracle.inflate(stored), result) == []
    else:
        assert (result.account.records, result.events.num_rows, result.quarantine.num_rows) == (0, 0, 0)


def test_an_object_cut_anywhere_is_unreadable_unless_a_member_ends_there() -> None:
    cuts = [SMALL[:length] for length in range(len(SMALL))]
    got = [validated(cut).account.unreadable for cut in cuts]
    assert got == [unreadable(cut) for cut in cuts]
    # Whole are the first member alone and nothing else: the cut behind it leaves no trace.
    assert got.count(None) == 1


def test_no_flipped_bit_of_an_object_changes_its_records_unnoticed() -> None:
    intact = judged_by_pipeline(validated(SMALL))
    assert len(intact) == 2
    judged_otherwise = []
    for bit in range(len(SMALL) * 8):
        flipped = bytearray(SMALL)
        flipped[bit // 8] ^= 1 << bit % 8
        result = validated(bytes(flipped))
        readable = result.account.unreadable is None
        if readable != (unreadable(bytes(flipped)) is None):
            judged_otherwise.append(f"byte {bit // 8} bit {bit % 8}: {result.account.unreadable}")
        assert not readable or judged_by_pipeline(result) == intact
    assert judged_otherwise == []


# --- Mutated lines, judged twice ----------------------------------------------------------------------------

TEMPLATES = (PURCHASE, PURCHASE | {"event_type": '"add_to_cart"'}, VIEW, SEARCH)
NASTY = 'aZ0_.:@- \t\u00a0\u0085{}[]"\\/+%é\u212a\u0130１😀\u0301\ufeff\u2028'
WHITE = ("", " ", "  ", "\t", "\r", "\\n", "\\t", "\\u000b", "\u00a0", "\\u001f")


def harvested() -> dict[str, list[str]]:
    """Collect the JSON texts of every field from the hostile lines."""
    pool: dict[str, list[str]] = {name: [] for name in oracle.FIELDS}
    for each in HOSTILE_LINES:
        if len(each.line) > 4_000 or each.verdict == "not_json":
            continue
        for name, text in oracle.members(each.line.strip().decode()).items():
            if name in pool and text not in pool[name]:
                pool[name].append(text)
    return pool


class Mutator:
    """Makes lines that lie close to the rules' edges; equal seeds make equal lines."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.pool = harvested()
        lengths = [f'"{"x" * length}"' for length in (64, 65, 128, 129, 1000, 1001)]
        self.plain_texts = ['"a"', '""', "null", '" c "', '"x y"', '"B"', '"SEARCH"', '"a{b"', *lengths]

    def tame_line(self, mutated_share: float) -> bytes:
        """A line of the generator's shape, sometimes with a value at a rule's edge: the fast path's own prey."""
        fields = dict(self.chance.choice(TEMPLATES))
        fields["session_id"] = f'"s_{self.chance.randrange(90_000)}"'
        if self.chance.random() < mutated_share:
            name = self.chance.choice(sorted(fields))
            if name == "timestamp":
                fields[name] = self.timestamp()
            elif name in ("quantity", "price"):
                fields[name] = self.number()
            else:
                fields[name] = self.chance.choice(self.plain_texts)
        return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()

    def wild_line(self) -> bytes:
        """A line whose values, names, order and bytes may all be off."""
        members = list(self.chance.choice(TEMPLATES).items())
        for _ in range(self.chance.choice((0, 1, 1, 1, 2, 3))):
            at = self.chance.randrange(len(members))
            members[at] = (members[at][0], self.value(members[at][0]))
        if self.chance.random() < 0.1:
            del members[self.chance.randrange(len(members))]
        if self.chance.random() < 0.1:
            members.append((self.chance.choice(("extra", "user_id", "", "\\u0070rice")), self.value("price")))
        if self.chance.random() < 0.1:
            self.chance.shuffle(members)
        space = self.chance.choice(("", " ", " ", "\t "))
        line = "{" + f",{space}".join(f'"{name}":{space}{text}' for name, text in members) + "}"
        encoded = line.encode()
        return self.bent(encoded) if self.chance.random() < 0.3 else encoded

    def bent(self, line: bytes) -> bytes:
        """Damage a few bytes."""
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            at = self.chance.randrange(len(line) + 1)
            length = self.chance.choice((0, 1, 1, 2, 9))
            insert = self.chance.choice(
                (b"", b'"', b"{", b"}", b",", b":", b"\\", b"\0", b"\xff", b"\xc3", b"0", b"-", b" ", b"\r")
            )
            line = line[:at] + insert + line[at + length :]
        return line.replace(b"\n", b"")

    def torn_lines(self) -> bytes:
        """A few lines, torn at or joined across line ends, so that what one lacks another may seem to have."""
        content = b"\n".join(self.tame_line(0.03) for _ in range(self.chance.choice((1, 2, 3, 10))))
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            joints = [at for at, byte in enumerate(content) if byte in b'{}:,"\n']
            at = self.chance.choice(joints) + self.chance.choice((0, 1))
            insert = self.chance.choice((b"\n", b"\n{", b"}\n", b"}{", b"} {", b"\r", b"", b" ", b"{}\n", b"null\n"))
            content = content[:at] + insert + content[at + self.chance.choice((0, 0, 1, 1, 2)) :]
        return content

    def value(self, name: str) -> str:
        """A JSON text for a field: from the hostile table, of another field, or made up."""
        kind = self.chance.random()
        if kind < 0.45:
            return self.chance.choice(self.pool[name])
        if kind < 0.55:
            return self.chance.choice(self.pool[self.chance.choice(oracle.FIELDS)])
        if name in ("quantity", "price"):
            return self.number()
        if name == "timestamp":
            return self.timestamp()
        text = "".join(self.chance.choice(NASTY) for _ in range(self.chance.randrange(6)))
        escaped = re.sub(r'["\\\t]', lambda match: f"\\u{ord(match[0]):04x}", text)
        return f'"{self.chance.choice(WHITE)}{escaped}{self.chance.choice(WHITE)}"'.replace("\t", "\\t").replace(
            "\r", "\\r"
        )

    def number(self) -> str:
        """A number near a rule: cents, doubles next to them, limits, exponents; bare or in a string."""
        cents = self.chance.choice(
            (self.chance.randrange(100_000), self.chance.randrange(10_000_000_001), 9_999_999_999)
        )
        text = self.chance.choice(
            (
                f"{cents / 100!r}",
                f"{cents / 100:.2f}",
                f"{cents / 100:.3f}",
                f"{cents / 100:.17g}",
                f"{cents / 100 + self.chance.choice((-1, 1)) * 10.0 ** -self.chance.randrange(1, 18):.17g}",
                f"{cents}e-2",
                f"{cents / 100:.16e}",
                f"{self.chance.randrange(-2, 8)}",
                f"{self.chance.randrange(999_998, 1_000_003)}",
                f"{self.chance.randrange(6)}.{self.chance.choice(('0', '00', '5', '0000000000000001'))}",
                f"-{cents / 100!r}",
                "null",
            )
        )
        return f'"{text}"' if self.chance.random() < 0.2 else text

    def timestamp(self) -> str:
        """A time near the limits of the range, in any of the forms, some of them wrong."""
        edge = self.chance.choice(("2025-11-30T22:00:00", "2025-12-07T23:05:00", "2025-12-07T22:30:00"))
        offset = self.chance.randrange(-900, 901) if self.chance.random() < 0.4 else 0
        step = timedelta(microseconds=self.chance.choice((-1_000_000, -1, 0, 1, 999_999)))
        local = datetime.fromisoformat(edge) + timedelta(minutes=offset) + step
        fraction = self.chance.choice(("", f".{local:%f}", f".{local:%f}"[: self.chance.randrange(1, 8)]))
        fraction += self.chance.choice(("", "", "9", "999", "0000")) if len(fraction) > 1 else ""
        sign, minutes = "-" if offset < 0 else "+", abs(offset)
        zone = f"{sign}{minutes // 60:02}{self.chance.choice((':', ':', ''))}{minutes % 60:02}"
        if not offset:
            zone = self.chance.choice(("Z", "", "+00:00", "-00:00", "+0000", "z", "+00"))
        text = f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"
        if self.chance.random() < 0.15:
            at = self.chance.randrange(len(text))
            text = text[:at] + self.chance.choice("0123456789T:.-+Z ") + text[at + 1 :]
        return f'"{text}"'


def objects_of_mutated_lines(lines: int) -> Iterator[tuple[bytes, int]]:
    """Give so many mutated lines as (content of an object, chunk size)."""
    mutator = Mutator(20251207)
    # One line a chunk shows each line alone to the fast path; few mutated lines leave chunks that pass it.
    for mutated_share, chunk_bytes, count in ((1.0, 1, 1_500), (0.05, 4_096, 8_500), (0.001, 65_536, 5_000)):
        drawn = count * lines // 30_000
        yield b"\n".join(mutator.tame_line(mutated_share) for _ in range(drawn)), chunk_bytes
    for chunk_bytes, count in ((1, 500), (4_096, 4_500), (1_048_576, 10_000)):
        drawn = count * lines // 30_000
        yield b"\n".join(mutator.wild_line() for _ in range(drawn)), chunk_bytes


@pytest.mark.parametrize("count", [6_000, pytest.param(30_000, marks=pytest.mark.long)])
def test_mutated_lines_are_judged_as_the_oracle_judges_them(count: int) -> None:
    found: list[str] = []
    verdicts: set[str] = set()
    lines = 0
    accepted = []
    for content, chunk_bytes in objects_of_mutated_lines(count):
        result = validated(gz(content), chunk_bytes)
        found += differences(content, result)
        verdicts |= set(result.account.quarantined_by_reason)
        accepted.append(result.account.silver_rows / result.account.records)
        lines += content.count(b"\n") + 1
    assert not found, "\n".join([f"{len(found)} lines judged otherwise", *found[:20]])
    assert lines == count
    # The mutations must reach every rule, and leave enough lines whole, to prove anything.
    assert verdicts == {each.verdict for each in HOSTILE_LINES} - {SILVER}
    assert all(0.2 < share < 1.0 for share in accepted)


def test_torn_and_joined_lines_are_judged_as_the_oracle_judges_them() -> None:
    mutator = Mutator(20251208)
    found: list[str] = []
    for at in range(300):
        content = mutator.torn_lines()
        found += differences(content, validated(gz(content), (1_048_576, 600, 200)[at % 3]))
    assert not found, "\n".join([f"{len(found)} lines judged otherwise", *found[:20]])
