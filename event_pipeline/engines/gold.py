"""Refreshes one Gold table: the partial of each landing hour, then the fold of every event day it touches.

A partial is rebuilt if its Silver or the SQL changed; a day is folded again if the set of partials with rows of it
changed. Both are compared by build id, so a refresh that was killed at any point is completed by the next one. Lineage
is read from the commit records alone, because the catalog may be damaged.

Each build has its own prefix, is published by compare and swap of its commit record, and only then registered. A fold
reads the day's record before it reads the list of partials; if another process has published the day in the meantime,
it folds again from the current partials. So two hours that fold one day cannot overwrite each other. If the lake has
locks, they wait for each other instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Generic, TypeVar

from event_pipeline.engines import layout
from event_pipeline.engines.base import DayRange, GoldRefresh, Progress
from event_pipeline.engines.catalog import AnyEntry, Catalog
from event_pipeline.engines.commit import Commit, DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.commits import CommitStore, Published
from event_pipeline.engines.isolation import attempt, failure_of, isolated
from event_pipeline.engines.layout import day_lock, partial_lock
from event_pipeline.engines.names import (
    commit_time,
    day_of_partition,
    day_partition,
    gold_table,
    hour_of_partition,
    new_build_id,
    partial_table,
)
from event_pipeline.engines.sql import Sql
from event_pipeline.engines.store import Store
from event_pipeline.errors import NotPublishedError, OvertakenError, PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS, Limits
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable

_MOST_FOLDS = 10
"""Attempts at one day while other processes fold it as well."""
_SECONDS_BETWEEN_FOLDS = 0.2
_READERS = 16

_Kind = TypeVar("_Kind", HourCommit, PartialCommit, DayCommit)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def window_of(day: date, limits: Limits) -> HourRange:
    """Return the landing hours whose Silver can hold rows of an event day."""
    # An hour accepts events from its start minus max_age to its end plus max_lead.
    start = Hour.parse(f"{day}T00")
    first = Hour.containing(start.start - limits.max_lead).plus(-1)
    last = Hour.containing(start.start + timedelta(days=1) + limits.max_age)
    return HourRange(first, last.plus(1))


def unregistered_silver(table: str, hour: Hour) -> NotPublishedError:
    """Return the error that refuses to build Gold from an unregistered hour."""
    return NotPublishedError(
        f"{hour}: gold.{table} needs silver.events of this hour, which is not registered: "
        "materialize silver_events and silver_partitions of the hour first"
    )


def is_folded(commit: DayCommit, partials: Mapping[str, str], sql_version: str) -> bool:
    """Return whether the published fold of a day was made from these partials with this SQL."""
    return (commit.partials, commit.sql_version) == (partials, sql_version)


@dataclass(frozen=True, slots=True)
class ShownPartial:
    """The partial of one landing hour, as registered, with regard to one event day."""

    build_id: str
    silver_build_id: str
    has_rows: bool
    """Whether it has rows of the day."""


def folded_totals(
    folded: Mapping[str, str], partials: Mapping[str, ShownPartial], silver: Mapping[str, tuple[str, DayTotals]]
) -> DayTotals | None:
    """Sum the control totals of exactly the Silver from which a published day was folded.

    Args:
        folded: landing hour (Hive path) -> build id of the partial in the day.
        partials: landing hour -> the partial that is registered now.
        silver: landing hour -> build id and that day's control totals of the Silver that is registered now.

    Returns:
        None if another run has replaced Silver or partials since: totals of replaced builds are not kept, and that run
        will fold the day again and compare it.
    """
    totals = DayTotals()
    for hour in sorted({*folded, *silver}):
        partial, shown = partials.get(hour), silver.get(hour)
        if hour not in folded and partial is None:
            continue  # registered by another run, which has not reached this table yet
        if partial is None or shown is None or shown[0] != partial.silver_build_id:
            return None
        if folded.get(hour) != (partial.build_id if hour in folded or partial.has_rows else None):
            return None
        totals += shown[1]
    return totals


def committed_days(silver: HourCommit | None, partial: PartialCommit | None) -> list[date]:
    """Return the event days of an hour's published Silver and of its partial for a Gold table, in order."""
    days = {*(silver.account.days if silver else ()), *(partial.days if partial else ())}
    return sorted(date.fromisoformat(day) for day in days)


@dataclass(slots=True)
class _Refreshed:
    """The result of a refresh, with the fields of `GoldRefresh`."""

    partial_rows: dict[Hour, int] = field(default_factory=dict)
    unchanged_hours: list[Hour] = field(default_factory=list)
    day_rows: dict[date, int] = field(default_factory=dict)
    unchanged_days: list[date] = field(default_factory=list)
    failures: dict[Hour, PipelineError] = field(default_factory=dict)


