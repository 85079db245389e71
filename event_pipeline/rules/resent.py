"""Records that were sent again into another landing hour: found by comparing small samples of what hours hold.

Duplicates are removed inside a landing hour. A producer that sends a batch again after the hour has turned doubles it
without breaking any rule, so every commit record holds a sample of its hour, and samples of two hours are compared.

A record is in the sample because of its content alone: each accepted record has an order, a number that is cheap to
make from its instant, its price and the ends of its two ids, and the sample is all different records whose order is
below a bound. The bound is the highest with at most MOST_SAMPLED records, so a small hour is sampled whole. Below the
lower of two bounds both samples are complete: what one hour shares with the other there, it shares in the same
proportion everywhere. Sampled records are told apart by a digest of all nine normalised fields.

Standard library and pyarrow.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline.rules.accounting import HourAccount, ObjectAccount
from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.contract import PURCHASE
from event_pipeline.rules.hour import Hour, HourRange

MOST_SAMPLED = 4096
"""Records in the sample of one hour: 44 kB of its commit record. One of twelve objects that is sent again gives some
340 equal records, whatever the size of the hour; a twentieth of an object 17."""
LEAST_SHARE = 0.001
"""Share of the smaller hour's Silver rows from which records count as sent again. Events that are truly equal can meet
in two hours only at the hour's turn; where a producer writes whole seconds, that is one second of 3,600 (0.03 %)."""
LEAST_EQUAL = 3
"""Equal records that an estimate needs; where both hours are sampled whole, nothing is estimated."""
NEIGHBOUR_DAYS = 7
"""Days before and after with whose hours an hour is compared: what is sent again later than that is too old by the
contract's own limit, and quarantined."""

_WHOLE = 1 << 32
"""The bound of a sample that holds every record: orders have 32 bits."""
_FIELDS = [name for name in EVENTS_SCHEMA.names if name != "line_number"]
_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 16 << 20
_ID_BYTES = 3
_OBJECTS_NAMED = 3
_HOURS_NAMED = 3
_U64 = pa.uint64()
_CHOSEN_SCHEMA = pa.schema([*(EVENTS_SCHEMA.field(name) for name in _FIELDS), ("order", _U64)])


# -- one object


