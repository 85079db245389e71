"""The port to the catalog, which defines what queries see: the build behind each partition of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Protocol, TypeVar

from event_pipeline.engines.commit import Commit
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import Table
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import GoldTable

Partition = tuple[str, str]
"""A table by its pipeline name (`silver.events`, `partials.<table>`, `gold.<table>`), and one of its partitions."""


class Entry(Protocol):
    """The catalog's entry for one partition. It can always be recreated from the commit record."""

    @property
    def table(self) -> str:
        """The pipeline's name of the table: `silver.events`, `partials.user_activity`."""

    @property
    def partition(self) -> str:
        """The Hive path, for example `event_date=2025-12-07`."""

    @property
    def build_id(self) -> str:
        """The build that it shows; empty if the catalog lost it."""

    @property
    def made_from(self) -> str:
        """Silver: fingerprint of the input. Partial: build id of its Silver. Day: empty."""

    @property
    def version(self) -> str:
        """Rules version, or digest of the Gold SQL."""

    @property
    def days(self) -> Mapping[date, DayTotals]:
        """The event days that it has rows for.

        For a landing hour the entry of one table (the ledger or Silver) has them, with control totals. For partials the
        totals are zero.
        """

    @property
    def partials(self) -> Mapping[str, str]:
        """For a Gold day: landing hour (Hive path) -> build id of the partial that was folded in."""


AnyEntry = TypeVar("AnyEntry", bound=Entry)


class Catalog(Protocol[AnyEntry]):
    """Reads and writes one catalog; `AnyEntry` is its type of entry.

    A change of one partition is atomic. Changes of several are one atomic change if `changes_at_once` is 1, and may
    become visible one after the other if it is more.
    """

    @property
    def changes_at_once(self) -> int:
        """Number of landing hours, partials or days worth changing in one call."""

    def ensure(self, table: Table) -> None:
        """Create a table if it is missing.

        Raises:
            StorageError: one is there with other columns than are declared.
        """

    def ensure_gold(self, table: GoldTable) -> None:
        """Create the tables of a Gold table's days and partials if they are missing.

        Raises:
            StorageError: one is there with other columns than are declared.
            QueryError: the SQL of the partials fails.
        """

    def entries_of(self, commit: Commit) -> list[AnyEntry]:
        """Return the entries that show a commit, only for tables in which it is to be shown."""

    def differences(self, wanted: AnyEntry, present: AnyEntry) -> list[str]:
        """Return in words how an entry differs from what it should show; for entries that were read completely."""

    def get(self, table: str, partitions: Sequence[str]) -> dict[str, AnyEntry]:
        """Return the complete entries of some partitions by Hive path; missing ones are left out."""

    def entries(
        self, table: str, hours: HourRange | None = None, days: tuple[date, date] | None = None
    ) -> list[AnyEntry]:
        """Return the entries of a table in order, within `hours` or `days` (both ends inclusive)."""

    def everything(self, tables: Sequence[str], hours: HourRange | None) -> dict[Partition, AnyEntry]:
        """Return the complete entries of some tables, and of any other table that only the pipeline can have written.

        A range restricts them to its hours and, for Gold, to its days.
        """

    def needed(self, entry: AnyEntry) -> list[str]:
        """Return what a complete entry protects from removal: keys in the lake, or prefixes that end with a slash."""

    def change(self, show: Iterable[AnyEntry], drop: Collection[Partition]) -> None:
        """Set entries, replacing existing ones of their partitions, and drop others; missing ones are not an error.

        Raises:
            StorageError: the catalog cannot be changed; part of the change may have been made.
            TransientError: a retry may succeed.
        """