class GoldRefresher(Generic[AnyEntry]):
    """Builds partials and folds of one Gold table."""

    def __init__(
        self,
        table: GoldTable,
        limits: Limits,
        lake: Store,
        catalog: Catalog[AnyEntry],
        commits: CommitStore,
        sql: Sql,
    ) -> None:
        self._table = table
        self._limits = limits
        self._lake = lake
        self._catalog = catalog
        self._commits = commits
        self._sql = sql
        self._bytes_out = 0
        self._hours: Sequence[Hour] = ()
        self._read_partials: dict[Hour, Published[PartialCommit]] = {}

    def refresh(self, hours: Sequence[Hour], force: bool, progress: Progress) -> GoldRefresh:
        """Bring the table up to date with the registered Silver of some hours.

        Raises:
            NotPublishedError: the only hour is not registered in the catalog; with several hours it is in the failures.
        """
        started = time.monotonic()
        self._hours = hours
        self._catalog.ensure(SILVER_EVENTS)
        self._catalog.ensure_gold(self._table)
        done = self._refresh(hours, force, progress)
        return GoldRefresh(
            done.partial_rows,
            tuple(done.unchanged_hours),
            done.day_rows,
            tuple(done.unchanged_days),
            done.failures,
            self._sql.bytes_in,
            self._bytes_out,
            time.monotonic() - started,
        )

    def fold(self, days: Sequence[date], progress: Progress) -> None:
        """Fold days whose partials were replaced; those that are up to date are left alone.

        Raises:
            PipelineError: a day cannot be folded.
        """
        self._catalog.ensure_gold(self._table)
        for day, rows in self._fold_days(days, False):
            if isinstance(rows, Exception):
                raise rows
            progress(f"{self._table.name}: {day} folded again")

    def _refresh(self, hours: Sequence[Hour], force: bool, progress: Progress) -> _Refreshed:
        """Build the partials of the hours, then fold every day they touch now or touched before.

        An hour whose partial fails, and the hours of a day whose fold fails, do not block the others.
        """
        name, done = self._table.name, _Refreshed()
        days_of: dict[Hour, set[date]] = {}
        for hour in hours:
            with isolated(hours, hour, done.failures):
                # Without its Silver its partial cannot be rebuilt, and a retired day must stay retired.
                if self._is_retired(hour):
                    done.unchanged_hours.append(hour)
                else:
                    days_of[hour] = set(self._touched_days(hour))
        for hour, rows in self._make_partials(list(days_of), force):
            with isolated(hours, hour, done.failures):
                if isinstance(rows, Exception):
                    raise rows
                days_of[hour].update(self._partial_days(hour))
            if hour in done.failures:
                # Its old partial stays published: days are folded from it, and only if other hours touch them.
                del days_of[hour]
                progress(f"{name}: no partial of {hour}: {done.failures[hour]}")
            elif rows is None:
                done.unchanged_hours.append(hour)
            elif isinstance(rows, int):
                done.partial_rows[hour] = rows
                progress(f"{name}: partial of {hour}: {rows:,} rows")
        for day, rows in self._fold_days(sorted(set().union(*days_of.values())), force):
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

    def _is_retired(self, hour: Hour) -> bool:
        """Return whether an hour is past its retention."""
        commit = self._commits.hour(hour).commit
        return commit is not None and commit.retired_at is not None

    def _touched_days(self, hour: Hour) -> list[date]:
        """Return the event days that an hour's partial contributes to, or was folded into before."""
        window = ((hour.start - self._limits.max_age).date(), (hour.end + self._limits.max_lead).date())
        entries = self._catalog.entries(gold_table(self._table.name), days=window)
        folded = {day_of_partition(entry.partition) for entry in entries if hour.hive_path in entry.partials}
        return sorted({day for day in folded if day} | set(self._partial_days(hour)))

    def _partial_days(self, hour: Hour) -> list[date]:
        """Return the event days for which an hour's partial has rows, or had until they are folded again."""
        commit = self._commits.partial(self._table.name, hour).commit
        return [date.fromisoformat(day) for day in commit.days] if commit else []

    def _make_partials(self, hours: Sequence[Hour], force: bool) -> Iterator[tuple[Hour, int | None | Exception]]:
        """Build the partials that are not up to date, with the port's concurrency."""
        paths = [hour.hive_path for hour in hours]
        silver = self._catalog.get(SILVER_EVENTS.full_name, paths)
        present = self._catalog.get(partial_table(self._table.name), paths)

        def make(hour: Hour) -> int | None | Exception:
            made = silver.get(hour.hive_path), present.get(hour.hive_path)
            return attempt(lambda: self._make_partial(hour, *made, force))

        return self._side_by_side(make, hours)

    def _fold_days(self, days: Sequence[date], force: bool) -> Iterator[tuple[date, int | None | Exception]]:
        """Fold the days that are not up to date, with the port's concurrency."""
        return self._side_by_side(lambda day: attempt(lambda: self._fold(day, force)), days)

    def _side_by_side(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item]
    ) -> Iterator[tuple[_Item, _Result]]:
        if self._sql.at_once == 1:
            yield from ((item, work(item)) for item in items)
            return
        pool = ThreadPoolExecutor(self._sql.at_once)
        try:
            yield from zip(items, pool.map(work, items), strict=True)
        except Exception:
            raise
        except BaseException:
            self._sql.stop_all()
            raise
        finally:
            # After an interrupt, wait for running queries and start no others.
            pool.shutdown(wait=True, cancel_futures=True)

    # -- partials

    def _make_partial(self, hour: Hour, silver: AnyEntry | None, present: AnyEntry | None, force: bool) -> int | None:
        """Publish and register the partial of an hour; return None if it was up to date."""
        name = self._table.name
        if silver is None:
            raise unregistered_silver(name, hour)
        with self._lake.exclusive(partial_lock(name, hour)):
            published = self._commits.partial(name, hour)
            built = self._committed_silver(hour, silver)
            made = (built.build_id, self._table.version)
            if (
                not force
                and published.commit is not None
                and (published.commit.silver_build_id, published.commit.sql_version) == made
                and not self._commits.missing_files(published.commit)
            ):
                if self._differs(published.commit, present):
                    self._show_partial(hour)
                return None
            files = built.files_of(SILVER_EVENTS.full_name)
            written = self._sql.partial(self._table, hour, files, lambda run: layout.partial_build(name, hour, run))
            self._bytes_out += sum(file.size for file in written.files)
            commit = PartialCommit(
                name,
                hour,
                written.build_id,
                commit_time(),
                built.build_id,
                self._table.version,
                {**dict.fromkeys(self._left_days(published.commit), 0), **written.days},
                written.files,
            )
            try:
                self._commits.publish(commit, published.version)
            except OvertakenError:
                # Another process built this partial from the same or newer Silver: keep that one.
                other = self._commits.partial(name, hour).commit
                if other is None or other.silver_build_id != built.build_id:
                    raise
            self._show_partial(hour)
        return sum(file.rows for file in commit.files)

    def _left_days(self, replaced: PartialCommit | None) -> list[str]:
        """Return the event days that may show rows of a partial that is about to be replaced.

        They are kept with the next one: its process may be killed before it folds them, and limits may be narrower by
        then, so that nobody looks there for this hour.
        """
        if replaced is None:
            return []
        return [day for day, rows in replaced.days.items() if rows or self._is_folded_from(replaced.hour, day)]

    def _is_folded_from(self, hour: Hour, day: str) -> bool:
        fold = self._commits.day(self._table.name, date.fromisoformat(day)).commit
        return fold is not None and hour.hive_path in fold.partials

    def _committed_silver(self, hour: Hour, present: AnyEntry) -> HourCommit:
        """Return the commit record of an hour, after correcting the catalog if its Silver entry differs.

        Athena reads whatever the entry points to.
        """
        commit = self._commits.hour(hour).commit
        if commit is None or commit.retired_at is not None:
            raise unregistered_silver(self._table.name, hour)
        if not self._differs(commit, present):
            return commit
        for table in HOUR_TABLES:
            self._catalog.ensure(table)
        shown = self._show_newest(lambda: self._commits.hour(hour))
        if shown.retired_at is not None:
            raise unregistered_silver(self._table.name, hour)
        return shown

    def _differs(self, commit: Commit, present: AnyEntry | None) -> bool:
        """Return whether an entry differs from a commit record."""
        if present is None:
            return True
        wanted = [entry for entry in self._catalog.entries_of(commit) if entry.table == present.table]
        return any(self._catalog.differences(entry, present) for entry in wanted)

    def _show_partial(self, hour: Hour) -> None:
        """Register the partial of the commit record, again if it was replaced meanwhile."""
        name = self._table.name
        self._show_newest(lambda: self._commits.partial(name, hour))

    def _show_newest(self, read: Callable[[], Published[_Kind]]) -> _Kind:
        """Register a commit record, repeating while it is replaced meanwhile; return the registered one."""
        shown: Published[_Kind] = Published(None, None)
        for _ in range(_MOST_FOLDS):
            published = read()
            if shown.commit is not None and published.version in (None, shown.version):
                return shown.commit
            if published.commit is None:
                raise TransientError("a commit record vanished while it was registered: run again")
            shown = published
            self._catalog.change(self._catalog.entries_of(published.commit), ())
        assert shown.commit is not None
        raise TransientError(
            f"{layout.commit_key(shown.commit)}: published again {_MOST_FOLDS} times while it was registered: run again"
        )

    # -- folds

    def _fold(self, day: date, force: bool) -> int | None:
        """Publish and register an event day from all partials with rows of it; return None if it was up to date."""
        for _ in range(_MOST_FOLDS):
            self._make_lost_partials(day)
            try:
                with self._lake.exclusive(day_lock(self._table.name, day)):
                    return self._try_to_fold(day, force)
            except OvertakenError:
                # Another hour folded the day at the same time; its partial is published by now.
                time.sleep(_SECONDS_BETWEEN_FOLDS)
        raise TransientError(
            f"gold.{self._table.name} {day_partition(day)}: overtaken {_MOST_FOLDS} times by other processes that fold "
            "the same day: run again"
        )

    def _make_lost_partials(self, day: date) -> None:
        """Rebuild the partials of a day whose files are gone."""
        partials = self._partials_of(day, self._commits.day(self._table.name, day).commit)
        for commit in self._commits.with_missing_files(list(partials.values())):
            assert isinstance(commit, PartialCommit)
            path = commit.hour.hive_path
            silver = self._catalog.get(SILVER_EVENTS.full_name, [path]).get(path)
            present = self._catalog.get(partial_table(self._table.name), [path]).get(path)
            self._make_partial(commit.hour, silver, present, force=False)

    def _try_to_fold(self, day: date, force: bool) -> int | None:
        name, partition = self._table.name, day_partition(day)
        published = self._commits.day(name, day)
        commits = self._partials_of(day, published.commit)
        partials = {hour.hive_path: commit.build_id for hour, commit in commits.items()}
        if (
            not force
            and published.commit is not None
            and is_folded(published.commit, partials, self._table.version)
            and not self._commits.missing_files(published.commit)
        ):
            present = self._catalog.get(gold_table(name), [partition]).get(partition)
            if self._differs(published.commit, present):
                self._show_newest(lambda: self._commits.day(name, day))
            return None
        build_id, files = new_build_id(), tuple[DataFile, ...]()
        if commits:
            self._show_partials(commits)
            sources = {hour: commit.files for hour, commit in commits.items()}
            written = self._sql.fold(self._table, day, sources, lambda run: layout.day_build(name, day, run))
            self._bytes_out += sum(file.size for file in written.files)
            build_id, files = written.build_id, written.files
        commit = DayCommit(name, day, build_id, commit_time(), self._table.version, partials, files)
        self._commits.publish(commit, published.version)
        self._show_newest(lambda: self._commits.day(name, day))
        return sum(file.rows for file in files)

    def _show_partials(self, commits: dict[Hour, PartialCommit]) -> None:
        """Make the catalog show partials as committed, because Athena reads whatever it points to."""
        present = self._catalog.get(partial_table(self._table.name), [hour.hive_path for hour in commits])
        for hour, commit in commits.items():
            if self._differs(commit, present.get(hour.hive_path)):
                self._show_partial(hour)

    def _partials_of(self, day: date, published: DayCommit | None) -> dict[Hour, PartialCommit]:
        """Return the published partials with rows of a day, in order.

        They are found in the commit records. Hours outside the window were built with wider limits; the last fold lists
        them.
        """
        folded = (Hour.of_hive_path(path) for path in (published.partials if published else ()))
        window, others = window_of(day, self._limits), {*folded, *self._hours}
        days = sorted({*window.days, *(hour.start.date() for hour in others)})
        versions = self._commits.partial_versions(self._table.name, days)

        def read(hour: Hour) -> PartialCommit | None:
            known = self._read_partials.get(hour)
            if known is None or known.version != versions[hour]:
                known = self._read_partials[hour] = self._commits.partial(self._table.name, hour)
            return known.commit

        wanted = sorted(hour for hour in versions if hour in window or hour in others)
        with ThreadPoolExecutor(_READERS) as readers:
            found = zip(wanted, readers.map(read, wanted), strict=True)
            return {hour: commit for hour, commit in found if commit is not None and commit.days.get(str(day))}


