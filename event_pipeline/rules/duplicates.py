"""Duplicates in a landing hour: a cheap proof that there are none, and finding them where it fails.

Two records can only be equal if their instants are. So if the instants increase strictly within every object, and the
objects' time ranges do not overlap, there are no duplicates: 0.1 us per event instead of 0.5 us for a real DISTINCT.
Standard library and pyarrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.contract import EVENT_FIELDS, EVENT_TIME


@dataclass(frozen=True, slots=True)
class InstantOrder:
    """Time order of the accepted records of one object. Microseconds since 1970; first equals last for one record."""

    first: int
    last: int
    rises_strictly: bool


def instant_order(instants: pa.ChunkedArray) -> InstantOrder | None:
    """Return the order of one object's accepted instants, in line order; None if there are none."""
    if len(instants) == 0:
        return None
    microseconds = pc.cast(instants, pa.int64()).combine_chunks()
    ends = pc.min_max(microseconds)
    rises = pc.all(pc.greater(microseconds[1:], microseconds[:-1]), min_count=0).as_py()
    return InstantOrder(ends["min"].as_py(), ends["max"].as_py(), rises)


def joined_order(before: InstantOrder | None, after: InstantOrder | None) -> InstantOrder | None:
    """Combine the orders of consecutive parts of one object."""
    if before is None or after is None:
        return before or after
    rises = before.rises_strictly and after.rises_strictly and before.last < after.first
    return InstantOrder(min(before.first, after.first), max(before.last, after.last), rises)


def proves_no_duplicates(orders: Sequence[InstantOrder]) -> bool:
    """Return whether the objects of an hour, in any order, cannot contain two equal records."""
    return not doubtful_objects(orders)


def doubtful_objects(orders: Sequence[InstantOrder | None]) -> list[int]:
    """Return the positions of the objects of an hour that may contain equal records, alone or with one another.

    All others provably contain none: their instants increase strictly and no other object's range touches theirs.
    """
    spans = sorted((order.first, order.last, number) for number, order in enumerate(orders) if order)
    doubtful = {number for number, order in enumerate(orders) if order and not order.rises_strictly}
    latest: tuple[int, int] | None = None  # the last instant so far, and its object
    for first, last, number in spans:
        if latest and first <= latest[0]:
            doubtful |= {number, latest[1]}
        latest = max(latest or (last, number), (last, number))
    return sorted(doubtful)


def repeated_instants(instants: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array:
    """Return the instants that occur more than once in all arrays; only these can be duplicates."""
    chunks = [chunk for each in instants for chunk in (each.chunks if isinstance(each, pa.ChunkedArray) else [each])]
    together = pa.concat_arrays(chunks) if chunks else pa.array([], pa.timestamp("us"))
    ordered = together.take(pc.sort_indices(together))
    return pc.unique(ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1])))


def later_equals(events: pa.Table) -> pa.Array:
    """Return the positions of the events that equal an earlier one of the table in all fields, in order.

    `events` has the columns of EVENTS_SCHEMA; it may have more.
    """
    instants = events.column(EVENT_TIME.name)
    suspicious = pc.is_in(instants, repeated_instants([instants]))
    fields = list(EVENT_FIELDS)
    suspects = events.select(fields).append_column("position", pa.arange(0, events.num_rows)).filter(suspicious)
    first = suspects.group_by(fields, use_threads=False).aggregate([("position", "min")]).column("position_min")
    positions = suspects.column("position").combine_chunks()
    return positions.filter(pc.invert(pc.is_in(positions, first.combine_chunks())))


def without_lines(events: pa.Table, line_numbers: pa.Array) -> pa.Table:
    """Return the accepted events (EVENTS_SCHEMA) of one object without those of the given lines."""
    return events.filter(pc.invert(pc.is_in(events.column("line_number"), line_numbers)))
