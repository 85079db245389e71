"""Housekeeping of a lake: finds what is no longer needed by the rule in `leftovers.py`, and removes it item by item.

Each removal can be interrupted at any moment: the commit record is replaced first, then the catalog changes, and files
are deleted last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from typing import Generic, Protocol

from event_pipeline.engines import layout
from event_pipeline.engines.base import Leftover, LeftoverKind
from event_pipeline.engines.catalog import AnyEntry, Catalog, Partition
from event_pipeline.engines.commit import Commit, HourCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.layout import day_lock
from event_pipeline.engines.leftovers import (
    PASSING_GRACE,
    StoredFile,
    day_of_leftover,
    days_to_retire,
    hours_to_retire,
    is_retired_day,
    old_builds,
    retired,
    retired_day,
)
from event_pipeline.engines.names import (
    day_of_partition,
    day_partition,
    gold_table,
    hour_of_partition,
    partial_table,
)
from event_pipeline.engines.repair import PartitionRepair
from event_pipeline.engines.store import Store
from event_pipeline.errors import TransientError
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings


class PassingFiles(Protocol):
    """Temporary files of a place outside the lake, which killed steps leave behind."""

    def leftovers(self, until: datetime) -> Iterator[Leftover]:
        """Yield the files that have not changed since `until`."""

    def remove(self, leftover: Leftover) -> None:
        """Remove one of them.

        Raises:
            StorageError: it cannot be removed.
        """


class Housekeeper(Generic[AnyEntry]):
    """Finds and removes the leftovers of one lake."""

    def __init__(
        self,
        lake: Store,
        catalog: Catalog[AnyEntry],
        commits: CommitStore,
        repair: PartitionRepair[AnyEntry],
        passing: PassingFiles,
        gold_tables: Sequence[GoldTable],
        settings: Settings,
    ) -> None:
        self._lake = lake
        self._catalog = catalog
        self._commits = commits
        self._repair = repair
        self._passing = passing
        self._gold_tables = gold_tables
        self._settings = settings

    def leftovers(self, behind: Set[Hour], now: datetime) -> list[Leftover]:
        """List what may be removed; `behind` are the hours that Gold does not show yet."""
        return list(self._leftovers(behind, now))

    def replaced(
        self, hours: Collection[Hour], days: Collection[date], now: datetime, holds: Callable[[str], bool]
    ) -> list[Leftover]:
        """List, whatever their age, builds of which a file `holds` what must go.

        They are replaced builds of some hours and Gold days, and Silver past its retention. The time in the name of a
        build does not tell whether it has been replaced or is published next, by a process that began it since.
        """
        commits: list[Commit] = [*self._commits.hours(None), *self._commits.partials(), *self._commits.days()]
        # Clocks differ: what is newer than the published build is no replaced build anyway.
        later = now + timedelta(days=1)
        partitions = (*(hour.hive_path for hour in hours), *(day_partition(day) for day in days))
        places = tuple(f"/{partition}" for partition in partitions)
        return [
            each
            for each in self._old_builds(commits, self._entries(), later, timedelta(0))
            if (
                each.kind is LeftoverKind.RETIRED_FILES
                or (each.kind is LeftoverKind.REPLACED and each.place.rpartition("/")[0].endswith(places))
            )
            and any(map(holds, each.paths))
        ]

    def _entries(self) -> Mapping[Partition, AnyEntry]:
        tables = [table.full_name for table in HOUR_TABLES]
        for gold in self._gold_tables:
            tables += [partial_table(gold.name), gold_table(gold.name)]
        return self._catalog.everything(tables, None)

    def _old_builds(
        self, commits: Sequence[Commit], entries: Mapping[Partition, AnyEntry], now: datetime, grace: timedelta
    ) -> Iterator[Leftover]:
        # The catalog may still show the previous build: it is needed until its entry is repointed.
        needed = {_needed_prefix(commit) for commit in commits}
        needed.update(*(self._catalog.needed(entry) for entry in entries.values()))
        listed = (StoredFile(each.key, each.size, each.modified) for each in self._lake.list(layout.RUNS))
        return old_builds(listed, needed, commits, now, grace)

    def _leftovers(self, behind: Set[Hour], now: datetime) -> Iterator[Leftover]:
        settings = self._settings
        hours = {commit.hour: commit for commit in self._commits.hours(None)}
        partials, days = list(self._commits.partials()), list(self._commits.days())
        entries = self._entries()
        silver, shown = dict[Hour, str](), dict[tuple[str, date], str]()
        for (table, partition), entry in entries.items():
            if table == SILVER_EVENTS.full_name and (hour := hour_of_partition(partition)):
                silver[hour] = entry.build_id
            elif table.startswith("gold.") and (day := day_of_partition(partition)):
                shown[table.removeprefix("gold."), day] = entry.build_id
        yield from hours_to_retire(hours, silver, behind, settings.silver_retention_days, now)
        known = {gold.name for gold in self._gold_tables}
        own_days = [commit for commit in days if commit.table in known]
        yield from days_to_retire(own_days, hours, shown, settings.gold_retention_days, now)
        commits: list[Commit] = [*hours.values(), *partials, *days]
        yield from self._old_builds(commits, entries, now, timedelta(days=settings.build_grace_days))
        yield from self._passing.leftovers(now - PASSING_GRACE)

    def remove(self, leftover: Leftover) -> None:
        """Remove one leftover."""
        match leftover.kind:
            case LeftoverKind.RETIRED_HOUR:
                self._retire_hour(Hour.parse(leftover.place))
            case LeftoverKind.RETIRED_DAY:
                self._retire_day(leftover)
            case LeftoverKind.REPLACED | LeftoverKind.ABANDONED | LeftoverKind.RETIRED_FILES:
                self._lake.delete(leftover.paths)
            case LeftoverKind.SCRATCH | LeftoverKind.DRAFT | LeftoverKind.LOCK:
                self._passing.remove(leftover)

    def _retire_hour(self, hour: Hour) -> None:
        with self._lake.exclusive(f"hours/{hour}"):
            published = self._commits.hour(hour)
            if published.commit is not None and published.commit.retired_at is None:
                self._commits.publish(retired(published.commit, datetime.now(UTC)), published.version)
        self._repair.register_hours([hour])

    def _retire_day(self, leftover: Leftover) -> None:
        table, day = day_of_leftover(leftover)
        with self._lake.exclusive(day_lock(table, day)):
            published = self._commits.day(table, day)
            if published.commit is None:
                raise TransientError(f"{leftover.place}: its commit record vanished meanwhile: try again")
            if not is_retired_day(published.commit):
                self._commits.publish(retired_day(published.commit), published.version)
        self._repair.register_day(table, day)


def _needed_prefix(commit: Commit) -> str:
    """Return the prefix that a commit record publishes: the whole run, or only the ledger of a retired hour."""
    run = layout.build_prefix(commit)
    if isinstance(commit, HourCommit) and commit.retired_at is not None:
        return f"{run}{layout.HOUR_FOLDERS[HOUR_LEDGER.full_name]}"
    return run
