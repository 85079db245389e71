"""The reference rule: decides whether a raw record is an accepted event, or the first reason against it.

This is section 2 of the contract as code: it judges one field after the other, each by the rule of its kind
(`kinds.py`). `certified.py` may reach the same verdicts faster, but never different ones. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from event_pipeline.rules.contract import (
    CARRIED_FIELDS,
    EVENT_FIELDS,
    EVENT_TIME,
    EVENT_TYPE,
    FIELDS,
    MAX_RESCUED_BYTES,
    OUT_OF_RANGE,
    Field,
    Limits,
)
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.json_object import (
    NotAnObjectError,
    has_lone_surrogate,
    split_object,
)
from event_pipeline.rules.kinds import (
    ASCII_WHITE_SPACE,
    EPOCH,
    MICROSECOND,
    BrokenRuleError,
    Choice,
    Label,
    Value,
    WholeNumber,
)

_Readers = list[tuple[Field, str, Callable[[str], Value | None]]]
"""Fields to read, each with its name and the rule of its kind."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Event:
    """One accepted record: its fields, normalised."""

    values: Mapping[str, Value | None]
    """Field -> value, for all of contract.FIELDS, in order; None where its type does not have the field."""

    def __getitem__(self, name: str) -> Value | None:
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One quarantined record."""

    reason: str
    """The first of contract.QUARANTINE_REASONS that applies."""


class Verdict(NamedTuple):
    """The verdict on one record, and its fields outside the contract."""

    outcome: Event | Rejection
    unknown_fields: tuple[str, ...] = ()
    """Top-level names outside the contract, in the record's order, also of rejected records except `not_json`. Lone
    surrogates are replaced by U+FFFD."""
    unknown_values: tuple[str, ...] = ()
    """Their values as JSON texts, as written."""
    rescued: str | None = None
    """The unknown fields of an accepted record as a JSON object, with their values as written; None without any."""
    is_rescued_whole: bool = True
    """Whether all of them fit into MAX_RESCUED_BYTES; those that do not are left out."""


@dataclass(frozen=True, slots=True)
class InstantRange:
    """The range of instants that a landing hour accepts, in microseconds since 1970-01-01T00:00:00 UTC."""

    first_us: int
    end_us: int
    """Exclusive."""

    @classmethod
    def of(cls, hour: Hour, limits: Limits) -> InstantRange:
        """Return the range of a landing hour."""
        # As integers: near the ends of the calendar the limits are outside of datetime's range.
        start_us = (hour.start - EPOCH) // MICROSECOND
        end_us = start_us + timedelta(hours=1) // MICROSECOND
        return cls(start_us - limits.max_age // MICROSECOND, end_us + limits.max_lead // MICROSECOND)


def validate_record(record: bytes, hour: Hour, limits: Limits) -> Verdict:
    """Judge one record that landed in an hour.

    `record` is a line without its newline; outer ASCII white space is removed here. A blank line is not a record:
    callers must skip it (it would count as `not_json`).
    """
    if len(record) > limits.max_line_bytes:
        return Verdict(Rejection("too_long"))
    return judge(record, InstantRange.of(hour, limits))


def judge(record: bytes, accepted: InstantRange) -> Verdict:
    """Judge one record like `validate_record`, with a precomputed range of instants."""
    try:
        text = record.decode("utf-8").strip(ASCII_WHITE_SPACE)
        members = split_object(text)
    except (UnicodeDecodeError, NotAnObjectError):
        return Verdict(Rejection("not_json"))
    if "\\" in text and any(has_lone_surrogate(members.get(name, "null")) for name in EVENT_FIELDS):
        return Verdict(Rejection("not_json"))
    outcome = _event(members, accepted)
    if _DECLARED.issuperset(members):
        return Verdict(outcome)
    unknown = {name: json_text for name, json_text in members.items() if name not in _DECLARED}
    names, values = tuple(_SURROGATE.sub("\ufffd", name) for name in unknown), tuple(unknown.values())
    if isinstance(outcome, Rejection):
        return Verdict(outcome, names, values)
    return Verdict(outcome, names, values, *_rescued(unknown))


def _event(members: Mapping[str, str], accepted: InstantRange) -> Event | Rejection:
    """Read the fields in the contract's order, so that the first fault is the reason."""
    values: dict[str, Value | None] = dict.fromkeys(EVENT_FIELDS)
    fault = _read_fields(_READ_FIRST, members, values, accepted)
    if fault is None:
        fault = _read_fields(_READ_NEXT[str(values[EVENT_TYPE.name])], members, values, accepted)
    return Event(values) if fault is None else Rejection(fault)


def _read_fields(
    to_read: _Readers, members: Mapping[str, str], values: dict[str, Value | None], accepted: InstantRange
) -> str | None:
    """Read fields into `values` up to the first that breaks its rule; return why, or None."""
    text_of = members.get
    for field, name, read in to_read:
        try:
            value = values[name] = read(text_of(name, "null"))
        except BrokenRuleError:
            return field.fault
        if value is None:
            if not field.optional:
                return field.missing
        elif field is EVENT_TIME and not accepted.first_us <= int(value or 0) < accepted.end_us:
            return OUT_OF_RANGE
    return None


class _ReadBefore(dict[str, Value | None]):
    """The values of texts that were read before, of a kind with few values; `[text]` reads another one."""

    def __init__(self, read: Callable[[str], Value | None]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, json_text: str) -> Value | None:
        value = self._read(json_text)
        # White space around a value can make its text as long as a line: such texts are not kept.
        if len(json_text) <= _LONGEST_KEPT_CHARACTERS:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[json_text] = value
        return value


def _reader(field: Field) -> Callable[[str], Value | None]:
    """Return the rule of a field's kind; it is asked once for equal short texts of kinds with few values."""
    read = field.kind.read
    return _ReadBefore(read).__getitem__ if isinstance(field.kind, Choice | Label | WholeNumber) else read


def _readers(fields: Iterable[Field]) -> _Readers:
    return [(field, field.name, _reader(field)) for field in fields]


_DECLARED = frozenset(EVENT_FIELDS)
_LONGEST_KEPT_CHARACTERS = 100
_MOST_KEPT = 1_024
_TYPE_POSITION = FIELDS.index(EVENT_TYPE) + 1
_READ_FIRST = _readers(each for each in FIELDS[:_TYPE_POSITION] if each.in_every_event)
"""Fields up to the event type, in the contract's order."""
_READ_NEXT = {
    event_type: _readers(each for each in FIELDS[_TYPE_POSITION:] if each.in_every_event or each.name in carried)
    for event_type, carried in CARRIED_FIELDS.items()
}
"""Event type -> the fields after it that such an event has, in the contract's order."""


def _rescued(members: Mapping[str, str]) -> tuple[str | None, bool]:
    """Return unknown members as one JSON object, values as written, and whether all of them fit."""
    parts: list[str] = []
    size = len("{}")
    for name, json_text in members.items():
        # ASCII only where a lone surrogate could not be written as UTF-8.
        key = json.dumps(name, ensure_ascii=bool(_SURROGATE.search(name)))
        part = f"{key}:{json_text}"
        size_with_part = size + len(part.encode()) + (1 if parts else 0)
        if size_with_part <= MAX_RESCUED_BYTES:
            parts.append(part)
            size = size_with_part
    return f"{{{','.join(parts)}}}" if parts else None, len(parts) == len(members)
