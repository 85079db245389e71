"""The fast form of `rescued`: the unknown fields of a whole block of lines at once, as JSON texts.

Producers add fields to every event at once, so that the way of the reference for each line would cost tenfold. Here the
unknown fields are cut out of the text before the reader sees it: each run of unknown names that stand side by side
becomes one placeholder, and the texts of their values are kept. The reader then reads a few flat columns, as always.

That is safe whatever the lines are. In JSON, `"name"` and a colon can only be the key of a member, because in a text
its quotes would be escaped; and what is cut out is strict JSON with a comma or a bracket behind it. So a line is JSON
with its placeholder exactly if it was without. Whether each placeholder is a member of the record, and stands in it
once, is what the reader tells: it refuses equal keys and nested values, and its rows must have as many placeholders as
were set.

Most often producers add one field, with plain texts. The reader reads it like the declared ones: without a backslash
in the block, a text stands there as it is read.

Standard library and pyarrow.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import combinations, groupby

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.certificates import all_true
from event_pipeline.rules.contract import EVENT_FIELDS, MAX_RESCUED_BYTES
from event_pipeline.rules.json_object import NotAnObjectError, split_object

Run = tuple[str, ...]
"""Unknown names that stand side by side in a record."""

MOST_NAMES = 16
"""More unknown names in one block go to the reference."""
MOST_RUNS = 16
"""So do records with rarer runs than so many."""
MOST_NESTED = 3
"""So does a record with a value that is nested more deeply."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\- ]{1,100}")

PLAIN_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:[0-9A-Ca-cEFef][0-9A-Fa-f]{3}|[dD][0-7][0-9A-Fa-f]{2}'
    r"|[dD][89ABab][0-9A-Fa-f]{2}\\u[dD][C-Fc-f][0-9A-Fa-f]{2}))"
)
"""Pattern of an escape in a JSON text, without lone surrogates."""

_SPACE = r"[ \t\r]*+"
_STRING = rf'"(?:[^"\\\x00-\x1f]++|{PLAIN_ESCAPE})*+"'
_SCALAR = rf"{_STRING}|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null"


def _value(most_nested: int) -> str:
    """Return the pattern of strict JSON values that are nested at most that deep."""
    if not most_nested:
        return _SCALAR
    value = rf"(?>{_value(most_nested - 1)})"

    def many(each: str, closing: str) -> str:
        # Behind each there is a comma with more behind it, or the closing bracket.
        return rf"{_SPACE}(?>{each}{_SPACE}(?:,{_SPACE}(?!{closing})|(?={closing})))*+{closing}"

    member = f"{_STRING}{_SPACE}:{_SPACE}{value}"
    return "|".join((_SCALAR, r"\[" + many(value, r"\]"), r"\{" + many(member, r"\}")))


_VALUE = _value(MOST_NESTED)


@lru_cache(maxsize=64)
def _pattern(run: Run) -> re.Pattern[bytes]:
    # It starts with the first key, because a pattern that starts with a plain text is found much faster.
    members = f"{_SPACE},{_SPACE}".join(f'"{re.escape(name)}"{_SPACE}:{_SPACE}({_VALUE})' for name in run)
    return re.compile(f"{members}(?={_SPACE}[,}}])".encode())


def shapes_of(lines: Iterable[bytes]) -> list[tuple[str, ...]]:
    """Return the names of the records among some lines, in the records' order."""
    shapes = []
    for line in lines:
        with suppress(UnicodeDecodeError, NotAnObjectError):
            shapes.append(tuple(split_object(line.decode("utf-8").strip())))
    return shapes


def unknown_runs(shapes: Iterable[Sequence[str]]) -> tuple[Run, ...]:
    """Return the runs of plain unknown names that more than one record of these shapes has, longest first."""
    counts = Counter[Run]()
    for names in shapes:
        for is_known, run in groupby(names, EVENT_FIELDS.__contains__):
            if not is_known:
                counts[tuple(run)] += 1
    frequent = [
        run for run, count in counts.most_common(MOST_RUNS) if count > 1 and all(map(_PLAIN_NAME.fullmatch, run))
    ]
    if len({name for run in frequent for name in run}) > MOST_NAMES:
        return ()
    # A longer run must be found before a shorter one that it begins with.
    return tuple(sorted(frequent, key=len, reverse=True))


def only_text(block: bytes, runs: Sequence[Run]) -> str | None:
    """Return the name of the only unknown field if the reader can read its texts as they stand; None otherwise."""
    names = [name for run in runs for name in run]
    if len(names) != 1 or b"\\" in block:
        return None
    first = _pattern(runs[0]).search(block)
    return names[0] if first and first[1].startswith(b'"') else None


@dataclass(frozen=True, slots=True)
class Stripped:
    """A block of lines with a placeholder in the place of each run of unknown fields."""

    block: bytes
    values: dict[Run, list[list[bytes]]]
    """Run -> each of its names -> JSON texts of its values, in the order of the block."""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The placeholders' keys; their values are 0."""
        return tuple(map(_placeholder, range(len(self.values))))


