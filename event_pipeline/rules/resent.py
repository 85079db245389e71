"""Records that were sent again into another landing hour: found by comparing small samples of what hours hold.

Duplicates are removed inside a landing hour. A producer that sends a batch again after the hour has turned doubles it
without breaking any rule, so every commit record holds a sample of its hour, and samples of two hours are compared.

A record is in the sample because of its content alone: each accepted record has an order, a number that is cheap to
make from its instant, its price and the ends of its two ids, and the sample is all different records whose order is
below a bound. The bound is the highest with at most MOST_SAMPLED records, so a small hour is sampled whole. Below the
lower of two bounds both samples are complete: what one hour shares with the other there, it shares in the same
proportion everywhere. Sampled records are told apart by a digest of all nine normalised fields.

Standard library only, because alerts and checks compare samples as well; `sampler.py` takes them.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from event_pipeline.rules.accounting import HourAccount, ObjectAccount
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

WHOLE = 1 << 32
"""The bound of a sample that holds every record: orders have 32 bits."""
_OBJECTS_NAMED = 3
_HOURS_NAMED = 3


@dataclass(frozen=True, slots=True)
class Sample:
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
        return self.below == WHOLE

    def cut(self, below: int) -> Sample:
        """Return what is left of it below a bound."""
        if below >= self.below:
            return self
        return Sample(below, self.revenue_cents, {each: 0 for each in self.cents if each >> 32 < below})

    def to_text(self) -> str:
        """Write it as an account keeps it: bound, revenue, records, and what each earned in a whole sample."""
        entries = _packed("Q", self.cents)
        earned = _packed("q", self.cents.values()) if self.is_whole else ""
        return f"{self.below:x} {self.revenue_cents} {entries} {earned}"

    @classmethod
    def of_text(cls, text: str) -> Sample:
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
    samples = [Sample.of_text(each.sample) if each.sample else None for each in accounts]
    orders = sorted({number for sample in samples if sample for number in sample.cents})
    below = min((sample.below for sample in samples if sample), default=WHOLE)
    if len(orders) > MOST_SAMPLED:
        below = min(below, orders[MOST_SAMPLED] >> 32)
    seen, left = set[int](), []
    for account, sample in zip(accounts, samples, strict=True):
        if sample is None:
            left.append(account)
            continue
        sample = sample.cut(below)
        own = Sample(below, sample.revenue_cents, {k: v for k, v in sample.cents.items() if k not in seen})
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
    is_exact = below == WHOLE
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


def _samples(account: HourAccount) -> dict[str, Sample]:
    """Return the samples of an hour by object; none of an hour that was built before samples were kept."""
    return _read(tuple((each.key, each.sample) for each in account.objects if each.sample))


@lru_cache(maxsize=64)
def _read(samples: tuple[tuple[str, str], ...]) -> dict[str, Sample]:
    """Read the samples of an hour once for all its neighbours; 64 hours take 25 MB at most."""
    try:
        return {key: Sample.of_text(text) for key, text in samples}
    except ValueError:
        return {}  # damaged: nothing is concluded from it, as from none


def compared_with(hour: Hour) -> HourRange:
    """Return the range of hours that an hour is compared with, itself among them."""
    return HourRange(hour.plus(-24 * NEIGHBOUR_DAYS), hour.plus(24 * NEIGHBOUR_DAYS + 1))
