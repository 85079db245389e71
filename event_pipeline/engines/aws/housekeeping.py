"""Housekeeping of the lake bucket: finds what nobody needs by the shared rule, and removes it piece by piece.

Each removal can break off at any moment: a commit record is replaced before the catalog follows, and files go last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from datetime import UTC, datetime, timedelta

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.catalog import Entry, GlueCatalog
from event_pipeline.engines.aws.commits import CommitStore
from event_pipeline.engines.aws.repair import PartitionRepair
from event_pipeline.engines.aws.storage import Bucket, StoredObject
from event_pipeline.engines.base import Leftover, LeftoverKind
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.decisions import day_of, gold_table, partial_table
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
from event_pipeline.errors import TransientError
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings


class Housekeeper:
    """Finds and removes the leftovers of one lake."""

    def __init__(
        self,
        lake: Bucket,
        catalog: GlueCatalog,
        commits: CommitStore,
        repair: PartitionRepair,
        gold_tables: Sequence[GoldTable],
        settings: Settings,
    ) -> None:
        self._lake = lake
        self._catalog = catalog
        self._commits = commits
        self._repair = repair
        self._gold_tables = gold_tables
        self._settings = settings

    def leftovers(self, behind: Set[Hour], now: datetime) -> list[Leftover]:
        """List what may go; `behind` are the hours that Gold does not show yet."""
        return list(self._leftovers(behind, now))

    def _leftovers(self, behind: Set[Hour], now: datetime) -> Iterator[Leftover]:
        settings = self._settings
        hours = {commit.hour: commit for commit in self._commits.hours(None)}
        partials, days = list(self._commits.partials()), list(self._commits.days())
        tables = [table.full_name for table in HOUR_TABLES]
        for gold in self._gold_tables:
            tables += [partial_table(gold.name), gold_table(gold.name)]
        entries = {table: self._catalog.entries(table) for table in tables}
        silver = {Hour.of_hive_path(entry.partition): entry.run_id for entry in entries[SILVER_EVENTS.full_name]}
        yield from hours_to_retire(hours, silver, behind, settings.silver_retention_days, now)
        shown = {
            (gold.name, day_of(entry.partition)): entry.run_id
            for gold in self._gold_tables
            for entry in entries[gold_table(gold.name)]
        }
        known = {gold.name for gold in self._gold_tables}
        own_days = [commit for commit in days if commit.table in known]
        yield from days_to_retire(own_days, hours, shown, settings.gold_retention_days, now)
        commits: list[layout.Commit] = [*hours.values(), *partials, *days]
        needed = {_needed_prefix(commit) for commit in commits}
        # A partition may still show the run before: it is needed until it is repointed.
        needed |= {self._shown_prefix(entry) for table in tables for entry in entries[table]}
        listed = (StoredFile(each.key, each.size, each.modified) for each in self._lake.list(layout.RUNS))
        yield from old_builds(listed, needed, commits, now, timedelta(days=settings.run_grace_days))
        yield from self._decoded(now - PASSING_GRACE)

    def _decoded(self, until: datetime) -> Iterator[Leftover]:
        """List what is decoded of open hours and was not removed when they were built whole."""
        by_hour = defaultdict[str, list[StoredObject]](list)
        for each in self._lake.list(layout.DECODED):
            # decoded/<year>/<month>/<day>/<hour>/...
            by_hour["/".join(each.key.split("/")[:5])].append(each)
        for place, found in by_hour.items():
            if all(each.modified <= until for each in found):
                paths, size = tuple(each.key for each in found), sum(each.size for each in found)
                why = f"older than {PASSING_GRACE.total_seconds() / 3600:.0f} hours"
                yield Leftover(LeftoverKind.SCRATCH, place, paths, size, why)

    def _shown_prefix(self, entry: Entry) -> str:
        """Return what a partition keeps from being removed: the whole run, by the ledger's partition its file alone."""
        location = entry.location.removeprefix(self._lake.url(""))
        if entry.table == HOUR_LEDGER.full_name:
            return location
        return location.removesuffix(layout.HOUR_FOLDERS.get(entry.table, ""))

    def remove(self, leftover: Leftover) -> None:
        """Remove one leftover."""
        match leftover.kind:
            case LeftoverKind.RETIRED_HOUR:
                self._retire_hour(Hour.parse(leftover.place))
            case LeftoverKind.RETIRED_DAY:
                self._retire_day(leftover)
            case _:
                self._lake.delete(leftover.paths)

    def _retire_hour(self, hour: Hour) -> None:
        published = self._commits.hour(hour)
        if published.commit is not None and published.commit.retired_at is None:
            self._commits.publish(retired(published.commit, datetime.now(UTC)), published.etag)
        self._repair.register_hours([hour])

    def _retire_day(self, leftover: Leftover) -> None:
        table, day = day_of_leftover(leftover)
        published = self._commits.day(table, day)
        if published.commit is None:
            raise TransientError(f"{leftover.place}: its commit record vanished meanwhile: look again")
        commit = published.commit
        if not is_retired_day(commit):
            self._commits.publish(retired_day(commit), published.etag)
        self._repair.register_day(table, day)


def _needed_prefix(commit: layout.Commit) -> str:
    """Return the prefix that a commit record publishes: the whole run, of a retired hour the ledger alone."""
    run = layout.run_prefix(commit)
    if isinstance(commit, HourCommit) and commit.retired_at is not None:
        return f"{run}{layout.HOUR_FOLDERS[HOUR_LEDGER.full_name]}"
    return run
