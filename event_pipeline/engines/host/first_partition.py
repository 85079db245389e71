"""The first partition of a data folder: its earliest landing hour, kept in a small file of the lake.

Dagster's partitions begin there, so that a folder with sample data of yesterday does not show a year of missing hours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from event_pipeline.engines.host.layout import Layout, publish, storage_faults
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import RAW_ROOT, Hour, InvalidHourError, implausible
from event_pipeline.rules.stored_json import read_json

FIRST_PARTITION = "first_partition.json"
"""File in the lake folder."""


def find_first_partition(layout: Layout, raw_folder: Path, floor: Hour, now: datetime) -> Hour | None:
    """Return the earliest hour that is kept, has raw objects or is committed; None in a folder without any.

    Hours before `floor` are not read, so they do not count. Only the names of the earliest hour's files are listed.

    Raises:
        StorageError: the file cannot be read or is damaged.
    """
    raw = _hours(raw_folder / RAW_ROOT, lambda path: Hour.of_raw_key(f"{RAW_ROOT}{path}"))
    committed = _hours(layout.commits / "hours", _committed_hour)
    found = [
        _kept(layout),
        *(next((hour for hour in each if not implausible(hour, floor, now)), None) for each in (raw, committed)),
    ]
    return min((max(hour, floor) for hour in found if hour is not None), default=None)


def keep_first_partition(layout: Layout, raw_folder: Path, floor: Hour, now: datetime) -> None:
    """Write the first partition into the lake when it is known and differs from what is kept.

    Raises:
        StorageError: the file cannot be read or written, or is damaged.
    """
    first = find_first_partition(layout, raw_folder, floor, now)
    if first is not None and first != _kept(layout):
        publish(layout.lake / FIRST_PARTITION, f"{json.dumps({'first_partition': str(first)})}\n".encode())


def _kept(layout: Layout) -> Hour | None:
    path = layout.lake / FIRST_PARTITION
    with storage_faults(path):
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        return Hour.parse(read_json(text)["first_partition"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is damaged: remove it, the next `event-pipeline run` writes it again") from error


def _committed_hour(path: str) -> Hour | None:
    try:
        return Hour.of_hive_path(path.removesuffix(".json"))
    except InvalidHourError:
        return None


def _hours(folder: Path, hour_of: Callable[[str], Hour | None]) -> Iterator[Hour]:
    """Yield the hours of the files in a folder, earliest first; what cannot be listed is reported by its readers."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if hour := hour_of((Path(place) / name).relative_to(folder).as_posix()):
                yield hour
