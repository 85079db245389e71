"""Partition repair: makes the catalog show exactly what the commit records publish.

Commit, then register: a build is published by its commit record alone; repair makes it visible to queries, in the daily
path and after any failure. It works from commit records only, so it can always be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic

from event_pipeline.engines import layout
from event_pipeline.engines.base import PartitionAction, PartitionChange
from event_pipeline.engines.catalog import AnyEntry, Catalog, Partition
from event_pipeline.engines.commit import Commit, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.commits import CommitStore, Published
from event_pipeline.engines.finding import Finding, Level
from event_pipeline.engines.layout import day_lock, partial_lock
from event_pipeline.engines.names import (
    PARTIALS_DATABASE,
    day_of_partition,
    day_partition,
    gold_table,
    hour_of_partition,
    partial_table,
)
from event_pipeline.engines.store import Store
from event_pipeline.errors import NotPublishedError, StorageError, TransientError
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable

REPAIR = "`event-pipeline repair` makes the catalog match the commit records"
NOT_COMMITTED = "not in any commit record"


FILES_GONE = "its committed files are gone"


RETIRED = "past its retention"


def not_published(hour: Hour) -> NotPublishedError:
    """Return the error that refuses to register an hour without a build."""
    return NotPublishedError(f"{hour}: no build is committed: materialize silver_events of the hour first")


def files_gone_message(hour: Hour, missing: Sequence[object]) -> str:
    """Return which committed files of an hour are gone, and the remedy."""
    return (
        f"{hour}: {len(missing)} committed files are gone or truncated (first: {missing[0]}): "
        f"event-pipeline run --from {hour} --to {hour.plus(1)} rebuilds the hour from its raw objects"
    )


def compare_entry(
    table: str, partition: str, shown_build: str | None, committed_build: str, difference: str
) -> PartitionChange:
    """Return the change that makes a catalog entry show the committed run completely.

    `difference` names what else differs between entry and commit record; empty for nothing.
    """
    if shown_build is None:
        return PartitionChange(table, partition, PartitionAction.ADDED, "committed but missing")
    if shown_build != committed_build:
        reason = f"showed {shown_build} instead of the committed {committed_build}"
        return PartitionChange(table, partition, PartitionAction.REPOINTED, reason)
    if difference:
        return PartitionChange(
            table, partition, PartitionAction.REPOINTED, f"{difference} differed from the commit record"
        )
    return PartitionChange(table, partition, PartitionAction.UNCHANGED, "")


_MOST_LOOKS = 10
"""Attempts to change a partition while its commit record is replaced."""

_READERS = 16


def entries_finding(differing: Sequence[PartitionChange]) -> Finding:
    """Return the finding whether the catalog matches the commit records; `differing` is what `repair` would change."""
    if not differing:
        return Finding(Level.OK, "published builds", "the catalog matches the commit records")
    first = differing[0]
    found = (
        f"{len(differing):,} catalog entries differ from the commit records, first: {first.table} "
        f"{first.partition}: {first.reason}"
    )
    return Finding(Level.FAIL, "published builds", found, REPAIR)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What one commit record publishes: a landing hour, a partial or a Gold day."""

    key: str
    """Key of the commit record."""
    lock: str
    """Lock for changes of its entries, if the lake has locks."""
    read: Callable[[], Published[Any]]
    places: tuple[Partition, ...]


