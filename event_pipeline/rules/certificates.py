"""The certificates of the kinds: for a whole column at once, which values certainly follow the rule, and their form.

Each function knows one kind of `kinds.py`: a value that it certifies is one that the reference rule accepts, with the
same normalised value. A certificate may be refused to any value; its record then costs more, never another verdict.
Standard library and pyarrow.
"""

from __future__ import annotations

from functools import lru_cache, reduce, singledispatch
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.kinds import Choice, Id, Instant, Kind, Label, Money, Text, WholeNumber

Certified = tuple[pa.Array, pa.BooleanArray]
"""Normalised values, and a mask of the certain ones. Null values are not certain."""

# Stricter than the rule, so that the cast cannot fail: an offset, at most six digits, a real date from 1000 on.
_PLAIN_TIMESTAMP = (
    r"^(?:[1-9]\d{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"|[1-9]\d(?:0[48]|[2468][048]|[13579][26])-02-29)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$"
)
_PRINTABLE = bytes(range(0x21, 0x7F))


@singledispatch
def certified_values(kind: Kind, values: pa.Array) -> Certified:
    """Return the normalised form of a column as the reader returns it (`read_type`), and which values are certain."""
    raise NotImplementedError(f"{type(kind).__name__} has no certificate in {__name__}")


def read_type(kind: Kind) -> pa.DataType:
    """Return the type as which a reader of JSON reads the values: numbers as doubles, because doubles are judged."""
    return pa.float64() if isinstance(kind, WholeNumber | Money) else pa.string()


def normalised_type(kind: Kind) -> pa.DataType:
    """Return the type of the normalised values: instants in naive UTC, money in whole cents."""
    match kind:
        case Instant():
            return pa.timestamp("us")
        case WholeNumber():
            return pa.int32()
        case Money():
            return pa.int64()
    return pa.string()


@certified_values.register
def _(kind: Instant, values: pa.Array) -> Certified:
    plain = all_true(pc.match_substring_regex(values, _PLAIN_TIMESTAMP))
    if plain.true_count < len(plain):
        values = pc.if_else(plain, values, _constant(None, pa.string()))
    return pc.cast(pc.cast(values, pa.timestamp("us", "UTC")), pa.timestamp("us")), plain


@certified_values.register
def _(kind: Id, values: pa.Array) -> Certified:
    return values, _is_plain(values, rf"^{_one_of(kind.CHARACTERS)}{{1,{kind.max_characters}}}$", kind)


@certified_values.register
def _(kind: Choice, values: pa.Array) -> Certified:
    return values, pc.is_valid(pc.index_in(values, value_set=pa.array(kind.choices)))


@certified_values.register
def _(kind: Label, values: pa.Array) -> Certified:
    lower = pc.ascii_lower(values)
    forbidden = rf"\x7f-\x{{9f}}{_escaped(kind.FORBIDDEN)}"
    edge, inside = rf"[^\x00-\x20{forbidden}]", rf"[^\x00-\x1f{forbidden}]"
    longer = f"(?:{inside}{{0,{kind.max_characters - 2}}}{edge})?" if kind.max_characters > 1 else ""
    certain = _is_plain(lower, f"^{edge}{longer}$", kind)
    for name in kind.reserved:
        certain = all_true(certain, pc.not_equal(lower, _constant(name, pa.string())))
    return lower, certain


@certified_values.register
def _(kind: Text, values: pa.Array) -> Certified:
    trimmed = pc.ascii_trim_whitespace(values)
    return trimmed, all_true(_between(pc.utf8_length(trimmed), 1, kind.max_characters))


@certified_values.register
def _(kind: WholeNumber, values: pa.Array) -> Certified:
    certain = all_true(_between(values, kind.least, kind.most), pc.equal(pc.floor(values), values))
    return _cast_certain(values, certain, pa.int32()), certain


@certified_values.register
def _(kind: Money, values: pa.Array) -> Certified:
    hundredfold = pc.multiply(values, _constant(100.0, pa.float64()))
    cents = pc.round(hundredfold)
    dust = pc.abs(pc.subtract(hundredfold, cents))
    certain = all_true(
        _between(values, 0.0, kind.most_cents / 100), pc.less_equal(dust, _constant(kind.DUST_CENTS, pa.float64()))
    )
    return _cast_certain(cents, certain, pa.int64()), certain


def all_true(*conditions: pa.BooleanArray) -> pa.BooleanArray:
    """Combine conditions with AND; null counts as false."""
    return pc.fill_null(reduce(pc.and_, conditions), _constant(False, pa.bool_()))


def _cast_certain(values: pa.Array, certain: pa.BooleanArray, type: pa.DataType) -> pa.Array:
    if certain.true_count < len(certain) - values.null_count:
        values = pc.if_else(certain, values, _constant(None, values.type))
    return pc.cast(values, type)


def _is_plain(texts: pa.Array, pattern: str, kind: Id | Label) -> pa.BooleanArray:
    """Return where a text matches a pattern; fast if no text is too long and all bytes are plain ASCII characters."""
    lengths = pc.min_max(pc.binary_length(texts)).as_py()
    if lengths["max"] is not None and 1 <= lengths["min"] and lengths["max"] <= kind.max_characters:
        if not texts.buffers()[2].to_pybytes().translate(None, _plain_bytes(kind)):
            return pc.is_valid(texts)
    return all_true(pc.match_substring_regex(texts, pattern))


@lru_cache(maxsize=64)
def _plain_bytes(kind: Id | Label) -> bytes:
    if isinstance(kind, Id):
        return kind.CHARACTERS.encode()
    return bytes(set(_PRINTABLE) - set(kind.FORBIDDEN.encode()))


def _one_of(characters: str) -> str:
    return f"[{_escaped(characters)}]"


def _escaped(characters: str) -> str:
    return "".join(f"\\x{ord(each):02x}" for each in characters)


def _between(values: pa.Array, least: float, most: float) -> pa.BooleanArray:
    above = pc.greater_equal(values, _constant(least, values.type))
    return pc.and_(above, pc.less_equal(values, _constant(most, values.type)))


@lru_cache(maxsize=256)
def _constant(value: Any, type: pa.DataType) -> pa.Scalar:
    """Return a cached constant for a kernel: converting it costs more than comparing a chunk's column with it."""
    return pa.scalar(value, type)
