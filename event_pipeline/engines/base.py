"""The engine protocol that assets, checks and commands use, and the types of its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from event_pipeline.engines.commit import HourCommit, PartialCommit
from event_pipeline.engines.finding import Finding
from event_pipeline.engines.place import Place
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline.rules.accounting import DayTotals, RawListing, RawObject, UnmatchedKey
from event_pipeline.rules.contract import Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import SilverBuilderKind

if TYPE_CHECKING:
    import pyarrow as pa

    from event_pipeline.engines.eraser import Eraser
    from event_pipeline.rules.erasure import Erasures


Progress = Callable[[str], None]
"""Called with one line of progress for a log or a terminal."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Usage of services that bill by use, and its estimated cost at the prices in the settings."""

    usd: Decimal = Decimal(0)
    dpu_seconds: Decimal = Decimal(0)
    """Glue usage as billed."""
    bytes_scanned: int = 0
    """Bytes scanned by Athena, as reported; a query is billed for at least 10 MB."""
    queries: int = 0
    requests: int = 0
    """Requests to S3 of any kind."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class StepCost:
    """The cost of one step for one landing hour."""

    hour: Hour
    step: str
    """`silver`, or a Gold table as `gold.<name>`."""
    build_id: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Estimate:
    """What building some landing hours would start, and its estimated cost."""

    builder: SilverBuilderKind
    hours: int
    objects: int
    raw_bytes: int
    glue_runs: int
    glue_minutes: Decimal
    """Total of all runs, one after the other."""
    queries: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class MessageFolder:
    """Folder in which an external job and its follower exchange messages."""

    s3_client: Any
    """boto3 client."""
    bucket: str
    prefix: str
    """Ends with a slash; nothing else is under it."""
    delete: Callable[[], None]
    """Deletes everything under the prefix.

    Raises:
        PipelineError: the folder cannot be listed or deleted.
    """


@dataclass(frozen=True, slots=True)
class JobFollower:
    """Follows the external jobs that an engine starts, so that the engine does not depend on Dagster."""

    arguments: Callable[[MessageFolder], Mapping[str, str]]
    """Called once before a job is started, but not for one that exists: further arguments, `--name` -> value."""
    started: Callable[[str, str], None]
    """Called with the id of the awaited run and the link to its logs."""


class SilverOutcome(StrEnum):
    """The outcome of building Silver of an hour."""

    BUILT = "built"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class SilverBuild:
    """The result of building Silver of one hour, with its current commit record."""

    outcome: SilverOutcome
    reason: str
    """Why it was built or skipped, as readable text: `first build`, `input changed`, `rules changed`, `forced`, ..."""
    commit: HourCommit
    seconds: float
    cost: Cost | None = None
    """This hour's share of what the build used; None where nothing is billed."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Further details of the build, for example a link to the logs: name -> text or URL."""


class PartitionAction(StrEnum):
    """What partition repair did to one catalog entry."""

    ADDED = "added"
    REPOINTED = "repointed"
    DROPPED = "dropped"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class PartitionChange:
    """One catalog entry after partition repair."""

    table: str
    partition: str
    """Hive path of the partition, for example `year=2025/month=12/day=07/hour=22`."""
    action: PartitionAction
    reason: str


@dataclass(frozen=True, slots=True)
class GoldRefresh:
    """The result of refreshing one Gold table for some landing hours."""

    partial_rows: Mapping[Hour, int]
    """Landing hour -> rows of its partial."""
    unchanged_hours: tuple[Hour, ...]
    """Hours whose partial was already built from the published Silver with the same SQL."""
    day_rows: Mapping[date, int]
    """Folded event day -> rows now published."""
    unchanged_days: tuple[date, ...]
    """Days that the hours touch but that were already folded from the same partials."""
    failures: Mapping[Hour, PipelineError]
    """Hours that the table does not show -> why: the partial or the fold of a day failed."""
    bytes_in: int
    bytes_out: int
    seconds: float
    cost: Cost | None = None
    """Cost of the whole refresh; None where nothing is billed."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows in the published files of one hour, counted from the files."""

    silver_rows: int
    quarantined: int
    quarantined_by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a Gold day and the same number from Silver's control totals."""

    day: date
    name: str
    gold: Any
    silver: Any


@dataclass(frozen=True, slots=True)
class RawNotices:
    """Notices from a queue about raw objects that landed; the objects themselves are still listed."""

    hours: frozenset[Hour]
    """Landing hours of the objects."""
    receipts: tuple[str, ...]
    """With these the messages are deleted once the hours are stored elsewhere."""