class Sampler:
    """Samples the accepted records of one object as they come, in tables of EVENTS_SCHEMA."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._chosen = _CHOSEN_SCHEMA.empty_table()
        self._below = _WHOLE
        self._revenue_cents = 0

    def add(self, events: pa.Table) -> None:
        """Take more records; small tables are gathered, because every step costs the same for few rows."""
        self._waiting.append(events)
        self._waiting_rows += events.num_rows
        self._waiting_bytes += events.nbytes
        if self._waiting_rows >= _BATCH_ROWS or self._waiting_bytes >= _BATCH_BYTES:
            self._take()

    def finish(self) -> str:
        """Return the sample as an account keeps it."""
        self._take()
        if self._chosen.num_rows > MOST_SAMPLED:
            self._cut()
        orders, cents = self._chosen.column("order").to_pylist(), _revenue_cents(self._chosen).to_pylist()
        columns = [pc.cast(self._chosen.column("instant"), pa.int64()).to_pylist()]
        columns += [self._chosen.column(name).to_pylist() for name in _FIELDS[1:]]
        found = {
            order << 32 | _digest(fields): revenue or 0
            for order, revenue, fields in zip(orders, cents, zip(*columns, strict=True), strict=True)
        }
        below = self._below
        if len(found) > MOST_SAMPLED:
            below = min(below, sorted(found)[MOST_SAMPLED] >> 32)
        return _Sample(self._below, self._revenue_cents, dict(sorted(found.items()))).cut(below).to_text()

    def _take(self) -> None:
        if not self._waiting_rows:
            return
        events = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
        self._revenue_cents += _sum_of_revenue(events)
        order = _orders(events)
        below = self._below
        if below == _WHOLE and events.num_rows > 4 * MOST_SAMPLED:
            # Orders are spread evenly: twice what is wanted lies below this, and the rest need not be looked at.
            likely = pc.unique(order.filter(pc.less(order, _u64(2 * MOST_SAMPLED * _WHOLE // events.num_rows))))
            below = self._below = _bound(likely if len(likely) > MOST_SAMPLED else order)
        events = events.select(_FIELDS).append_column("order", order)
        if below < _WHOLE:
            events = events.filter(pc.less(order, _u64(below)))
        self._chosen = pa.concat_tables([self._chosen, events])
        if self._chosen.num_rows > 2 * MOST_SAMPLED:
            self._cut()

    def _cut(self) -> None:
        """Lower the bound to what the sample may hold; records that are equal count once."""
        self._below = min(self._below, _bound(self._chosen["order"]))
        chosen = self._chosen.filter(pc.less(self._chosen["order"], _u64(self._below)))
        if chosen.num_rows > 2 * MOST_SAMPLED:
            chosen = chosen.group_by(_CHOSEN_SCHEMA.names, use_threads=False).aggregate([])
        self._chosen = chosen.combine_chunks()


def _bound(orders: pa.Array | pa.ChunkedArray) -> int:
    """Return the lowest order that is too many, or _WHOLE: up to MOST_SAMPLED different orders are below it."""
    different = pc.unique(orders)
    if len(different) <= MOST_SAMPLED:
        return _WHOLE
    return int(different.take(pc.partition_nth_indices(different, pivot=MOST_SAMPLED))[MOST_SAMPLED].as_py())


def _orders(events: pa.Table) -> pa.Array:
    """Return the order of each record: 32 bits that are spread evenly, from its content alone.

    All events of an object may have one instant, and ids often begin alike: the last bytes of both ids are mixed in.
    """
    instant = pc.cast(_one(events, "instant"), pa.int64()).view(_U64)
    price = pc.fill_null(_one(events, "price_cents"), 0).view(_U64)
    mixed = pc.add(pc.multiply(instant, _u64(0x9E3779B97F4A7C15)), pc.multiply(price, _u64(0xC2B2AE3D27D4EB4F)))
    for name, factor in (("user_id", 0x165667B19E3779F9), ("session_id", 0xD6E8FEB86659FD93)):
        mixed = pc.add(mixed, pc.multiply(pc.cast(_last_bytes(_one(events, name)), _U64), _u64(factor)))
    for shift in (32, 29):
        mixed = pc.multiply(pc.bit_wise_xor(mixed, pc.shift_right(mixed, _u64(shift))), _u64(0xBF58476D1CE4E5B9))
    return pc.shift_right(mixed, _u64(32))


def _one(events: pa.Table, name: str) -> pa.Array:
    return events.column(name).combine_chunks()


def _u64(number: int) -> pa.Scalar:
    return pa.scalar(number, _U64)


def _last_bytes(texts: pa.StringArray) -> pa.Array:
    """Return the last _ID_BYTES bytes of each text as a number; of a shorter one its first byte counts again."""
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


def _revenue_cents(events: pa.Table) -> pa.ChunkedArray:
    """Return what purchases earned, in cents; null for other events."""
    earned = pc.multiply(events["price_cents"], pc.cast(events["quantity"], pa.int64()))
    return pc.if_else(pc.equal(events["event_type"], PURCHASE), earned, pa.scalar(None, pa.int64()))


def _sum_of_revenue(events: pa.Table) -> int:
    purchases = events.select(["event_type", "price_cents", "quantity"]).filter(
        pc.equal(events["event_type"], PURCHASE)
    )
    return int(pc.sum(pc.cast(_revenue_cents(purchases), pa.decimal128(38, 0))).as_py() or 0)


def _digest(fields: tuple[object, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(fields).encode(), digest_size=4).digest(), "big")


@dataclass(frozen=True, slots=True)
class _Sample:
    """What an account keeps of one object."""

    below: int
    """Every different accepted record whose order is below is in it."""
    revenue_cents: int
    """Of all accepted records of the object."""
    cents: Mapping[int, int]
    """Order and digest of each sampled record in one number, rising -> what it earned. All 0 unless `is_whole`."""

    @property
    def is_whole(self) -> bool:
        """Whether every record of the object is in the sample."""
        return self.below == _WHOLE

    def cut(self, below: int) -> _Sample:
        """Return what is left of it below a bound."""
        if below >= self.below:
            return self
        return _Sample(below, self.revenue_cents, {each: 0 for each in self.cents if each >> 32 < below})

    def to_text(self) -> str:
        """Write it as an account keeps it: bound, revenue, records, and what each earned in a whole sample."""
        entries = _packed("Q", self.cents)
        earned = _packed("q", self.cents.values()) if self.is_whole else ""
        return f"{self.below:x} {self.revenue_cents} {entries} {earned}"

    @classmethod
    def of_text(cls, text: str) -> _Sample:
        """Read it.

        Raises:
            ValueError: it is damaged.
        """
        below, revenue, entries, cents = text.split(" ")
        numbers = _unpacked("Q", entries)
        earned = _unpacked("q", cents) if cents else [0] * len(numbers)
        return cls(int(below, 16), int(revenue), dict(zip(numbers, earned, strict=True)))


def _packed(kind: str, numbers: Iterable[int]) -> str:
    packed = array(kind, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return b64encode(packed.tobytes()).decode()


def _unpacked(kind: str, text: str) -> list[int]:
    packed = array(kind)
    packed.frombytes(b64decode(text, validate=True))
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


# -- one hour


def bounded(accounts: Iterable[ObjectAccount]) -> tuple[ObjectAccount, ...]:
    """Cut the samples of an hour's objects, in key order, to one sample of the hour.

    A record counts for the first object that holds it, as in Silver. Without a sample of each object that was read the
    hour has none.
    """
    accounts = tuple(accounts)
    if any(each.sample is None for each in accounts if not each.unreadable):
        return tuple(replace(each, sample=None) for each in accounts)
    samples = [_Sample.of_text(each.sample) if each.sample else None for each in accounts]
    orders = sorted({number for sample in samples if sample for number in sample.cents})
    below = min((sample.below for sample in samples if sample), default=_WHOLE)
    if len(orders) > MOST_SAMPLED:
        below = min(below, orders[MOST_SAMPLED] >> 32)
    seen, left = set[int](), []
    for account, sample in zip(accounts, samples, strict=True):
        if sample is None:
            left.append(account)
            continue
        sample = sample.cut(below)
        own = _Sample(below, sample.revenue_cents, {k: v for k, v in sample.cents.items() if k not in seen})
        seen.update(own.cents)
        left.append(replace(account, sample=own.to_text()))
    return tuple(left)


@dataclass(frozen=True, slots=True)
class SentAgain:
    """Records of one landing hour that another one holds as well."""

    records: int
    revenue: Decimal
    """In USD, of the records that the hour shares with the other."""
    is_exact: bool
    """Counted, because both hours are sampled whole; otherwise concluded from samples."""
    objects: Mapping[str, str]
    """Objects of the hour that hold the records, most first -> the other hour's object that shares most of them."""

    def __str__(self) -> str:
        """Say it for people."""
        about = "" if self.is_exact else "about "
        pairs = [f"{here} like {there}" for here, there in list(self.objects.items())[:_OBJECTS_NAMED]]
        more = len(self.objects) - len(pairs)
        named = ", ".join(pairs) + (f" and {more} more objects" if more > 0 else "")
        return f"{about}{self.records:,} records, revenue {about}{self.revenue:,.2f} USD ({named})"


