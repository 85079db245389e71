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
from event_pipeline.rules.rescue import MOST_NESTED, Rescued, has_only, nested, rescue, shapes_of, unknown_names

_READ_TYPES = {field.name: read_type(field.kind) for field in FIELDS}
_NUMERIC_FIELDS = tuple(name for name, type in _READ_TYPES.items() if pa.types.is_floating(type))
_SOMETIMES = tuple(field for field in FIELDS if not field.in_every_event)

_PARSE_OPTIONS = {
    has_unknown: pj.ParseOptions(
        explicit_schema=pa.schema(_READ_TYPES), unexpected_field_behavior="infer" if has_unknown else "error"
    )
    for has_unknown in (False, True)
}
_MAX_BLOCK_BYTES = 1 << 30  # the reader's block size is an int32

# The screen's grammar: what the reader certainly reads without an error, which would fail the whole block.
_SPACE = r"[ \t\r]*"
_PLAIN_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:[0-9A-Ca-cEFef][0-9A-Fa-f]{3}|[dD][0-7][0-9A-Fa-f]{2}'
    r"|[dD][89ABab][0-9A-Fa-f]{2}\\u[dD][C-Fc-f][0-9A-Fa-f]{2}))"
)
_PLAIN_NUMBER = r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?"
_SAMPLED_LINES = 32


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
    block, names = chunk, tuple[str, ...]()
    lines: list[bytes] | None = None
    rows = _read_rows(block, line_count, names)
    if rows is None:
        shapes = shapes_of(_first_lines(chunk))
        names = unknown_names(shapes) or ()
        is_flat = b"[" not in chunk and chunk.count(b"{") == line_count
        rows = _read_rows(block, line_count, names) if names and is_flat else None
    if rows is None:
        lines = chunk.split(b"\n")[:line_count]
        readable = _screen(lines, shapes, names, ascii_only=not _is_utf8(chunk))
        row_numbers = numbers.filter(readable)
        block = b"\n".join(compress(lines, readable.to_pylist()))
        rows = _read_rows(block, len(row_numbers), names)
        if rows is None:
            return Certified(EVENTS_SCHEMA.empty_table(), list(enumerate(lines, first_line)), line_count, {})
    rescued = rescue(block, rows, names) if names else None
    events, certain = _certain_events(rows, row_numbers, accepted, rescued)
    unknown = _counted(rescued, certain) if rescued else {}
    if events.num_rows == line_count:
        return Certified(events, [], line_count, unknown)
    lines = lines or chunk.split(b"\n")
    is_certain = pc.is_in(numbers, value_set=events["line_number"].combine_chunks())
    others = numbers.filter(pc.invert(is_certain)).to_pylist()
    return Certified(events, [(number, lines[number - first_line]) for number in others], line_count, unknown)


def _first_lines(chunk: bytes) -> list[bytes]:
    lines = list[bytes]()
    position = 0
    while len(lines) < _SAMPLED_LINES and position < len(chunk):
        end = chunk.find(b"\n", position)
        end = len(chunk) if end < 0 else end
        lines.append(chunk[position:end])
        position = end + 1
    return lines


def _counted(rescued: Rescued, certain: pa.BooleanArray) -> dict[str, int]:
    """Return in how many certain events each unknown field is."""
    counts = {
        name: pc.and_(pc.is_valid(pa.array(values, pa.binary())), certain).true_count
        for name, values in rescued.values.items()
    }
    return {name: count for name, count in counts.items() if count}


def _read_rows(block: bytes, line_count: int, names: tuple[str, ...]) -> pa.Table | None:
    """Read lines as rows of the declared fields, and of unknown fields with these names.

    With names, only flat lines or those that passed the screen may be read: the reader ends the process where it infers
    the type of a deeply nested value. Returns None unless rows and lines certainly correspond.
    """
    if not block.startswith(b"{") or len(block) > _MAX_BLOCK_BYTES or not _is_utf8(block):
        return None
    # A longer text is found twice as fast, and usually all lines start with the same key.
    start = block[: block.find(b":") + 1]
    if block.count(b"\n" + start) != line_count - 1 and block.count(b"\n{") != line_count - 1:
        return None
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        rows = pj.read_json(pa.BufferReader(block), options, _PARSE_OPTIONS[bool(names)])
    except pa.ArrowInvalid:
        return None
    if rows.num_rows != line_count or (names and not has_only(rows, names)):
        return None
    return rows


def _screen(
    lines: list[bytes], shapes: list[tuple[str, ...]], names: tuple[str, ...], *, ascii_only: bool
) -> pa.BooleanArray:
    """Return which lines have a common shape: the names of the first objects in the same order, and plain values."""
    readable = {*EVENT_FIELDS, *names}
    common = tuple(shape for shape, count in Counter(shapes).items() if count > 1 and set(shape) <= readable)
    return pc.match_substring_regex(pa.array(lines, pa.binary()), _screen_pattern(common, ascii_only))


@lru_cache(maxsize=16)
def _screen_pattern(shapes: tuple[tuple[str, ...], ...], ascii_only: bool) -> str:
    beyond_ascii = r"\x80-\xff" if ascii_only else ""
    string = rf'"(?:[^"\\\x00-\x1f{beyond_ascii}]|{_PLAIN_ESCAPE})*"'

    def member(name: str) -> str:
        value = _PLAIN_NUMBER if name in _NUMERIC_FIELDS else string
        if name not in _READ_TYPES:
            value = f"{string}|{_PLAIN_NUMBER}|true|false|{nested(string, MOST_NESTED)}"
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