class LeftoverKind(StrEnum):
    """The kinds of leftovers, which determine how they are removed."""

    RETIRED_HOUR = "hour past its retention"
    """Removal unregisters its Silver and quarantine; the files follow after the grace period."""
    RETIRED_DAY = "Gold day past its retention"
    """Removal unregisters it; the file follows after the grace period."""
    REPLACED = "replaced build"
    """A newer build of the same hour, partial or day is published. Includes builds that were abandoned before it."""
    ABANDONED = "abandoned build"
    """A build that was never published: newer than the published one, if any; or a stray file without rows."""
    RETIRED_FILES = "files past their retention"
    SCRATCH = "scratch of a killed step"
    DRAFT = "draft of a killed step"
    LOCK = "unused lock"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One item that may be removed."""

    kind: LeftoverKind
    place: str
    """Readable name of the landing hour, Gold day, run, folder or file."""
    paths: tuple[str, ...]
    """Files in order of removal, relative to the engine's lake or data folder."""
    size: int
    """Bytes of the files."""
    why: str


PROSE = b"prose"
"""Key in a column's metadata: sentences, which a table may wrap."""


@dataclass(frozen=True, slots=True)
class ResultStream:
    """The streamed rows of a query; they are not kept."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    bytes_read: Callable[[], int] | None = None
    """Bytes of data files that were read for it so far; None if no engine was asked."""
    usd: Decimal | None = None
    """What the statement is billed; None if nobody bills it."""

    def read_all(self) -> pa.Table:
        """Read the remaining rows into memory."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches, self.schema)


@dataclass(frozen=True, slots=True)
class DayRange:
    """Published event days of a Gold table within a range, and the landing hours that they were folded from."""

    days: tuple[date, ...]
    """In order."""
    hours: tuple[Hour, ...]
    """In order."""


@dataclass(frozen=True, slots=True)
class RangeAnswer:
    """The answer for one range of event days."""

    range: DayRange
    rows: ResultStream
    """The table's columns after event_date, in the order of its fold."""


