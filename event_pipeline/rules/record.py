"""The reference rule: decides whether a raw record is an accepted event, or the first reason against it.

This is section 2 of the contract as code. `certified.py` may reach the same verdicts faster, but never different ones.
Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from event_pipeline.rules.contract import (
    CARRIED_FIELDS,
    EVENT_FIELDS,
    MAX_CATEGORY_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_PRICE_CENTS,
    MAX_QUANTITY,
    MAX_SEARCH_QUERY_CHARACTERS,
    Limits,
)
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.json_object import (
    NotAnObjectError,
    decode_string,
    has_lone_surrogate,
    split_object,
)

ASCII_WHITE_SPACE = " \t\n\r\x0b\x0c"
"""Characters trimmed from records and texts: those of `bytes.strip`, fewer than those of `str.strip`."""

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_ID = re.compile(rf"[A-Za-z0-9_.:@-]{{1,{MAX_ID_CHARACTERS}}}")
_CATEGORY = re.compile(rf'[^\x00-\x1f\x7f-\x9f{{}}\[\]"]{{1,{MAX_CATEGORY_CHARACTERS}}}')
_DECIMAL_LITERAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_PER_MINUTE = 60_000_000
_MAX_OFFSET_HOURS = 14


@dataclass(frozen=True, slots=True)
class Event:
    """One accepted record: the nine fields, normalised. Fields that its type does not have are None."""

    instant_us: int
    """Microseconds since 1970-01-01T00:00:00 UTC."""
    user_id: str
    session_id: str
    event_type: str
    product_id: str | None
    category: str | None
    quantity: int | None
    price_cents: int | None
    search_query: str | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """One quarantined record."""

    reason: str
    """The first of contract.QUARANTINE_REASONS that applies."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one record, and its fields outside the contract."""

    outcome: Event | Rejection
    unknown_fields: tuple[str, ...] = ()
    """Top-level names outside the contract, in the record's order, also of rejected records except `not_json`. Lone
    surrogates are replaced by U+FFFD."""


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
        start_us = (hour.start - _EPOCH) // _MICROSECOND
        end_us = start_us + timedelta(hours=1) // _MICROSECOND
        return cls(start_us - limits.max_age // _MICROSECOND, end_us + limits.max_lead // _MICROSECOND)


class _RejectedError(Exception):
    """Stops judging a record; its text is the reason."""


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
    fields = {name: members.pop(name, "null") for name in EVENT_FIELDS}
    if "\\" in text and any(has_lone_surrogate(json_text) for json_text in fields.values()):
        return Verdict(Rejection("not_json"))
    unknown_fields = tuple(_printable(name) for name in members)
    try:
        return Verdict(_event(fields, accepted), unknown_fields)
    except _RejectedError as rejected:
        return Verdict(Rejection(str(rejected)), unknown_fields)


def _event(fields: dict[str, str], accepted: InstantRange) -> Event:
    """Parse the fields in the contract's order, so that the first fault is the reason.

    `fields` maps each of EVENT_FIELDS to its JSON text.

    Raises:
        _RejectedError: a rule is broken.
    """
    instant_us = _instant_us(fields["timestamp"])
    if not accepted.first_us <= instant_us < accepted.end_us:
        raise _RejectedError("timestamp_out_of_range")
    user_id = _id("user_id", fields)
    session_id = _id("session_id", fields)
    event_type = _lower(_text("event_type", fields))
    if event_type not in CARRIED_FIELDS:
        raise _RejectedError("unknown_event_type")
    carried = CARRIED_FIELDS[event_type]
    return Event(
        instant_us,
        user_id,
        session_id,
        event_type,
        product_id=_id("product_id", fields) if "product_id" in carried else None,
        category=_category(fields) if "category" in carried else None,
        quantity=_quantity(fields) if "quantity" in carried else None,
        price_cents=_price_cents(fields) if "price" in carried else None,
        search_query=_search_query(fields) if "search_query" in carried else None,
    )


def _instant_us(json_text: str) -> int:
    text = _trimmed_text(json_text)
    if text is None:
        raise _RejectedError("missing_timestamp")
    match = _TIMESTAMP.fullmatch(text)
    if not match or not json_text.startswith('"'):
        raise _RejectedError("invalid_timestamp")
    *calendar, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        wall_clock = datetime(*map(int, calendar), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise _RejectedError("invalid_timestamp") from error
    instant_us = (wall_clock - _EPOCH) // _MICROSECOND + int((fraction or "")[:6].ljust(6, "0"))
    if sign is None:
        return instant_us
    if int(offset_hours) > _MAX_OFFSET_HOURS or int(offset_minutes) > 59:
        raise _RejectedError("invalid_timestamp")
    offset_us = (int(offset_hours) * 60 + int(offset_minutes)) * _MICROSECONDS_PER_MINUTE
    return instant_us - offset_us if sign == "+" else instant_us + offset_us


def _id(name: str, fields: dict[str, str]) -> str:
    text = _text(name, fields)
    if not _ID.fullmatch(text):
        raise _RejectedError(f"invalid_{name}")
    return text


def _category(fields: dict[str, str]) -> str:
    text = _text("category", fields)
    if not _CATEGORY.fullmatch(text):
        raise _RejectedError("invalid_category")
    return _lower(text)


def _quantity(fields: dict[str, str]) -> int:
    value = _number("quantity", fields)
    if not 1 <= value <= MAX_QUANTITY or value != int(value):
        raise _RejectedError("invalid_quantity")
    return int(value)


def _price_cents(fields: dict[str, str]) -> int:
    value = _number("price", fields)
    if not 0 <= value <= MAX_PRICE_CENTS / 100:
        raise _RejectedError("invalid_price")
    cents = round(value * 100)
    if cents / 100 != value:
        raise _RejectedError("invalid_price")
    return cents


def _search_query(fields: dict[str, str]) -> str:
    text = _text("search_query", fields)
    if len(text) > MAX_SEARCH_QUERY_CHARACTERS:
        raise _RejectedError("invalid_search_query")
    return text


def _number(name: str, fields: dict[str, str]) -> float:
    """Parse a JSON number, or a JSON string with a plain decimal literal, as a double."""
    text = _text(name, fields)
    json_text = fields[name]
    is_number = json_text[0] in "-0123456789"
    if not is_number and not (json_text[0] == '"' and _DECIMAL_LITERAL.fullmatch(text)):
        raise _RejectedError(f"invalid_{name}")
    return float(text)


def _text(name: str, fields: dict[str, str]) -> str:
    text = _trimmed_text(fields[name])
    if text is None:
        raise _RejectedError(f"missing_{name}")
    return text


def _trimmed_text(json_text: str) -> str | None:
    """Return the text of a JSON value: a string's content, trimmed; other values verbatim; None for null or ""."""
    if not json_text.startswith('"'):
        return None if json_text == "null" else json_text
    return decode_string(json_text).strip(ASCII_WHITE_SPACE) or None


def _lower(text: str) -> str:
    """Lower-case only ASCII letters: `str.lower` would also turn a Kelvin sign into a `k`."""
    return text.encode().lower().decode()


def _printable(name: str) -> str:
    return _SURROGATE.sub("\ufffd", name)
