"""Wrongly framed objects: each form as a real object among healthy ones, and what must not be taken for one."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from event_pipeline.alerts.conditions import AlertKind, find
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.local import LocalEngine
from event_pipeline.inspection.verification import verify
from event_pipeline.rules.accounting import HourAccount
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.framing import WronglyFramed, wrongly_framed
from event_pipeline.rules.validation import validate_object
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.alerts.facts import facts
from event_pipeline_tests.pipeline import HOUR, build, event, write_object

EVENTS = [event(second=second, user_id=f"u_{second}") for second in range(300)]
LINES = [json.dumps(each).encode() for each in EVENTS]
PLAIN = b"\n".join(LINES)

CSV = "\n".join(
    [
        ",".join(EVENTS[0]),
        *(",".join("" if value is None else str(value) for value in each.values()) for each in EVENTS),
    ]
).encode()
PAGE = b"<!DOCTYPE html>\n<html><head><title>503</title></head>\n<body>\n<h1>Service Unavailable</h1>\n</body></html>\n"

FORMS: dict[str, tuple[bytes, str]] = {
    "concatenated": (b"".join(LINES), "one line of 6"),
    "concatenated with spaces": (b"  ".join(LINES), "JSON objects follow one another without a newline"),
    "concatenated beyond the limit of a line": (b"".join(LINES * 20), "one line of 1 MB: no line ends?"),
    "batches of concatenated records a line": (
        b"\n".join(b"".join(LINES[at : at + 50]) for at in range(0, 300, 50)),
        "JSON objects follow",
    ),
    "an array on one line": (b"[" + b",".join(LINES) + b"]", "a JSON array over the whole object"),
    "an array over many lines": (b"[\n" + b",\n".join(LINES) + b"\n]", "a JSON array over the whole object"),
    "an array, pretty-printed": (json.dumps(EVENTS, indent=2).encode(), "a JSON array over the whole object"),
    "objects, pretty-printed": (
        b"\n".join(json.dumps(each, indent=2).encode() for each in EVENTS),
        "JSON over many lines",
    ),
    "carriage returns alone": (b"\r".join(LINES), "lines end with CR alone"),
    "gzip inside gzip": (gzip.compress(PLAIN, mtime=0), "gzip inside gzip"),
    "UTF-16 with a mark": (PLAIN.decode().encode("utf-16"), "UTF-16"),
    "UTF-16 little-endian": (PLAIN.decode().encode("utf-16-le"), "UTF-16"),
    "UTF-16 big-endian": (PLAIN.decode().encode("utf-16-be"), "UTF-16"),
    "UTF-32": (PLAIN.decode().encode("utf-32"), "UTF-32"),
    "CSV": (CSV, "CSV"),
    "CSV without a heading": (CSV.partition(b"\n")[2], "CSV"),
    "an HTML page": (PAGE, "an HTML page"),
    "an HTML page on one line": (PAGE.replace(b"\n", b""), "an HTML page"),
    "an XML error": (b'<?xml version="1.0"?>\n<Error><Code>SlowDown</Code></Error>', "an XML document"),
    "JSON in JSON strings": (b"\n".join(json.dumps(line.decode()).encode() for line in LINES), "encoded twice"),
    "commas behind the objects": (b",\n".join(LINES) + b",", "JSON objects followed by commas"),
    "text in front": (b"\n".join(b"2025-12-07 INFO " + line for line in LINES), "text in front of each JSON object"),
    "a Parquet file": (b"PAR1" + bytes(range(256)) * 20, "a Parquet or other columnar file"),
    "nothing once inflated": (b"", "no records at all: it is empty once inflated"),
    "blank lines": (b"\n\n \n", "no records at all: blank lines only"),
    "a wrapper around all events": (json.dumps({"records": EVENTS}).encode(), "JSON objects without a timestamp"),
    "some good lines and the rest in one": (
        b"\n".join([*LINES[:40], b"".join(LINES[40:])]),
        "JSON objects follow one another",
    ),
}


def account(*contents: bytes) -> HourAccount:
    """The hour of objects with such contents."""
    accounts = []
    for number, content in enumerate(contents):
        stored = gzip.compress(content, mtime=0)
        found = validate_object(
            io.BytesIO(stored), key=f"events/{number:02}", etag="e", size=len(stored), hour=HOUR, limits=Limits()
        )
        accounts.append(found.account)
    return HourAccount.of(accounts, {})


@pytest.mark.parametrize(("content", "said"), [pytest.param(*each, id=name) for name, each in FORMS.items()])
def test_a_wrongly_framed_object_among_healthy_ones_is_named_with_what_it_is(content: bytes, said: str) -> None:
    (found,) = wrongly_framed(account(PLAIN, content, PLAIN, b"\n".join(LINES[:50])))
    assert found.key == "events/01"
    assert said in found.reason
    assert found.remedy


def test_concatenated_objects_name_delivery_streams_and_their_remedy() -> None:
    (found,) = wrongly_framed(account(b"".join(LINES)))
    assert "Firehose" in found.remedy
    assert "AppendDelimiterToRecord" in found.remedy
    assert found.reason.endswith("1 of 1 record refused")


BAD = [b"{", b'{"timestamp": null}', b"not json", LINES[0].replace(b"u_0", b"u 0")]


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param([PLAIN], id="alone"),
        pytest.param([PLAIN, LINES[0]], id="a single good line"),
        pytest.param([LINES[0]], id="an hour of one line"),
        pytest.param([LINES[0], LINES[1] + b"\n", b"\n".join(LINES[:3])], id="a tiny hour"),
        pytest.param([PLAIN, b"\n".join(LINES[:100] + BAD)], id="a few bad lines"),
        pytest.param([PLAIN, b"\n".join([*LINES[:3], b"{"])], id="a bad line among three"),
        pytest.param([PLAIN, b"\r\n".join(LINES)], id="CR LF"),
        pytest.param([PLAIN, b"\xef\xbb\xbf" + PLAIN], id="a byte order mark"),
        pytest.param([PLAIN, b"\n\n".join(LINES)], id="blank lines between"),
        pytest.param(
            [PLAIN, b"\n".join(line[:-1] + b', "extra": "' + b"x" * 5_000 + b'"}' for line in LINES)], id="long records"
        ),
        pytest.param([PLAIN, PLAIN.replace(b"2025-12-07", b"2025-10-07")], id="all records too old"),
        pytest.param([PLAIN, b"\n".join([*LINES, LINES[0] + LINES[1]])], id="two records that ran together"),
    ],
)
def test_a_healthy_object_is_not_named(contents: list[bytes]) -> None:
    assert wrongly_framed(account(*contents)) == []


def test_few_records_per_byte_are_held_against_the_hour_before_where_there_is_no_other_object() -> None:
    wrapped = json.dumps({"timestamp": EVENTS[0]["timestamp"], "all": EVENTS}).encode()
    assert wrongly_framed(account(wrapped)) == []
    (found,) = wrongly_framed(account(wrapped), account(PLAIN))
    assert "far fewer records per byte" in found.reason
    assert [each.form for each in wrongly_framed(account(PLAIN, wrapped))] == ["few_records"]


def test_an_unreadable_object_has_its_own_reason_and_is_not_named() -> None:
    found = validate_object(io.BytesIO(b""), key="k", etag="e", size=0, hour=HOUR, limits=Limits())
    assert found.account.unreadable == "zero_bytes"
    assert wrongly_framed(HourAccount((found.account,), {})) == []


def test_records_of_older_versions_are_judged_by_what_they_hold() -> None:
    sound = account(PLAIN).objects[0]

    old = replace(sound, inflated_bytes=0, broken_bytes=0, longest_broken=0, framing="")
    assert wrongly_framed(HourAccount((old,), {})) == []


@pytest.fixture
def built(root: Any, settings: Settings) -> tuple[LocalEngine, list[WronglyFramed]]:
    engine = LocalEngine(settings)
    for minute, content in ((0, PLAIN), (5, b"".join(LINES)), (10, PLAIN.replace(b"u_", b"v_"))):
        write_object(root, HOUR, minute, gzip.compress(content, mtime=0))
    build(engine, [HOUR])
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    return engine, wrongly_framed(commit.account)


def test_the_commit_record_keeps_what_alert_and_verify_name(
    built: tuple[LocalEngine, list[WronglyFramed]], settings: Settings
) -> None:
    engine, (found,) = built
    assert found.key == HOUR.raw_key(HOUR.start.replace(minute=5))
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    (alert,) = (each for each in find(facts([commit]), load_settings()) if each.kind is AlertKind.OBJECT_FRAMING)
    assert found.key in alert.subjects[str(HOUR)]
    assert "AppendDelimiterToRecord" in alert.advice
    verified = verify(engine, [], settings.event_time_limits, None, HOUR.plus(5).start, lambda *_: None)
    assert verified.wrongly_framed == {HOUR: (found,)}
    assert verified.differences == []


Make = Callable[[int], bytes]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda number: LINES[number % 300], id="healthy"),
        pytest.param(
            lambda number: json.dumps({f"\x00\u202e{number}-{at}" + "n" * 90: 1 for at in range(100)}).encode(),
            id="odd names",
        ),
        pytest.param(lambda number: b"\n".join([*BAD, PAGE, LINES[number % 300]]), id="many reasons"),
    ],
)
def test_the_commit_record_of_an_hour_of_two_thousand_objects_stays_below_a_megabyte(make: Make) -> None:

    objects = []
    one = account(*(make(number) for number in range(20)))
    for number in range(2_000):
        key = HOUR.raw_key(HOUR.start.replace(minute=number % 60, second=number // 60))
        objects.append(replace(one.objects[number % 20], key=key, etag="0" * 32, size=20_000_000 + number))
    hour = HourAccount(tuple(objects), one.days, one.unknown_fields)
    commit = HourCommit(HOUR, "run", HOUR.end, Limits().rules_version, hour, ())
    text = commit.to_json()
    assert HourCommit.from_json(text) == commit
    assert len(text.encode()) < 1_000_000
    assert len(hour.unknown_fields) <= 101


def test_an_hour_lists_a_hundred_names_and_counts_all_others_together() -> None:
    contents = [json.dumps({f"n{number}_{at}": 1 for at in range(30)}).encode() for number in range(5)]
    unknown = account(*contents).unknown_fields
    assert len(unknown) == 101
    assert unknown["(other)"] == 50