def strip(block: bytes, runs: Sequence[Run]) -> Stripped:
    """Strip a block of its runs of unknown fields; of none of them if it has texts that look like placeholders."""
    keys = [f'"{_placeholder(index)}"'.encode() for index in range(len(runs))]
    if b"~" in block and any(key in block for key in keys):
        return Stripped(block, {})
    values = dict[Run, list[list[bytes]]]()
    for key, run in zip(keys, runs, strict=True):
        parts = _pattern(run).split(block)
        step = len(run) + 1
        block = (key + b":0").join(parts[::step])
        values[run] = [parts[number::step] for number in range(1, step)]
    return Stripped(block, values)


def _placeholder(index: int) -> str:
    return f"~{index}"  # which is no plain name


@dataclass(frozen=True, slots=True)
class Rescued:
    """The unknown fields of the lines of a block."""

    texts: pa.StringArray
    """Line -> its unknown fields as one JSON object; null for a line without any."""
    certain: pa.BooleanArray
    """Line -> whether its text certainly is what the reference gives."""
    has: dict[Run, pa.BooleanArray]
    """Run -> whether a line has it."""


def rescue_text(name: str, block: bytes, rows: pa.Table) -> Rescued | None:
    """Rescue the only unknown field of a block that was read as rows with it; None if not all its values are texts."""
    values = rows.column(name).combine_chunks()
    # A null could stand there as a value.
    if values.null_count and block.count(f'"{name}"'.encode()) != len(values) - values.null_count:
        return None
    members = pc.binary_join_element_wise(pa.scalar(f'"{name}":"'), values, pa.scalar('"'), "").cast(pa.binary())
    return _rescued(members, {(name,): pc.is_valid(values)})


def rescue(stripped: Stripped, rows: pa.Table) -> Rescued | None:
    """Rescue the unknown fields of a block that was read as rows; None if rows and placeholders do not correspond."""
    has = {
        run: pc.is_valid(rows.column(key).combine_chunks())
        for run, key in zip(stripped.values, stripped.placeholders, strict=True)
    }
    if any(has[run].true_count != len(values[0]) for run, values in stripped.values.items()):
        return None
    members = [_members(run, values, has[run]) for run, values in stripped.values.items()]
    joined = pc.coalesce(*members)
    run_counts = reduce(pc.add, (each.cast(pa.int8()) for each in has.values()))
    several = pc.indices_nonzero(pc.greater(run_counts, 1)).to_pylist()
    if several:
        joined = _in_the_order_of_lines(stripped, members, several, joined)
    return _rescued(joined, has)


def _rescued(members: pa.BinaryArray, has: dict[Run, pa.BooleanArray]) -> Rescued:
    texts = pc.binary_join_element_wise(pa.scalar(b"{"), members, pa.scalar(b"}"), b"")
    fits = pc.fill_null(pc.less_equal(pc.binary_length(texts), pa.scalar(MAX_RESCUED_BYTES, pa.int32())), True)
    # Equal keys in two runs.
    doubled = [pc.and_(has[one], has[other]) for one, other in combinations(has, 2) if set(one) & set(other)]
    return Rescued(texts.cast(pa.string()), all_true(fits, *map(pc.invert, doubled)), has)


def _members(run: Run, values: list[list[bytes]], has: pa.BooleanArray) -> pa.BinaryArray:
    """Return the members of a run as JSON text for each line; null for a line that does not have it."""
    pieces = list[pa.Scalar | pa.Array]()
    for number, (name, texts) in enumerate(zip(run, values, strict=True)):
        pieces += [pa.scalar(f'{"," if number else ""}"{name}":'.encode()), pa.array(texts, pa.binary())]
    members = pc.binary_join_element_wise(*pieces, b"")
    if len(members) == len(has):
        return members
    places = pc.subtract(pc.cumulative_sum(has.cast(pa.int64())), 1)
    return members.take(pc.if_else(has, places, None))


def _in_the_order_of_lines(
    stripped: Stripped, members: list[pa.BinaryArray], several: list[int], joined: pa.BinaryArray
) -> pa.BinaryArray:
    """Join the members of lines that have several runs, as these follow one another there."""
    keys = [f'"{key}"'.encode() for key in stripped.placeholders]
    in_block = re.findall(b"|".join(keys), stripped.block)
    order = in_block[: len(keys)]
    if len(several) == len(joined) and in_block == order * len(joined):
        return pc.binary_join_element_wise(*(members[keys.index(key)] for key in order), b",")
    of_runs = [each.to_pylist() for each in members]
    texts, lines = joined.to_pylist(), stripped.block.split(b"\n")
    for number in several:
        places = sorted((lines[number].find(key), of_run[number]) for key, of_run in zip(keys, of_runs, strict=True))
        texts[number] = b",".join(text for place, text in places if place >= 0)
    return pa.array(texts, pa.binary())