def sent_again(account: HourAccount, other: HourAccount) -> SentAgain | None:
    """Return what of an hour another hour holds as well; None below the thresholds, or where one has no sample."""
    smaller = min(account.silver_rows, other.silver_rows)
    if not _may_share(account, other, LEAST_SHARE * smaller):
        return None
    here, there = _samples(account), _samples(other)
    if not here or not there:
        return None
    below = min(sample.below for samples in (here, there) for sample in samples.values())
    holders = {number: key for key, sample in there.items() for number in sample.cents if number >> 32 < below}
    is_exact = below == _WHOLE
    records, cents, equal = Fraction(0), Fraction(0), 0
    found: list[tuple[int, str, str]] = []
    for each in account.objects:
        if each.key not in here:
            continue
        sample = here[each.key]
        sampled = [number for number in sample.cents if number >> 32 < below]
        shared = [number for number in sampled if number in holders]
        if not shared:
            continue
        equal += len(shared)
        share = Fraction(len(shared), len(sampled))
        records += each.silver_rows * share
        if is_exact:
            cents += sum(sample.cents[number] for number in shared)
        else:
            # The sampled revenue alone would say little: a tenth of the events are purchases, of very unlike sums.
            cents += sample.revenue_cents * share * each.silver_rows / (each.silver_rows + each.duplicates)
        ((most_like, _),) = Counter(holders[number] for number in shared).most_common(1)
        found.append((len(shared), each.key, most_like))
    if not found or records < LEAST_SHARE * smaller or not (is_exact or equal >= LEAST_EQUAL):
        return None
    objects = {key: like for _, key, like in sorted(found, key=lambda each: (-each[0], each[1]))}
    return SentAgain(round(records), Decimal(round(cents)).scaleb(-2), is_exact, objects)


def neighbours_sent_again(hour: Hour, accounts: Mapping[Hour, HourAccount]) -> dict[Hour, SentAgain]:
    """Return the hours near an hour that share records with it, in order, among those whose accounts are given."""
    if hour not in accounts:
        return {}
    near = (other for other in compared_with(hour) if other != hour and other in accounts)
    compared = {other: sent_again(accounts[hour], accounts[other]) for other in near}
    return {other: found for other, found in compared.items() if found}


def described(found: Mapping[Hour, SentAgain]) -> str:
    """Say for people which hours share records with an hour, those that share most first; a few of them by name."""
    most = sorted(found.items(), key=lambda each: (-each[1].records, each[0]))
    named = [f"{hour} holds {shared} as well" for hour, shared in most[:_HOURS_NAMED]]
    more = len(most) - len(named)
    return "; ".join([*named, *([f"and {more} more hours"] if more else [])])


def _may_share(account: HourAccount, other: HourAccount, records: float) -> bool:
    """Tell whether two hours hold enough events of the same days to share so many: most hours hold too few."""
    most = sum(min(account.days[day].events, other.days[day].events) for day in account.days.keys() & other.days.keys())
    return most >= max(1, records)


def _samples(account: HourAccount) -> dict[str, _Sample]:
    """Return the samples of an hour by object; none of an hour that was built before samples were kept."""
    return _read(tuple((each.key, each.sample) for each in account.objects if each.sample))


@lru_cache(maxsize=64)
def _read(samples: tuple[tuple[str, str], ...]) -> dict[str, _Sample]:
    """Read the samples of an hour once for all its neighbours; 64 hours take 25 MB at most."""
    try:
        return {key: _Sample.of_text(text) for key, text in samples}
    except ValueError:
        return {}  # damaged: nothing is concluded from it, as from none


def compared_with(hour: Hour) -> HourRange:
    """Return the range of hours that an hour is compared with, itself among them."""
    return HourRange(hour.plus(-24 * NEIGHBOUR_DAYS), hour.plus(24 * NEIGHBOUR_DAYS + 1))
