"""The pipeline's validation against the contract: hostile lines judged by hand, and the oracle on mutated ones."""

from __future__ import annotations

from datetime import timedelta

import pytest

from event_pipeline.rules.validation import (
    Event,
    Rejection,
    silver_rows,
    validate_record,
)
from event_pipeline_tests import oracle
from event_pipeline_tests.hostile import (
    HOSTILE_LINES,
    LANDING_HOUR,
    SILVER,
    HostileLine,
)
from event_pipeline_tests.reliability.lines import (
    EPOCH,
    HOUR,
    KEY,
    LIMITS,
    differences,
    gz,
    judged_by_pipeline,
    normalised,
    validated,
)

CHUNK_SIZES = (1, 4_096, 1_048_576)
each_hostile_line = pytest.mark.parametrize("hostile", [pytest.param(each, id=each.name) for each in HOSTILE_LINES])


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
