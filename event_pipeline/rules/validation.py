"""Validates one raw object: every record gets exactly one verdict, and the counts add up.

A pure function of the stored bytes, the landing hour and the limits, in bounded memory. It uses only pyarrow and the
standard library, because both engines run it: the local one in a process pool, the Glue job in Spark tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.accounting import ObjectAccount
from event_pipeline.rules.arrow import (
    EVENTS_SCHEMA,
    QUARANTINE_SCHEMA,
    SILVER_SCHEMA,
    arrow_type,
    day_totals,
    silver_rows,
)
from event_pipeline.rules.certified import Certified, split_certified
from event_pipeline.rules.contract import (
    MAX_EXAMPLE_CHARACTERS,
    MAX_UNKNOWN_FIELD_CHARACTERS,
    MAX_UNKNOWN_FIELDS,
    NOT_RESCUED,
    OTHER_UNKNOWN_FIELDS,
    USER,
    Limits,
)
from event_pipeline.rules.erasure import NOBODY, Erasures, without_lines
from event_pipeline.rules.framing import FRAMING_REASONS, framing_of
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.printable import printable
from event_pipeline.rules.raw_object import LineReader, LongLine, UnreadableObjectError
from event_pipeline.rules.record import Event, InstantRange, Rejection, Verdict, judge, validate_record
from event_pipeline.rules.sampler import Sampler
from event_pipeline.rules.stored_bytes import DigestingReader

__all__ = [
    "EVENTS_SCHEMA",
    "QUARANTINE_SCHEMA",
    "SILVER_SCHEMA",
    "Event",
    "Rejection",
    "Sink",
    "ValidatedObject",
    "Verdict",
    "arrow_type",
    "day_totals",
    "erased_lines",
    "judge_stored_object",
    "silver_rows",
    "validate_object",
    "validate_record",
]

CHUNK_BYTES = 4 << 20
"""Decompressed bytes that are judged together: with 1 MiB, the calls of kernels take a third of the time."""
BATCH_ROWS = 1 << 16
"""Rows that are buffered before a sink gets them, unless they reach BATCH_BYTES sooner."""
BATCH_BYTES = 8 << 20
LINES_AT_ONCE = 1 << 15
"""Lines of a chunk judged together: a megabyte of `{}` lines becomes a hundred times larger as Python objects."""


class Sink(Protocol):
    """Receives the rows of one object in batches, in line order; those of an unreadable object are discarded later."""

    def take_events(self, events: pa.Table) -> None:
        """Receive accepted events (EVENTS_SCHEMA)."""

    def take_quarantine(self, records: pa.Table) -> None:
        """Receive quarantined records (QUARANTINE_SCHEMA)."""


@dataclass(frozen=True, slots=True)
class ValidatedObject:
    """The validated content of one raw object."""

    account: ObjectAccount
    """`duplicates` is 0 and `silver_rows` counts every accepted record: duplicates are found across the hour."""
    events: pa.Table
    """EVENTS_SCHEMA, in line order."""
    quarantine: pa.Table
    """QUARANTINE_SCHEMA, in line order."""


def validate_object(
    stored: BinaryIO,
    *,
    key: str,
    etag: str,
    size: int,
    hour: Hour,
    limits: Limits,
    erasures: Erasures = NOBODY,
    chunk_bytes: int = CHUNK_BYTES,
) -> ValidatedObject:
    """Judge one raw object like `judge_stored_object`, keeping all its rows in memory.

    An unreadable object gives empty tables.
    """
    rows = _InMemory()
    account = judge_stored_object(
        stored,
        rows,
        key=key,
        etag=etag,
        size=size,
        hour=hour,
        limits=limits,
        erasures=erasures,
        chunk_bytes=chunk_bytes,
    )
    events = [] if account.unreadable else rows.events
    quarantine = [] if account.unreadable else rows.quarantine
    return ValidatedObject(
        account,
        pa.concat_tables([EVENTS_SCHEMA.empty_table(), *events]),
        pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *quarantine]),
    )


def judge_stored_object(
    stored: BinaryIO,
    sink: Sink,
    *,
    key: str,
    etag: str,
    size: int,
    hour: Hour,
    limits: Limits,
    erasures: Erasures = NOBODY,
    chunk_bytes: int = CHUNK_BYTES,
) -> ObjectAccount:
    """Judge every record of one raw object, given as its stored (compressed) bytes, and pass its rows to a sink.

    Only `chunk_bytes` of decompressed lines and one batch of rows are held at a time; neither affects a verdict. If an
    object cannot be decompressed completely, or exceeds the limits, its account has `unreadable` set, and the sink's
    rows must be discarded. A record of an erased person is only counted: everything else is as if its line were blank.
    """
    object_judge = _ObjectJudge(key, InstantRange.of(hour, limits), limits.max_object_records, sink, erasures)
    digested = DigestingReader(stored)
    reader = LineReader(digested.as_file(), chunk_bytes, limits)
    try:
        for lines in reader.read():
            object_judge.take(lines)
    except UnreadableObjectError as error:
        return ObjectAccount(key, etag, size, unreadable=error.reason, sha256=digested.finish())
    object_judge.flush()
    return ObjectAccount(
        key,
        etag,
        size,
        records=object_judge.records,
        silver_rows=object_judge.silver_rows,
        quarantined_by_reason=dict(sorted(object_judge.reasons.items())),
        unknown_fields=dict(sorted(object_judge.unknown_fields.items())),
        unknown_examples=dict(sorted(object_judge.unknown_examples.items())),
        inflated_bytes=reader.inflated_bytes,
        broken_bytes=object_judge.broken_bytes,
        longest_broken=object_judge.longest_broken,
        framing=object_judge.framing,
        sha256=digested.finish(),
        sample=object_judge.sampler.finish(),
        erased=len(object_judge.erased_lines),
    )


def erased_lines(stored: BinaryIO, *, hour: Hour, limits: Limits, erasures: Erasures) -> list[int] | None:
    """Return the physical lines of one raw object that hold records of erased people; None if it is unreadable."""
    object_judge = _ObjectJudge("", InstantRange.of(hour, limits), limits.max_object_records, _Nowhere(), erasures)
    try:
        for lines in LineReader(stored, CHUNK_BYTES, limits).read():
            object_judge.take(lines)
    except UnreadableObjectError:
        return None
    return object_judge.erased_lines


class _Nowhere:
    """A sink that keeps nothing."""

    def take_events(self, events: pa.Table) -> None: ...

    def take_quarantine(self, records: pa.Table) -> None: ...


class _InMemory:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.events: list[pa.Table] = []
        self.quarantine: list[pa.Table] = []

    def take_events(self, events: pa.Table) -> None:
        self.events.append(events)

    def take_quarantine(self, records: pa.Table) -> None:
        self.quarantine.append(records)


class _ObjectJudge:
    """Judges the lines of one object in order, counts them, and passes the rows on in batches."""

    def __init__(self, key: str, accepted: InstantRange, max_records: int, sink: Sink, erasures: Erasures) -> None:
        self.records = 0
        self.silver_rows = 0
        self.reasons: Counter[str] = Counter()
        self.unknown_fields: Counter[str] = Counter()
        self.unknown_examples: dict[str, str] = {}
        self.broken_bytes = 0
        """Bytes of the records that are not a JSON object or too long."""
        self.longest_broken = 0
        self.framing = ""
        """What the first of them looks like."""
        self.sampler = Sampler()
        self.erased_lines: list[int] = []
        """Lines with records of erased people."""
        self._erasures = erasures
        self._key = key
        self._accepted = accepted
        self._max_records = max_records
        self._sink = sink
        self._next_line = 1
        self._events: list[pa.Table] = []
        self._events_rows = self._events_bytes = 0
        self._quarantine: list[tuple[str, str, int, str]] = []
        self._quarantine_bytes = 0

    def take(self, lines: bytes | LongLine) -> None:
        """Judge the next lines of the object."""
        if isinstance(lines, LongLine):
            if lines.head:
                self.records += 1
                self._check_records()
                if self._erasures and self._erasures.has_record(_as_text(lines.head)):
                    self.erased_lines.append(self._next_line)
                else:
                    self._refuse("too_long", lines.head, self._next_line, lines.length)
            self._next_line += 1
            return
        for some in _pieces(lines):
            self._judge_chunk(some)
            self._check_records()

    def flush(self) -> None:
        """Pass on the buffered rows."""
        if self._events:
            events = pa.concat_tables(self._events)
            self.sampler.add(events)
            self._sink.take_events(events)
        if self._quarantine:
            self._sink.take_quarantine(_table(self._quarantine, QUARANTINE_SCHEMA))
        self._events, self._events_rows, self._events_bytes = [], 0, 0
        self._quarantine, self._quarantine_bytes = [], 0

    def _check_records(self) -> None:
        if self.records > self._max_records:
            raise UnreadableObjectError("too_large")

    def _judge_chunk(self, chunk: bytes) -> None:
        if chunk.isspace():
            self._next_line += chunk.count(b"\n")
            return
        split = split_certified(chunk, self._next_line, self._accepted)
        if self._erasures and (erased := self._erased(split)):
            self.records += len(erased)
            self.erased_lines += erased
            if split.unknown:  # their fields are counted already: judge the rest as if those lines were blank
                self._judge_chunk(without_lines(chunk, self._next_line, erased))
                return
            split = _without(split, erased)
        certified = split.events
        self.records += certified.num_rows
        others = Counter[str]()
        judged: list[tuple[Any, ...]] = []
        for line_number, line in split.others:
            record = line.strip()
            if not record:
                continue
            self.records += 1
            verdict = judge(record, self._accepted)
            if split.unknown:
                _count_unknown_fields(verdict, others, {})
            else:
                _count_unknown_fields(verdict, self.unknown_fields, self.unknown_examples)
            if not verdict.is_rescued_whole:
                self.unknown_fields[NOT_RESCUED] += 1
            match verdict.outcome:
                case Event(values):
                    judged.append((*values.values(), verdict.rescued, line_number))
                case Rejection(reason):
                    self._refuse(reason, record, line_number, len(record))
        if split.unknown:
            self._count_unknown_fields(chunk, split.unknown, others)
        self._next_line += split.line_count
        if judged:
            certified = pa.concat_tables([certified, _table(judged, EVENTS_SCHEMA)]).sort_by("line_number")
        if certified.num_rows:
            self.silver_rows += certified.num_rows
            self._events.append(certified)
            self._events_rows += certified.num_rows
            self._events_bytes += len(chunk)
        if self._events_rows >= BATCH_ROWS or self._events_bytes >= 4 * BATCH_BYTES:
            self.flush()

    def _erased(self, split: Certified) -> list[int]:
        """Return the lines of a chunk that hold records of erased people, in order."""
        found = [number for number, line in split.others if self._erasures.has_record(_as_text(line))]
        users = split.events[USER.name]
        if theirs := self._erasures.among(users):
            numbers = split.events["line_number"].filter(pc.is_in(users, pa.array(sorted(theirs))))
            found = sorted([*found, *numbers.to_pylist()])
        return found

    def _count_unknown_fields(self, chunk: bytes, certified: Mapping[str, int], others: Mapping[str, int]) -> None:
        """Count the unknown names of a chunk's records, of which some were certified."""
        new = {*certified, *others} - self.unknown_fields.keys() - {OTHER_UNKNOWN_FIELDS}
        if len(self.unknown_fields.keys() | new) > MAX_UNKNOWN_FIELDS:
            # The first names are listed: beyond the bound the order of lines matters.
            for verdict in self._verdicts(chunk):
                _count_unknown_fields(verdict, self.unknown_fields, self.unknown_examples)
            return
        self.unknown_fields.update(certified)
        self.unknown_fields.update(others)
        if not new:
            return
        verdicts = self._verdicts(chunk)  # splits the whole chunk
        while new:
            verdict = next(verdicts)
            for name, json_text in zip(map(_shown, verdict.unknown_fields), verdict.unknown_values, strict=True):
                if name in new:
                    self.unknown_examples[name] = _example(json_text)
                    new.remove(name)

    def _verdicts(self, chunk: bytes) -> Iterator[Verdict]:
        return (judge(record, self._accepted) for line in chunk.split(b"\n") if (record := line.strip()))

    def _refuse(self, reason: str, record: bytes, line_number: int, length: int) -> None:
        self.reasons[reason] += 1
        if reason in FRAMING_REASONS:
            self.framing = self.framing or framing_of(record, length)
            self.broken_bytes += length
            self.longest_broken = max(self.longest_broken, length)
        self._quarantine.append((reason, self._key, line_number, _as_text(record)))
        self._quarantine_bytes += len(record)
        if len(self._quarantine) >= BATCH_ROWS or self._quarantine_bytes >= BATCH_BYTES:
            self._sink.take_quarantine(_table(self._quarantine, QUARANTINE_SCHEMA))
            self._quarantine, self._quarantine_bytes = [], 0


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Split a chunk of complete lines into pieces of at most LINES_AT_ONCE lines; most chunks stay whole."""
    while lines.count(b"\n") > LINES_AT_ONCE:
        # LINES_AT_ONCE bytes cannot contain more newlines than that.
        end = lines.find(b"\n", LINES_AT_ONCE - 1) + 1
        yield lines[:end]
        lines = lines[end:]
    if lines:
        yield lines


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(column, type) for column, type in zip(columns, schema.types, strict=True)], schema=schema)


def _without(split: Certified, lines: Sequence[int]) -> Certified:
    """Leave lines out of a chunk whose certain events have no unknown fields."""
    events, gone = split.events, frozenset(lines)
    stays = pc.invert(pc.is_in(events["line_number"], pa.array(lines, pa.int64())))
    others = [(number, line) for number, line in split.others if number not in gone]
    return replace(split, events=events.filter(stays), others=others)


def _as_text(record: bytes) -> str:
    return record.decode("utf-8", "replace")


def _shown(name: str) -> str:
    return name if len(name) <= MAX_UNKNOWN_FIELD_CHARACTERS else f"{name[:MAX_UNKNOWN_FIELD_CHARACTERS]}…"


def _example(json_text: str) -> str:
    """Return a value as one short line of visible characters."""
    shown = printable(json_text[: MAX_EXAMPLE_CHARACTERS + 1])
    return shown if len(shown) <= MAX_EXAMPLE_CHARACTERS else f"{shown[:MAX_EXAMPLE_CHARACTERS]}…"


def _count_unknown_fields(verdict: Verdict, counts: Counter[str], examples: dict[str, str]) -> None:
    """Count one record under each of its unknown names, and keep their first values, within the contract's bounds."""
    listed = set()
    for name, json_text in zip(verdict.unknown_fields, verdict.unknown_values, strict=True):
        shown = _shown(name)
        if shown not in counts and len(counts) >= MAX_UNKNOWN_FIELDS:
            shown = OTHER_UNKNOWN_FIELDS
        elif shown not in counts:
            examples[shown] = _example(json_text)
        if shown not in listed:
            listed.add(shown)
            counts[shown] += 1
