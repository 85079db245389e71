"""Samples the accepted records of one object while it is judged; `resent.py` defines and compares samples.

Standard library and pyarrow.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.arrow import EVENTS_SCHEMA, revenue_cents
from event_pipeline.rules.contract import COMMON_IDS, EVENT_FIELDS, EVENT_TIME, EVENT_TYPE, PRICE, PURCHASE, QUANTITY
from event_pipeline.rules.resent import MOST_SAMPLED, WHOLE, Sample

_FACTORS = (0x165667B19E3779F9, 0xD6E8FEB86659FD93)
_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 16 << 20
_ID_BYTES = 3
_U64 = pa.uint64()
_CHOSEN_SCHEMA = pa.schema([*(EVENTS_SCHEMA.field(name) for name in EVENT_FIELDS), ("order", _U64)])


class Sampler:
    """Samples the accepted records of one object, passed in as tables of EVENTS_SCHEMA."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._chosen = _CHOSEN_SCHEMA.empty_table()
        self._below = WHOLE
        self._revenue_cents = 0

    def add(self, events: pa.Table) -> None:
        """Add records; small tables are buffered, because every step has a fixed cost."""
        self._waiting.append(events)
        self._waiting_rows += events.num_rows
        self._waiting_bytes += events.nbytes
        if self._waiting_rows >= _BATCH_ROWS or self._waiting_bytes >= _BATCH_BYTES:
            self._take()

    def finish(self) -> str:
        """Return the serialized sample for an account."""
        self._take()
        if self._chosen.num_rows > MOST_SAMPLED:
            self._cut()
        orders, cents = self._chosen.column("order").to_pylist(), revenue_cents(self._chosen).to_pylist()
        columns = [self._chosen.column(name) for name in EVENT_FIELDS]
        columns = [pc.cast(each, pa.int64()) if pa.types.is_timestamp(each.type) else each for each in columns]
        records = zip(*(each.to_pylist() for each in columns), strict=True)
        found = {
            order << 32 | _digest(fields): revenue or 0
            for order, revenue, fields in zip(orders, cents, records, strict=True)
        }
        below = self._below
        if len(found) > MOST_SAMPLED:
            below = min(below, sorted(found)[MOST_SAMPLED] >> 32)
        return Sample(self._below, self._revenue_cents, dict(sorted(found.items()))).cut(below).to_text()

    def _take(self) -> None:
        if not self._waiting_rows:
            return
        events = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        self._revenue_cents += _sum_of_revenue(events)
        order = _orders(events)
        below = self._below
        if below == WHOLE and events.num_rows > 4 * MOST_SAMPLED:
            # Orders are uniformly distributed: twice the needed number is below this, and the rest can be skipped.
            likely = pc.unique(order.filter(pc.less(order, _u64(2 * MOST_SAMPLED * WHOLE // events.num_rows))))
            below = self._below = _bound(likely if len(likely) > MOST_SAMPLED else order)
        events = events.select(EVENT_FIELDS).append_column("order", order)
        if below < WHOLE:
            events = events.filter(pc.less(order, _u64(below)))
        self._chosen = pa.concat_tables([self._chosen, events])
        if self._chosen.num_rows > 2 * MOST_SAMPLED:
            self._cut()

    def _cut(self) -> None:
        """Lower the bound to the sample's maximum size; equal records count once."""
        self._below = min(self._below, _bound(self._chosen["order"]))
        chosen = self._chosen.filter(pc.less(self._chosen["order"], _u64(self._below)))
        if chosen.num_rows > 2 * MOST_SAMPLED:
            chosen = chosen.group_by(_CHOSEN_SCHEMA.names, use_threads=False).aggregate([])
        self._chosen = chosen.combine_chunks()


def _bound(orders: pa.Array | pa.ChunkedArray) -> int:
    """Return the highest bound with at most MOST_SAMPLED distinct orders below it, or WHOLE."""
    different = pc.unique(orders)
    if len(different) <= MOST_SAMPLED:
        return WHOLE
    return int(different.take(pc.partition_nth_indices(different, pivot=MOST_SAMPLED))[MOST_SAMPLED].as_py())


def _orders(events: pa.Table) -> pa.Array:
    """Return the order of each record: 32 uniformly distributed bits, from its content alone.

    All events of an object may have the same instant, and ids often share a prefix: the last bytes of both ids are
    mixed in.
    """
    instant = pc.cast(_one(events, EVENT_TIME.name), pa.int64()).view(_U64)
    price = pc.fill_null(_one(events, PRICE.name), 0).view(_U64)
    mixed = pc.add(pc.multiply(instant, _u64(0x9E3779B97F4A7C15)), pc.multiply(price, _u64(0xC2B2AE3D27D4EB4F)))
    for name, factor in zip(COMMON_IDS, _FACTORS, strict=False):
        mixed = pc.add(mixed, pc.multiply(pc.cast(_last_bytes(_one(events, name)), _U64), _u64(factor)))
    for shift in (32, 29):
        mixed = pc.multiply(pc.bit_wise_xor(mixed, pc.shift_right(mixed, _u64(shift))), _u64(0xBF58476D1CE4E5B9))
    return pc.shift_right(mixed, _u64(32))


def _one(events: pa.Table, name: str) -> pa.Array:
    return events.column(name).combine_chunks()


def _u64(number: int) -> pa.Scalar:
    return pa.scalar(number, _U64)


def _last_bytes(texts: pa.StringArray) -> pa.Array:
    """Return the last _ID_BYTES bytes of each text as a number; for a shorter text its first byte is repeated."""
    _, offsets, data = texts.buffers()
    edges = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    starts, position = edges[:-1], edges[1:]
    content = pa.Array.from_buffers(pa.uint8(), data.size, [None, data])
    number = None
    for _ in range(_ID_BYTES):
        position = pc.max_element_wise(pc.subtract(position, 1), starts)
        byte = pc.cast(content.take(position), pa.uint32())
        number = byte if number is None else pc.bit_wise_or(pc.shift_left(number, pa.scalar(8, pa.uint32())), byte)
    return number


def _sum_of_revenue(events: pa.Table) -> int:
    purchases = events.select([EVENT_TYPE.name, PRICE.name, QUANTITY.name]).filter(
        pc.equal(events[EVENT_TYPE.name], PURCHASE.name)
    )
    return int(pc.sum(pc.cast(revenue_cents(purchases), pa.decimal128(38, 0))).as_py() or 0)


def _digest(fields: tuple[object, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(fields).encode(), digest_size=4).digest(), "big")
