"""Validates one raw object: every record gets one verdict, and the counts of the object add up.

A pure function of the stored bytes, the landing hour and the time limits, on pyarrow and the standard library
alone, because both engines run it: the local one in a process pool, the Glue job inside Spark tasks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from event_pipeline.rules.accounting import ObjectAccount
from event_pipeline.rules.arrow import (
    EVENTS_SCHEMA,
    QUARANTINE_SCHEMA,
    SILVER_SCHEMA,
    arrow_type,
    day_totals,
    silver_rows,
)
from event_pipeline.rules.certified import split_certified
from event_pipeline.rules.contract import EventTimeLimits
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.raw_object import UnreadableObjectError, read_line_chunks
from event_pipeline.rules.record import Event, InstantRange, Rejection, Verdict, judge, validate_record
from event_pipeline.rules.resent import Sampler
from event_pipeline.rules.stored_bytes import DigestingReader

__all__ = [
    "EVENTS_SCHEMA",
    "QUARANTINE_SCHEMA",
    "SILVER_SCHEMA",
    "Event",
    "Rejection",
    "ValidatedObject",
    "Verdict",
    "arrow_type",
    "day_totals",
    "silver_rows",
    "validate_object",
    "validate_record",
]

MAX_UNKNOWN_FIELDS = 100
"""Distinct unknown names that one object's account lists, the first ones by line; records with any other name
are counted together, once each, as OTHER_UNKNOWN_FIELDS. So no object can blow up memory or the commit record."""
MAX_UNKNOWN_FIELD_CHARACTERS = 1_000
"""A longer unknown name is listed by its first characters and an ellipsis."""
OTHER_UNKNOWN_FIELDS = "(other)"


@dataclass(frozen=True, slots=True)
class ValidatedObject:
    """What one raw object held."""

    account: ObjectAccount
    """`duplicates` is 0 and `silver_rows` counts every accepted record: duplicates are found across the hour."""
    events: pa.Table
    """EVENTS_SCHEMA, in line order."""
    quarantine: pa.Table
    """QUARANTINE_SCHEMA, in line order."""


@dataclass(slots=True)
class _Findings:
    """What was found in the chunks of one object so far."""

    source_object: str
    records: int = 0
    events: list[pa.Table] = field(default_factory=list)
    quarantine: list[tuple[str, str, int, str]] = field(default_factory=list)
    unknown_fields: Counter[str] = field(default_factory=Counter)


def validate_object(
    stored: BinaryIO,
    *,
    key: str,
    etag: str,
    size: int,
    hour: Hour,
    limits: EventTimeLimits,
    chunk_bytes: int = 1 << 20,
) -> ValidatedObject:
    """Judge every record of one raw object, given as its stored (compressed) bytes.

    `chunk_bytes` of inflated lines are held at a time; it changes no verdict. An object that cannot be inflated
    to its end gives empty tables and an account with `unreadable` set: nothing of it is half read.
    """
    accepted = InstantRange.of(hour, limits)
    findings = _Findings(key)
    line_number = 1
    digested, sampler = DigestingReader(stored), Sampler()
    try:
        for chunk in read_line_chunks(digested.as_file(), chunk_bytes):
            line_number += _validate_chunk(chunk, line_number, accepted, findings)
    except UnreadableObjectError as error:
        return ValidatedObject(
            ObjectAccount(key, etag, size, unreadable=error.reason, sha256=digested.finish()),
            EVENTS_SCHEMA.empty_table(),
            QUARANTINE_SCHEMA.empty_table(),
        )
    events = pa.concat_tables([EVENTS_SCHEMA.empty_table(), *findings.events])
    sampler.add(events)
    reasons = Counter(reason for reason, *_ in findings.quarantine)
    account = ObjectAccount(
        key,
        etag,
        size,
        records=findings.records,
        silver_rows=events.num_rows,
        quarantined_by_reason=dict(sorted(reasons.items())),
        unknown_fields=dict(sorted(findings.unknown_fields.items())),
        sha256=digested.finish(),
        sample=sampler.finish(),
    )
    return ValidatedObject(account, events, _table(findings.quarantine, QUARANTINE_SCHEMA))


def _validate_chunk(chunk: bytes, first_line: int, accepted: InstantRange, findings: _Findings) -> int:
    """Add what a chunk of whole lines holds to the findings; return the number of its lines."""
    certified, other_lines, line_count = split_certified(chunk, first_line, accepted)
    findings.records += certified.num_rows
    judged: list[tuple[Any, ...]] = []
    for line_number, line in other_lines:
        record = line.strip()
        if not record:
            continue
        findings.records += 1
        verdict = judge(record, accepted)
        _count_unknown_fields(verdict.unknown_fields, findings.unknown_fields)
        match verdict.outcome:
            case Event() as event:
                judged.append((*(getattr(event, name) for name in Event.__slots__), line_number))
            case Rejection(reason):
                findings.quarantine.append(
                    (reason, findings.source_object, line_number, record.decode("utf-8", "replace"))
                )
    if not judged:
        findings.events.append(certified)
    else:
        together = pa.concat_tables([certified, _table(judged, EVENTS_SCHEMA)])
        findings.events.append(together.sort_by("line_number"))
    return line_count


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(column, type) for column, type in zip(columns, schema.types, strict=True)], schema=schema)


def _count_unknown_fields(names: tuple[str, ...], counts: Counter[str]) -> None:
    """Count one record under each of its unknown names, within the bounds at the top of this module."""
    listed = set()
    for name in names:
        shown = name if len(name) <= MAX_UNKNOWN_FIELD_CHARACTERS else f"{name[:MAX_UNKNOWN_FIELD_CHARACTERS]}…"
        if shown not in counts and len(counts) >= MAX_UNKNOWN_FIELDS:
            shown = OTHER_UNKNOWN_FIELDS
        if shown not in listed:
            listed.add(shown)
            counts[shown] += 1