def hours_behind(table: GoldTable, catalog: Catalog[AnyEntry], limits: Limits, hours: HourRange | None) -> list[Hour]:
    """Return the registered hours that a Gold table does not show yet: Silver or the SQL is newer."""
    silver = {entry.partition: entry for entry in catalog.entries(SILVER_EVENTS.full_name, hours)}
    partials = {entry.partition: entry for entry in catalog.entries(partial_table(table.name), hours)}
    window = None
    if hours is not None:
        # Wider limits may have accepted more than those of today.
        known = [day for entry in partials.values() for day in entry.days]
        first, last = (hours.first.start - limits.max_age).date(), (hours.last.end + limits.max_lead).date()
        window = min([first, *known]), max([last, *known])
    entries = catalog.entries(gold_table(table.name), days=window)
    days = {day: entry for entry in entries if (day := day_of_partition(entry.partition))}
    behind = set[str]()
    for path, entry in silver.items():
        made = partials.get(path)
        if made is None or (made.made_from, made.version) != (entry.build_id, table.version):
            behind.add(path)
    for path, partial in partials.items():
        for day in partial.days:
            fold = days.get(day)
            if fold is None or fold.version != table.version or fold.partials.get(path) != partial.build_id:
                behind.add(path)
    for day, fold in days.items():
        for path in fold.partials:
            folded = partials.get(path)
            if folded is None or day not in folded.days:
                behind.add(path)
    found = (hour for path in behind if (hour := hour_of_partition(path)))
    return sorted(hour for hour in found if hours is None or hour in hours)


