"""The landing hour, the key of the whole pipeline, and all its conversions.

An hour is written in four ways: `2025-12-07T22` for people, `2025-12-07-22:00` as Dagster's partition key,
`year=2025/month=12/day=07/hour=22` as a Hive path, and `events/<Hive path>/` as the prefix of its raw objects. No
other module formats or parses an hour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

ONE_HOUR = timedelta(hours=1)
PARTITION_KEY_FORMAT = "%Y-%m-%d-%H:%M"
LONGEST_LEAD = timedelta(days=1)
"""A landing hour may be this far ahead of now: another machine's clock, or another time zone."""
RAW_LAYOUT = "events/year=YYYY/month=MM/day=DD/hour=HH/minute=mm/events-YYYYmmdd-HHMMSS.jsonl.gz"
PARTITION_COLUMNS = ("year", "month", "day", "hour")
RAW_ROOT = "events/"

_TEXT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)|-(\d\d):00)", re.ASCII)
_HIVE_PATH = re.compile(r"year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)", re.ASCII)
_RAW_KEY = re.compile(
    rf"{RAW_ROOT}(?P<hour>{_HIVE_PATH.pattern})/minute=[0-5]\d/events-\d{{8}}-\d{{6}}\.jsonl\.gz", re.ASCII
)


class InvalidHourError(ValueError):
    """A text is not an hour; the message has the text and the allowed forms."""


def hive_path_of(day: date) -> str:
    """Return the part of the partitions' path that all hours of a day share, `year=2025/month=12/day=07`."""
    # Not strftime's year, which is not padded on every platform: keys must sort, and be found again.
    return f"year={day.year:04}/month={day:%m}/day={day:%d}"


@dataclass(frozen=True, order=True, slots=True)
class Hour:
    """One UTC hour, named by the instant at which it starts."""

    start: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or (self.start.minute, self.start.second) != (0, 0):
            raise InvalidHourError(f"{self.start!r} is not the start of a UTC hour")
        if self.start.microsecond:
            raise InvalidHourError(f"{self.start!r} is not the start of a UTC hour")

    @classmethod
    def parse(cls, text: str) -> Hour:
        """Parse `2025-12-07T22`, or Dagster's partition key `2025-12-07-22:00`.

        Raises:
            InvalidHourError: the text has another form, or is not an hour of the calendar.
        """
        match = _TEXT.fullmatch(text.strip())
        if match:
            year, month, day, iso_hour, key_hour = match.groups()
            try:
                return cls(datetime(int(year), int(month), int(day), int(iso_hour or key_hour), tzinfo=UTC))
            except ValueError:
                pass
        raise InvalidHourError(
            f"{text!r} is not an hour: write YYYY-MM-DDTHH in UTC, for example 2025-12-07T22 "
            "(Dagster's partition key 2025-12-07-22:00 is accepted, too)"
        )

    @classmethod
    def containing(cls, instant: datetime) -> Hour:
        """Return the hour that contains an instant (with time zone).

        Raises:
            InvalidHourError: in UTC the instant is outside the calendar.
        """
        try:
            return cls(instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0))
        except OverflowError:
            raise InvalidHourError(f"{instant.isoformat()} is outside the calendar in UTC") from None

    @classmethod
    def of_hive_path(cls, path: str) -> Hour:
        """Parse `year=2025/month=12/day=07/hour=22`.

        Raises:
            InvalidHourError: the path has another form, or is not an hour of the calendar.
        """
        match = _HIVE_PATH.fullmatch(path)
        if match:
            try:
                return cls(datetime(*(int(part) for part in match.groups()), tzinfo=UTC))  # type: ignore[misc, arg-type]
            except ValueError:
                pass
        raise InvalidHourError(f"{path!r} is not year=YYYY/month=MM/day=DD/hour=HH of a real hour")

    @classmethod
    def of_raw_key(cls, key: str) -> Hour | None:
        """Return the landing hour of a raw object, or None if the key does not match the raw layout."""
        match = _RAW_KEY.fullmatch(key)
        if not match:
            return None
        try:
            return cls.of_hive_path(match["hour"])
        except InvalidHourError:
            return None

    @property
    def end(self) -> datetime:
        """The start of the next hour; for the calendar's last hour, the last possible instant."""
        try:
            return self.start + ONE_HOUR
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)

    @property
    def partition_key(self) -> str:
        """Dagster's key, `2025-12-07-22:00`."""
        return f"{self.start.year:04}-{self.start:%m-%d-%H:%M}"

    @property
    def partition_values(self) -> tuple[str, str, str, str]:
        """Values of the partition columns year, month, day, hour: zero-padded strings."""
        start = self.start
        # Not strftime, which takes five times as long: every key of the lake and of the catalog passes here.
        return f"{start.year:04}", f"{start.month:02}", f"{start.day:02}", f"{start.hour:02}"

    @property
    def hive_path(self) -> str:
        """The partition as a path, `year=2025/month=12/day=07/hour=22`."""
        pairs = zip(PARTITION_COLUMNS, self.partition_values, strict=True)
        return "/".join(f"{column}={value}" for column, value in pairs)

    @property
    def raw_prefix(self) -> str:
        """The prefix of the hour's raw objects, `events/year=2025/month=12/day=07/hour=22/`."""
        return f"{RAW_ROOT}{self.hive_path}/"

    def raw_key(self, landed: datetime) -> str:
        """Return the key of a raw object of this hour, stamped with the UTC instant at which it landed."""
        return f"{self.raw_prefix}minute={landed:%M}/events-{landed.year:04}{landed:%m%d-%H%M%S}.jsonl.gz"

    def plus(self, hours: int) -> Hour:
        """Return the hour that many hours later (earlier if negative).

        Raises:
            InvalidHourError: it is outside the calendar.
        """
        try:
            return Hour(self.start + hours * ONE_HOUR)
        except OverflowError:
            raise InvalidHourError(
                f"{self} {hours:+,} hours is not an hour: the calendar goes from 0001-01-01T00 to 9999-12-31T23"
            ) from None

    def is_closed(self, now: datetime) -> bool:
        """Return whether the hour is over at `now`."""
        return self.end <= now

    def __str__(self) -> str:
        return self.start.isoformat()[:13]


