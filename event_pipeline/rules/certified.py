"""The certified fast path: finds the lines that are certainly accepted, a whole chunk at a time.

It never rejects. A line is certified if pyarrow's JSON reader made one row of it and every rule of the reference
(`record.py`) is known to hold for that row. All other lines go to the reference, so an unforeseen form of record only
costs time (about tenfold), never a wrong verdict.

Where pyarrow.json (26) differs from RFC 8259 and the contract, found by fuzzing, and the safeguards:

- two objects on one line are two rows, one object over two lines is one row, and a block that starts with a bare
  `null` line ends the process: every line must start with `{` and give one row;
- a byte order mark in front of a block is skipped: same safeguard;
- UTF-8 is not checked: the block is decoded first;
- NaN and Infinity are numbers: every number must be finite, even in fields that the event type does not have.

Standard library and pyarrow.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import lru_cache, reduce
from itertools import compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.contract import (
    CARRIED_FIELDS,
    EVENT_FIELDS,
    EVENT_TYPES,
    MAX_CATEGORY_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_PRICE_CENTS,
    MAX_QUANTITY,
    MAX_SEARCH_QUERY_CHARACTERS,
)
from event_pipeline.rules.json_object import NotAnObjectError, split_object
from event_pipeline.rules.record import InstantRange

_NUMERIC_FIELDS = ("quantity", "price")

# Both numbers as doubles, because the contract judges their double value.
_PARSE_OPTIONS = pj.ParseOptions(
    explicit_schema=pa.schema(
        [(name, pa.float64() if name in _NUMERIC_FIELDS else pa.string()) for name in EVENT_FIELDS]
    ),
    unexpected_field_behavior="error",
)
_MAX_BLOCK_BYTES = 1 << 30  # the reader's block size is an int32

# Stricter than the rule, so that the cast cannot fail: an offset, at most six digits, a real date from 1000 on.
_PLAIN_TIMESTAMP = (
    r"^(?:[1-9]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"|[1-9]\d(?:0[48]|[2468][048]|[13579][26])-02-29)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$"
)
_PLAIN_ID = rf"^[A-Za-z0-9_.:@-]{{1,{MAX_ID_CHARACTERS}}}$"
_ID_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:@-"
_CATEGORY_EDGE = r'[^\x00-\x20\x7f-\x{9f}{}\[\]"]'
_CATEGORY_INSIDE = r'[^\x00-\x1f\x7f-\x{9f}{}\[\]"]'
_PLAIN_CATEGORY = rf"^{_CATEGORY_EDGE}(?:{_CATEGORY_INSIDE}{{0,{MAX_CATEGORY_CHARACTERS - 2}}}{_CATEGORY_EDGE})?$"
_CATEGORY_BYTES = bytes(set(range(0x21, 0x7F)) - set(b'{}[]"'))

# The screen's grammar: what the reader certainly reads without an error, which would fail the whole block.
_SPACE = r"[ \t\r]*"
_PLAIN_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:[0-9A-Ca-cEFef][0-9A-Fa-f]{3}|[dD][0-7][0-9A-Fa-f]{2}'
    r"|[dD][89ABab][0-9A-Fa-f]{2}\\u[dD][C-Fc-f][0-9A-Fa-f]{2}))"
)
_PLAIN_NUMBER = r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?"
_SAMPLED_LINES = 32


def split_certified(
    chunk: bytes, first_line: int, accepted: InstantRange
) -> tuple[pa.Table, list[tuple[int, bytes]], int]:
    """Split a chunk of complete lines into certified events and the rest.

    Returns the certified events (EVENTS_SCHEMA, in line order), every other line, including blank ones, with its
    number, and the number of lines. `first_line` is the number of the chunk's first line.
    """
    line_count = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
    numbers = row_numbers = pa.arange(first_line, first_line + line_count)
    lines: list[bytes] | None = None
    rows = _read_rows(chunk, line_count)
    if rows is None:
        lines = chunk.split(b"\n")[:line_count]
        readable = _screen(lines, ascii_only=not _is_utf8(chunk))
        row_numbers = numbers.filter(readable)
        rows = _read_rows(b"\n".join(compress(lines, readable.to_pylist())), len(row_numbers))
        if rows is None:
            return EVENTS_SCHEMA.empty_table(), list(enumerate(lines, first_line)), line_count
    events = _certain_events(rows, row_numbers, accepted)
    if events.num_rows == line_count:
        return events, [], line_count
    lines = lines or chunk.split(b"\n")
    is_certain = pc.is_in(numbers, value_set=events["line_number"].combine_chunks())
    others = numbers.filter(pc.invert(is_certain)).to_pylist()
    return events, [(number, lines[number - first_line]) for number in others], line_count


def _read_rows(block: bytes, line_count: int) -> pa.Table | None:
    """Read lines as rows of the nine fields; None unless rows and lines certainly correspond."""
    if not block.startswith(b"{") or len(block) > _MAX_BLOCK_BYTES or not _is_utf8(block):
        return None
    # A longer text is found twice as fast, and usually all lines start with the same key.
    start = block[: block.find(b":") + 1]
    if block.count(b"\n" + start) != line_count - 1 and block.count(b"\n{") != line_count - 1:
        return None
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        rows = pj.read_json(pa.BufferReader(block), options, _PARSE_OPTIONS)
    except pa.ArrowInvalid:
        return None
    return rows if rows.num_rows == line_count else None


def _screen(lines: list[bytes], *, ascii_only: bool) -> pa.BooleanArray:
    """Return which lines have a common shape: the names of the first objects in the same order, and plain values."""
    shapes: Counter[tuple[str, ...]] = Counter()
    for line in lines[:_SAMPLED_LINES]:
        with suppress(UnicodeDecodeError, NotAnObjectError):
            shapes[tuple(split_object(line.decode("utf-8")))] += 1
    common = tuple(names for names, count in shapes.items() if count > 1 and set(names) <= set(EVENT_FIELDS))
    return pc.match_substring_regex(pa.array(lines, pa.binary()), _screen_pattern(common, ascii_only))


@lru_cache(maxsize=16)
def _screen_pattern(shapes: tuple[tuple[str, ...], ...], ascii_only: bool) -> str:
    beyond_ascii = r"\x80-\xff" if ascii_only else ""
    string = rf'"(?:[^"\\\x00-\x1f{beyond_ascii}]|{_PLAIN_ESCAPE})*"'

    def member(name: str) -> str:
        value = _PLAIN_NUMBER if name in _NUMERIC_FIELDS else string
        return rf'{_SPACE}"{name}"{_SPACE}:{_SPACE}(?:{value}|null){_SPACE}'

    objects = (",".join(map(member, names)) for names in shapes if names)
    return rf"^\{{(?:{'|'.join(objects)})\}}{_SPACE}$"


def _certain_events(rows: pa.Table, line_numbers: pa.Array, accepted: InstantRange) -> pa.Table:
    """Return the rows that are certainly events, normalised."""
    fields = {name: rows[name].combine_chunks() for name in EVENT_FIELDS}
    category = pc.ascii_lower(fields["category"])
    quantity = fields["quantity"]
    price = fields["price"]
    hundred = _scalar(100.0, pa.float64())
    cents = pc.round(pc.multiply(price, hundred))
    search_query = pc.ascii_trim_whitespace(fields["search_query"])
    values = {
        "product_id": fields["product_id"],
        "category": category,
        "quantity": quantity,
        "price": cents,
        "search_query": search_query,
    }
    holds = {
        "product_id": _is_plain(fields["product_id"], _PLAIN_ID, _ID_BYTES, MAX_ID_CHARACTERS),
        "category": _is_plain(category, _PLAIN_CATEGORY, _CATEGORY_BYTES, MAX_CATEGORY_CHARACTERS),
        "quantity": _all_true(_between(quantity, 1, MAX_QUANTITY), pc.equal(pc.floor(quantity), quantity)),
        "price": _all_true(_between(cents, 0, MAX_PRICE_CENTS), pc.equal(pc.divide(cents, hundred), price)),
        "search_query": _all_true(_between(pc.utf8_length(search_query), 1, MAX_SEARCH_QUERY_CHARACTERS)),
    }
    type_index = pc.index_in(fields["event_type"], value_set=pa.array(EVENT_TYPES))
    carried = {
        name: _all_true(pa.array([name in CARRIED_FIELDS[each] for each in EVENT_TYPES]).take(type_index))
        for name in holds
    }
    instant_us, is_accepted = _instants(fields["timestamp"], accepted)
    certain = _all_true(
        is_accepted,
        _is_plain(fields["user_id"], _PLAIN_ID, _ID_BYTES, MAX_ID_CHARACTERS),
        _is_plain(fields["session_id"], _PLAIN_ID, _ID_BYTES, MAX_ID_CHARACTERS),
        pc.is_valid(type_index),
        *(pc.or_(holds[name], pc.invert(carried[name])) for name in holds),
        *(pc.fill_null(pc.is_finite(fields[name]), _scalar(True, pa.bool_())) for name in _NUMERIC_FIELDS),
    )
    kept = {
        name: pc.if_else(pc.and_(certain, carried[name]), values[name], _scalar(None, values[name].type))
        for name in holds
    }
    events = pa.Table.from_arrays(
        [
            pc.cast(instant_us, pa.timestamp("us")),
            fields["user_id"],
            fields["session_id"],
            fields["event_type"],
            kept["product_id"],
            kept["category"],
            pc.cast(kept["quantity"], pa.int32()),
            pc.cast(kept["price"], pa.int64()),
            kept["search_query"],
            line_numbers,
        ],
        schema=EVENTS_SCHEMA,
    )
    return events if certain.true_count == events.num_rows else events.filter(certain)


def _instants(timestamps: pa.Array, accepted: InstantRange) -> tuple[pa.Array, pa.BooleanArray]:
    """Return the instants in microseconds since 1970, and a mask of those that are certain and accepted."""
    plain = _all_true(pc.match_substring_regex(timestamps, _PLAIN_TIMESTAMP))
    if plain.true_count < len(plain):
        timestamps = pc.if_else(plain, timestamps, _scalar(None, pa.string()))
    instant_us = pc.cast(pc.cast(timestamps, pa.timestamp("us", "UTC")), pa.int64())
    return instant_us, _all_true(_between(instant_us, accepted.first_us, accepted.end_us - 1))


def _is_plain(texts: pa.Array, pattern: str, plain_bytes: bytes, most: int) -> pa.BooleanArray:
    """Return where a text matches a pattern; fast if all have at most `most` bytes, all of them plain."""
    lengths = pc.min_max(pc.binary_length(texts)).as_py()
    values = texts.buffers()[2]
    if lengths["max"] is not None and 1 <= lengths["min"] and lengths["max"] <= most:
        if not values.to_pybytes().translate(None, plain_bytes):
            return pc.is_valid(texts)
    return _all_true(pc.match_substring_regex(texts, pattern))


def _between(values: pa.Array, least: int, most: int) -> pa.BooleanArray:
    above = pc.greater_equal(values, _scalar(least, values.type))
    return pc.and_(above, pc.less_equal(values, _scalar(most, values.type)))


def _all_true(*conditions: pa.BooleanArray) -> pa.BooleanArray:
    """Combine conditions with AND; null counts as false."""
    return pc.fill_null(reduce(pc.and_, conditions), _scalar(False, pa.bool_()))


@lru_cache(maxsize=64)
def _scalar(value: Any, type: pa.DataType) -> pa.Scalar:
    """Return a cached constant for a kernel: converting it costs more than comparing a chunk's column with it."""
    return pa.scalar(value, type)


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
