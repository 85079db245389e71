"""Partition repair: makes the catalog show exactly what the commit records publish.

Commit, then register: a build is published by its commit record alone; this is the step that lets queries see
it, in the daily path and after any accident. It works from commit records only, so it can always be redone.

Whoever changes what the catalog shows of a landing hour, a partial or a Gold day holds its lock and has read the
commit record inside it: nobody shows an older build than another process has shown, and nothing is dropped that was
published meanwhile. A publisher of an hour registers it after its commit, in the same way.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from event_pipeline.engines.base import PartitionAction, PartitionChange
from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.decisions import (
    FILES_GONE,
    NOT_COMMITTED,
    RETIRED,
    compare_entry,
    day_partition,
    files_gone_message,
    gold_table,
    new_run_id,
    not_published,
    partial_table,
)
from event_pipeline.engines.local.catalog import Catalog, Place, Rows, day_of_partition, hour_of_partition, rows_of
from event_pipeline.engines.local.commits import Commit, CommitStore
from event_pipeline.engines.local.layout import Layout, day_lock, partial_lock, storage_faults, sync_file
from event_pipeline.errors import StorageError
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange

_NOTHING: Rows = frozenset()

_WORDS = {
    "partition": "version or time",
    "data_file": "files",
    "silver_day": "control totals",
    "partial_day": "event days",
    "day_input": "partials",
}
"""Catalog table -> what is wrong where its rows differ from the commit record."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What one commit record publishes: a landing hour, a partial or a Gold day."""

    lock: str
    """Under which its catalog entries change."""
    read: Callable[[], Commit | None]
    places: tuple[Place, ...]


