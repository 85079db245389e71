"""Detects wrongly framed raw objects, most of which is lost because they are not one JSON object per line.

Validation records a few facts about each object (`ObjectAccount`); whether they mean a wrongly framed object is decided
only here, for checks, alerts and commands of both engines. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from event_pipeline.rules.accounting import HourAccount, ObjectAccount
from event_pipeline.rules.contract import EVENT_FIELDS

FRAMING_REASONS = frozenset(("not_json", "too_long"))
"""Reasons of records that may not be records at all, but parts of something else, or many records in one."""

BROKEN_SHARE = 0.5
"""An object is wrongly framed if at least this share of its records is not JSON."""
BROKEN_BYTES_SHARE = 0.2
"""Or if broken records have this share of its bytes and are LONGER_THAN_OTHERS times as long as its others."""
LONGER_THAN_OTHERS = 5
FEWER_PER_BYTE = 10
"""Or if its records are refused and it has this many times fewer of them per byte than the objects around it."""

EMPTY = "empty"
NO_EVENTS = "no_events"
FEW_RECORDS = "few_records"
UNKNOWN = "other"

_BYTES_LOOKED_AT = 4_096
_CSV_NAMES = 3


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of wrong framing: what it is, and what the producer can do."""

    what: str
    remedy: str


_ONE_A_LINE = "write one JSON object per line"
_FORMS = {
    "concatenated": _Form(
        "JSON objects follow one another without a newline",
        "end every record with a newline; delivery streams such as Firehose join records as they come: enable the "
        "newline delimiter there (processor AppendDelimiterToRecord)",
    ),
    "array": _Form("a JSON array over the whole object", "write its elements one a line, without brackets and commas"),
    "many_lines": _Form("JSON over many lines (pretty-printed)", f"{_ONE_A_LINE}, without indentation"),
    "carriage_return": _Form("lines end with CR alone", "end lines with LF (\\n) or CR LF"),
    "gzip": _Form("gzip inside gzip", "compress once: a client or a delivery stream compressed it again"),
    "compressed": _Form("another compressed file inside gzip", f"{_ONE_A_LINE} and compress once, with gzip"),
    "utf_16": _Form("UTF-16", "write UTF-8"),
    "utf_32": _Form("UTF-32", "write UTF-8"),
    "html": _Form("an HTML page", "the producer stored an error page: have it check the answer before it stores it"),
    "xml": _Form("an XML document", f"{_ONE_A_LINE}; an error of a store or service is often such a document"),
    "csv": _Form("CSV", f"{_ONE_A_LINE} instead of columns"),
    "parquet": _Form("a Parquet or other columnar file", _ONE_A_LINE),
    "quoted": _Form("JSON written as a JSON string (encoded twice)", "encode each record once"),
    "commas": _Form("JSON objects followed by commas", "end each line after the object"),
    "prefixed": _Form("text in front of each JSON object", f"{_ONE_A_LINE} and nothing else"),
    "binary": _Form("binary data", _ONE_A_LINE),
    UNKNOWN: _Form("lines that are no JSON objects", _ONE_A_LINE),
    EMPTY: _Form("no records at all", "write no object when there are no events, or see why they are missing"),
    NO_EVENTS: _Form(
        "JSON objects without a timestamp, so no events", "write the events themselves, not something around them"
    ),
    FEW_RECORDS: _Form(
        "far fewer records per byte than others, and refused", "write the events themselves, one a line"
    ),
}


@dataclass(frozen=True, slots=True)
class WronglyFramed:
    """One raw object that is wrongly framed."""

    key: str
    form: str
    """Its kind, a name in this module."""
    reason: str
    """Readable description with numbers."""
    remedy: str
    """What the producer can do."""

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


def framing_of(record: bytes, length: int) -> str:
    """Return the kind of framing that an invalid record looks like; `record` is its head, `length` its bytes."""
    head = record[:_BYTES_LOOKED_AT]
    for form, starts in _STARTS.items():
        if head.startswith(starts):
            return form
    if head.count(b"\0") * 4 >= len(head):
        return "utf_32" if head.count(b"\0") * 2 > len(head) + 2 else "utf_16"
    if b"\0" in head:
        return "binary"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html"
    if text.startswith(b"<"):
        return "html" if b"<html" in text or b"<body" in text else "xml"
    if re.search(rb"[}\]\"]\s*\r\s*[{\[\"]", head):
        return "carriage_return"
    if text.startswith(b"["):
        return "array"
    if text.startswith(b"{"):
        if re.search(rb"}\s*{", head):
            return "concatenated"
        if text.endswith(b"},"):
            return "commas"
        if not re.search(rb"[^{\s]", text):
            return "many_lines"
        return "concatenated" if length > len(record) else UNKNOWN
    if text.startswith(b'"{') or text.startswith(b'"[') or text.startswith(b"'{"):
        return "quoted"
    if re.match(rb'"[^"]*"\s*:', text):
        return "many_lines"
    if _is_csv(text):
        return "csv"
    if re.search(rb"{.*:.*}", text):
        return "prefixed"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The head may end inside a character.
        return "binary" if error.start < len(head) - 4 else UNKNOWN
    return UNKNOWN


