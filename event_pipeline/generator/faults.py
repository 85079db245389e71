"""Faulty records: bad ones for every quarantine reason, duplicates, and events of another hour.

Uses the default event time limits: a pipeline with other limits judges some records differently.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from event_pipeline.generator.options import GeneratorOptions
from event_pipeline.rules.contract import (
    EVENT_TIME,
    EVENT_TYPE,
    EVENT_TYPES,
    FIELDS,
    OUT_OF_RANGE,
    QUARANTINE_REASONS,
    EventType,
    Field,
    Limits,
)
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.kinds import Choice, Id, Instant, Kind, Label, Money, Text, WholeNumber

Fields = dict[str, str]
"""Field name -> JSON text, in the order of the line."""

ABSENT = ""
"""Marks a field that is left out."""

LIMITS = Limits()
SPOILT_REASONS = tuple(reason for reason in QUARANTINE_REASONS if reason != "too_long")
"""Reasons of generated bad records; without `too_long`, whose lines of a megabyte would dominate the sample data."""

REMEMBERED_LINES = 500
"""Plain records of a batch that are kept for repeating."""

RESENT_SHARE = 0.3
"""Share of the duplicates that repeat a record of the previous object."""

_WITHOUT_TEXT = (ABSENT, "null", '""', '"  "')
_WITHOUT_NUMBER = (ABSENT, "null")


def _good_value(kind: Kind) -> str:
    """Return a JSON text that follows the rule of a kind."""
    match kind:
        case Id():
            return '"p_1001"'
        case Choice():
            return f'"{kind.choices[0]}"'
        case Label():
            return '"toys"'
        case Text():
            return '"yoga mat"'
        case WholeNumber():
            return str(kind.least)
        case Money():
            return "29.9"
    raise NotImplementedError(f"{type(kind).__name__} has no example")


def _bad_values(kind: Kind) -> tuple[str, ...]:
    """Return JSON texts that break the rule of a kind, each for another cause."""
    match kind:
        case Instant():
            return (
                '"2025-02-30T12:00:00+00:00"',
                '"2025-13-01T12:00:00Z"',
                '"2025-12-07T24:00:00Z"',
                '"2025-12-07T12:00:60Z"',
                '"2025-12-07T12:00Z"',
                '"2025-12-07 12:00:00Z"',
                '"2025-12-07T12:00:00+15:00"',
                '"2025-12-07T12:00:00.1234567890Z"',
                '"2025-12-07"',
                '"07/12/2025 12:00"',
                '"yesterday"',
                "1765108800",
                "1765108800.5",
                "true",
            )
        case Id():
            ids = ('"u 89234"', '"<89234>"', '"u_\\u00e9"', '"u_é"', "\"'89234'\"", '{"id": 89234}', "[89234]")
            return (*ids, f'"{"x" * (kind.max_characters + 1)}"')
        case Choice():
            first = kind.choices[0]
            return ('"no such thing"', f'"{first} {first}"', f'"{first}s"', f'"{first};"', "4", f'["{first}"]')
        case Label():
            characters = ('"to\\u0000ys"', '"to\\u001bys"', '"{toys}"', '"[toys]"', '"\\"toys\\""')
            reserved = tuple(f'"{name}"' for name in kind.reserved)
            return (*characters, '["toys"]', '{"name": "toys"}', f'"{"c" * (kind.max_characters + 1)}"', *reserved)
        case Text():
            return (f'"{"yoga mat " * (kind.max_characters // 9 + 1)}!"',)
        case WholeNumber():
            return (str(kind.least - 1), "2.5", '"two"', '"2 pcs"', "true", str(kind.most + 1), "1e400", "[2]")
        case Money():
            amounts = ("-1", "-0.01", "29.999", '"29.999"', '"NaN"', '"1_000"', '"1,999.99"', '"$29.99"')
            return (*amounts, '"29.99 USD"', "1e400", str(kind.most_cents // 100 + 1), "true", "[29.99]")
    raise NotImplementedError(f"{type(kind).__name__} has no bad examples")


def _values_by_reason() -> dict[str, tuple[Field, tuple[str, ...]]]:
    values: dict[str, tuple[Field, tuple[str, ...]]] = {}
    for field in FIELDS:
        is_text = isinstance(field.kind, Id | Choice | Label | Text)
        if not field.optional:
            values[field.missing] = (field, _WITHOUT_TEXT if is_text else _WITHOUT_NUMBER)
        values[field.fault] = (field, _bad_values(field.kind))
    return values


BAD_VALUES = _values_by_reason()
"""Quarantine reason -> the field and JSON texts that cause it in an otherwise valid record.

