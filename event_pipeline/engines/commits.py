"""Reads commit records in the lake, and replaces them by compare and swap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from event_pipeline.engines import layout
from event_pipeline.engines.commit import Commit, CommitRecordError, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.store import Store
from event_pipeline.errors import OvertakenError, StorageError
from event_pipeline.rules.hour import Hour, HourRange, hive_path_of

_Kind = TypeVar("_Kind", HourCommit, PartialCommit, DayCommit)
_READERS = 16
_FEW_COMMITS = 300
"""Up to this many commits, runs are listed by day; above, all runs are listed at once."""
_MANY_NEIGHBOURS = 3
"""From this many commits on, the runs of their day are listed together."""
_FEW_HOURS = 48
"""Up to this many hours are read one by one; above, a listing first shows which of them exist."""


@dataclass(frozen=True, slots=True)
class Published(Generic[_Kind]):
    """A commit record as read, with the version for compare and swap."""

    commit: _Kind | None
    version: str | None


class CommitStore:
    """The commit records of one lake."""

    def __init__(self, lake: Store) -> None:
        self._lake = lake

    def hour(self, hour: Hour) -> Published[HourCommit]:
        """Read the commit record of a landing hour."""
        return self._read(layout.hour_commit(hour), HourCommit.from_json)

    def partial(self, table: str, hour: Hour) -> Published[PartialCommit]:
        """Read the commit record of a Gold partial."""
        return self._read(layout.partial_commit(table, hour), PartialCommit.from_json)

    def day(self, table: str, day: date) -> Published[DayCommit]:
        """Read the commit record of a Gold day."""
        return self._read(layout.day_commit(table, day), DayCommit.from_json)

    def hours(self, hours: HourRange | None, damaged: dict[Hour, StorageError] | None = None) -> list[HourCommit]:
        """Read the commit records of landing hours, all or those of a range, in order.

        Raises:
            StorageError: one cannot be read; with `damaged` the error is added there and the others are read.
        """
        if hours is not None and len(hours) <= _FEW_HOURS:
            wanted = [layout.hour_commit(hour) for hour in hours]
        else:
            prefix = f"{layout.COMMITS}hours/"
            listed = ((each.key, _hour_of(each.key, prefix)) for each in self._lake.list(prefix))
            wanted = [key for key, hour in listed if hour and (hours is None or hour in hours)]

        def parse_or_note(key: str) -> HourCommit | None:
            try:
                return self._read(key, HourCommit.from_json).commit
            except StorageError as error:
                hour = _hour_of(key, f"{layout.COMMITS}hours/")
                if damaged is None or hour is None:
                    raise
                damaged[hour] = error
                return None

        with ThreadPoolExecutor(_READERS) as readers:
            return [commit for commit in readers.map(parse_or_note, wanted) if commit is not None]

    def partials(self, hours: HourRange | None = None) -> Iterator[PartialCommit]:
        """Read the commit records of all partials, or of those of a range, by table and hour."""
        prefix = f"{layout.COMMITS}partials/"
        wanted = []
        for each in self._lake.list(prefix):
            table = each.key.removeprefix(prefix).partition("/")[0]
            hour = _hour_of(each.key, f"{prefix}{table}/")
            if hour and (hours is None or hour in hours):
                wanted.append(each.key)
        yield from self._read_all(wanted, PartialCommit.from_json)

    def partial_versions(self, table: str, days: Iterable[date]) -> dict[Hour, str]:
        """Return hour -> version of the commit record for a Gold table's partials, at least for hours of these days.

        The version is that of `partial`. A month is listed at once: S3 lists its 744 records at most in one request.
        """
        top, versions = f"{layout.COMMITS}partials/{table}/", dict[Hour, str]()
        for month in sorted({hive_path_of(day).rpartition("/")[0] for day in days}):
            for each in self._lake.list(f"{top}{month}/"):
                if hour := _hour_of(each.key, top):
                    versions[hour] = each.version
        return versions

    def days(self, hours: HourRange | None = None) -> Iterator[DayCommit]:
        """Read the commit records of all Gold days, or of those that a range of hours touches, by table and day."""
        listed = [each.key for each in self._lake.list(f"{layout.COMMITS}days/")]
        wanted = [key for key in listed if hours is None or ((day := _day_of(key)) and hours.touches(day))]
        yield from self._read_all(wanted, DayCommit.from_json)

    def publish(self, commit: Commit, replaces: str | None) -> str:
        """Replace a commit record if it still has this version (None: does not exist yet); return its key.

        Raises:
            OvertakenError: another process replaced it meanwhile.
        """
        key = layout.commit_key(commit)
        if not self._lake.replace(key, commit.to_json().encode(), replaces):
            raise OvertakenError(f"{self._lake.url(key)}: another process published it meanwhile: try again")
        return key

    def missing_files(self, commit: Commit) -> list[str]:
        """Return the URLs of committed files that are gone or have another size.

        Needs one listing of the run's prefix.
        """
        if not commit.files:
            return []
        there = {each.key: each.size for each in self._lake.list(layout.build_prefix(commit))}
        return self._missing(commit, there)

    def with_missing_files(self, commits: Sequence[Commit]) -> list[Commit]:
        """Return the commits with files that are gone or have another size.

        Several commits of one day share one listing of their builds, very many share one listing of all.
        """
        if len(commits) > _FEW_COMMITS:
            prefixes = {layout.RUNS}
        else:
            together = Counter(_neighbours(commit) for commit in commits)
            prefixes = {
                near if together[near := _neighbours(commit)] >= _MANY_NEIGHBOURS else layout.build_prefix(commit)
                for commit in commits
                if commit.files
            }
        with ThreadPoolExecutor(_READERS) as readers:
            listings = readers.map(lambda prefix: list(self._lake.list(prefix)), sorted(prefixes))
            there = {each.key: each.size for listing in listings for each in listing}
        return [commit for commit in commits if self._missing(commit, there)]

    def _missing(self, commit: Commit, there: Mapping[str, int]) -> list[str]:
        return [self._lake.url(file.path) for file in commit.files if there.get(file.path) != file.size]

    def stray_files(self, commit: Commit) -> list[str]:
        """Return the URLs of files under the commit's prefix that are not part of it: queries would read them."""
        if isinstance(commit, HourCommit) and commit.retired_at is not None:
            return []  # its run's other files are in their grace period, and no partition shows them
        named = {file.path for file in commit.files}
        return [
            self._lake.url(each.key)
            for each in self._lake.list(layout.build_prefix(commit))
            if each.key not in named and each.key != f"{layout.build_prefix(commit)}{layout.MANIFEST}"
        ]

    def _read(self, key: str, parse: Callable[[str], _Kind]) -> Published[_Kind]:
        found = self._lake.read(key)
        if found is None:
            return Published(None, None)
        text, version = found
        try:
            commit = parse(text.decode("utf-8", "replace"))
            if (own := layout.commit_key(commit)) != key:
                raise CommitRecordError(f"it is a copy of the record {own}")
            return Published(commit, version)
        except CommitRecordError as error:
            raise StorageError(
                f"{self._lake.url(key)}: {error}: move it away and rebuild; raw objects and data files are untouched"
            ) from error

    def _read_all(self, wanted: Sequence[str], parse: Callable[[str], _Kind]) -> list[_Kind]:
        with ThreadPoolExecutor(_READERS) as readers:
            read = readers.map(lambda key: self._read(key, parse), wanted)
            return [published.commit for published in read if published.commit is not None]


def _neighbours(commit: Commit) -> str:
    """Return the prefix of the builds of a commit's day; for partials, which are few and small, of its month."""
    parts = layout.build_prefix(commit).rstrip("/").split("/")
    return "/".join(parts[: -3 if isinstance(commit, PartialCommit) else -2]) + "/"


def _hour_of(key: str, prefix: str) -> Hour | None:
    try:
        return Hour.of_hive_path(key.removeprefix(prefix).removesuffix(".json"))
    except ValueError:
        return None


def _day_of(key: str) -> date | None:
    try:
        return date.fromisoformat(key.removesuffix(".json").rpartition("=")[2])
    except ValueError:
        return None