class PartitionRepair:
    """Registers, repoints and drops catalog entries, and says which."""

    def __init__(self, layout: Layout, catalog: Catalog, commits: CommitStore, lock_timeout_seconds: float) -> None:
        self._layout = layout
        self._catalog = catalog
        self._commits = commits
        self._lock_timeout_seconds = lock_timeout_seconds

    # -- the catalog as a whole

    def ensure_catalog(self) -> None:
        """Make the catalog where it, or one of its tables, is missing, and fill it from the commit records.

        Raises:
            StorageError: it is damaged; only an explicit repair replaces it.
        """
        self._layout.claim()
        if self._catalog.is_complete():
            return
        with self._layout.lock("catalog", self._lock_timeout_seconds):
            if not self._catalog.is_complete():
                self._rebuild()

    def repair(self, hours: HourRange | None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records of a range or of everything, whatever state it is in."""
        self._layout.claim()
        with self._layout.lock("catalog", self._lock_timeout_seconds):
            if self._is_damaged():
                self._set_aside(f".damaged-{new_run_id()}")
            if not self._catalog.is_complete():
                return self._rebuild()
        differing, changes = self._survey(hours)
        for subject in differing:
            with self._layout.lock(subject.lock, self._lock_timeout_seconds):
                changes += self._act(subject)
        return changes

    def disagreements(self) -> list[PartitionChange]:
        """Return what `repair` would change in a catalog that is there; changes nothing."""
        differing, _ = self._survey(None)
        found = (change for subject in differing for change in self._compare(subject, subject.read()))
        return [change for change in found if change.action is not PartitionAction.UNCHANGED]

    def _is_damaged(self) -> bool:
        try:
            if self._catalog.is_complete():
                self._catalog.check()
        except StorageError:
            return True
        return False

    def _rebuild(self) -> list[PartitionChange]:
        """Put a catalog filled from the commit records in the place of one that is lost; under the catalog's lock.

        Readers and publishers that come meanwhile find none, and wait for the lock. The old one goes before the
        records are read: what was registered in it had been committed before.
        """
        path = self._catalog.path
        self._set_aside(None)
        draft = Catalog(path.with_name(f".{path.name}.{uuid.uuid4().hex}"))
        with storage_faults(path):
            try:
                draft.create()
                shown = draft.fill(commit for commit in self._records(None) if not self._commits.missing_files(commit))
                sync_file(draft.path)
                draft.path.replace(path)
                sync_file(path)
            finally:
                for part in _parts(draft):
                    part.unlink(missing_ok=True)
        return [compare_entry(*place, None, "", "") for place in shown]

    def _set_aside(self, suffix: str | None) -> None:
        """Rename the catalog's files, or remove them; its own file first, for it is wrong without its log."""
        with storage_faults(self._catalog.path):
            for path in _parts(self._catalog):
                if suffix is None:
                    path.unlink(missing_ok=True)
                elif path.exists():
                    path.rename(path.with_name(path.name + suffix))

    # -- landing hours

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Show the committed build of each hour.

        Raises:
            NotPublishedError: an hour has neither a commit record nor an entry.
            StorageError: committed files are gone.
        """
        changes = []
        for hour in hours:
            subject = self._hour(hour)
            with self._layout.lock(subject.lock, self._lock_timeout_seconds):
                commit = self._commits.hour(hour)
                if commit is None and self._catalog.entry(SILVER_EVENTS.full_name, hour.hive_path) is None:
                    raise not_published(hour)
                if commit is not None and (missing := self._commits.missing_files(commit)):
                    raise StorageError(files_gone_message(hour, missing))
                changes += self._act(subject)
        return changes

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the hours whose files are gone, or that the catalog shows otherwise than they were committed."""
        held = self._catalog.held()
        return {
            hour
            for hour, commit in commits.items()
            if any(held.get(place, _NOTHING) != rows for place, rows in rows_of(commit).items())
            or self._commits.missing_files(commit)
        }

    # -- comparing and acting

    def _survey(self, hours: HourRange | None) -> tuple[list[_Subject], list[PartitionChange]]:
        """Return what the catalog seems to show wrongly, to be looked at again under its lock, and what is right."""
        held = self._catalog.held()
        differing, unchanged, named = list[_Subject](), list[PartitionChange](), set[Place]()
        for commit in self._records(hours):
            subject, wanted = self._subject(commit), self._wanted(commit)
            named.update(subject.places)
            if any(held.get(place, _NOTHING) != wanted.get(place, _NOTHING) for place in subject.places):
                differing.append(subject)
            else:
                unchanged += [
                    compare_entry(*place, commit.run_id, commit.run_id, "") for place in wanted if wanted[place]
                ]
        for place in sorted(held):
            if place not in named and _is_within(place, hours):
                subject = self._subject_of(place)
                named.update(subject.places)
                differing.append(subject)
        return differing, unchanged

    def _act(self, subject: _Subject) -> list[PartitionChange]:
        """Make the catalog show what the commit record says now; under the subject's lock."""
        while True:
            commit = subject.read()
            changes = self._compare(subject, commit)
            if all(change.action is PartitionAction.UNCHANGED for change in changes):
                return changes
            # An hour is committed under another lock than it is registered under: what looked dropped may be new.
            if subject.read() == commit:
                wanted = self._wanted(commit)
                self._catalog.show({place: wanted.get(place, _NOTHING) for place in subject.places})
                return changes

    def _wanted(self, commit: Commit | None) -> dict[Place, Rows]:
        return {} if commit is None or self._commits.missing_files(commit) else rows_of(commit)

    def _compare(self, subject: _Subject, commit: Commit | None) -> list[PartitionChange]:
        """Say what has to happen to each entry of a subject; an entry that is rightly missing is left out."""
        wanted, held = self._wanted(commit), self._catalog.held(subject.places)
        changes = []
        for place in subject.places:
            due, found = wanted.get(place, _NOTHING), held.get(place, _NOTHING)
            if due:
                changes.append(compare_entry(*place, _run_id(found), _run_id(due) or "", difference(due, found)))
            elif found:
                reason = NOT_COMMITTED if commit is None else RETIRED if wanted else FILES_GONE
                changes.append(PartitionChange(*place, PartitionAction.DROPPED, reason))
        return changes

    # -- subjects

    def _records(self, hours: HourRange | None) -> Iterator[Commit]:
        days = set(hours.days) if hours else None
        yield from self._commits.hours(hours)
        yield from (each for each in self._commits.partials() if hours is None or each.hour in hours)
        yield from (each for each in self._commits.days() if days is None or each.day in days)

    def _subject(self, commit: Commit) -> _Subject:
        match commit:
            case HourCommit():
                return self._hour(commit.hour)
            case PartialCommit():
                return self._partial(commit.table, commit.hour)
            case DayCommit():
                return self._day(commit.table, commit.day)

    def _subject_of(self, place: Place) -> _Subject:
        """Return what would publish an entry; for what no build can have written, something that nothing does."""
        table, partition = place
        database, _, name = table.partition(".")
        hour, day = hour_of_partition(partition), day_of_partition(partition)
        if hour and table in {each.full_name for each in HOUR_TABLES}:
            return self._hour(hour)
        if hour and database == "partials" and _is_name(name):
            return self._partial(name, hour)
        if day and database == "gold" and _is_name(name):
            return self._day(name, day)
        return _Subject("registration/strays", lambda: None, (place,))

    def _hour(self, hour: Hour) -> _Subject:
        places = tuple((table.full_name, hour.hive_path) for table in HOUR_TABLES)
        return _Subject(f"registration/{hour}", lambda: self._commits.hour(hour), places)

    def _partial(self, table: str, hour: Hour) -> _Subject:
        place = (partial_table(table), hour.hive_path)
        return _Subject(partial_lock(table, hour), lambda: self._commits.partial(table, hour), (place,))

    def _day(self, table: str, day: date) -> _Subject:
        place = (gold_table(table), day_partition(day))
        return _Subject(day_lock(table, day), lambda: self._commits.day(table, day), (place,))


def _run_id(rows: Rows) -> str | None:
    """Return the run that an entry shows; None where it is missing, whatever is left beside it."""
    return next((str(values[2]) for catalog_table, values in rows if catalog_table == "partition"), None)


def difference(due: Rows, found: Rows) -> str:
    """Say in words in which of the catalog's tables two entries differ; nothing when they do not."""
    differing = {catalog_table for catalog_table, _ in due ^ found}
    return ", ".join(words for catalog_table, words in _WORDS.items() if catalog_table in differing)


def _is_within(place: Place, hours: HourRange | None) -> bool:
    """Tell whether an entry belongs to a range of hours, or, for Gold, to its days; None is everything."""
    if hours is None:
        return True
    hour, day = hour_of_partition(place[1]), day_of_partition(place[1])
    return (hour is not None and hour in hours) or (day is not None and day in hours.days)


def _is_name(table: str) -> bool:
    """Tell whether a text is the name of a Gold table: it becomes part of a path."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", table) is not None


def _parts(catalog: Catalog) -> list[Path]:
    return [catalog.path.with_name(f"{catalog.path.name}{part}") for part in ("", "-wal", "-shm")]
