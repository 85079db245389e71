"""A raw store with what is built of it, in memory, that counts how it is called: for a year of hours in a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from event_pipeline.engines.base import RawNotices
from event_pipeline.engines.commit import HourCommit
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.accounting import HourAccount, ObjectAccount, RawListing, RawObject
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable


def raw_object(hour: Hour, number: int, modified: datetime | None = None, etag: str = "e") -> RawObject:
    """One object of an hour, its time that of its landing unless another one is given."""
    landed = hour.start + timedelta(minutes=5 * (number % 12), seconds=number // 12)
    return RawObject(hour.raw_key(landed), etag, 10_000_000, modified or landed)


class CountingEngine:
    """Answers what the sensor asks; everything else of the protocol is missing on purpose."""

    def __init__(self, rules_version: str, objects: Mapping[Hour, Mapping[str, RawObject]]) -> None:
        self.calls: Counter[str] = Counter()
        self.listed = 0
        """Objects that listings returned."""
        self.fail_at_listing: int | None = None
        """The listing (1 is the next one) that fails."""
        self.told: list[Hour] = []
        """Hours that the queue tells of at the next look."""
        self.done_with: list[str] = []
        """Receipts of the notices that the sensor has stored, in order."""
        self._rules_version = rules_version
        self._objects = dict(objects)
        self._commits: dict[Hour, HourCommit] = {}
        self._builds = count()

    def land(self, hour: Hour, number: int, modified: datetime | None = None, etag: str = "e") -> None:
        """Let an object of an hour land, or be replaced."""
        landed = raw_object(hour, number, modified, etag)
        self._objects[hour] = {**self._objects.get(hour, {}), landed.key: landed}

    def expire(self, hours: Iterable[Hour], keep: int = 0) -> None:
        """Let all but some objects of hours go, as a lifecycle rule does."""
        for hour in hours:
            kept = sorted(self._objects[hour])[:keep]
            self._objects[hour] = {key: self._objects[hour][key] for key in kept}

    def build(self, hours: Iterable[Hour]) -> None:
        """Publish hours as they lie there, through to Gold."""
        for hour in hours:
            accounts = tuple(
                ObjectAccount(each.key, each.etag, each.size) for each in sorted(self._objects.get(hour, {}).values())
            )
            account, now = HourAccount(accounts, {}), datetime(2026, 12, 1, tzinfo=UTC)
            run_id = f"run {next(self._builds)} of {hour}"
            self._commits[hour] = HourCommit(hour, run_id, now, self._rules_version, account, ())

    # -- what the sensor asks

    def take_notices(self, done_with: Sequence[str]) -> RawNotices:
        """Return the hours that a test announced since the last call."""
        self.calls["take_notices"] += 1
        self.done_with += done_with
        told, self.told = self.told, []
        return RawNotices(frozenset(told), tuple(f"receipt of {hour}" for hour in told))

    def list_raw_hours(self, hours: HourRange | None = None) -> dict[Hour, RawListing]:
        """Return the objects of a range of hours, or fail where a test planned it."""
        self.calls["list_raw_hours"] += 1
        assert hours is not None
        if self.fail_at_listing is not None:
            self.fail_at_listing -= 1
            if self.fail_at_listing == 0:
                self.fail_at_listing = None
                raise TransientError("s3:ListObjectsV2: SlowDown")
        found = {hour: tuple(sorted(each.values())) for hour in hours if (each := self._objects.get(hour))}
        self.listed += sum(map(len, found.values()))
        return {hour: RawListing(hour, objects) for hour, objects in found.items()}

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        """Return the builds of a range of hours."""
        self.calls["hour_commits"] += 1
        assert hours is not None
        return {hour: self._commits[hour] for hour in hours if hour in self._commits}

    def registered_builds(self, hours: HourRange | None = None) -> dict[Hour, str]:
        """Return the builds that queries see: every one of the range."""
        self.calls["registered_builds"] += 1
        assert hours is not None
        return {hour: self._commits[hour].build_id for hour in hours if hour in self._commits}

    def hours_behind(self, table: GoldTable, hours: HourRange | None = None) -> list[Hour]:
        """Return no hour: Gold always follows."""
        self.calls["hours_behind"] += 1
        return []
