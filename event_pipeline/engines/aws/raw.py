"""Raw objects in S3: listing without reading, by hour or by day, and opening one."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO

from event_pipeline.engines.aws.storage import Bucket, StoredObject
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import RawListing, RawObject, UnmatchedKey
from event_pipeline.rules.hour import RAW_ROOT, Hour, HourRange, elsewhere, misplaced, plausible_part


class RawStore:
    """The bucket that producers write to, or what is below the prefix of it that the settings name.

    Keys are without the prefix, here and in everything that is built: objects that are moved to another
    one are unchanged.
    """

    def __init__(self, bucket: Bucket, first_partition: Hour, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._first_partition = first_partition
        self._clock = clock

    def list_hour(self, hour: Hour) -> RawListing:
        """List one landing hour."""
        objects, unmatched, now = [], [], self._clock()
        for each in self._list(hour.raw_prefix):
            if reason := misplaced(each.key, self._first_partition, now):
                unmatched.append(UnmatchedKey(each.key, reason))
            else:
                objects.append(_raw_object(each))
        return RawListing(hour, tuple(sorted(objects)), tuple(sorted(unmatched)))

    def list_hours(self, hours: HourRange | None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects, all or those of a range, in order.

        A day is one prefix: its 288 objects come in one request, and 24 requests for hours cost 24 times as much.
        """
        objects, unmatched = defaultdict[Hour, list[RawObject]](list), defaultdict[Hour, list[UnmatchedKey]](list)
        now = self._clock()
        if hours is not None and (hours := plausible_part(hours, self._first_partition, now)) is None:
            return {}
        for prefix in self._prefixes(hours):
            for each in self._list(prefix):
                hour = _hour_of_prefix(each.key)
                if hour is None:
                    continue  # `unmatched_keys` names it
                if reason := misplaced(each.key, self._first_partition, now):
                    unmatched[hour].append(UnmatchedKey(each.key, reason))
                else:
                    objects[hour].append(_raw_object(each))
        return {
            hour: RawListing(hour, tuple(sorted(objects[hour])), tuple(sorted(unmatched[hour])))
            for hour in sorted(objects)
            if hours is None or hour in hours
        }

    def unmatched_keys(self) -> list[UnmatchedKey]:
        """List every key under `events/` that is not read, and why; with a prefix also those under the bucket's own."""
        now = self._clock()
        found = [
            UnmatchedKey(each.key, reason)
            for each in self._list(RAW_ROOT)
            if (reason := misplaced(each.key, self._first_partition, now))
        ]
        # A prefix such as `events/` has them below the bucket's own as well.
        if (prefix := self._bucket.prefix) and not prefix.startswith(RAW_ROOT):
            outside = self._bucket.whole().list(RAW_ROOT)
            found += [UnmatchedKey(each.key, elsewhere(prefix)) for each in outside if not _is_folder(each)]
        return sorted(found)

    def open(self, key: str) -> BinaryIO:
        """Open the stored bytes of one object, which is some 10 MB; `Content-Encoding` is left alone.

        Raises:
            StorageError: there is no such object, or it may not be read.
        """
        found = self._bucket.read(key)
        if found is None:
            raise StorageError(f"{self._bucket.url(key)}: it does not exist")
        return io.BytesIO(found[0])

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        # Consoles leave empty objects named like folders behind; they are nobody's data.
        return (each for each in self._bucket.list(prefix) if not _is_folder(each))

    def _prefixes(self, hours: HourRange | None) -> list[str]:
        if hours is None:
            return [RAW_ROOT]
        if len(hours) == 1:
            return [hours.first.raw_prefix]
        return [f"{RAW_ROOT}year={day:%Y}/month={day:%m}/day={day:%d}/" for day in hours.days]


def _is_folder(each: StoredObject) -> bool:
    return each.key.endswith("/") and each.size == 0


def _raw_object(each: StoredObject) -> RawObject:
    return RawObject(each.key, each.etag, each.size, each.modified)


def _hour_of_prefix(key: str) -> Hour | None:
    """Return the hour below whose prefix a key lies, whatever it is called."""
    parts = key.removeprefix(RAW_ROOT).split("/")
    try:
        return Hour.of_hive_path("/".join(parts[:4]))
    except ValueError:
        return None