def published_days(
    table: GoldTable, catalog: Catalog[AnyEntry], first: date, last: date, landed: HourRange | None = None
) -> DayRange:
    """Return the published days of a table from `first` to `last`, both inclusive, for one answer.

    The fold that makes a day from the partials of its landing hours makes several days from those of all their hours.
    Only days whose fold is published count, so a day past its retention is not brought back. `landed` takes only some
    landing hours, and the days that have any of them.

    Raises:
        StorageError: a partial of one of the days is not in the catalog.
    """
    days, hours = set[date](), set[Hour]()
    for entry in catalog.entries(gold_table(table.name), days=(first, last)):
        day = day_of_partition(entry.partition)
        folded = {hour for path in entry.partials if (hour := hour_of_partition(path))}
        folded = {hour for hour in folded if landed is None or hour in landed}
        if day is not None and folded:
            days.add(day)
            hours |= folded
    if hours:
        partials = catalog.entries(partial_table(table.name), HourRange.of(sorted(hours)))
        if lost := sorted({hour.hive_path for hour in hours} - {entry.partition for entry in partials}):
            raise StorageError(
                f"{lost[0]}: the catalog lost the partial of gold.{table.name} of this hour: `event-pipeline repair` "
                "restores it"
            )
    return DayRange(tuple(sorted(days)), tuple(sorted(hours)))


