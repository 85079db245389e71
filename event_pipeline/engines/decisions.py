"""What every engine decides alike: why an hour is kept, built or refused, what repair does, when Gold is stale.

Everything is decided by comparing listings, commit records and catalog entries, whose run ids say what was made
from what. How a build is made and published is each engine's own affair.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from event_pipeline.engines.base import PartitionAction, PartitionChange, Progress
from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.state import HourState, lost_objects
from event_pipeline.errors import (
    BrokenLawError,
    ExhaustedError,
    FewerObjectsError,
    HoursFailedError,
    NotPublishedError,
    PipelineError,
    StorageError,
    TransientError,
    UnexpectedError,
)
from event_pipeline.rules.accounting import DayTotals, HourAccount, RawListing
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import Hour, HourRange

_BUILD_REASONS = {
    HourState.NO_RAW: "no raw objects: built as an empty hour",
    HourState.NEW: "first build",
    HourState.CHANGED: "input changed",
    HourState.SHRUNK: "told to build from fewer objects",
    HourState.OUTDATED: "rules changed",
    HourState.PROVISIONAL: "the hour is over: built whole",
    HourState.READY: "committed files were gone",
}

NOT_COMMITTED = "no commit record names it"
FILES_GONE = "its committed files are gone"
RETIRED = "past its retention"


PASSING_ERRNOS = frozenset((errno.EIO, errno.EAGAIN, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT))
"""Errors of the operating system that may be gone in a moment."""


# -- one hour must not keep the others back


def failure_of(error: Exception) -> PipelineError:
    """Return any error that was raised over one hour as an error of the pipeline, the original as its cause."""
    if isinstance(error, PipelineError):
        return error
    failure: PipelineError
    if isinstance(error, OSError):
        failure = TransientError(str(error)) if error.errno in PASSING_ERRNOS else StorageError(str(error))
    elif isinstance(error, MemoryError):
        failure = ExhaustedError(f"out of memory{f' ({error})' if str(error) else ''}: give the process more memory")
    else:
        failure = UnexpectedError(f"{type(error).__name__}: {error} (a fault of the program; its log has the details)")
    failure.__cause__ = error
    return failure


@contextmanager
def isolated(hours: Collection[Hour], hour: Hour, failures: dict[Hour, PipelineError]) -> Iterator[None]:
    """Note the fault of one of several hours, so that it keeps no other one back; raise it when it is the only one."""
    try:
        yield
    except Exception as error:
        if len(hours) == 1:
            raise
        failures[hour] = failure_of(error)


def raise_failures(failures: Mapping[Hour, PipelineError]) -> None:
    """Say at the end which of several hours failed.

    Raises:
        HoursFailedError: at least one did.
    """
    if failures:
        raise HoursFailedError(failures)


# -- names


def new_run_id() -> str:
    """Return a fresh name for one build: sorts by time, never repeats."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:12]}"


def commit_time(instant: datetime | None = None) -> datetime:
    """Return an instant, or else the present one, as commit records and the ledger keep it: UTC, whole milliseconds."""
    now = instant or datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def partial_table(table: str) -> str:
    """Name under which the partials of a Gold table are registered; queries do not see them."""
    return f"partials.{table}"


def gold_table(table: str) -> str:
    """Name under which the days of a Gold table are registered."""
    return f"gold.{table}"


def day_partition(day: date) -> str:
    """Hive path of an event day."""
    return f"event_date={day}"


def day_of(partition: str) -> date:
    """Event day of a Hive path."""
    return date.fromisoformat(partition.removeprefix("event_date="))


# -- Silver


def why_kept(listing: RawListing, state: HourState) -> str | None:
    """Say why a published hour whose files are all there is left as it is; None when it is to be built."""
    if state is HourState.READY:
        return "same input, same rules"
    if state is HourState.RETIRED:
        return "past its retention: Silver was removed on purpose"
    if state is HourState.SHRUNK and not listing.objects:
        return "its raw objects are gone, the published build stays"
    return None


def build_reason(state: HourState, force: bool) -> str:
    """Say for people why an hour is built."""
    return "forced" if force and state in (HourState.READY, HourState.RETIRED) else _BUILD_REASONS[state]


def fewer_objects(listing: RawListing, present: HourCommit) -> FewerObjectsError:
    """Return the refusal to build an hour from fewer raw objects than its published build."""
    lost, hour = lost_objects(listing, present), listing.hour
    return FewerObjectsError(
        f"{hour}: {len(lost)} raw objects of the published build are gone (first: {lost[0]}); a rebuild "
        "would lose their records, so the published build stays. Put them back, or rebuild without "
        f"them: event-pipeline run --from {hour} --to {hour.plus(1)} --allow-fewer-objects"
    )


