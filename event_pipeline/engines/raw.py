"""Raw objects: the port to where producers write them, and listing them by hour or day without reading them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO, Protocol

from event_pipeline.rules.accounting import RawListing, RawObject, UnmatchedKey
from event_pipeline.rules.hour import RAW_ROOT, Hour, HourRange, elsewhere, hive_path_of, misplaced, plausible_part

BESIDE = "not under events/: `event-pipeline import` places files by the time in their names"


class RawPlace(Protocol):
    """The folder or bucket that producers write to, or a prefix in it."""

    prefix: str
    """Ends with a slash, or is empty. Keys do not include it."""

    def check(self) -> None:
        """Check that the place can be read; otherwise every object would seem to be lost.

        Raises:
            StorageError: it cannot be read.
        """

    def walk(self, prefix: str) -> Iterator[RawObject | UnmatchedKey]:
        """Yield what is under a prefix that ends with a slash: objects, and keys that cannot be read as objects.

        Raises:
            StorageError: it cannot be listed.
        """

    def whole(self) -> RawPlace:
        """Return the same place without a prefix."""

    def beside(self) -> Iterator[str]:
        """Yield what is beside `events/` in a place that belongs to the pipeline alone; nothing in a bucket."""

    def open(self, key: str) -> BinaryIO:
        """Open the stored bytes of one object; `Content-Encoding` is ignored.

        Raises:
            StorageError: there is no such object, or it cannot be read.
        """

    def opener(self) -> Callable[[str], BinaryIO]:
        """Return a function that does what `open` does; picklable, for the process that reads."""

    def rewrite(self, listed: RawObject, content: bytes) -> bool:
        """Replace the stored bytes of an object, the only write there is, and only on request.

        Returns False, without changing anything, if it differs from the listing.

        Raises:
            StorageError: it cannot be written.
        """

    def digest(self, listed: RawObject) -> str | None:
        """Return the SHA-256 of an object's stored bytes; None if it differs from the listing or cannot be read."""


class RawListings:
    """Lists the objects of a place by landing hour.

    Keys do not include the place's prefix, here and in everything that is built: objects moved to another prefix count
    as unchanged.
    """

    def __init__(self, place: RawPlace, first_partition: Hour, clock: Callable[[], datetime]) -> None:
        self._place = place
        self._first_partition = first_partition
        self._clock = clock

    def list_hour(self, hour: Hour) -> RawListing:
        """List one landing hour.

        Raises:
            StorageError: the place cannot be read.
        """
        self._place.check()
        objects, unmatched = list[RawObject](), list[UnmatchedKey]()
        for each in self._judged(hour.raw_prefix):
            (objects if isinstance(each, RawObject) else unmatched).append(each)  # type: ignore[arg-type]
        return RawListing(hour, tuple(sorted(objects)), tuple(sorted(unmatched)))

    def list_hours(self, hours: HourRange | None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects, all or those of a range, in order.

        A day is one prefix: S3 lists its 288 objects in one request; 24 requests for hours would cost 24 times as much.

        Raises:
            StorageError: the place cannot be read.
        """
        self._place.check()
        if hours is not None:
            hours = plausible_part(hours, self._first_partition, self._clock())
            if hours is None:
                return {}
        objects, unmatched = defaultdict[Hour, list[RawObject]](list), defaultdict[Hour, list[UnmatchedKey]](list)
        for prefix in _prefixes(hours):
            for each in self._judged(prefix):
                # Keys outside of hour folders are reported by `unmatched_keys`.
                if (hour := _hour_of_prefix(each.key)) is None or (hours is not None and hour not in hours):
                    continue
                if isinstance(each, RawObject):
                    objects[hour].append(each)
                else:
                    unmatched[hour].append(each)
        return {
            hour: RawListing(hour, tuple(sorted(objects[hour])), tuple(sorted(unmatched[hour])))
            for hour in sorted(objects)
        }

    def unmatched_keys(self) -> list[UnmatchedKey]:
        """List every key under `events/` that is not read, and why; with a prefix also those in the place's `events/`.

        On disk, files beside `events/` are listed too: whoever put them there expects them to be read.

        Raises:
            StorageError: the place cannot be read.
        """
        self._place.check()
        found = [each for each in self._judged(RAW_ROOT) if isinstance(each, UnmatchedKey)]
        # A prefix such as `events/` is itself under the place's `events/`.
        if (prefix := self._place.prefix) and not prefix.startswith(RAW_ROOT):
            found += [UnmatchedKey(each.key, elsewhere(prefix)) for each in self._place.whole().walk(RAW_ROOT)]
        found += [UnmatchedKey(key, BESIDE) for key in self._place.beside()]
        return sorted(found)

    def _judged(self, prefix: str) -> Iterator[RawObject | UnmatchedKey]:
        now = self._clock()
        for each in self._place.walk(prefix):
            if isinstance(each, RawObject) and (reason := misplaced(each.key, self._first_partition, now)):
                yield UnmatchedKey(each.key, reason)
            else:
                yield each


def _prefixes(hours: HourRange | None) -> list[str]:
    if hours is None:
        return [RAW_ROOT]
    if len(hours) == 1:
        return [hours.first.raw_prefix]
    return [f"{RAW_ROOT}{hive_path_of(day)}/" for day in hours.days]


def _hour_of_prefix(key: str) -> Hour | None:
    """Return the hour of the folder that a key is in, whatever its file name."""
    parts = key.removeprefix(RAW_ROOT).split("/")
    try:
        return Hour.of_hive_path("/".join(parts[:4]))
    except ValueError:
        return None
