"""The certified fast path: finds the lines that are certainly accepted, a whole chunk at a time.

It never rejects. A line is certified if pyarrow's JSON reader made one row of it and every rule of the reference
(`record.py`) is known to hold for that row, by the certificates of the kinds (`certificates.py`). All other lines go to
the reference, so an unforeseen form of record only costs time (about tenfold), never a wrong verdict.

Where pyarrow.json (26) differs from RFC 8259 and the contract, found by fuzzing, and the safeguards:

- two objects on one line are two rows, one object over two lines is one row, and a block that starts with a bare
  `null` line ends the process: every line must start with `{` and give one row;
- a byte order mark in front of a block is skipped: same safeguard;
- UTF-8 is not checked: the block is decoded first;
- NaN and Infinity are numbers: every number must be finite, even in fields that the event type does not have.

Standard library and pyarrow.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.certificates import all_true, certified_values, read_type
from event_pipeline.rules.contract import CARRIED_FIELDS, EVENT_FIELDS, EVENT_TIME, EVENT_TYPE, FIELDS
from event_pipeline.rules.record import InstantRange
from event_pipeline.rules.rescue import (
    PLAIN_ESCAPE,
    Rescued,
    Run,
    only_text,
    rescue,
    rescue_text,
    shapes_of,
    strip,
    unknown_runs,
)

_READ_TYPES = {field.name: read_type(field.kind) for field in FIELDS}
_NUMERIC_FIELDS = tuple(name for name, type in _READ_TYPES.items() if pa.types.is_floating(type))
_SOMETIMES = tuple(field for field in FIELDS if not field.in_every_event)

_MAX_BLOCK_BYTES = 1 << 30  # the reader's block size is an int32

# The screen's grammar: what the reader certainly reads without an error, which would fail the whole block.
_SPACE = r"[ \t\r]*"
_PLAIN_NUMBER = r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?"
_SAMPLED_LINES = 64


@dataclass(frozen=True, slots=True)
class Certified:
    """A chunk of lines, split into events that are certain and the rest."""

    events: pa.Table
    """EVENTS_SCHEMA, in line order."""
    others: list[tuple[int, bytes]]
    """Every other line, including blank ones, with its number."""
    line_count: int
    unknown: dict[str, int]
    """Unknown field -> certain events that have it."""


def split_certified(chunk: bytes, first_line: int, accepted: InstantRange) -> Certified:
    """Split a chunk of complete lines; `first_line` is the number of its first one."""
    line_count = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
    numbers = row_numbers = pa.arange(first_line, first_line + line_count)
    lines: list[bytes] | None = None
    # Where the first line has unknown fields, the reader would copy the whole block only to refuse it.
    has_unknown = any(not set(names) <= set(EVENT_FIELDS) for names in shapes_of(_first_lines(chunk, 1)))
    found = None if has_unknown else _read(chunk, line_count, ())
    if found is None:
        runs = unknown_runs(shapes_of(_first_lines(chunk, _SAMPLED_LINES)))
        found = _read(chunk, line_count, runs) if runs else None
    if found is None:
        lines = chunk.split(b"\n")[:line_count]
        readable = _screen(chunk, lines, runs)
        row_numbers = numbers.filter(readable)
        found = _read(b"\n".join(compress(lines, readable.to_pylist())), len(row_numbers), runs)
        if found is None:
            return Certified(EVENTS_SCHEMA.empty_table(), list(enumerate(lines, first_line)), line_count, {})
    rows, rescued = found
    events, certain = _certain_events(rows, row_numbers, accepted, rescued)
    unknown = _counted(rescued, certain) if rescued else {}
    if events.num_rows == line_count:
        return Certified(events, [], line_count, unknown)
    lines = lines or chunk.split(b"\n")
    is_certain = pc.is_in(numbers, value_set=events["line_number"].combine_chunks())
    others = numbers.filter(pc.invert(is_certain)).to_pylist()
    return Certified(events, [(number, lines[number - first_line]) for number in others], line_count, unknown)


def _first_lines(chunk: bytes, most: int) -> list[bytes]:
    lines = list[bytes]()
    position = 0
    while len(lines) < most and position < len(chunk):
        end = chunk.find(b"\n", position)
        end = len(chunk) if end < 0 else end
        lines.append(chunk[position:end])
        position = end + 1
    return lines


def _counted(rescued: Rescued, certain: pa.BooleanArray) -> dict[str, int]:
    """Return in how many certain events each unknown field is."""
    counts = Counter[str]()
    for run, has in rescued.has.items():
        if count := pc.and_(has, certain).true_count:
            counts.update(dict.fromkeys(run, count))
    return dict(counts)


def _read(block: bytes, line_count: int, runs: tuple[Run, ...]) -> tuple[pa.Table, Rescued | None] | None:
    """Read lines as rows of the declared fields, and rescue these runs of unknown ones.

    Returns None unless rows and lines certainly correspond.
    """
    if len(block) > _MAX_BLOCK_BYTES or not _is_utf8(block):
        return None
    if name := only_text(block, runs):
        rows = _read_rows(block, line_count, (name,), pa.string())
        if rows is not None and (rescued := rescue_text(name, block, rows)):
            return rows, rescued
    stripped = strip(block, runs)
    rows = _read_rows(stripped.block, line_count, stripped.placeholders, pa.int8())
    if rows is None:
        return None
    if not stripped.values:
        return rows, None
    rescued = rescue(stripped, rows)
    return None if rescued is None else (rows, rescued)


def _read_rows(block: bytes, line_count: int, others: tuple[str, ...], type_of_others: pa.DataType) -> pa.Table | None:
    """Read lines as rows of the declared fields and of some others; None unless rows and lines certainly correspond."""
    if not block.startswith(b"{"):
        return None
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        rows = pj.read_json(pa.BufferReader(block), options, _parse_options(others, type_of_others))
    except pa.ArrowInvalid:
        return None
    if rows.num_rows != line_count:
        return None
    # A longer text is found twice as fast, and usually all lines start with the same key.
    start = block[: block.find(b":") + 1]
    if block.count(b"\n" + start) != line_count - 1 and block.count(b"\n{") != line_count - 1:
        return None
    return rows


@lru_cache(maxsize=16)
def _parse_options(others: tuple[str, ...], type_of_others: pa.DataType) -> pj.ParseOptions:
    schema = pa.schema({**_READ_TYPES, **dict.fromkeys(others, type_of_others)})
    return pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")


def _screen(chunk: bytes, lines: list[bytes], runs: tuple[Run, ...]) -> pa.BooleanArray:
    """Return which lines of a chunk have a common shape: the names of the first objects in their order, plain values.

    Once these runs of unknown fields are stripped of them.
    """
    stripped = strip(chunk, runs)
    flat_lines = stripped.block.split(b"\n")[: len(lines)] if stripped.values else lines
    readable_names = {*EVENT_FIELDS, *stripped.placeholders}
    counts = Counter(shapes_of(flat_lines[:_SAMPLED_LINES]))
    common = tuple(names for names, count in counts.items() if count > 1 and set(names) <= readable_names)
    ascii_only = not _is_utf8(chunk)
    readable = pc.match_substring_regex(pa.array(flat_lines, pa.binary()), _screen_pattern(common, ascii_only))
    # What was stripped of a line may be no UTF-8 either.
    return pc.and_(readable, pa.array(map(bytes.isascii, lines), pa.bool_())) if ascii_only else readable


@lru_cache(maxsize=16)
def _screen_pattern(shapes: tuple[tuple[str, ...], ...], ascii_only: bool) -> str:
    beyond_ascii = r"\x80-\xff" if ascii_only else ""
    string = rf'"(?:[^"\\\x00-\x1f{beyond_ascii}]|{PLAIN_ESCAPE})*"'

    def member(name: str) -> str:
        value = _PLAIN_NUMBER if name in _NUMERIC_FIELDS or name not in EVENT_FIELDS else string
        return rf'{_SPACE}"{re.escape(name)}"{_SPACE}:{_SPACE}(?:{value}|null){_SPACE}'

    objects = (",".join(map(member, names)) for names in shapes if names)
    return rf"^\{{(?:{'|'.join(objects)})\}}{_SPACE}$"


def _certain_events(
    rows: pa.Table, line_numbers: pa.Array, accepted: InstantRange, rescued: Rescued | None
) -> tuple[pa.Table, pa.BooleanArray]:
    """Return the rows that are certainly events, normalised, and which rows they are."""
    values: dict[str, pa.Array] = {}
    holds: dict[str, pa.BooleanArray] = {}
    for field in FIELDS:
        column = rows[field.name].combine_chunks()
        values[field.name], certain = certified_values(field.kind, column)
        holds[field.name] = pc.or_(certain, pc.is_null(column)) if field.optional else certain
    instants = pc.cast(values[EVENT_TIME.name], pa.int64())
    type_index = pc.index_in(values[EVENT_TYPE.name], value_set=pa.array(list(CARRIED_FIELDS)))
    carried = {
        field.name: all_true(pa.array([field.name in names for names in CARRIED_FIELDS.values()]).take(type_index))
        for field in _SOMETIMES
    }
    certain = all_true(
        pc.greater_equal(instants, _instant(accepted.first_us)),
        pc.less(instants, _instant(accepted.end_us)),
        *(holds[field.name] for field in FIELDS if field.in_every_event),
        *(pc.or_(holds[name], pc.invert(is_carried)) for name, is_carried in carried.items()),
        *(pc.fill_null(pc.is_finite(rows[name].combine_chunks()), True) for name in _NUMERIC_FIELDS),
        *((rescued.certain,) if rescued else ()),
    )
    for name, is_carried in carried.items():
        null = pa.scalar(None, values[name].type)
        values[name] = pc.if_else(pc.and_(certain, is_carried), values[name], null)
    events = pa.Table.from_arrays(
        [*values.values(), rescued.texts if rescued else pa.nulls(len(line_numbers), pa.string()), line_numbers],
        schema=EVENTS_SCHEMA,
    )
    return (events if certain.true_count == events.num_rows else events.filter(certain)), certain


@lru_cache(maxsize=64)
def _instant(microseconds: int) -> pa.Scalar:
    return pa.scalar(microseconds, pa.int64())


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