def check_law(hour: Hour, account: HourAccount, silver_rows: int, quarantine_rows: int) -> None:
    """See that every record has one verdict, and that as many rows were written as were accounted for.

    Raises:
        BrokenLawError: records in and out do not add up.
    """
    broken = [each for each in account.objects if each.unaccounted]
    if broken or (silver_rows, quarantine_rows) != (account.silver_rows, account.quarantined):
        raise BrokenLawError(
            f"{hour}: {account.records:,} records, but {account.silver_rows:,} Silver rows + {account.quarantined:,} "
            f"quarantined + {account.duplicates:,} duplicates (written: {silver_rows:,} and {quarantine_rows:,}); "
            f"objects that do not add up: {[each.key for each in broken]}; nothing was published"
        )


# -- partition repair


def not_published(hour: Hour) -> NotPublishedError:
    """Return the refusal to register an hour that nobody has built."""
    return NotPublishedError(f"{hour}: no build is committed: materialize silver_events of the hour first")


def files_gone_message(hour: Hour, missing: Sequence[object]) -> str:
    """Say which committed files of an hour are gone and what heals it."""
    return (
        f"{hour}: {len(missing)} committed files are gone or cut short (first: {missing[0]}): "
        f"event-pipeline run --from {hour} --to {hour.plus(1)} builds the hour again from its raw objects"
    )


def compare_entry(
    table: str, partition: str, shown_run: str | None, committed_run: str, difference: str
) -> PartitionChange:
    """Say what has to happen to a catalog entry so that it shows the committed run, and all of it.

    `difference` names what else the entry shows otherwise than the commit record says; empty for nothing.
    """
    if shown_run is None:
        return PartitionChange(table, partition, PartitionAction.ADDED, "committed and missing")
    if shown_run != committed_run:
        reason = f"showed {shown_run}, committed is {committed_run}"
        return PartitionChange(table, partition, PartitionAction.REPOINTED, reason)
    if difference:
        return PartitionChange(table, partition, PartitionAction.REPOINTED, f"showed other {difference} than committed")
    return PartitionChange(table, partition, PartitionAction.UNCHANGED, "")


def window_of(day: date, limits: Limits) -> HourRange:
    """Return the landing hours whose Silver can hold rows of an event day."""
    # An hour accepts events from its start less max_age up to its end plus max_lead.
    start = Hour.parse(f"{day}T00")
    first = Hour.containing(start.start - limits.max_lead).plus(-1)
    last = Hour.containing(start.start + timedelta(days=1) + limits.max_age)
    return HourRange(first, last.plus(1))


# -- Gold


def unregistered_silver(table: str, hour: Hour) -> NotPublishedError:
    """Return the refusal to make Gold of an hour that queries do not see."""
    return NotPublishedError(
        f"{hour}: gold.{table} needs silver.events of this hour, which is not registered: "
        "materialize silver_events and silver_partitions of the hour first"
    )


def is_folded(commit: DayCommit | None, shown_run: str | None, partials: Mapping[str, str], sql_version: str) -> bool:
    """Tell whether the published and registered fold of a day was made from these partials by this SQL."""
    return (
        commit is not None
        and shown_run == commit.run_id
        and (commit.partials, commit.sql_version) == (partials, sql_version)
    )


def silver_totals_query(totals: DayTotals) -> str:
    """Return the SELECT of `silver_totals`, against which a Gold table's reconciliation holds a day: one row."""
    values = {name: getattr(totals, name) for name in totals.__slots__}
    columns = (
        f"CAST('{value}' AS {'DECIMAL(38, 2)' if isinstance(value, Decimal) else 'BIGINT'}) AS {name}"
        for name, value in values.items()
    )
    return f"SELECT {', '.join(columns)}"


@dataclass(frozen=True, slots=True)
class ShownPartial:
    """The partial of one landing hour, as the catalog shows it, seen from one event day."""

    run_id: str
    silver_run_id: str
    has_rows: bool
    """Whether it has rows of the day."""


