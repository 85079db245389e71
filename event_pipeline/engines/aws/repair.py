"""Partition repair on AWS: makes the Glue catalog show exactly what the commit records publish, in batches.

Partitions are compared with commit records by run id, location and parameters; files that lie there and are not
named, or are named and gone, are found by listing the run. Works from commit records only, so it can be redone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.catalog import Entry, GlueCatalog, entries_of
from event_pipeline.engines.aws.commits import CommitStore
from event_pipeline.engines.aws.gold import partials_table
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import PartitionAction, PartitionChange, StorageError
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.decisions import (
    FILES_GONE,
    NOT_COMMITTED,
    RETIRED,
    compare_entry,
    files_gone_message,
    gold_table,
    not_published,
    partial_table,
)
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable

_MOST_LOOKS = 5
"""Times an hour is registered again because its commit record was replaced meanwhile."""


class PartitionRepair:
    """Registers, repoints and drops partitions, and says which."""

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
        """
        self._ensure_hour_tables()
        paths = [hour.hive_path for hour in hours]
        present = {table.full_name: self._catalog.get(table.full_name, paths) for table in HOUR_TABLES}
        published = {hour: self._commits.hour(hour) for hour in hours}
        commits, changes = [], []
        for hour, read in published.items():
            if read.commit is None:
                if hour.hive_path not in present[SILVER_EVENTS.full_name]:
                    raise not_published(hour)
                changes += self._drop([(table.full_name, hour.hive_path) for table in HOUR_TABLES], NOT_COMMITTED)
                continue
            if missing := self._commits.missing_files(read.commit):
                raise StorageError(files_gone_message(hour, missing))
            commits.append(read.commit)
        # Shown before it is dropped: the ledger bears the control totals before Silver's partition goes.
        changes += self._show(commits, present)
        changes += self._drop_retired(commits, present)
        for hour in hours:
            self._follow(hour, published[hour].etag)
        return changes

    def _follow(self, hour: Hour, shown: str | None) -> None:
        """Register an hour again for as long as its commit record is another one than was shown.

        A slower process would else repoint the partition to the build that it saw before a faster one replaced it.
        """
        for _ in range(_MOST_LOOKS):
            now = self._commits.hour(hour)
            if now.commit is None or now.etag == shown:
                return
            self._catalog.show(entries_of(now.commit, self._lake.url("")))
            if now.commit.retired_at is not None:
                self._drop([(table, hour.hive_path) for table in _retired_tables(now.commit)], RETIRED)
            shown = now.etag

    def repair(self, hours: HourRange | None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records of a range or of everything, whatever state it is in."""
        self._ensure_hour_tables()
        days = set(hours.days) if hours else None
        tables = [table.full_name for table in HOUR_TABLES]
        for gold in self._gold_tables:
            self._catalog.ensure(partials_table(gold))
            self._catalog.ensure(gold.table)
            tables += [partial_table(gold.name), gold_table(gold.name)]
        known = {gold.name for gold in self._gold_tables}
        commits: list[layout.Commit] = list(self._commits.hours(hours))
        # Records of Gold tables that no longer exist stay where they are; there is no table to show them in.
        commits += [each for each in self._commits.partials(hours) if each.table in known]
        commits += [each for each in self._commits.days(days) if each.table in known]
        bounds = (min(days), max(days)) if days else None
        present = {
            table: {
                entry.partition: entry
                for entry in self._catalog.entries(
                    table,
                    None if table.startswith("gold.") else hours,
                    bounds if table.startswith("gold.") else None,
                )
            }
            for table in tables
        }
        damaged = self._commits.with_missing_files(commits)
        places = [(entry.table, entry.partition) for commit in damaged for entry in entries_of(commit, "")]
        changes = self._drop([(table, path) for table, path in places if path in present[table]], FILES_GONE)
        sound = [commit for commit in commits if commit not in damaged]
        changes += self._show(sound, present)
        changes += self._drop_retired([each for each in sound if isinstance(each, HourCommit)], present)
        named = {(entry.table, entry.partition) for commit in commits for entry in entries_of(commit, "")}
        named |= {(change.table, change.partition) for change in changes}
        unnamed = [(table, path) for table in tables for path in present[table] if (table, path) not in named]
        return changes + self._drop(unnamed, NOT_COMMITTED)

    def _ensure_hour_tables(self) -> None:
        for table in HOUR_TABLES:
            self._catalog.ensure(table)

    def _show(self, commits: Iterable[layout.Commit], present: dict[str, dict[str, Entry]]) -> list[PartitionChange]:
        changes, wanted = [], []
        for commit in commits:
            for entry in entries_of(commit, self._lake.url("")):
                change = compare(entry, present[entry.table].get(entry.partition))
                changes.append(change)
                if change.action is not PartitionAction.UNCHANGED:
                    wanted.append(entry)
        self._catalog.show(wanted)
        return changes

    def _drop_retired(
        self, commits: Sequence[HourCommit], present: dict[str, dict[str, Entry]]
    ) -> list[PartitionChange]:
        """Drop what the catalog still shows of hours that are past their retention."""
        retired = [commit for commit in commits if commit.retired_at is not None]
        places = [(table, commit.hour.hive_path) for commit in retired for table in _retired_tables(commit)]
        return self._drop([(table, path) for table, path in places if path in present[table]], RETIRED)

    def _drop(self, places: Sequence[tuple[str, str]], reason: str) -> list[PartitionChange]:
        for table in sorted({table for table, _ in places}):
            self._catalog.drop(table, [path for each, path in places if each == table])
        return [PartitionChange(table, path, PartitionAction.DROPPED, reason) for table, path in places]


def _retired_tables(commit: HourCommit) -> list[str]:
    shown = shown_tables(commit)
    return [table.full_name for table in HOUR_TABLES if table not in shown]


def compare(wanted: Entry, present: Entry | None) -> PartitionChange:
    """Say what has to happen to a partition so that it shows what is committed."""
    same = present is not None and (present.location, dict(present.parameters)) == (
        wanted.location,
        dict(wanted.parameters),
    )
    shown_run = present.run_id if present else None
    return compare_entry(wanted.table, wanted.partition, shown_run, wanted.run_id, same)


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
    return None