_STARTS: dict[str, tuple[bytes, ...]] = {
    "gzip": (b"\x1f\x8b",),
    "compressed": (
        b"PK\x03\x04",
        b"\x28\xb5\x2f\xfd",
        b"BZh",
        b"\xfd7zXZ",
        b"\x04\x22\x4d\x18",
        b"\xff\x06\x00\x00sNaPpY",
    ),
    "parquet": (b"PAR1", b"ORC", b"Obj\x01", b"ARROW1"),
    "utf_32": (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"),
    "utf_16": (b"\xff\xfe", b"\xfe\xff"),
}


def _is_csv(text: bytes) -> bool:
    first = text.splitlines()[0] if text.splitlines() else b""
    cells = [cell.strip(b" \"'\xef\xbb\xbf").decode("utf-8", "replace") for cell in re.split(rb"[,;\t|]", first)]
    named = sum(cell in EVENT_FIELDS for cell in cells)
    return named >= _CSV_NAMES or (len(cells) > _CSV_NAMES and b"{" not in first)


def wrongly_framed(account: HourAccount, before: HourAccount | None = None) -> list[WronglyFramed]:
    """Return the wrongly framed objects of an hour, in the order of their keys.

    Each object is judged on its own: its share of records that are not JSON, their bytes, and its records per byte
    compared with the hour's other objects, or those of the hour `before` if there are no others. Unreadable objects
    have their own reason and are not included.
    """
    usual = _records_per_byte(account.objects) or (_records_per_byte(before.objects) if before else None)
    return [
        WronglyFramed(each.key, form, _reason(each, form), _FORMS[form].remedy)
        for each in account.objects
        if not each.unreadable and (form := _form(each, usual))
    ]


def objects_text(found: Sequence[WronglyFramed], most: int) -> str:
    """Return one line of text with at most `most` wrongly framed objects and their reasons."""
    more = f"; and {len(found) - most:,} more" if len(found) > most else ""
    return "; ".join(map(str, found[:most])) + more


def remedies(found: Sequence[WronglyFramed]) -> str:
    """Return what the producers can do, each remedy once."""
    return "; ".join(dict.fromkeys(each.remedy for each in found))


def _form(account: ObjectAccount, usual: float | None) -> str | None:
    if account.records == 0:
        return EMPTY
    broken = sum(account.quarantined_by_reason.get(reason, 0) for reason in FRAMING_REASONS)
    form = account.framing if account.framing in _FORMS else UNKNOWN
    if broken >= BROKEN_SHARE * account.records:
        return form
    if broken and account.inflated_bytes and account.broken_bytes >= BROKEN_BYTES_SHARE * account.inflated_bytes:
        others = account.records - broken
        usual_length = max(0, account.inflated_bytes - account.broken_bytes) / others
        if account.broken_bytes / broken >= LONGER_THAN_OTHERS * usual_length:
            return form
    if account.quarantined_by_reason.get("missing_timestamp", 0) == account.records:
        return NO_EVENTS
    own = account.records / account.inflated_bytes if account.inflated_bytes else None
    if usual and own and 2 * account.quarantined >= account.records and own * FEWER_PER_BYTE < usual:
        return FEW_RECORDS
    return None


def _records_per_byte(objects: Iterable[ObjectAccount]) -> float | None:
    """Return the median over objects with mostly accepted records; None if there are none."""
    sound = (each for each in objects if each.inflated_bytes and 2 * each.quarantined < each.records)
    values = [each.records / each.inflated_bytes for each in sound]
    return median(values) if values else None


def _reason(account: ObjectAccount, form: str) -> str:
    what = _FORMS[form].what
    if form == EMPTY:
        return f"{what}: it is empty once inflated" if account.inflated_bytes == 0 else f"{what}: blank lines only"
    if form == "concatenated" and account.records == 1:
        what = f"one line of {_size(account.longest_broken)}: no line ends? {what}"
    elif account.records == 1 and account.longest_broken:
        what = f"{what}: one line of {_size(account.longest_broken)}"
    elif account.longest_broken:
        what = f"{what}: longest line {_size(account.longest_broken)}"
    refused = f"{account.quarantined:,} of {account.records:,} record{'s' if account.records != 1 else ''} refused"
    return f"{what}; {refused}"


def _size(count: int) -> str:
    """Format a number of bytes for people."""
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1_000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:,.0f} MB"
