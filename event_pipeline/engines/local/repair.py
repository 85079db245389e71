"""Partition repair: makes the catalog show exactly what the commit records publish.

Commit, then register: a build is published by its commit record alone; this is the step that lets queries see
it, in the daily path and after any accident. It works from commit records only, so it can always be redone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from event_pipeline.engines.base import PartitionAction, PartitionChange, StorageError
from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.decisions import (
    FILES_GONE,
    NOT_COMMITTED,
    RETIRED,
    compare_entry,
    day_partition,
    files_gone_message,
    gold_table,
    is_within,
    new_run_id,
    not_published,
    partial_table,
)
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.local.catalog import Catalog, Entry
from event_pipeline.engines.local.commits import Commit, CommitStore
from event_pipeline.engines.local.layout import Layout
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange

_Kind = TypeVar("_Kind", HourCommit, PartialCommit, DayCommit)


class PartitionRepair:
    """Registers, repoints and drops catalog entries, and says which."""

    def __init__(self, layout: Layout, catalog: Catalog, commits: CommitStore, lock_timeout_seconds: float) -> None:
        self._layout = layout
        self._catalog = catalog
        self._commits = commits
        self._lock_timeout_seconds = lock_timeout_seconds

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

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Show the committed build of each hour.

        Raises:
            NotPublishedError: an hour has neither a commit record nor an entry.
            StorageError: committed files are gone.
        """
        changes = []
        for hour in hours:
            with self._layout.lock(f"registration/{hour}", self._lock_timeout_seconds):
                changes += self._register_hour(hour)
        return changes

    def _register_hour(self, hour: Hour) -> list[PartitionChange]:
        commit = self._commits.hour(hour)
        if commit is None:
            if self._catalog.entry(SILVER_EVENTS.full_name, hour.hive_path) is None:
                raise not_published(hour)
            return [self._drop(table.full_name, hour.hive_path, NOT_COMMITTED) for table in HOUR_TABLES]
        if missing := self._commits.missing_files(commit):
            raise StorageError(files_gone_message(hour, missing))
        return self._show_hour(commit)

    def repair(self, hours: HourRange | None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records of a range or of everything, whatever state it is in."""
        self._layout.claim()
        with self._layout.lock("catalog", self._lock_timeout_seconds):
            self._set_damaged_catalog_aside()
            return self._reconcile(hours) if self._catalog.is_complete() else self._rebuild()

    def _rebuild(self) -> list[PartitionChange]:
        self._catalog.create()
        changes = self._reconcile(None)
        self._catalog.mark_complete()
        return changes

    def _set_damaged_catalog_aside(self) -> None:
        try:
            if self._catalog.is_complete():
                self._catalog.check()
        except StorageError:
            suffix = f".damaged-{new_run_id()}"
            for part in ("", "-wal", "-shm"):
                path = self._catalog.path.with_name(self._catalog.path.name + part)
                if path.exists():
                    path.rename(path.with_name(path.name + suffix))

    def _reconcile(self, hours: HourRange | None) -> list[PartitionChange]:
        days = set(hours.days) if hours else None
        changes = [change for commit in self._commits.hours(hours) for change in self._show_hour(commit)]
        for partial in self._commits.partials():
            if hours is None or partial.hour in hours:
                changes += self._show_partial(partial)
        for day in self._commits.days():
            if days is None or day.day in days:
                changes += self._show_day(day)
        named = {(change.table, change.partition) for change in changes}
        for entry in self._catalog.entries():
            place = (entry.table, entry.partition)
            if place not in named and is_within(*place, hours, days):
                changes.append(self._drop(*place, NOT_COMMITTED))
        return changes

    def _show_hour(self, commit: HourCommit) -> list[PartitionChange]:
        shown = [table.full_name for table in shown_tables(commit)]
        partition = commit.hour.hive_path
        changes = [
            PartitionChange(table.full_name, partition, PartitionAction.DROPPED, RETIRED)
            for table in HOUR_TABLES
            if table.full_name not in shown and self._catalog.entry(table.full_name, partition)
        ]
        if changes:
            self._catalog.register_hour(commit)
        return changes + self._show(commit, shown, partition, self._catalog.register_hour)

    def _show_partial(self, commit: PartialCommit) -> list[PartitionChange]:
        return self._show(commit, [partial_table(commit.table)], commit.hour.hive_path, self._catalog.register_partial)

    def _show_day(self, commit: DayCommit) -> list[PartitionChange]:
        return self._show(commit, [gold_table(commit.table)], day_partition(commit.day), self._catalog.register_day)

    def _show(
        self, commit: _Kind, tables: Sequence[str], partition: str, register: Callable[[_Kind], None]
    ) -> list[PartitionChange]:
        entries = {table: self._catalog.entry(table, partition) for table in tables}
        if self._commits.missing_files(commit):
            return [self._drop(table, partition, FILES_GONE) for table, entry in entries.items() if entry]
        changes = [self._compare(commit, table, partition, entry) for table, entry in entries.items()]
        if any(change.action is not PartitionAction.UNCHANGED for change in changes):
            register(commit)
        return changes

    def _compare(self, commit: Commit, table: str, partition: str, entry: Entry | None) -> PartitionChange:
        committed = sorted(file.path for file in commit.files if file.table == table)
        same_files = self._catalog.files(table, [partition]) == committed
        return compare_entry(table, partition, entry.run_id if entry else None, commit.run_id, same_files)

    def _drop(self, table: str, partition: str, reason: str) -> PartitionChange:
        self._catalog.drop(table, partition)
        return PartitionChange(table, partition, PartitionAction.DROPPED, reason)
