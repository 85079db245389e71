"""Commit records on local disk: reading them, and replacing one in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TypeVar

from event_pipeline.engines.commit import CommitRecordError, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.local.layout import Layout, publish, storage_faults
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour, HourRange

Commit = HourCommit | PartialCommit | DayCommit
_FEW_HOURS = 1_000
"""Up to so many hours are looked for one by one; above, the folder tells first which of them there are."""
_Kind = TypeVar("_Kind", HourCommit, PartialCommit, DayCommit)


class CommitStore:
    """The commit records of one data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def hour(self, hour: Hour) -> HourCommit | None:
        """Return the commit record of a landing hour."""
        return _read(self._layout.hour_commit(hour), HourCommit.from_json)

    def day(self, table: str, day: date) -> DayCommit | None:
        """Return the commit record of a Gold day."""
        return _read(self._layout.day_commit(table, day), DayCommit.from_json)

    def partial(self, table: str, hour: Hour) -> PartialCommit | None:
        """Return the commit record of a Gold partial."""
        return _read(self._layout.partial_commit(table, hour), PartialCommit.from_json)

    def hours(self, hours: HourRange | None, damaged: dict[Hour, StorageError] | None = None) -> Iterator[HourCommit]:
        """Read the commit records of landing hours, all or those of a range, in order.

        Raises:
            StorageError: one cannot be read; with `damaged` it is put there instead, and the others are read.
        """
        for hour in self._recorded(hours):
            try:
                commit = self.hour(hour)
            except StorageError as error:
                if damaged is None:
                    raise
                damaged[hour] = error
                continue
            if commit:
                yield commit

    def _recorded(self, hours: HourRange | None) -> Iterator[Hour]:
        folder = self._layout.commits / "hours"
        if hours is not None and len(hours) <= _FEW_HOURS:
            yield from hours
            return
        for path in sorted(folder.rglob("hour=*.json")):
            hour = Hour.of_hive_path(path.relative_to(folder).with_suffix("").as_posix())
            if hours is None or hour in hours:
                yield hour

    def partials(self) -> Iterator[PartialCommit]:
        """Read the commit records of all partials, by table and hour."""
        for path in sorted((self._layout.commits / "partials").rglob("hour=*.json")):
            yield _must_read(path, PartialCommit.from_json)

    def days(self) -> Iterator[DayCommit]:
        """Read the commit records of all Gold days, by table and day."""
        for path in sorted((self._layout.commits / "days").rglob("event_date=*.json")):
            yield _must_read(path, DayCommit.from_json)

    def publish(self, commit: Commit) -> None:
        """Replace a commit record in one step: from now on its files are the published ones."""
        match commit:
            case HourCommit():
                path = self._layout.hour_commit(commit.hour)
            case PartialCommit():
                path = self._layout.partial_commit(commit.table, commit.hour)
            case DayCommit():
                path = self._layout.day_commit(commit.table, commit.day)
        publish(path, commit.to_json())

    def missing_files(self, commit: Commit) -> list[Path]:
        """Return the committed files that are gone or have another size."""
        return [path for path, size in self._expected(commit) if not path.is_file() or path.stat().st_size != size]

    def _expected(self, commit: Commit) -> list[tuple[Path, int]]:
        return [(self._layout.lake / file.path, file.size) for file in commit.files]


def _read(path: Path, parse: Callable[[str], _Kind]) -> _Kind | None:
    with storage_faults(path):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
    try:
        return parse(text)
    except CommitRecordError as error:
        raise StorageError(
            f"{path}: {error}: move the file away and build it again, raw objects and data files are untouched"
        ) from error


def _must_read(path: Path, parse: Callable[[str], _Kind]) -> _Kind:
    commit = _read(path, parse)
    if commit is None:
        raise StorageError(f"{path}: the commit record vanished while it was read")
    return commit