class Engine(Protocol):
    """One place where the pipeline runs. Calls are idempotent and safe to run concurrently."""

    @property
    def place(self) -> Place:
        """Return where the data is and what runs the assets, without reading anything."""

    def examine(self) -> Iterator[Finding]:
        """Look for damage in published data and in what is specific to this place; changes nothing."""

    def costs(self, hours: HourRange) -> list[StepCost] | None:
        """Return the recorded costs of the steps of a range of landing hours; None where nothing is billed."""

    def estimate(self, hours: Sequence[Hour]) -> Estimate | None:
        """Return what building some hours would start, and its estimated cost; None where nothing is billed.

        Lists raw objects and starts nothing.
        """

    def with_builder(self, builder: SilverBuilderKind) -> Engine:
        """Return this engine with a builder of Silver other than the one in the settings.

        Raises:
            NotBuildableError: this place has only one builder.
        """

    def followed_by(self, follower: JobFollower) -> Engine:
        """Return this engine with a follower of the external jobs that it starts."""

    def list_raw(self, hour: Hour) -> RawListing:
        """List the raw objects of an hour without reading content. An hour without objects has an empty listing."""

    def list_raw_hours(self, hours: HourRange | None = None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects, all of them or those of a range, in order."""

    def unmatched_raw_keys(self) -> list[UnmatchedKey]:
        """List every key under `events/` that is not read, and why, sorted."""

    def take_notices(self, done_with: Sequence[str]) -> RawNotices:
        """Delete the messages of these receipts, then receive from the queue of new raw objects, if there is one.

        Messages whose receipts are never passed back are redelivered after some time.
        """

    def open_raw(self, key: str) -> BinaryIO:
        """Open the stored bytes of one raw object.

        Raises:
            StorageError: there is no such object, or it cannot be opened.
        """

    def raw_opener(self) -> Callable[[str], BinaryIO]:
        """Return a function that does what `open_raw` does; picklable, for the process that reads."""

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return key -> SHA-256 of the stored bytes of raw objects of an hour, reading each at most once.

        Objects that differ from the given listing or cannot be read are left out.
        """

    def hour_commit(self, hour: Hour) -> HourCommit | None:
        """Return the published build of an hour."""

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        """Return the published builds, all of them or those of a range, in order.

        Raises:
            StorageError: a record cannot be read; with `damaged` the error is added there and the others are returned.
        """

    def build_silver(
        self,
        hours: Sequence[Hour],
        *,
        force: bool = False,
        allow_lost_objects: bool = False,
        progress: Progress,
    ) -> Iterator[SilverBuild]:
        """Build and commit Silver, quarantine and ledger of each hour; skip hours that are already built.

        A failed hour does not block the others: all of them are yielded before anything is raised.

        Raises:
            LostObjectsError: the hour lost raw objects since its commit, and `allow_lost_objects` is False.
            BrokenLawError: records in and out do not add up.
            PipelineError: any other kind in `event_pipeline.errors`.
            HoursFailedError: some of several hours failed, for the reasons above.
        """

    def erasures(self) -> Erasures:
        """Return the people whose records are left out of every build.

        Raises:
            StorageError: the list is damaged.
        """

    def eraser(self) -> Eraser:
        """Return what takes people out of the lake."""

    def partials_of(self, hours: HourRange | None) -> list[PartialCommit]:
        """Return the published partials of landing hours, all of them or those of a range."""

    def fold_again(self, table: GoldTable, days: Sequence[date], progress: Progress) -> None:
        """Fold published event days of a Gold table whose partials have changed; days past their retention stay.

        Raises:
            PipelineError: a day cannot be folded.
        """

    def replaced_builds(self, hours: Sequence[Hour], now: datetime, holds: Callable[[str], bool]) -> list[Leftover]:
        """List, whatever their age, the replaced builds of which a file `holds` what must go.

        Of these landing hours and the Gold days that they may touch, and of hours past their retention; changes
        nothing. What holds nothing keeps its grace period: it may be a build that another process publishes next.
        """

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Make the catalog show exactly the committed build of each hour, one change per table and hour.

        Raises:
            NotPublishedError: an hour has neither a commit record nor a catalog entry.
        """

    def registered_builds(self, hours: HourRange | None = None) -> dict[Hour, str]:
        """Return the build id that the catalog shows for each hour of `silver.events`, in order."""

    def repair(self, hours: HourRange | None = None) -> list[PartitionChange]:
        """Make the catalog match the commit records of a range, or of everything, including Gold."""

    def disagreements(self) -> list[PartitionChange]:
        """Return the entries that `repair` would change, including Gold; changes nothing."""

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the published hours whose files are gone, or that the catalog does not show as committed."""

    def refresh_gold(
        self, table: GoldTable, hours: Sequence[Hour], *, force: bool = False, progress: Progress
    ) -> GoldRefresh:
        """Rebuild the partials of the hours whose Silver or SQL changed, then fold every day they touch.

        One failure among several hours does not block the others; it is in the result's `failures`.

        Raises:
            NotPublishedError: the only hour is not registered in the catalog.
            PipelineError: the only hour failed.
        """

    def hours_behind(self, table: GoldTable, hours: HourRange | None = None) -> list[Hour]:
        """Return the registered hours that a Gold table does not show yet: Silver or the SQL is newer."""

    def touched_days(self, table: GoldTable, hour: Hour) -> list[date]:
        """Return the event days of an hour in order, from its commit records; its checks cover these days."""

    def folded_hours(self, table: GoldTable, day: date) -> tuple[Hour, ...]:
        """Return the landing hours that a published day was folded from, in order; none if it is not published."""

    def count_rows(self, commit: HourCommit) -> RowCounts:
        """Count the rows in the committed files.

        Raises:
            StorageError: a committed file is missing or damaged.
        """

    def shown_rows(self, table: Table, hour: Hour) -> Iterator[pa.RecordBatch]:
        """Read the rows of an hour from its files in the catalog, in batches, in no particular order.

        No query engine is involved. An hour that is not in the catalog has no rows.

        Raises:
            StorageError: a file cannot be read, or its columns differ from its table's.
        """

    def partition_faults(self, hour: Hour) -> list[str]:
        """Return what keeps queries from seeing the committed build of an hour; empty if nothing does."""

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return the grain values that occur more than once in the published days (at most 20)."""

    def reconcile(self, table: GoldTable, days: Sequence[date]) -> list[Measure]:
        """Return the measures of the published days with Silver's control totals, equal or not.

        The totals are those of exactly the Silver from which a day was folded. A day has no measures if another run has
        rebuilt some of its hours since: that run will fold it again and compare it.
        """

    def silver_totals(self, day: date) -> DayTotals:
        """Sum the control totals of one event day over all registered hours."""

    def leftovers(self, now: datetime) -> list[Leftover]:
        """List what is no longer needed or past its retention; changes nothing."""

    def remove(self, leftover: Leftover) -> None:
        """Remove a leftover. Idempotent: parts that are already gone are not an error.

        Raises:
            TransientError: another process works on it.
            StorageError: it cannot be removed.
        """

    def answer(
        self, table: GoldTable, first: date, last: date, landed: HourRange | None = None
    ) -> AbstractContextManager[RangeAnswer]:
        """Fold the published event days of a range, both ends inclusive, into one answer; nothing is written.

        The table's own fold reads the partials of all days, so distinct counts and ranks are those of the whole range.
        `landed` leaves out what landed in other hours. Leaving the context ends the statement.

        Raises:
            StorageError: a partial of a published day is not in the catalog, or a file cannot be read.
            QueryError: the SQL fails.
            LimitError: it needs more than the settings allow to a query.
            TransientError: a retry may succeed.
        """

    def query(self, sql: str) -> pa.Table:
        """Run one read-only statement over the registered partitions and return its rows in memory.

        Raises:
            QueryError: the statement cannot be run.
            LimitError: it needs more than the settings allow.
        """

    def query_stream(self, sql: str) -> AbstractContextManager[ResultStream]:
        """Run one read-only statement over the registered partitions and stream its rows.

        All tables are read from one snapshot of the catalog, as far as the catalog allows. Leaving the context ends the
        statement.

        Raises:
            QueryError: the statement cannot be run.
            LimitError: it needs more than the settings allow.
        """
