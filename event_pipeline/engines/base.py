"""What the assets, checks and commands ask of an engine, and the types that it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from event_pipeline.engines.commit import HourCommit
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


Progress = Callable[[str], None]
"""Takes one line of progress for a log or a person."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step used of services that bill by use, and about what that costs; estimates by the settings' prices."""

    usd: Decimal = Decimal(0)
    dpu_seconds: Decimal = Decimal(0)
    """Of Glue, as billed."""
    bytes_scanned: int = 0
    """By Athena, as reported; a query is billed for 10 MB at least."""
    queries: int = 0
    requests: int = 0
    """To S3, whatever their price."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step used for one landing hour."""

    hour: Hour
    step: str
    """`silver`, or a Gold table as `gold.<name>`."""
    build_id: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Estimate:
    """What building some landing hours would start, and about what it would cost."""

    builder: SilverBuilderKind
    hours: int
    objects: int
    raw_bytes: int
    glue_runs: int
    glue_minutes: Decimal
    """Of all runs one after the other."""
    queries: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class MessageFolder:
    """Where a job that works elsewhere and whoever follows it leave messages for each other."""

    s3_client: Any
    """boto3's."""
    bucket: str
    prefix: str
    """Ends with a slash; nothing else is below it."""
    delete: Callable[[], None]
    """Deletes all that is below it.

    Raises:
        PipelineError: it cannot be listed or deleted.
    """


@dataclass(frozen=True, slots=True)
class JobFollower:
    """Somebody who follows the jobs that an engine starts elsewhere; the engine knows nothing of Dagster."""

    arguments: Callable[[MessageFolder], Mapping[str, str]]
    """Called once before a job is started, and not for one that is found: further arguments, `--name` -> value."""
    started: Callable[[str, str], None]
    """Called with the id of the run that is waited for and the link to its logs."""


class SilverOutcome(StrEnum):
    """What building Silver of an hour did."""

    BUILT = "built"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class SilverBuild:
    """What building Silver of one hour did, and the commit record that stands now."""

    outcome: SilverOutcome
    reason: str
    """Why it was built or left, for people: `first build`, `input changed`, `rules changed`, `forced`, ..."""
    commit: HourCommit
    seconds: float
    cost: Cost | None = None
    """This hour's share of what the build used; None where nothing is billed."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else people want to see of the build, for example a link to the logs: name -> text or URL."""


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
    """What refreshing one Gold table for some landing hours did."""

    partial_rows: Mapping[Hour, int]
    """Landing hour -> rows of its partial."""
    unchanged_hours: tuple[Hour, ...]
    """Hours whose partial was already made from the published Silver by the same SQL."""
    day_rows: Mapping[date, int]
    """Event day that was folded -> rows now published."""
    unchanged_days: tuple[date, ...]
    """Days that the hours touch and that were already folded from the same partials."""
    failures: Mapping[Hour, PipelineError]
    """Hours that the table does not show, each with the reason: the partial, or the fold of a day, failed."""
    bytes_in: int
    bytes_out: int
    seconds: float
    cost: Cost | None = None
    """What the whole refresh used; None where nothing is billed."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows that the published files of one hour really hold, counted from the files."""

    silver_rows: int
    quarantined: int
    quarantined_by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a Gold day beside the same number from Silver's control totals."""

    day: date
    name: str
    gold: Any
    silver: Any


@dataclass(frozen=True, slots=True)
class RawNotices:
    """What a queue told about raw objects that landed; the objects themselves are listed all the same."""

    hours: frozenset[Hour]
    """Landing hours of the objects."""
    receipts: tuple[str, ...]
    """By which the messages are deleted once the hours are remembered elsewhere."""


