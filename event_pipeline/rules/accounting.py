"""The account of a landing hour: where every record went, and the conservation law.

Both engines count in these types, and the commit record contains them. Standard library only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Context, Decimal, Rounded
from typing import Any

from event_pipeline.rules.contract import EVENT_TYPES, MAX_UNKNOWN_FIELDS, OTHER_UNKNOWN_FIELDS
from event_pipeline.rules.hour import Hour


@dataclass(frozen=True, slots=True, order=True)
class RawObject:
    """One raw object in a listing."""

    key: str
    etag: str
    size: int
    modified: datetime = field(compare=False)


@dataclass(frozen=True, slots=True, order=True)
class UnmatchedKey:
    """One key under `events/` that is not read."""

    key: str
    reason: str
    """Readable reason, to follow the key: `before the first partition 2025-11-01T00`."""

    def __str__(self) -> str:
        return f"{self.key} ({self.reason})"


@dataclass(frozen=True, slots=True)
class RawListing:
    """The content of a landing hour's prefix at one moment."""

    hour: Hour
    objects: tuple[RawObject, ...]
    """Sorted by key."""
    unmatched: tuple[UnmatchedKey, ...] = ()
    """Keys under the prefix that are not raw objects of the hour, sorted: reported, not read."""

    @property
    def fingerprint(self) -> str:
        """Digest of keys, etags and sizes: equal if and only if the input is the same."""
        return fingerprint((each.key, each.etag, each.size) for each in self.objects)

    @property
    def raw_bytes(self) -> int:
        """Stored bytes of all objects."""
        return sum(each.size for each in self.objects)


def fingerprint(objects: Iterable[tuple[str, str, int]]) -> str:
    """Return the digest of (key, etag, size) of an hour's objects, in any order, as 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for key, etag, size in sorted(objects):
        digest.update(f"{key}\0{etag}\0{size}\n".encode())
    return digest.hexdigest()[:32]


def and_erased(records: int) -> str:
    """Return the last term of the conservation law as text; nothing where nobody was erased."""
    return f" + {records:,} erased" if records else ""


def decoded_name(hour: Hour, rules_version: str, erased: str, key: str, etag: str, size: int) -> str:
    """Return the digest of everything that determines an object's decoded rows, as 32 hexadecimal digits.

    `erased` is the version of the list of erased people.
    """
    return hashlib.sha256(f"{hour}\0{rules_version}\0{erased}\0{key}\0{etag}\0{size}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class ObjectAccount:
    """Where the records of one raw object went; each number is counted independently. Unreadable: no records."""

    key: str
    etag: str
    size: int
    records: int = 0
    silver_rows: int = 0
    duplicates: int = 0
    quarantined_by_reason: Mapping[str, int] = field(default_factory=dict)
    unreadable: str | None = None
    """One of UNREADABLE_REASONS, or None for an object that was read."""
    unknown_fields: Mapping[str, int] = field(default_factory=dict)
    """Top-level names outside the contract -> records that have them. Empty in the account of an hour, which has
    them once for all its objects."""
    inflated_bytes: int = 0
    """Uncompressed bytes of the object; 0 in records of older versions, which did not count them."""
    broken_bytes: int = 0
    """Bytes of its records quarantined as `not_json` or `too_long`."""
    longest_broken: int = 0
    """Bytes of the longest of them."""
    framing: str = ""
    """What the first of them looks like: a name from `rules/framing.py`; empty if there is none."""
    sha256: str | None = None
    """Digest of the stored bytes; None in records written before it was kept."""
    unknown_examples: Mapping[str, str] = field(default_factory=dict)
    """Unknown name -> its first value as JSON text, shortened, as visible characters; empty in the account of an hour,
    and in older records."""
    sample: str | None = None
    """Sample of its accepted records, from `rules/resent.py`; None for an unreadable object, or in older records."""
    erased: int = 0
    """Records of people who were erased."""

    @property
    def quarantined(self) -> int:
        """Records of the object that broke a rule."""
        return sum(self.quarantined_by_reason.values())

    @property
    def unaccounted(self) -> int:
        """Records with no verdict (positive) or with more than one (negative): 0 by the conservation law."""
        return self.records - self.silver_rows - self.quarantined - self.duplicates - self.erased


_MONEY = Context(prec=38, traps=[Rounded])
"""Context for sums of money in the tables, decimal(38,2). Python's default would silently round to 28 digits."""


_MOST_DOLLARS = Decimal(10) ** 36


def dollars_of(cents: int) -> Decimal:
    """Return whole cents as an exact sum of money with two places."""
    return _MONEY.scaleb(_MONEY.create_decimal(cents), -2)


