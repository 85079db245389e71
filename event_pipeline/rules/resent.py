"""Detects records that were sent again in another landing hour, by comparing small samples of hours.

Duplicates are removed within a landing hour. A producer that sends a batch again in a later hour doubles it without
breaking any rule, so every commit record has a sample of its hour, and the samples of two hours are compared.

Whether a record is sampled depends only on its content: each accepted record has an order, a number that is cheap to
compute from its instant, its price and the ends of its two ids, and the sample is all distinct records whose order is
below a bound. The bound is the highest with at most MOST_SAMPLED records, so a small hour is sampled completely. Below
the lower of two bounds both samples are complete: the share of common records there is an estimate for the whole hour.
Sampled records are compared by a digest of all normalised fields.

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
"""Records in the sample of an hour: 44 kB of its commit record. If one of twelve objects is sent again, about 340
records are equal, whatever the size of the hour; for a twentieth of an object, 17."""
LEAST_SHARE = 0.001
"""Share of the smaller hour's Silver rows from which records count as sent again. Genuinely equal events can be in two
hours only around the hour's end; if a producer writes whole seconds, that is one second of 3,600 (0.03 %)."""
LEAST_EQUAL = 3
"""Equal records needed for an estimate; if both hours are sampled completely, nothing is estimated."""
NEIGHBOUR_DAYS = 7
"""Days before and after an hour whose hours it is compared with: records sent again later are too old by the
contract's own limit, and quarantined."""

WHOLE = 1 << 32
"""The bound of a complete sample: orders have 32 bits."""
_OBJECTS_NAMED = 3
_HOURS_NAMED = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample of one object in an account."""

    below: int
    """Bound: the sample has every distinct accepted record with a lower order."""
    revenue_cents: int
    """Revenue of all accepted records of the object."""
    cents: Mapping[int, int]
    """Order and digest of each sampled record as one number, ascending -> its revenue. All 0 unless `is_whole`."""

    @property
    def is_whole(self) -> bool:
        """Whether every record of the object is in the sample."""
        return self.below == WHOLE

    def cut(self, below: int) -> Sample:
        """Return the part of the sample below a bound."""
        if below >= self.below:
            return self
        return Sample(below, self.revenue_cents, {each: 0 for each in self.cents if each >> 32 < below})

    def to_text(self) -> str:
        """Serialize the sample: bound, revenue, records, and in a complete sample the revenue of each."""
        entries = _packed("Q", self.cents)
        earned = _packed("q", self.cents.values()) if self.is_whole else ""
        return f"{self.below:x} {self.revenue_cents} {entries} {earned}"

    @classmethod
    def of_text(cls, text: str) -> Sample:
        """Parse a sample.

        Raises:
            ValueError: the text is damaged.
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
    """Reduce the samples of an hour's objects, in key order, to one sample of the hour.

    A record counts for the first object that contains it, as in Silver. If any object that was read has no sample, the
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
    """Records of one landing hour that are also in another one."""

    records: int
    revenue: Decimal
    """Revenue in USD of the common records."""
    is_exact: bool
    """Whether the numbers are counted, because both hours are sampled completely, and not estimated."""
    objects: Mapping[str, str]
    """Objects of the hour with common records, most first -> the other hour's object that shares most of them."""

    def __str__(self) -> str:
        """Return a readable description."""
        about = "" if self.is_exact else "about "
        pairs = [f"{here} like {there}" for here, there in list(self.objects.items())[:_OBJECTS_NAMED]]
        more = len(self.objects) - len(pairs)
        named = ", ".join(pairs) + (f" and {more} more objects" if more > 0 else "")
        return f"{about}{self.records:,} records, revenue {about}{self.revenue:,.2f} USD ({named})"


def sent_again(account: HourAccount, other: HourAccount) -> SentAgain | None:
    """Return what two hours have in common; None below the thresholds, or if one has no sample."""
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
            # The sampled revenue alone means little: a tenth of the events are purchases, with very different amounts.
            cents += sample.revenue_cents * share * each.silver_rows / (each.silver_rows + each.duplicates)
        ((most_like, _),) = Counter(holders[number] for number in shared).most_common(1)
        found.append((len(shared), each.key, most_like))
    if not found or records < LEAST_SHARE * smaller or not (is_exact or equal >= LEAST_EQUAL):
        return None
    objects = {key: like for _, key, like in sorted(found, key=lambda each: (-each[0], each[1]))}
    return SentAgain(round(records), Decimal(round(cents)).scaleb(-2), is_exact, objects)


def neighbours_sent_again(hour: Hour, accounts: Mapping[Hour, HourAccount]) -> dict[Hour, SentAgain]:
    """Return the hours near an hour that share records with it, in order, among the given accounts."""
    if hour not in accounts:
        return {}
    near = (other for other in compared_with(hour) if other != hour and other in accounts)
    compared = {other: sent_again(accounts[hour], accounts[other]) for other in near}
    return {other: found for other, found in compared.items() if found}


def described(found: Mapping[Hour, SentAgain]) -> str:
    """Return as readable text which hours share records with an hour, most first; only a few are named."""
    most = sorted(found.items(), key=lambda each: (-each[1].records, each[0]))
    named = [f"{hour} holds {shared} as well" for hour, shared in most[:_HOURS_NAMED]]
    more = len(most) - len(named)
    return "; ".join([*named, *([f"and {more} more hours"] if more else [])])


def _may_share(account: HourAccount, other: HourAccount, records: float) -> bool:
    """Return whether two hours have enough events of the same days to share so many: most pairs do not."""
    most = sum(min(account.days[day].events, other.days[day].events) for day in account.days.keys() & other.days.keys())
    return most >= max(1, records)


def _samples(account: HourAccount) -> dict[str, Sample]:
    """Return the samples of an hour by object; none if it was built before samples were introduced."""
    return _read(tuple((each.key, each.sample) for each in account.objects if each.sample))


@lru_cache(maxsize=64)
def _read(samples: tuple[tuple[str, str], ...]) -> dict[str, Sample]:
    """Parse the samples of an hour once for all its neighbours; 64 hours take 25 MB at most."""
    try:
        return {key: Sample.of_text(text) for key, text in samples}
    except ValueError:
        return {}  # damaged: treated like no sample


def compared_with(hour: Hour) -> HourRange:
    """Return the range of hours that an hour is compared with, including itself."""
    return HourRange(hour.plus(-24 * NEIGHBOUR_DAYS), hour.plus(24 * NEIGHBOUR_DAYS + 1))
