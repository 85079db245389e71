"""A catalog whose entries are in a dictionary: the least that a new catalog has to bring."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date

from event_pipeline.engines.catalog import Partition
from event_pipeline.engines.commit import Commit, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.names import day_partition, gold_table, partial_table
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_LEDGER, Table
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import GoldTable


@dataclass(frozen=True)
class MemoryEntry:
    """What a dictionary holds of one partition; `engines.catalog.Entry`."""

    table: str
    partition: str
    build_id: str
    made_from: str
    version: str
    days: Mapping[date, DayTotals]
    partials: Mapping[str, str]
    files: tuple[str, ...]


class MemoryCatalog:
    """Entries in a dictionary; `engines.catalog.Catalog`."""

    changes_at_once = 1

    def __init__(self) -> None:
        self._entries: dict[Partition, MemoryEntry] = {}

    def ensure(self, table: Table) -> None: ...

    def ensure_gold(self, table: GoldTable) -> None: ...

    def entries_of(self, commit: Commit) -> list[MemoryEntry]:
        match commit:
            case HourCommit(hour=hour):
                days = {date.fromisoformat(day): totals for day, totals in commit.account.days.items()}
                made = (commit.build_id, commit.fingerprint, commit.rules_version)
                return [
                    MemoryEntry(
                        table.full_name,
                        hour.hive_path,
                        *made,
                        days if table is HOUR_LEDGER else {},
                        {},
                        tuple(file.path for file in commit.files_of(table.full_name)),
                    )
                    for table in shown_tables(commit)
                ]
            case PartialCommit():
                table, partition = partial_table(commit.table), commit.hour.hive_path
                made_from = commit.silver_build_id
                days = {date.fromisoformat(day): DayTotals() for day in commit.days_with_rows}
            case DayCommit():
                table, partition, made_from, days = gold_table(commit.table), day_partition(commit.day), "", {}
        partials = commit.partials if isinstance(commit, DayCommit) else {}
        files = tuple(file.path for file in commit.files)
        return [MemoryEntry(table, partition, commit.build_id, made_from, commit.sql_version, days, partials, files)]

    def differences(self, wanted: MemoryEntry, present: MemoryEntry) -> list[str]:
        return [each.name for each in fields(wanted) if getattr(wanted, each.name) != getattr(present, each.name)]

    def get(self, table: str, partitions: Sequence[str]) -> dict[str, MemoryEntry]:
        return {each: self._entries[table, each] for each in partitions if (table, each) in self._entries}

    def entries(
        self, table: str, hours: HourRange | None = None, days: tuple[date, date] | None = None
    ) -> list[MemoryEntry]:
        first, last = "", "~"
        if hours or days:
            first, last = (
                (hours.first.hive_path, hours.last.hive_path) if hours else [day_partition(day) for day in days or ()]
            )
        found = [entry for (name, path), entry in self._entries.items() if name == table and first <= path <= last]
        return sorted(found, key=lambda entry: entry.partition)

    def everything(self, tables: Sequence[str], hours: HourRange | None) -> dict[Partition, MemoryEntry]:
        days = (hours.days[0], hours.days[-1]) if hours else None
        return {
            (table, entry.partition): entry
            for table in tables
            for entry in (self.entries(table, days=days) if table.startswith("gold.") else self.entries(table, hours))
        }

    def needed(self, entry: MemoryEntry) -> list[str]:
        return list(entry.files)

    def change(self, show: Iterable[MemoryEntry], drop: Collection[Partition]) -> None:
        for partition in drop:
            self._entries.pop(partition, None)
        self._entries |= {(entry.table, entry.partition): entry for entry in show}