@dataclass(frozen=True, slots=True)
class HourRange:
    """Consecutive hours from `first` to `end`, exclusive."""

    first: Hour
    end: Hour

    def __post_init__(self) -> None:
        if self.end <= self.first:
            raise InvalidHourError(f"the range {self.first} to {self.end} is empty: the end is exclusive")

    @classmethod
    def of(cls, hours: Sequence[Hour]) -> HourRange:
        """Return the range that covers the given hours (at least one)."""
        return cls(min(hours), max(hours).plus(1))

    def __iter__(self) -> Iterator[Hour]:
        return (self.first.plus(offset) for offset in range(len(self)))

    def __len__(self) -> int:
        return int((self.end.start - self.first.start) / ONE_HOUR)

    def __contains__(self, hour: Hour) -> bool:
        return self.first <= hour < self.end

    @property
    def last(self) -> Hour:
        """The last hour in the range."""
        return self.end.plus(-1)

    @property
    def days(self) -> list[date]:
        """The UTC days that the range touches, in order."""
        return [self.first_day + timedelta(days=offset) for offset in range((self.last_day - self.first_day).days + 1)]

    @property
    def first_day(self) -> date:
        """The first UTC day that the range touches."""
        return self.first.start.date()

    @property
    def last_day(self) -> date:
        """The last UTC day that the range touches."""
        return self.last.start.date()

    def touches(self, day: date) -> bool:
        """Tell whether an hour of the range is in a UTC day."""
        return self.first_day <= day <= self.last_day

    def __str__(self) -> str:
        return f"{self.first} to {self.end} ({len(self)} hour{'s' if len(self) > 1 else ''})"


DEFAULT_FIRST_PARTITION = Hour.parse("2025-11-01T00")
"""Hours before it are only read if the setting says so."""


def implausible(hour: Hour, first_partition: Hour, now: datetime) -> str | None:
    """Return why raw objects of a landing hour are not read; None if the hour may be built, now or when it is over."""
    if hour < first_partition:
        remedy = "set EVENT_PIPELINE_FIRST_PARTITION to an earlier hour"
        if hour >= DEFAULT_FIRST_PARTITION:
            # Unless it is set, it is the data folder's earliest hour, which a running UI knows from its start.
            remedy += ", or, if it is not set, choose Reload under Deployment in the Dagster UI"
        return f"before the first partition {first_partition}: {remedy}"
    if hour.start > now + LONGEST_LEAD:
        return f"more than {LONGEST_LEAD.days} day ahead of now"
    return None


def plausible_part(hours: HourRange, first_partition: Hour, now: datetime) -> HourRange | None:
    """Return the part of a range that can have raw objects; None if there is none."""
    first, end = max(hours.first, first_partition), min(hours.end, Hour.containing(now + LONGEST_LEAD).plus(1))
    return HourRange(first, end) if first < end else None


def misplaced(key: str, first_partition: Hour, now: datetime) -> str | None:
    """Return why an object under `events/` is not read, from its key alone; None if it belongs to a landing hour."""
    hour = Hour.of_raw_key(key)
    return f"not named {RAW_LAYOUT}" if hour is None else implausible(hour, first_partition, now)


def elsewhere(raw_prefix: str) -> str:
    """Return why an object with a raw object's name is not read: it is not under the prefix in the settings."""
    return f"not under {raw_prefix} (EVENT_PIPELINE_RAW_PREFIX)"


def contiguous(hours: Iterable[Hour], most: int) -> list[HourRange]:
    """Join hours into ranges without gaps of at most `most` hours each, in order."""
    ranges: list[HourRange] = []
    for hour in sorted(set(hours)):
        if ranges and ranges[-1].end == hour and len(ranges[-1]) < most:
            ranges[-1] = HourRange(ranges[-1].first, hour.plus(1))
        else:
            ranges.append(HourRange(hour, hour.plus(1)))
    return ranges


def hours_text(hours: Sequence[Hour]) -> str:
    """Format at least one hour as ranges, ends exclusive: `2 hours (2025-12-07T22 to 2025-12-08T00)`."""
    ranges = contiguous(hours, most=len(hours))
    named = ", ".join(f"{each.first} to {each.end}" if len(each) > 1 else str(each.first) for each in ranges[:6])
    further = f" and {len(ranges) - 6} more" if len(ranges) > 6 else ""
    return f"{len(hours):,} hour{'s' if len(hours) != 1 else ''} ({named}{further})"