class PartitionRepair(Generic[AnyEntry]):
    """Registers, repoints and drops entries, and reports the changes.

    Not every place has locks, and no catalog supports conditional changes. So the commit record is read just before
    changing entries, and again afterwards: if it was replaced meanwhile, the entry is changed again. Whatever the
    order, the last writer has seen the newest record. With locks, the others wait instead. A process that dies
    between the two reads may leave an older build shown until the next run or repair.
    """

    def __init__(
        self,
        lake: Store,
        catalog: Catalog[AnyEntry],
        commits: CommitStore,
        gold_tables: Sequence[GoldTable],
    ) -> None:
        self._lake = lake
        self._catalog = catalog
        self._commits = commits
        self._gold_tables = gold_tables

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Show the committed build of each hour.

        Raises:
            NotPublishedError: an hour has neither a commit record nor a partition.
            StorageError: committed files are gone, or a Glue table has other columns.
            TransientError: its commit record kept being replaced meanwhile.
        """
        self._ensure_hour_tables()
        silver = self._catalog.get(SILVER_EVENTS.full_name, [hour.hive_path for hour in hours])
        subjects = [self._hour(hour) for hour in hours]
        published = self._read(subjects)
        for hour, subject in zip(hours, subjects, strict=True):
            commit = published[subject.key].commit
            if commit is None and hour.hive_path not in silver:
                raise not_published(hour)
            if commit is not None and (missing := self._commits.missing_files(commit)):
                raise StorageError(files_gone_message(hour, missing))
        return self._settle(subjects, published)

    def register_day(self, table: str, day: date) -> None:
        """Show the committed fold of a day of one Gold table."""
        for gold in self._gold_tables:
            if gold.name == table:
                self._catalog.ensure_gold(gold)
        self._settle([self._day(table, day)])

    def repair(self, hours: HourRange | None) -> list[PartitionChange]:
        """Make the catalog match the commit records of a range or of everything, whatever its state."""
        self._ensure_hour_tables()
        for gold in self._gold_tables:
            self._catalog.ensure_gold(gold)
        differing, unchanged = self._survey(hours)
        return unchanged + self._settle(differing)

    def disagreements(self) -> list[PartitionChange]:
        """Return what `repair` would change; changes nothing."""
        differing, _ = self._survey(None)
        published = self._read(differing)
        found = self._compare(differing, published, self._sound(differing, published))
        return [change for change in found if change.action is not PartitionAction.UNCHANGED]

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the hours whose files are gone, or that the catalog does not show as committed."""
        if not commits:
            return set()
        present = self._catalog.everything([table.full_name for table in HOUR_TABLES], HourRange.of(list(commits)))
        gone = {commit.build_id for commit in self._commits.with_missing_files(list(commits.values()))}
        return {
            hour
            for hour, commit in commits.items()
            if commit.build_id in gone or self._is_misshown(self._hour(hour), commit, present)
        }

    def faults(self, commit: HourCommit) -> list[str]:
        """Return in which tables, and how, the catalog's entries of an hour differ from the commit."""
        hour, found = commit.hour.hive_path, list[str]()
        wanted = self._wanted(commit)
        for table in (each.full_name for each in HOUR_TABLES):
            present, due = self._catalog.get(table, [hour]).get(hour), wanted.get((table, hour))
            if due is None:
                found += [f"{table}: shows an hour that is past its retention"] if present else []
            elif present is None:
                found.append(f"{table}: {hour} is not registered")
            elif present.build_id != commit.build_id:
                found.append(f"{table}: {hour} shows {present.build_id}, not {commit.build_id}")
            elif differences := self._catalog.differences(due, present):
                found.append(f"{table}: {hour} differs from the commit record in {', '.join(differences)}")
        return found

    def _survey(self, hours: HourRange | None) -> tuple[list[_Subject], list[PartitionChange]]:
        """Return what seems wrong in the catalog and needs a second look, and what is right."""
        tables = [table.full_name for table in HOUR_TABLES]
        for gold in self._gold_tables:
            tables += [partial_table(gold.name), gold_table(gold.name)]
        present = self._catalog.everything(tables, hours)
        commits = list(self._records(hours))
        damaged = {id(commit) for commit in self._commits.with_missing_files(commits)}
        differing, unchanged, named = list[_Subject](), list[PartitionChange](), set[Partition]()
        for commit in commits:
            subject = self._subject(commit)
            named.update(subject.places)
            wanted = {} if id(commit) in damaged else self._wanted(commit)
            changes = [self._compare_entry(entry, present.get(place)) for place, entry in wanted.items()]
            surplus = any(place in present and place not in wanted for place in subject.places)
            if surplus or any(change.action is not PartitionAction.UNCHANGED for change in changes):
                differing.append(subject)
            else:
                unchanged += changes
        for place in sorted(present):
            if place not in named:
                subject = self._subject_of(place)
                named.update(subject.places)
                differing.append(subject)
        return differing, unchanged

    def _records(self, hours: HourRange | None) -> Iterator[Commit]:
        known = {gold.name for gold in self._gold_tables}
        yield from self._commits.hours(hours)
        # Records of Gold tables that no longer exist are kept; there is no table to show them in.
        yield from (each for each in self._commits.partials(hours) if each.table in known)
        yield from (each for each in self._commits.days(hours) if each.table in known)

    def _is_misshown(self, subject: _Subject, commit: Commit, present: Mapping[Partition, AnyEntry]) -> bool:
        wanted = self._wanted(commit)
        return any(
            (place in present) != (place in wanted)
            or (place in wanted and bool(self._catalog.differences(wanted[place], present[place])))
            for place in subject.places
        )

    def _ensure_hour_tables(self) -> None:
        for table in HOUR_TABLES:
            self._catalog.ensure(table)

    # -- comparing and acting

    def _settle(
        self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]] | None = None
    ) -> list[PartitionChange]:
        """Make the catalog match the commit records, in batches of the catalog's size.

        `published` are the records as read a moment ago.
        """
        changes, at_once = list[PartitionChange](), self._catalog.changes_at_once
        for start in range(0, len(subjects), at_once):
            batch = subjects[start : start + at_once]
            with ExitStack() as locks:
                for lock in sorted({subject.lock for subject in batch}):
                    locks.enter_context(self._lake.exclusive(lock))
                # Records read before taking the locks may be outdated; without locks the batch follows immediately.
                changes += self._settle_batch(batch, published if at_once > 1 else None)
        return changes

    def _settle_batch(
        self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]] | None
    ) -> list[PartitionChange]:
        """Show the commit records of some subjects, repeating while they are replaced meanwhile."""
        changes = dict[Partition, PartitionChange]()
        for _ in range(_MOST_LOOKS):
            if not subjects:
                return list(changes.values())
            published = published or self._read(subjects)
            acted = self._act(subjects, published)
            for change in acted:
                place = (change.table, change.partition)
                if change.action is not PartitionAction.UNCHANGED or place not in changes:
                    changes[place] = change
            written = {(each.table, each.partition) for each in acted if each.action is not PartitionAction.UNCHANGED}
            subjects = [subject for subject in subjects if written.intersection(subject.places)]
            now = self._read(subjects)
            subjects = [subject for subject in subjects if now[subject.key].version != published[subject.key].version]
            published = now
        if not subjects:
            return list(changes.values())
        raise TransientError(
            f"{subjects[0].places[0][1]}: published again {_MOST_LOOKS} times while it was registered: run again"
        )

    def _act(self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]]) -> list[PartitionChange]:
        wanted = self._sound(subjects, published)
        changes = self._compare(subjects, published, wanted)
        dropped = {(each.table, each.partition) for each in changes if each.action is PartitionAction.DROPPED}
        # An entry that looks droppable may have been published since its record was read: never hide it even briefly.
        dropping = [subject for subject in subjects if dropped.intersection(subject.places)]
        now = self._read(dropping)
        moved = {
            place
            for subject in dropping
            if now[subject.key].version != published[subject.key].version
            for place in subject.places
        }
        shown = {
            (each.table, each.partition)
            for each in changes
            if each.action in (PartitionAction.ADDED, PartitionAction.REPOINTED)
        }
        # All tables of an hour together: another run may have registered a newer build between the looks at two tables,
        # and readers would see that build in one table and this one in the others.
        together = [place for subject in subjects if shown.intersection(subject.places) for place in subject.places]
        self._catalog.change([wanted[place] for place in together if place in wanted], dropped - moved)
        return changes

    def _compare(
        self,
        subjects: Sequence[_Subject],
        published: Mapping[str, Published[Any]],
        wanted: Mapping[Partition, AnyEntry],
    ) -> list[PartitionChange]:
        """Return the change of each partition, without those that are rightly missing."""
        present = dict[Partition, AnyEntry]()
        for table in sorted({table for subject in subjects for table, _ in subject.places}):
            paths = [path for subject in subjects for each, path in subject.places if each == table]
            present |= {(table, path): entry for path, entry in self._catalog.get(table, paths).items()}
        changes = []
        for subject in subjects:
            commit = published[subject.key].commit
            for place in subject.places:
                if place in wanted:
                    changes.append(self._compare_entry(wanted[place], present.get(place)))
                elif place in present:
                    whole = any(each in wanted for each in subject.places)
                    reason = NOT_COMMITTED if commit is None else RETIRED if whole else FILES_GONE
                    changes.append(PartitionChange(*place, PartitionAction.DROPPED, reason))
        return changes

    def _sound(
        self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]]
    ) -> dict[Partition, AnyEntry]:
        """Return the partitions that should exist: those of every commit record whose files all exist."""
        commits = [commit for subject in subjects if (commit := published[subject.key].commit) is not None]
        damaged = {id(commit) for commit in self._commits.with_missing_files(commits)}
        sound = (commit for commit in commits if id(commit) not in damaged)
        return {place: entry for commit in sound for place, entry in self._wanted(commit).items()}

    def _wanted(self, commit: Commit) -> dict[Partition, AnyEntry]:
        return {(entry.table, entry.partition): entry for entry in self._catalog.entries_of(commit)}

    def _compare_entry(self, wanted: AnyEntry, present: AnyEntry | None) -> PartitionChange:
        differences = self._catalog.differences(wanted, present) if present else ()
        shown_build = (present.build_id or None) if present else None
        return compare_entry(wanted.table, wanted.partition, shown_build, wanted.build_id, ", ".join(differences))

    # -- subjects

    def _read(self, subjects: Sequence[_Subject]) -> dict[str, Published[Any]]:
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(lambda subject: subject.read(), subjects)
            return {subject.key: published for subject, published in zip(subjects, found, strict=True)}

    def _subject(self, commit: Commit) -> _Subject:
        match commit:
            case HourCommit():
                return self._hour(commit.hour)
            case PartialCommit():
                return self._partial(commit.table, commit.hour)
            case DayCommit():
                return self._day(commit.table, commit.day)

    def _subject_of(self, place: Partition) -> _Subject:
        """Return what would publish an entry; for an entry that no build can have written, an unpublishable subject."""
        table, partition = place
        database, _, name = table.partition(".")
        hour, day = hour_of_partition(partition), day_of_partition(partition)
        if hour and table in {each.full_name for each in HOUR_TABLES}:
            return self._hour(hour)
        if hour and database == PARTIALS_DATABASE and _is_name(name):
            return self._partial(name, hour)
        if day and database == "gold" and _is_name(name):
            return self._day(name, day)
        return _Subject(f"{table}/{partition}", "registration/strays", lambda: Published(None, None), (place,))

    def _hour(self, hour: Hour) -> _Subject:
        places = tuple((table.full_name, hour.hive_path) for table in HOUR_TABLES)
        return _Subject(layout.hour_commit(hour), f"registration/{hour}", lambda: self._commits.hour(hour), places)

    def _partial(self, table: str, hour: Hour) -> _Subject:
        places = ((partial_table(table), hour.hive_path),)
        key, lock = layout.partial_commit(table, hour), partial_lock(table, hour)
        return _Subject(key, lock, lambda: self._commits.partial(table, hour), places)

    def _day(self, table: str, day: date) -> _Subject:
        places = ((gold_table(table), day_partition(day)),)
        key, lock = layout.day_commit(table, day), day_lock(table, day)
        return _Subject(key, lock, lambda: self._commits.day(table, day), places)


def _is_name(table: str) -> bool:
    """Return whether a text can be the name of a Gold table, because it becomes part of a path."""
    return re.fullmatch(r"[a-z][a-z0-9_]*", table) is not None
