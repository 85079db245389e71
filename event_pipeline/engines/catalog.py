"""The port to the catalog, which says what queries see: for each partition of a table, the build that it shows."""

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
"""A table as the pipeline names it (`silver.events`, `partials.<table>`, `gold.<table>`), and a partition of it."""


class Entry(Protocol):
    """What the catalog shows of one partition. It can always be written again from the commit record."""

    @property
    def table(self) -> str:
        """As the pipeline names it: `silver.events`, `partials.user_activity`."""

    @property
    def partition(self) -> str:
        """Hive path, for example `event_date=2025-12-07`."""

    @property
    def build_id(self) -> str:
        """The build that it shows; empty where the catalog lost it."""

    @property
    def made_from(self) -> str:
        """Silver: fingerprint of the input. Partial: build id of its Silver. Day: empty."""

    @property
    def version(self) -> str:
        """Rules version, or digest of the Gold SQL."""

    @property
    def days(self) -> Mapping[date, DayTotals]:
        """The event days that it holds rows of.

        Of landing hours one table's entry has them, with their control totals: the ledger's, or Silver's. Of partials
        the totals are zero.
        """

    @property
    def partials(self) -> Mapping[str, str]:
        """Of a Gold day: landing hour (Hive path) -> build id of the partial that was folded in."""


AnyEntry = TypeVar("AnyEntry", bound=Entry)


class Catalog(Protocol[AnyEntry]):
    """Reads and changes of one catalog; `AnyEntry` is its own kind of entry.

    A change of one partition is seen whole or not at all. Changes of several are one change where `changes_at_once` is
    1, and may be seen one after the other where it is more.
    """

    @property
    def changes_at_once(self) -> int:
        """How many landing hours, partials or days are worth changing in one call."""

    def ensure(self, table: Table) -> None:
        """Make a table that is missing.

        Raises:
            StorageError: one is there with other columns than are declared.
        """

    def ensure_gold(self, table: GoldTable) -> None:
        """Make the table of a Gold table's days, and that of its partials, where they are missing.

        Raises:
            StorageError: one is there with other columns than are declared.
            QueryError: the SQL of the partials cannot be run.
        """

    def entries_of(self, commit: Commit) -> list[AnyEntry]:
        """Return the entries that show a commit: none of a table in which it is not to be shown."""

    def differences(self, wanted: AnyEntry, present: AnyEntry) -> list[str]:
        """Say in words what an entry shows otherwise than it should; for entries that were read whole."""

    def get(self, table: str, partitions: Sequence[str]) -> dict[str, AnyEntry]:
        """Return the entries of some partitions whole, by Hive path; those that are not there are left out."""

    def entries(
        self, table: str, hours: HourRange | None = None, days: tuple[date, date] | None = None
    ) -> list[AnyEntry]:
        """Return the entries of a table in order; `hours` or `days` (both ends in) bound them."""

    def everything(self, tables: Sequence[str], hours: HourRange | None) -> dict[Partition, AnyEntry]:
        """Return whole all that it shows of some tables, and of whatever else only the pipeline can have written.

        A range bounds it to its hours and, for Gold, to its days.
        """

    def needed(self, entry: AnyEntry) -> list[str]:
        """Return what a whole entry keeps from being removed: keys of the lake, or prefixes that end with a slash."""

    def change(self, show: Iterable[AnyEntry], drop: Collection[Partition]) -> None:
        """Show entries, whatever was shown of their partitions, and forget others; what is gone already is no fault.

        Raises:
            StorageError: it cannot be changed; part of it may be.
            TransientError: it may work in a moment.
        """
