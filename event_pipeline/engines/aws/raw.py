"""Raw objects in S3: listing without reading, by hour or by day, and opening one."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

from event_pipeline.engines.aws.storage import Bucket, StoredObject
from event_pipeline.engines.base import StorageError
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import RAW_ROOT, Hour, HourRange


class RawStore:
    """The bucket that producers write to."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def list_hour(self, hour: Hour) -> RawListing:
        """List one landing hour."""
        objects, unmatched = [], []
        for each in self._list(hour.raw_prefix):
            if Hour.of_raw_key(each.key) == hour:
                objects.append(_raw_object(each))
            else:
                unmatched.append(each.key)
        return RawListing(hour, tuple(sorted(objects)), tuple(sorted(unmatched)))

    def list_hours(self, hours: HourRange | None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects, all or those of a range, in order.

        A day is one prefix: its 288 objects come in one request, and 24 requests for hours cost 24 times as much.
        """
        objects, unmatched = defaultdict[Hour, list[RawObject]](list), defaultdict[Hour, list[str]](list)
        for prefix in self._prefixes(hours):
            for each in self._list(prefix):
                hour = Hour.of_raw_key(each.key)
                if hour is not None:
                    objects[hour].append(_raw_object(each))
                elif near := _hour_of_prefix(each.key):
                    unmatched[near].append(each.key)
        return {
            hour: RawListing(hour, tuple(sorted(objects[hour])), tuple(sorted(unmatched[hour])))
            for hour in sorted(objects)
            if hours is None or hour in hours
        }

    def unmatched_keys(self) -> list[str]:
        """List every key under `events/` that does not match the raw layout."""
        return sorted(each.key for each in self._list(RAW_ROOT) if Hour.of_raw_key(each.key) is None)

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
        return (each for each in self._bucket.list(prefix) if not (each.key.endswith("/") and each.size == 0))

    def _prefixes(self, hours: HourRange | None) -> list[str]:
        if hours is None:
            return [RAW_ROOT]
        if len(hours) == 1:
            return [hours.first.raw_prefix]
        return [f"{RAW_ROOT}year={day:%Y}/month={day:%m}/day={day:%d}/" for day in hours.days]


def _raw_object(each: StoredObject) -> RawObject:
    return RawObject(each.key, each.etag, each.size, each.modified)


def _hour_of_prefix(key: str) -> Hour | None:
    """Return the hour below whose prefix a key lies, whatever it is called."""
    parts = key.removeprefix(RAW_ROOT).split("/")
    try:
        return Hour.of_hive_path("/".join(parts[:4]))
    except ValueError:
        return None
