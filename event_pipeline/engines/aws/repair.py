"""Partition repair on AWS: makes the Glue catalog show exactly what the commit records publish, in batches.

Partitions are compared with commit records by run id, location and parameters; files that lie there and are not
named, or are named and gone, are found by listing the run. Works from commit records only, so it can be redone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.catalog import PARTIALS_DATABASE, Entry, GlueCatalog, differences_of, entries_of
from event_pipeline.engines.aws.commits import CommitStore, Published
from event_pipeline.engines.aws.gold import partials_table
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import PartitionAction, PartitionChange
from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.decisions import (
    FILES_GONE,
    NOT_COMMITTED,
    RETIRED,
    compare_entry,
    day_of,
    day_partition,
    files_gone_message,
    gold_table,
    not_published,
    partial_table,
)
from event_pipeline.errors import StorageError, TransientError
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable

_MOST_LOOKS = 10
"""Times a partition is changed again because its commit record was replaced meanwhile."""

_READERS = 16

Place = tuple[str, str]
"""Table and partition."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What one commit record publishes: a landing hour, a partial or a Gold day."""

    key: str
    """Of the commit record."""
    read: Callable[[], Published[Any]]
    places: tuple[Place, ...]


class PartitionRepair:
    """Registers, repoints and drops partitions, and says which.

    Nothing locks a partition of Glue, and none can be changed on a condition. So whoever changes partitions reads the
    commit record just before, and again after: where it was replaced meanwhile, the partition is changed again. The
    last one to write has seen the newest record, whatever the order was. A process that dies between the two leaves
    an older build shown until the next run or repair.
    """

    def __init__(
        self, lake: Bucket, catalog: GlueCatalog, commits: CommitStore, gold_tables: Sequence[GoldTable]
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
            TransientError: its commit record was replaced again and again meanwhile.
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
        """Show the committed fold of a Gold day of one of the tables."""
        for gold in self._gold_tables:
            if gold.name == table:
                self._catalog.ensure(gold.table)
        self._settle([self._day(table, day)])

    def repair(self, hours: HourRange | None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records of a range or of everything, whatever state it is in."""
        self._ensure_hour_tables()
        for gold in self._gold_tables:
            self._catalog.ensure(partials_table(gold))
            self._catalog.ensure(gold.table)
        differing, unchanged = self._survey(hours)
        return unchanged + self._settle(differing)

    def disagreements(self) -> list[PartitionChange]:
        """Return what `repair` would change; changes nothing."""
        differing, _ = self._survey(None)
        published = self._read(differing)
        found = self._compare(differing, published, self._sound(differing, published))
        return [change for change in found if change.action is not PartitionAction.UNCHANGED]

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the hours whose files are gone, or that the catalog shows otherwise than they were committed."""
        if not commits:
            return set()
        hours = HourRange.of(list(commits))
        present = self._present([table.full_name for table in HOUR_TABLES], hours)
        gone = {commit.run_id for commit in self._commits.with_missing_files(list(commits.values()))}
        return {
            hour
            for hour, commit in commits.items()
            if commit.run_id in gone or any(self._differs(wanted, present) for wanted in self._wanted(commit).values())
        }

    def _differs(self, wanted: Entry, present: Mapping[Place, Entry]) -> bool:
        change = self._compare_entry(wanted, present.get((wanted.table, wanted.partition)))
        return change.action is not PartitionAction.UNCHANGED

    def _survey(self, hours: HourRange | None) -> tuple[list[_Subject], list[PartitionChange]]:
        """Return what the catalog seems to show wrongly, to be looked at again, and what is right."""
        days = set(hours.days) if hours else None
        tables = [table.full_name for table in HOUR_TABLES]
        for gold in self._gold_tables:
            tables += [partial_table(gold.name), gold_table(gold.name)]
        present = self._present(tables, hours)
        known = {gold.name for gold in self._gold_tables}
        commits: list[layout.Commit] = list(self._commits.hours(hours))
        # Records of Gold tables that no longer exist stay where they are; there is no table to show them in.
        commits += [each for each in self._commits.partials(hours) if each.table in known]
        commits += [each for each in self._commits.days(days) if each.table in known]
        damaged = {id(commit) for commit in self._commits.with_missing_files(commits)}
        differing, unchanged, named = list[_Subject](), list[PartitionChange](), set[Place]()
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
        for place in present:
            if place not in named:
                subject = self._subject_of(place)
                named.update(subject.places)
                differing.append(subject)
        return differing, unchanged

    def _present(self, tables: Sequence[str], hours: HourRange | None) -> dict[Place, Entry]:
        """Return the partitions of some tables, of a range those of its hours and, for Gold, of its days."""
        days = hours.days if hours else None
        bounds = (days[0], days[-1]) if days else None
        return {
            (table, entry.partition): entry
            for table in tables
            for entry in self._catalog.entries(
                table,
                None if table.startswith("gold.") else hours,
                bounds if table.startswith("gold.") else None,
                whole=True,
            )
        }

    def _ensure_hour_tables(self) -> None:
        for table in HOUR_TABLES:
            self._catalog.ensure(table)

    # -- comparing and acting

    def _settle(
        self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]] | None = None
    ) -> list[PartitionChange]:
        """Make the catalog show what the commit records say, again for as long as they are replaced meanwhile.

        `published` are the records as they were read a moment ago.
        """
        changes = dict[Place, PartitionChange]()
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
            subjects = [subject for subject in subjects if now[subject.key].etag != published[subject.key].etag]
            published = now
        if not subjects:
            return list(changes.values())
        raise TransientError(
            f"{subjects[0].places[0][1]}: published again {_MOST_LOOKS} times while it was registered: run again"
        )

    def _act(self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]]) -> list[PartitionChange]:
        wanted = self._sound(subjects, published)
        changes = self._compare(subjects, published, wanted)
        dropped = [change for change in changes if change.action is PartitionAction.DROPPED]
        shown = [change for change in changes if change.action in (PartitionAction.ADDED, PartitionAction.REPOINTED)]
        # Shown before it is dropped: the ledger holds the control totals before Silver's partition goes.
        self._catalog.show([wanted[change.table, change.partition] for change in shown])
        for table in sorted({change.table for change in dropped}):
            self._catalog.drop(table, [change.partition for change in dropped if change.table == table])
        return changes

    def _compare(
        self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]], wanted: Mapping[Place, Entry]
    ) -> list[PartitionChange]:
        """Say what has to happen to each partition; one that is rightly missing is left out."""
        present = dict[Place, Entry]()
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

    def _sound(self, subjects: Sequence[_Subject], published: Mapping[str, Published[Any]]) -> dict[Place, Entry]:
        """Return the partitions that are to be: of every commit record whose files are all there."""
        commits = [commit for subject in subjects if (commit := published[subject.key].commit) is not None]
        damaged = {id(commit) for commit in self._commits.with_missing_files(commits)}
        sound = (commit for commit in commits if id(commit) not in damaged)
        return {place: entry for commit in sound for place, entry in self._wanted(commit).items()}

    def _wanted(self, commit: layout.Commit) -> dict[Place, Entry]:
        return {(entry.table, entry.partition): entry for entry in entries_of(commit, self._lake.url(""))}

    def _compare_entry(self, wanted: Entry, present: Entry | None) -> PartitionChange:
        differences = differences_of(wanted, present, self._catalog.storage(wanted.table)) if present else ()
        shown_run = present.run_id if present else None
        return compare_entry(wanted.table, wanted.partition, shown_run, wanted.run_id, ", ".join(differences))

    # -- subjects

    def _read(self, subjects: Sequence[_Subject]) -> dict[str, Published[Any]]:
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(lambda subject: subject.read(), subjects)
            return {subject.key: published for subject, published in zip(subjects, found, strict=True)}

    def _subject(self, commit: layout.Commit) -> _Subject:
        match commit:
            case HourCommit():
                return self._hour(commit.hour)
            case PartialCommit():
                return self._partial(commit.table, commit.hour)
            case DayCommit():
                return self._day(commit.table, commit.day)

    def _subject_of(self, place: Place) -> _Subject:
        """Return what would publish a partition; for what no build can have written, something that nothing does."""
        table, partition = place
        database, _, name = table.partition(".")
        try:
            if database == "gold":
                return self._day(name, day_of(partition))
            hour = Hour.of_hive_path(partition)
        except ValueError:
            return _Subject(f"{table}/{partition}", lambda: Published(None, None), (place,))
        return self._partial(name, hour) if database == PARTIALS_DATABASE else self._hour(hour)

    def _hour(self, hour: Hour) -> _Subject:
        places = tuple((table.full_name, hour.hive_path) for table in HOUR_TABLES)
        return _Subject(layout.hour_commit(hour), lambda: self._commits.hour(hour), places)

    def _partial(self, table: str, hour: Hour) -> _Subject:
        place = (partial_table(table), hour.hive_path)
        return _Subject(layout.partial_commit(table, hour), lambda: self._commits.partial(table, hour), (place,))

    def _day(self, table: str, day: date) -> _Subject:
        place = (gold_table(table), day_partition(day))
        return _Subject(layout.day_commit(table, day), lambda: self._commits.day(table, day), (place,))


def shows(commit: HourCommit, table: str, lake_url: str, present: Entry | None) -> str | None:
    """Say how a partition differs from the commit it should show; None when it shows it, or is not to be there."""
    wanted = next((entry for entry in entries_of(commit, lake_url) if entry.table == table), None)
    if wanted is None:
        return f"{table}: shows an hour that is past its retention" if present else None
    if present is None:
        return f"{table}: {wanted.partition} is not registered"
    if present.run_id != commit.run_id:
        return f"{table}: {wanted.partition} shows {present.run_id}, not {commit.run_id}"
    if present.location != wanted.location:
        return f"{table}: {wanted.partition} shows other files than were committed ({present.location})"
    if dict(present.parameters) != dict(wanted.parameters):
        return f"{table}: {wanted.partition} shows other parameters than were committed"
    return None