`not_json` and `timestamp_out_of_range` are not here: they depend on the line and on the landing hour.
"""

NOT_JSON: tuple[Callable[[str], str], ...] = (
    lambda line: line[: len(line) // 2],
    lambda line: line + "}",
    lambda line: line + ",",
    lambda line: line + " " + line,
    lambda line: "[" + line + "]",
    lambda line: json.dumps(line),
    lambda line: line.replace('"', "'"),
    lambda line: line[:-1] + ", }",
    lambda line: line.replace('"timestamp"', "timestamp", 1),
    lambda line: line.replace(": ", "=", 1),
    lambda line: '{"event_type": "search", ' + line[1:],
    lambda line: line[:-1] + ', "extra": NaN}',
    lambda line: line[:-1] + ', "extra": -Infinity}',
    lambda line: line[:-1] + ', "extra": 007}',
    lambda line: line[:-1] + ', "extra": "a\tb"}',
    lambda line: line[:-1] + ', "extra": "\\x41"}',
    # A lone low surrogate represents a raw byte, see encode_lines: here invalid UTF-8.
    lambda line: line.replace('"u_', '"u_\udcff', 1),
    lambda line: line.replace('"u_', '"u_\udcc3', 1),
    lambda line: line.replace('"u_', '"u_\\ud800', 1),
    lambda line: "\\N",
    lambda line: "null",
    lambda line: "42",
    lambda line: "<html><head><title>502 Bad Gateway</title></head></html>",
    lambda line: "timestamp,user_id,session_id,event_type,product_id,quantity,price,category,search_query",
)
"""Functions that make a line something other than one strict JSON object with unique names and valid text."""


def encode_lines(lines: Iterable[str]) -> bytes:
    """Join lines as UTF-8; lone surrogates U+DC80 to U+DCFF become the bytes 80 to FF."""
    # datetime.isoformat() omits a fraction of zero, as the original generator did.
    return "\n".join(lines).replace(".000000+00:00", "+00:00").encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _Places:
    """What is done to each record of a batch: ascending indexes, each in one of the lists."""

    bad: list[int]
    repeated: list[int]
    late: list[int]
    plain: list[int]


class RecordFaults:
    """Replaces the requested shares of one object's records and counts the replacements.

    Per object each share is exact, rounded up or down at random.
    """

    def __init__(self, options: GeneratorOptions, hour: Hour, stream: random.Random) -> None:
        self.bad_by_reason: Counter[str] = Counter()
        self.duplicates = 0
        self.late = 0
        self._hour = hour
        self._stream = stream
        self._shares = (options.bad_share, options.duplicate_share, options.late_share)
        # Without a random start, a share of 0.001 would never take effect in objects of 500 records.
        self._due = [stream.random() if share < 1 else 0.0 for share in self._shares]
        self._next_reason = stream.randrange(len(SPOILT_REASONS))
        self._earlier: Sequence[str] = ()

    def plain_lines(self, lines: list[str]) -> list[str]:
        """Return the records of an object's first batch that `apply` leaves alone, at most REMEMBERED_LINES."""
        return [lines[index] for index in self._places(len(lines)).plain[:REMEMBERED_LINES]]

    def apply(self, lines: list[str], resent: Sequence[str] = ()) -> list[str]:
        """Return the batch with its share of faults; `resent` are accepted records of an earlier object."""
        places = self._places(len(lines))
        if not (places.plain or self._earlier or resent) and places.repeated:
            # Nothing to repeat yet: keep the first one as it is, and repeat one later.
            places.plain.append(places.repeated.pop(0))
            self._due[1] += 1
        changed = list(lines)
        for index in places.bad:
            changed[index] = self._bad(lines[index])
        for index in places.late:
            changed[index] = self._late(lines[index])
        for index in places.repeated:
            passed = bisect_left(places.plain, index)
            if resent and (self._stream.random() < RESENT_SHARE or not (passed or self._earlier)):
                original = self._stream.choice(resent)
            elif passed:
                original = lines[places.plain[self._stream.randrange(passed)]]
            else:
                original = self._stream.choice(self._earlier)
            changed[index] = self._repeat(original)
        self._earlier = [lines[index] for index in places.plain[-REMEMBERED_LINES:]] or self._earlier
        return changed

    def _places(self, size: int) -> _Places:
        """Choose what is done to each record of a batch."""
        self._due = [due + share * size for due, share in zip(self._due, self._shares, strict=True)]
        left = list(range(size))
        self._stream.shuffle(left)
        chosen = []
        for fault, due in enumerate(self._due):
            # The sum of many shares may be slightly off an integer.
            count = min(int(due + 1e-9), len(left))
            self._due[fault] -= count
            chosen.append(sorted(left[:count]))
            left = left[count:]
        bad, repeated, late = chosen
        plain = sorted(left)
        if plain and repeated and repeated[0] < plain[0]:
            # Every repeated record must have an earlier one in its own batch.
            repeated[0], plain[0] = plain[0], repeated[0]
            repeated.sort()
        return _Places(bad, repeated, late, plain)

    def _bad(self, line: str) -> str:
        reason = SPOILT_REASONS[self._next_reason % len(SPOILT_REASONS)]
        self._next_reason += 1
        self.bad_by_reason[reason] += 1
        if reason == "not_json":
            return self._stream.choice(NOT_JSON)(line)
        if reason == OUT_OF_RANGE:
            return _with(line, EVENT_TIME.name, _timestamp(self._out_of_range()))
        field, texts = BAD_VALUES[reason]
        # A field is judged only if the event's type has it.
        carriers = [each for each in EVENT_TYPES if field.name in each.carries]
        if carriers:
            line = _of_type(line, self._stream.choice(carriers))
        return _with(line, field.name, self._stream.choice(texts))

    def _out_of_range(self) -> datetime:
        oldest, end = self._hour.start - LIMITS.max_age, self._hour.end + LIMITS.max_lead
        microseconds = int(86_400_000_000 * self._stream.random())
        return self._stream.choice(
            (
                oldest - timedelta(microseconds=1),
                oldest - timedelta(microseconds=1 + 30 * microseconds),
                end,
                end + timedelta(microseconds=microseconds),
                datetime(1970, 1, 1, tzinfo=UTC),
            )
        )

    def _late(self, line: str) -> str:
        """Move an event to another hour: one in five ahead, the others back by minutes, hours or days."""
        self.late += 1
        random = self._stream.random
        if random() < 0.2:
            instant = self._hour.end + timedelta(microseconds=int(random() * LIMITS.max_lead.total_seconds() * 1e6))
        else:
            minutes = LIMITS.max_age.total_seconds() / 60
            instant = self._hour.start - timedelta(microseconds=int(60_000_000 * minutes ** random()))
        return _with(line, EVENT_TIME.name, _timestamp(instant))

    def _repeat(self, line: str) -> str:
        self.duplicates += 1
        if self._stream.random() < 0.4:
            return line
        return self._stream.choice(REPEATS)(line)


