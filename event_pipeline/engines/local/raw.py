"""Raw objects on local disk: listing without reading, and opening one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from event_pipeline.engines.local.layout import storage_faults
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import RAW_ROOT, Hour, HourRange


class RawStore:
    """The folder whose relative paths are the keys of raw objects."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list_hour(self, hour: Hour) -> RawListing:
        """List one landing hour."""
        objects, unmatched = [], []
        for key, status in self._walk(hour.raw_prefix):
            if Hour.of_raw_key(key) == hour:
                objects.append(describe(key, status))
            else:
                unmatched.append(key)
        return RawListing(hour, tuple(sorted(objects)), tuple(sorted(unmatched)))

    def list_hours(self, hours: HourRange | None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects, all or those of a range, in order."""
        found = (self.list_hour(hour) for hour in sorted(self._hours_with_folder(hours)))
        return {listing.hour: listing for listing in found if listing.objects}

    def unmatched_keys(self) -> list[str]:
        """List every key under `events/` that does not match the raw layout."""
        return sorted(key for key, _ in self._walk(RAW_ROOT) if Hour.of_raw_key(key) is None)

    def open(self, key: str) -> BinaryIO:
        """Open the stored bytes of one object.

        Raises:
            StorageError: there is no such object, or it cannot be opened.
        """
        path = self._folder / key
        with storage_faults(path):
            return path.open("rb")

    def path(self, key: str) -> Path:
        """Where the stored bytes of one object lie."""
        return self._folder / key

    def _hours_with_folder(self, hours: HourRange | None) -> Iterator[Hour]:
        for day in self._existing(hours):
            for hour_folder in _folders(day):
                hour = _hour_of(hour_folder.relative_to(self._folder / RAW_ROOT).as_posix())
                if hour is not None and (hours is None or hour in hours):
                    yield hour

    def _existing(self, hours: HourRange | None) -> Iterator[Path]:
        events = self._folder / RAW_ROOT
        if hours is not None:
            for day in hours.days:
                folder = events / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}"
                if folder.is_dir():
                    yield folder
            return
        for year in _folders(events):
            for month in _folders(year):
                yield from _folders(month)

    def _walk(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        top = self._folder / prefix
        with storage_faults(top):
            for folder, _, names in os.walk(top, onerror=_raise_unless_missing):
                for name in names:
                    path = Path(folder, name)
                    try:
                        status = path.stat()
                    except FileNotFoundError:
                        continue  # deleted since the folder was read: not listed, as it is not there
                    yield path.relative_to(self._folder).as_posix(), status


def describe(key: str, status: os.stat_result) -> RawObject:
    """Describe an object from its file's status: the etag is the time of the last write, in nanoseconds.

    Not the inode: a data folder that is moved or restored with its times keeps its fingerprints.
    """
    return RawObject(key, f"{status.st_mtime_ns:x}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _folders(folder: Path) -> list[Path]:
    with storage_faults(folder):
        try:
            return sorted(each for each in folder.iterdir() if each.is_dir())
        except FileNotFoundError:
            return []


def _hour_of(hive_path: str) -> Hour | None:
    try:
        return Hour.of_hive_path(hive_path)
    except ValueError:
        return None