@dataclass(frozen=True, slots=True)
class DayTotals:
    """Control totals of one event day's Silver rows, against which the Gold tables are checked."""

    by_type: Mapping[str, int] = field(default_factory=dict)
    """Event type -> its rows; only types that occur."""
    items_sold: int = 0
    revenue: Decimal = Decimal("0.00")

    @property
    def events(self) -> int:
        """All rows."""
        return sum(self.by_type.values())

    def __add__(self, other: DayTotals) -> DayTotals:
        by_type = Counter(self.by_type) + Counter(other.by_type)
        return DayTotals(by_type, self.items_sold + other.items_sold, _MONEY.add(self.revenue, other.revenue))

    @property
    def measures(self) -> dict[str, int | Decimal]:
        """Every control total by its name, in order, as commit records and reconciliations know it."""
        counted = {each.counted_as: self.by_type.get(each.name, 0) for each in EVENT_TYPES}
        return {"events": self.events, **counted, "items_sold": self.items_sold, "revenue": self.revenue}

    @property
    def recorded(self) -> dict[str, int | Decimal]:
        """The measures, and the counts of event types that are no longer declared: `of_measures` reads them back."""
        declared = {each.name for each in EVENT_TYPES}
        return {**{name: count for name, count in self.by_type.items() if name not in declared}, **self.measures}

    @property
    def stored(self) -> dict[str, str]:
        """The control totals that are not 0, as text: equal for equal totals, also after an event type was added."""
        return {name: str(value) for name, value in self.recorded.items() if value}

    @classmethod
    def of_measures(cls, measures: Mapping[str, Any]) -> DayTotals:
        """Read stored control totals, also of event types that are no longer declared.

        Raises:
            ValueError: a value is not a number, or the events are not the sum of the types.
        """
        try:
            left = dict(measures)
            items_sold, revenue = int(left.pop("items_sold", 0)), _MONEY.create_decimal(left.pop("revenue", "0.00"))
            if not revenue.is_finite() or abs(revenue) >= _MOST_DOLLARS:
                raise ValueError(f"{revenue} is not a sum of money")
            events = int(left.pop("events", 0))
            names = {each.counted_as: each.name for each in EVENT_TYPES}
            by_type = {names.get(each, each): int(count) for each, count in left.items() if int(count)}
        except (ArithmeticError, TypeError, AttributeError) as error:
            raise ValueError(f"{measures!r:.300} are not the control totals of a day: {error!r:.100}") from error
        totals = cls(by_type, items_sold, revenue)
        if totals.events != events:
            raise ValueError(f"{dict(measures)!r:.300}: {events} events, but {totals.events} by type")
        return totals


def add_days(days: dict[str, DayTotals], more: Mapping[str, DayTotals]) -> None:
    """Add `more` to `days`, day by day."""
    for day, totals in more.items():
        days[day] = days.get(day, DayTotals()) + totals


@dataclass(frozen=True, slots=True)
class HourAccount:
    """Where every record of one landing hour went."""

    objects: tuple[ObjectAccount, ...]
    """Sorted by key."""
    days: Mapping[str, DayTotals]
    """Event day (ISO) -> control totals of the hour's Silver rows of that day."""
    unknown_fields: Mapping[str, int] = field(default_factory=dict)
    """Top-level names outside the contract -> records that have them, within the contract's bounds."""
    unknown_examples: Mapping[str, str] = field(default_factory=dict)
    """Name -> its first value by object and line, as in the account of an object; empty in older records."""

    @classmethod
    def of(cls, objects: Iterable[ObjectAccount], days: Mapping[str, DayTotals]) -> HourAccount:
        """Combine the accounts of an hour's objects, in the order of their keys.

        What depends on the data is bounded per hour, not per object, so the commit record of an hour with thousands of
        objects stays small.
        """
        accounts = sorted(objects, key=lambda each: each.key)
        unknown: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for each in accounts:
            for name, records in each.unknown_fields.items():
                is_listed = name in unknown or len(unknown) < MAX_UNKNOWN_FIELDS
                unknown[name if is_listed else OTHER_UNKNOWN_FIELDS] += records
                if is_listed and name in each.unknown_examples:
                    examples.setdefault(name, each.unknown_examples[name])
        return cls(
            tuple(replace(each, unknown_fields={}, unknown_examples={}) for each in accounts),
            dict(sorted(days.items())),
            dict(sorted(unknown.items())),
            dict(sorted(examples.items())),
        )

    @property
    def raw_bytes(self) -> int:
        """Stored bytes of all objects, readable or not."""
        return sum(each.size for each in self.objects)

    @property
    def unreadable(self) -> tuple[ObjectAccount, ...]:
        """The objects that were set aside whole."""
        return tuple(each for each in self.objects if each.unreadable)

    @property
    def records(self) -> int:
        """Non-blank lines of the readable objects."""
        return sum(each.records for each in self.objects)

    @property
    def silver_rows(self) -> int:
        """Accepted records without duplicates."""
        return sum(each.silver_rows for each in self.objects)

    @property
    def quarantined(self) -> int:
        """Records that broke a rule."""
        return sum(each.quarantined for each in self.objects)

    @property
    def duplicates(self) -> int:
        """Records equal to an earlier accepted one of the hour."""
        return sum(each.duplicates for each in self.objects)

    @property
    def erased(self) -> int:
        """Records of people who were erased."""
        return sum(each.erased for each in self.objects)

    @property
    def quarantined_by_reason(self) -> dict[str, int]:
        """Reason -> records, over all objects, sorted by reason."""
        return _sum(each.quarantined_by_reason for each in self.objects)

    @property
    def content(self) -> str:
        """Digest of the bytes that were built: unchanged if objects are copied, different for other bytes."""
        return fingerprint((each.key, each.sha256 or each.etag, each.size) for each in self.objects)

    @property
    def fingerprint(self) -> str:
        """Digest of the input that was built."""
        return fingerprint((each.key, each.etag, each.size) for each in self.objects)


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