def _fields(line: str) -> Fields:
    return {name: json.dumps(value) for name, value in json.loads(line).items()}


def _line(fields: Fields, comma: str = ", ", colon: str = ": ") -> str:
    return "{" + comma.join(f'"{name}"{colon}{text}' for name, text in fields.items() if text != ABSENT) + "}"


def _with(line: str, name: str, text: str) -> str:
    return _line({**_fields(line), name: text})


def _timestamp(instant: datetime) -> str:
    return f'"{instant.isoformat()}"'


def _of_type(line: str, event_type: EventType) -> str:
    """Return a valid record of a type with the time and the ids of another one."""
    values = {field.name: "null" for field in FIELDS if not field.in_every_event}
    values |= {field.name: _good_value(field.kind) for field in FIELDS if field.name in event_type.carries}
    return _line({**_fields(line), **values, EVENT_TYPE.name: f'"{event_type.name}"'})


def _in_other_order(line: str) -> str:
    return _line(dict(reversed(_fields(line).items())))


def _compact(line: str) -> str:
    return _line(_fields(line), ",", ":")


def _with_blanks(line: str) -> str:
    return f" \t{_line(_fields(line), ' ,  ', ' :  ')} \r"


def _with_numbers_spelt_otherwise(line: str) -> str:
    fields = _fields(line)
    if fields["price"] != "null":
        fields["price"] = f"{float(fields['price']):.3f}"
        fields["quantity"] += ".0"
    return _line(fields)


def _with_numbers_as_text(line: str) -> str:
    fields = _fields(line)
    if fields["price"] != "null":
        fields["price"] = f'"{float(fields["price"]):.2f}"'
        fields["quantity"] = f'"{fields["quantity"]}"'
    return _line(fields)


def _in_another_time_zone(line: str) -> str:
    instant = datetime.fromisoformat(json.loads(line)["timestamp"])
    zone = timedelta(hours=5, minutes=30)
    return _with(line, "timestamp", f'"{(instant + zone).replace(tzinfo=None).isoformat()}+05:30"')


def _with_zulu_time(line: str) -> str:
    return line.replace('+00:00"', 'Z"', 1)


def _with_capitals(line: str) -> str:
    fields = _fields(line)
    return _line({**fields, "event_type": fields["event_type"].upper(), "category": _capitals(fields["category"])})


def _capitals(text: str) -> str:
    return text if text == "null" else text.upper()


REPEATS: tuple[Callable[[str], str], ...] = (
    _in_other_order,
    _compact,
    _with_blanks,
    _with_numbers_spelt_otherwise,
    _with_numbers_as_text,
    _in_another_time_zone,
    _with_zulu_time,
    _with_capitals,
)
"""Ways to rewrite a record so that all normalised fields stay equal."""
