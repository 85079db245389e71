"""The fast form of `rescued`: the unknown fields of a whole block of lines at once, as JSON texts.

Producers add fields to every event at once, so that the way of the reference for each line would cost tenfold. This one
serves names without escapes, and values that are nested at most MOST_NESTED deep. The reader has already found each
line to be one JSON object with distinct keys, and told its columns. In such a line, `"name"` and a colon can only be
the key of a member, because in a text its quotes would be escaped; and of a top-level one, unless a value is nested.

Standard library and pyarrow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from event_pipeline.rules.contract import EVENT_FIELDS, MAX_RESCUED_BYTES
from event_pipeline.rules.json_object import NotAnObjectError, split_object

MOST_NAMES = 16
"""More unknown names in one block go to the reference."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\- ]{1,100}")
MOST_NESTED = 3
_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_SCALAR = rb"%s|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null" % _STRING
_BETWEEN_BRACKETS = r"[-+0-9.eE:, \t\r]|true|false|null"
"""What may be in a nested value besides texts and brackets: no letters of NaN and Infinity, which are no JSON."""


def nested(string: str, most: int) -> str:
    """Return a pattern for arrays and objects of at most that depth; whether they are JSON is left to the reader."""
    inner = ""
    for _ in range(most):
        inner = rf"[\[{{](?:{string}|{_BETWEEN_BRACKETS}{inner and '|'}{inner})*[\]}}]"
    return inner


_VALUE = b"%s|%s" % (_SCALAR, nested(_STRING.decode(), MOST_NESTED).encode())


@dataclass(frozen=True, slots=True)
class Rescued:
    """The unknown fields of the lines of a block."""

    texts: pa.StringArray
    """Line -> its unknown fields as one JSON object; null for a line without any."""
    certain: pa.BooleanArray
    """Line -> whether its text certainly is what the reference gives."""
    values: dict[str, list[bytes | None]]
    """Name -> JSON text of its value in each line; None where a line does not have it."""


def unknown_names(shapes: Iterable[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the unknown names among those of some records, most frequent first; None if they are not plain or many."""
    counts = Counter(name for names in shapes for name in names if name not in EVENT_FIELDS)
    names = tuple(name for name, _ in counts.most_common())
    return names if len(names) <= MOST_NAMES and all(map(_PLAIN_NAME.fullmatch, names)) else None


def shapes_of(lines: Iterable[bytes]) -> list[tuple[str, ...]]:
    """Return the names of the records among some lines, in the records' order."""
    shapes = []
    for line in lines:
        with suppress(UnicodeDecodeError, NotAnObjectError):
            shapes.append(tuple(split_object(line.decode("utf-8").strip())))
    return shapes


def has_only(rows: pa.Table, names: Sequence[str]) -> bool:
    """Return whether the reader found no column but the contract's and these, and no infinite number in them."""
    found = [name for name in rows.column_names if name not in EVENT_FIELDS]
    # NaN and Infinity, which are no JSON, are numbers for the reader.
    return set(found) <= set(names) and all(
        pc.all(pc.is_finite(rows.column(name)), min_count=0).as_py()
        for name in found
        if pt.is_floating(rows.column(name).type)
    )


def rescue(block: bytes, rows: pa.Table, names: Sequence[str]) -> Rescued:
    """Rescue the unknown fields of a block of lines, which the reader has read as rows that have only these."""
    line_count = rows.num_rows
    if len(names) > 1 and any(pt.is_nested(rows.column(name).type) for name in names if name in rows.column_names):
        # A nested value may have keys of these names: then only lines that have each of them once are certain.
        for name in names:
            keys = len(re.findall(rb'"%s"[ \t\r]*+:' % re.escape(name.encode()), block))
            if name not in rows.column_names or rows.column(name).null_count or keys != line_count:
                none = pa.nulls(line_count, pa.string())
                return Rescued(none, pa.repeat(pa.scalar(False), line_count), {})
    if len(names) == 1:
        found = _value_pattern(names[0]).findall(block)
        if len(found) == line_count:
            texts = pc.binary_join_element_wise(
                pa.scalar(b'{"%s":' % names[0].encode()), pa.array(found, pa.binary()), pa.scalar(b"}"), b""
            )
            fits = pc.less_equal(pc.binary_length(texts), pa.scalar(MAX_RESCUED_BYTES, pa.int32()))
            return Rescued(texts.cast(pa.string()), fits, {names[0]: found})
    lines = block.split(b"\n")[:line_count]
    patterns = {name: _value_pattern(name) for name in names}
    values: dict[str, list[bytes | None]] = {name: [None] * line_count for name in names}
    texts, certain = list[bytes | None](), list[bool]()
    for number, line in enumerate(lines):
        members = list[tuple[int, bytes]]()
        for name, pattern in patterns.items():
            if match := pattern.search(line):
                values[name][number] = match[1]
                members.append((match.start(), b'"%s":%s' % (name.encode(), match[1])))
        members.sort()
        text = b"{%s}" % b",".join(member for _, member in members) if members else None
        texts.append(text)
        # A key with escapes is not found: whether it is one of the names is left to the reference.
        certain.append(
            (text is None or len(text) <= MAX_RESCUED_BYTES) and (len(members) == len(names) or b"\\" not in line)
        )
    return Rescued(pa.array(texts, pa.binary()).cast(pa.string()), pa.array(certain), values)


@lru_cache(maxsize=256)
def _value_pattern(name: str) -> re.Pattern[bytes]:
    return re.compile(rb'"%s"[ \t\r]*+:[ \t\r]*+(%s)[ \t\r]*+[,}]' % (re.escape(name.encode()), _VALUE))