def totals_of_fold(
    table: GoldTable, catalog: Catalog[AnyEntry], limits: Limits, day: date, shown: AnyEntry | None
) -> DayTotals | None:
    """Sum the control totals of what a registered day was folded from; None if that was replaced since."""
    window, name = window_of(day, limits), partial_table(table.name)
    folded = shown.partials if shown else {}
    partials = {entry.partition: entry for entry in catalog.entries(name, window)}
    partials |= catalog.get(name, [hour for hour in folded if hour not in partials])
    bearers = bearers_of_totals(catalog, window)
    if outside := [hour for hour in folded if hour not in bearers]:
        for bearing in (HOUR_LEDGER, SILVER_EVENTS):
            found = catalog.get(bearing.full_name, outside)
            bearers |= {hour: entry for hour, entry in found.items() if entry.days or hour not in bearers}
    return folded_totals(
        folded,
        {hour: ShownPartial(each.build_id, each.made_from, day in each.days) for hour, each in partials.items()},
        {hour: (each.build_id, each.days[day]) for hour, each in bearers.items() if day in each.days},
    )


def bearers_of_totals(catalog: Catalog[AnyEntry], window: HourRange) -> dict[str, AnyEntry]:
    """Return the entries that have the control totals of some hours, by hour (Hive path)."""
    found = {entry.partition: entry for entry in catalog.entries(HOUR_LEDGER.full_name, window)}
    for entry in catalog.entries(SILVER_EVENTS.full_name, window):
        if entry.days or entry.partition not in found:
            found[entry.partition] = entry
    return found