class LeftoverKind(StrEnum):
    """What is left over, and so how it is removed."""

    RETIRED_HOUR = "hour past its retention"
    """Its Silver and quarantine are unregistered; the files follow after the grace period."""
    RETIRED_DAY = "Gold day past its retention"
    """It is unregistered; the file follows after the grace period."""
    REPLACED = "replaced build"
    """A newer build of the same hour, partial or day is published. A build that was abandoned before counts, too."""
    ABANDONED = "abandoned build"
    """It was never published: newer than what is published, or nothing is; or a file without rows beside it."""
    RETIRED_FILES = "files past their retention"
    SCRATCH = "scratch of a killed step"
    DRAFT = "draft of a killed step"
    LOCK = "lock that nobody holds"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that may be removed."""

    kind: LeftoverKind
    place: str
    """The landing hour, Gold day, run, folder or file that it is, for people."""
    paths: tuple[str, ...]
    """Files, in the order in which they are removed; relative to the engine's lake or data folder."""
    size: int
    """Bytes of the files."""
    why: str


@dataclass(frozen=True, slots=True)
class ResultStream:
    """The rows of a query as they come; nothing of them is kept."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    def read_all(self) -> pa.Table:
        """Gather what is left of the rows in memory."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches, self.schema)


class Engine(Protocol):
    """One place the pipeline runs on. Calls are idempotent and may run beside themselves."""

    @property
    def place(self) -> Place:
        """Say where the data is and what runs the assets; reads nothing."""

    def examine(self) -> Iterator[Finding]:
        """Look for damage of what this place alone has, and of what it publishes; changes nothing."""

    def costs(self, hours: HourRange) -> list[StepCost] | None:
        """Return what the steps of a range of landing hours used, as it was recorded; None where nothing is billed."""

    def estimate(self, hours: Sequence[Hour]) -> Estimate | None:
        """Return what building some hours would start and about cost; None where nothing is billed.

        Lists raw objects and starts nothing.
        """

    def with_builder(self, builder: SilverBuilderKind) -> Engine:
        """Return this engine with another builder of Silver than the settings name.

        Raises:
            NotBuildableError: this place builds Silver in one way only.
        """

    def followed_by(self, follower: JobFollower) -> Engine:
        """Return this engine with somebody who follows the jobs that it starts elsewhere."""

    def list_raw(self, hour: Hour) -> RawListing:
        """List the raw objects of an hour; reads no content. An hour without objects is an empty listing."""

    def list_raw_hours(self, hours: HourRange | None = None) -> dict[Hour, RawListing]:
        """List the hours that have raw objects, all of them or those of a range, in order."""

    def unmatched_raw_keys(self) -> list[UnmatchedKey]:
        """List every key under `events/` that is not read, and why, sorted."""

    def take_notices(self, done_with: Sequence[str]) -> RawNotices:
        """Delete the messages of these receipts, then take what the queue of new raw objects holds; none without one.

        Messages whose receipts never come back are told again after a while.
        """

    def open_raw(self, key: str) -> BinaryIO:
        """Open the stored bytes of one raw object.

        Raises:
            StorageError: there is no such object, or it cannot be opened.
        """

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> dict[str, str]:
        """Return key -> SHA-256 of the stored bytes of some raw objects of an hour, each of them read at most once.

        Objects that are not there as they are listed here, or cannot be read, are left out.
        """

    def hour_commit(self, hour: Hour) -> HourCommit | None:
        """Return the published build of an hour."""

    def hour_commits(
        self, hours: HourRange | None = None, damaged: dict[Hour, StorageError] | None = None
    ) -> dict[Hour, HourCommit]:
        """Return the published builds, all of them or those of a range, in order.

        Raises:
            StorageError: a record cannot be read; with `damaged` it is put there instead, and the others are returned.
        """

    def build_silver(
        self,
        hours: Sequence[Hour],
        *,
        force: bool = False,
        allow_lost_objects: bool = False,
        progress: Progress,
    ) -> Iterator[SilverBuild]:
        """Build and commit Silver, quarantine and ledger of each hour; leave what is already built as it is.

        An hour that fails keeps no other one back: all the others are yielded before anything is raised.

        Raises:
            LostObjectsError: the hour lost raw objects since its commit, and `allow_lost_objects` is False.
            BrokenLawError: records in and out do not add up.
            PipelineError: of one of the other kinds in `event_pipeline.errors`.
            HoursFailedError: of several hours some failed, for reasons as above.
        """

    def register_hours(self, hours: Sequence[Hour]) -> list[PartitionChange]:
        """Make the catalog show exactly the committed build of each hour, one change per table and hour.

        Raises:
            NotPublishedError: an hour has no commit record and no catalog entry either.
        """

    def registered_builds(self, hours: HourRange | None = None) -> dict[Hour, str]:
        """Return the build id that the catalog shows for each hour of `silver.events`, in order."""

    def repair(self, hours: HourRange | None = None) -> list[PartitionChange]:
        """Make the catalog agree with the commit records of a range, or of everything, Gold included."""

    def disagreements(self) -> list[PartitionChange]:
        """Return the entries that `repair` would change, Gold included; changes nothing."""

    def misshown(self, commits: Mapping[Hour, HourCommit]) -> set[Hour]:
        """Return the published hours whose files are gone, or that the catalog shows otherwise than committed."""

    def refresh_gold(
        self, table: GoldTable, hours: Sequence[Hour], *, force: bool = False, progress: Progress
    ) -> GoldRefresh:
        """Rebuild the partials of the hours where Silver or SQL changed, then fold every day they touch.

        Of several hours one that fails keeps no other one back: it is among the failures of what is returned.

        Raises:
            NotPublishedError: the only hour is not registered in the catalog.
            PipelineError: the only hour failed.
        """

    def hours_behind(self, table: GoldTable, hours: HourRange | None = None) -> list[Hour]:
        """Return the registered hours that a Gold table does not show yet: Silver or the SQL is newer."""

    def touched_days(self, table: GoldTable, hour: Hour) -> list[date]:
        """Return the event days of an hour, in order, as its commit records say: those that its checks look at."""

    def count_rows(self, commit: HourCommit) -> RowCounts:
        """Count the rows that the committed files really hold.

        Raises:
            StorageError: a committed file is missing or damaged.
        """

    def shown_rows(self, table: Table, hour: Hour) -> Iterator[pa.RecordBatch]:
        """Read the rows of an hour from the files that the catalog shows for it, in batches, in no promised order.

        No query engine has a part in it. An hour that the catalog does not show has no rows.

        Raises:
            StorageError: a file cannot be read, or has other columns than its table.
        """

    def partition_faults(self, hour: Hour) -> list[str]:
        """Say what keeps a query from seeing the committed build of an hour; empty when all is well."""

    def grain_faults(self, table: GoldTable, days: Sequence[date]) -> list[dict[str, Any]]:
        """Return the grain values that stand more than once in the published days (at most 20)."""

    def reconcile(self, table: GoldTable, days: Sequence[date]) -> list[Measure]:
        """Return the measures of the published days beside Silver's control totals, equal or not.

        The totals are those of exactly the Silver that a day was folded from. A day of which another run has moved
        some hours since has no measures: that run folds it again and compares it then.
        """

    def silver_totals(self, day: date) -> DayTotals:
        """Sum the control totals of one event day over all registered hours."""

    def leftovers(self, now: datetime) -> list[Leftover]:
        """List what nobody needs any more, and what is past its retention; changes nothing."""

    def remove(self, leftover: Leftover) -> None:
        """Remove one of them. What is gone already is no fault, so a removal that broke off is simply repeated.

        Raises:
            TransientError: another process works on it.
            StorageError: it cannot be removed.
        """

    def query(self, sql: str) -> pa.Table:
        """Run one read-only statement over the registered partitions and gather its rows in memory.

        Raises:
            QueryError: the statement cannot be run.
            LimitError: it needs more than the settings allow.
        """

    def query_stream(self, sql: str) -> AbstractContextManager[ResultStream]:
        """Run one read-only statement over the registered partitions; its rows come as they are found.

        All tables are read as the catalog showed them at one moment, as far as the catalog allows. Leaving the context
        ends the statement.

        Raises:
            QueryError: the statement cannot be run.
            LimitError: it needs more than the settings allow.
        """