def folded_totals(
    folded: Mapping[str, str], partials: Mapping[str, ShownPartial], silver: Mapping[str, tuple[str, DayTotals]]
) -> DayTotals | None:
    """Sum the control totals of exactly the Silver that a published day was folded from.

    Args:
        folded: landing hour (Hive path) -> run id of the partial in the day.
        partials: landing hour -> the partial that is shown now.
        silver: landing hour -> run id and control totals of that day of the Silver that is shown now.

    Returns:
        None when another run has put newer Silver or partials in their place since: totals of what is gone are not
        kept, and the run that moved them folds the day again and compares it then.
    """
    totals = DayTotals()
    for hour in sorted({*folded, *silver}):
        partial, shown = partials.get(hour), silver.get(hour)
        if hour not in folded and partial is None:
            continue  # shown by another run, which has not come to this table yet
        if partial is None or shown is None or shown[0] != partial.silver_run_id:
            return None
        if folded.get(hour) != (partial.run_id if hour in folded or partial.has_rows else None):
            return None
        totals += shown[1]
    return totals


def committed_days(silver: HourCommit | None, partial: PartialCommit | None) -> list[date]:
    """Return the event days of an hour's published Silver, and of a Gold table's partial of it, in order."""
    days = {*(silver.account.days if silver else ()), *(partial.days if partial else ())}
    return sorted(date.fromisoformat(day) for day in days)


class GoldSteps(Protocol):
    """The steps of one engine that refresh one Gold table; rows are None where nothing had to be done."""

    def is_retired(self, hour: Hour) -> bool:
        """Tell whether an hour is past its retention: its partial stays as it is."""

    def touched_days(self, hour: Hour) -> list[date]:
        """Return the event days that an hour's partial contributes to, or was folded into before."""

    def partial_days(self, hour: Hour) -> list[date]:
        """Return the event days for which an hour's partial has rows."""

    def make_partials(self, hours: Sequence[Hour], force: bool) -> Iterator[tuple[Hour, int | None | Exception]]:
        """Publish and register the partial of each hour whose Silver or SQL is newer; yield a failed one's fault."""

    def fold_days(self, days: Sequence[date], force: bool) -> Iterator[tuple[date, int | None | Exception]]:
        """Publish and register each event day whose partials are others than were folded; or its fault."""


@dataclass(slots=True)
class Refreshed:
    """What `refresh` did, as `GoldRefresh` has it."""

    partial_rows: dict[Hour, int] = field(default_factory=dict)
    unchanged_hours: list[Hour] = field(default_factory=list)
    day_rows: dict[date, int] = field(default_factory=dict)
    unchanged_days: list[date] = field(default_factory=list)
    failures: dict[Hour, PipelineError] = field(default_factory=dict)


def attempt(work: Callable[[], int | None]) -> int | None | Exception:
    """Return what a piece of work returned, or the fault that it raised: others go on meanwhile."""
    try:
        return work()
    except Exception as error:
        return error


def refresh(name: str, steps: GoldSteps, hours: Sequence[Hour], force: bool, progress: Progress) -> Refreshed:
    """Make the partials of the hours, then fold every day they touch now or touched before.

    An hour whose partial cannot be made, and the hours of a day that cannot be folded, keep no other ones back.
    """
    done = Refreshed()
    days_of: dict[Hour, set[date]] = {}
    for hour in hours:
        with isolated(hours, hour, done.failures):
            # Without its Silver the partial of an hour cannot be made, and a day that is retired as well must stay so.
            if steps.is_retired(hour):
                done.unchanged_hours.append(hour)
            else:
                days_of[hour] = set(steps.touched_days(hour))
    for hour, rows in steps.make_partials(list(days_of), force):
        with isolated(hours, hour, done.failures):
            if isinstance(rows, Exception):
                raise rows
            days_of[hour].update(steps.partial_days(hour))
        if hour in done.failures:
            # Its old partial is what the catalog shows: the days are folded from that, and only if others touch them.
            del days_of[hour]
            progress(f"{name}: no partial of {hour}: {done.failures[hour]}")
        elif rows is None:
            done.unchanged_hours.append(hour)
        elif isinstance(rows, int):
            done.partial_rows[hour] = rows
            progress(f"{name}: partial of {hour}: {rows:,} rows")
    for day, rows in steps.fold_days(sorted(set().union(*days_of.values())), force):
        if isinstance(rows, Exception):
            if len(hours) == 1:
                raise rows
            fault = failure_of(rows)
            done.failures |= {hour: fault for hour, days in days_of.items() if day in days}
            progress(f"{name}: {day} was not folded: {fault}")
        elif rows is None:
            done.unchanged_days.append(day)
        else:
            done.day_rows[day] = rows
            progress(f"{name}: {day} folded: {rows:,} rows")
    return done
