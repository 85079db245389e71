"""Refreshes one Gold table on AWS: partials of landing hours, then folds of event days, each to a fresh prefix.

Published by compare-and-swap on the commit record, shown by a partition change after it. A fold reads the day's
record before it reads which partials there are; when another process has published the day by the time it is done,
it folds again from what is there then. So two hours that fold one day cannot lose each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any, TypeVar, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.catalog import (
    PARTIALS_DATABASE,
    Entry,
    GlueCatalog,
    differences_of,
    entries_of,
)
from event_pipeline.engines.aws.commits import CommitStore, Published
from event_pipeline.engines.aws.sql import Source, Sql, Written, sql_type
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import GoldRefresh, Measure, Progress
from event_pipeline.engines.commit import DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.decisions import (
    attempt,
    commit_time,
    day_of,
    day_partition,
    gold_table,
    is_folded,
    new_run_id,
    partial_table,
    refresh,
    silver_totals_query,
    unregistered_silver,
    window_of,
)
from event_pipeline.engines.dialect import parse_query
from event_pipeline.errors import OvertakenError, QueryError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_TABLES, LANDING_HOUR_COLUMNS, SILVER_EVENTS, Column, Table
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

_MOST_FOLDS = 10
"""Attempts at one day while other processes fold it, too."""
_SECONDS_BETWEEN_FOLDS = 0.2
_FAULTS_SHOWN = 20
_READERS = 16

_GLUE_TYPES = {
    "VARCHAR": "string",
    "INTEGER": "int",
    "BIGINT": "bigint",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
_Kind = TypeVar("_Kind", HourCommit, PartialCommit, DayCommit)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class GoldRefresher:
    """Makes partials and folds of one Gold table."""

    def __init__(
        self,
        table: GoldTable,
        settings: Settings,
        lake: Bucket,
        catalog: GlueCatalog,
        commits: CommitStore,
        sql: Sql,
    ) -> None:
        self._table = table
        self._settings = settings
        self._lake = lake
        self._catalog = catalog
        self._commits = commits
        self._sql = sql
        self._partials = partials_table(table)
        self._bytes_out = 0
        self._hours: Sequence[Hour] = ()
        self._read_partials: dict[str, PartialCommit] = {}

    def refresh(self, hours: Sequence[Hour], force: bool, progress: Progress) -> GoldRefresh:
        """Bring the table up to date with the registered Silver of some hours.

        Raises:
            NotPublishedError: the only hour is not registered in the catalog; of several it is among the failures.
        """
        started = time.monotonic()
        self._hours = hours
        for table in (SILVER_EVENTS, self._partials, self._table.table):
            self._catalog.ensure(table)
        done = refresh(self._table.name, self, hours, force, progress)
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

    # -- the steps of engines/decisions.py

    def is_retired(self, hour: Hour) -> bool:
        """Tell whether an hour is past its retention."""
        commit = self._commits.hour(hour).commit
        return commit is not None and commit.retired_at is not None

    def touched_days(self, hour: Hour) -> list[date]:
        """Return the event days that an hour's partial contributes to, or was folded into before."""
        limits = self._settings.event_time_limits
        window = ((hour.start - limits.max_age).date(), (hour.end + limits.max_lead).date())
        days = self._catalog.entries(gold_table(self._table.name), days=window)
        folded = {day_of(entry.partition) for entry in days if hour.hive_path in entry.partials}
        return sorted(folded | set(self.partial_days(hour)))

    def partial_days(self, hour: Hour) -> list[date]:
        """Return the event days for which an hour's partial has rows."""
        commit = self._commits.partial(self._table.name, hour).commit
        return [date.fromisoformat(day) for day in commit.days] if commit else []

    def make_partials(self, hours: Sequence[Hour], force: bool) -> Iterator[tuple[Hour, int | None | Exception]]:
        """Make the partials that are not up to date, several queries side by side."""
        silver = self._catalog.get(SILVER_EVENTS.full_name, [hour.hive_path for hour in hours])
        present = self._catalog.get(partial_table(self._table.name), [hour.hive_path for hour in hours])

        def make(hour: Hour) -> int | None | Exception:
            made = silver.get(hour.hive_path), present.get(hour.hive_path)
            return attempt(lambda: self._make_partial(hour, *made, force))

        return self._side_by_side(make, hours)

    def fold_days(self, days: Sequence[date], force: bool) -> Iterator[tuple[date, int | None | Exception]]:
        """Fold the days that are not up to date, several queries side by side."""
        return self._side_by_side(lambda day: attempt(lambda: self._fold(day, force)), days)

    def _side_by_side(
        self, work: Callable[[_Item], _Result], items: Sequence[_Item]
    ) -> Iterator[tuple[_Item, _Result]]:
        pool = ThreadPoolExecutor(self._sql.at_once)
        try:
            yield from zip(items, pool.map(work, items), strict=True)
        except Exception:
            raise
        except BaseException:
            self._sql.stop_all()
            raise
        finally:
            # After an interrupt the queries that run are waited for, and the others not begun.
            pool.shutdown(wait=True, cancel_futures=True)

    # -- partials

    def _make_partial(self, hour: Hour, silver: Entry | None, present: Entry | None, force: bool) -> int | None:
        """Publish and register the partial of an hour; None when it was up to date."""
        name = self._table.name
        if silver is None:
            raise unregistered_silver(name, hour)
        published = self._commits.partial(name, hour)
        built = self._committed_silver(hour, silver)
        made = (built.run_id, self._table.version)
        if (
            not force
            and published.commit is not None
            and (published.commit.silver_run_id, published.commit.sql_version) == made
            and not self._commits.missing_files(published.commit)
        ):
            if self._differs(published.commit, present):
                self._show_partial(hour)
            return None
        source = Source(SILVER_EVENTS, {hour: built.files_of(SILVER_EVENTS.full_name)})
        written = self._write(
            self._table.partial,
            {"silver_events": source},
            partial_table(name),
            self._partials.columns,
            lambda run: layout.partial_run(name, hour, run),
        )
        days: dict[str, int] = {}
        for table in written.content:
            for counted in pc.value_counts(table.column("event_date")).to_pylist():
                day = str(counted["values"])
                days[day] = days.get(day, 0) + counted["counts"]
        commit = PartialCommit(
            name,
            hour,
            written.run_id,
            commit_time(),
            built.run_id,
            self._table.version,
            dict(sorted(days.items())),
            written.files,
        )
        try:
            self._commits.publish(commit, published.etag)
        except OvertakenError:
            # Somebody made the same partial from the same Silver, or from newer: either way theirs may stand.
            other = self._commits.partial(name, hour).commit
            if other is None or other.silver_run_id != built.run_id:
                raise
        self._show_partial(hour)
        return sum(file.rows for file in commit.files)

    def _committed_silver(self, hour: Hour, present: Entry) -> HourCommit:
        """Return the commit record of an hour; where the partition of its Silver shows something else, show that.

        Athena reads what the partition says, whatever became of it.
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

    def _differs(self, commit: layout.Commit, present: Entry | None) -> bool:
        """Tell whether a partition shows something else than a commit record says."""
        wanted = entries_of(commit, self._lake.url(""))
        named = [entry for entry in wanted if present is None or entry.table == present.table]
        return present is None or any(differences_of(entry, present) for entry in named)

    def _show_partial(self, hour: Hour) -> None:
        """Register what the commit record says, again if it was replaced meanwhile."""
        name = self._table.name
        self._show_newest(lambda: self._commits.partial(name, hour))

    def _show_newest(self, read: Callable[[], Published[_Kind]]) -> _Kind:
        """Register what a commit record says, again for as long as it is replaced meanwhile; return the one shown."""
        shown: Published[_Kind] = Published(None, None)
        for _ in range(_MOST_FOLDS):
            published = read()
            if shown.commit is not None and published.etag in (None, shown.etag):
                return shown.commit
            if published.commit is None:
                raise TransientError("a commit record vanished while it was registered: run again")
            shown = published
            self._catalog.show(entries_of(published.commit, self._lake.url("")))
        assert shown.commit is not None
        raise TransientError(
            f"{layout.commit_key(shown.commit)}: published again {_MOST_FOLDS} times while it was registered: run again"
        )

    # -- folds

    def _fold(self, day: date, force: bool) -> int | None:
        """Publish and register an event day from all partials that hold rows of it; None when it was up to date."""
        for _ in range(_MOST_FOLDS):
            try:
                return self._try_to_fold(day, force)
            except OvertakenError:
                # Another hour folded the day at the same time. Its partial is in the catalog by now.
                time.sleep(_SECONDS_BETWEEN_FOLDS)
        raise TransientError(
            f"gold.{self._table.name} {day_partition(day)}: overtaken {_MOST_FOLDS} times by other processes that fold "
            "the same day: run again"
        )

    def _try_to_fold(self, day: date, force: bool) -> int | None:
        name = self._table.name
        published = self._commits.day(name, day)
        commits = self._partials_of(day, published.commit)
        partials = {hour.hive_path: commit.run_id for hour, commit in commits.items()}
        entry = self._catalog.entry(gold_table(name), day_partition(day))
        folded = is_folded(published.commit, entry.run_id if entry else None, partials, self._table.version)
        if not force and folded and published.commit and not self._commits.missing_files(published.commit):
            return None
        run_id, files = new_run_id(), tuple[DataFile, ...]()
        if commits:
            source = Source(
                self._partials,
                {hour: commit.files for hour, commit in commits.items()},
                day,
            )
            written = self._write(
                self._table.fold,
                {"partials": source},
                gold_table(name),
                self._table.columns,
                lambda run: layout.day_run(name, day, run),
            )
            run_id, files = written.run_id, written.files
        commit = DayCommit(name, day, run_id, commit_time(), self._table.version, partials, files)
        self._commits.publish(commit, published.etag)
        self._show_newest(lambda: self._commits.day(name, day))
        return sum(file.rows for file in files)

    def _partials_of(self, day: date, published: DayCommit | None) -> dict[Hour, PartialCommit]:
        """Return what a day is to be folded from, in order: landing hour -> its partial."""
        name, window = self._table.name, window_of(day, self._settings.event_time_limits)
        entries = {entry.partition: entry for entry in self._catalog.entries(partial_table(name), window)}
        # Hours outside the window were built under wider limits; the last fold knows them. A partition that was lost
        # is missed by it, too.
        others = {*(published.partials if published else ()), *(hour.hive_path for hour in self._hours)}
        entries |= self._catalog.get(partial_table(name), sorted(others - entries.keys()))
        commits = self._committed_partials(others | entries.keys(), entries)
        for path, commit in commits.items():
            if self._differs(commit, entries.get(path)):
                self._show_partial(commit.hour)
        return {commit.hour: commit for _, commit in sorted(commits.items()) if str(day) in commit.days}

    def _write(
        self,
        section: str,
        sources: Mapping[str, Source],
        table: str,
        columns: Sequence[Column],
        prefix_of: Callable[[str], str],
    ) -> Written:
        written = self._sql.write(section, sources, table, columns, prefix_of)
        self._bytes_out += sum(file.size for file in written.files)
        return written

    def _committed_partials(self, paths: Set[str], entries: Mapping[str, Entry]) -> dict[str, PartialCommit]:
        """Return the commit records of some hours' partials, by Hive path: what a partition says may be damaged.

        A record is read again when the partition shows another run than the one that was read before.
        """

        def read(path: str) -> PartialCommit | None:
            known, entry = self._read_partials.get(path), entries.get(path)
            if known is not None and entry is not None and entry.run_id == known.run_id:
                return known
            commit = self._commits.partial(self._table.name, Hour.of_hive_path(path)).commit
            if commit is not None:
                self._read_partials[path] = commit
            return commit

        with ThreadPoolExecutor(_READERS) as readers:
            found = zip(sorted(paths), readers.map(read, sorted(paths)), strict=True)
            return {path: commit for path, commit in found if commit is not None}


def hours_behind(table: GoldTable, catalog: GlueCatalog, settings: Settings, hours: HourRange | None) -> list[Hour]:
    """Return the registered hours that a Gold table does not show yet: Silver or the SQL is newer."""
    silver = {entry.partition: entry for entry in catalog.entries(SILVER_EVENTS.full_name, hours)}
    partials = {entry.partition: entry for entry in catalog.entries(partial_table(table.name), hours)}
    window = None
    if hours is not None:
        limits = settings.event_time_limits
        window = ((hours.first.start - limits.max_age).date(), (hours.last.end + limits.max_lead).date())
    days = {day_of(entry.partition): entry for entry in catalog.entries(gold_table(table.name), days=window)}
    behind = set[str]()
    for path, entry in silver.items():
        made = partials.get(path)
        if made is None or (made.made_from, made.version) != (entry.run_id, table.version):
            behind.add(path)
    for path, partial in partials.items():
        for day in partial.days:
            fold = days.get(day)
            if fold is None or fold.version != table.version or fold.partials.get(path) != partial.run_id:
                behind.add(path)
    for day, fold in days.items():
        for path in fold.partials:
            folded = partials.get(path)
            if (hours is None or Hour.of_hive_path(path) in hours) and (folded is None or day not in folded.days):
                behind.add(path)
    return sorted(Hour.of_hive_path(path) for path in behind)


def partials_table(table: GoldTable) -> Table:
    """Return the catalog's view of a Gold table's partials, with the types that DuckDB finds in its SQL.

    Raises:
        QueryError: a column has a type that the catalog has no name for.
    """
    empty = ", ".join(
        f"CAST(NULL AS {sql_type(column.type)}) AS {column.name}"
        for column in (*SILVER_EVENTS.columns, *LANDING_HOUR_COLUMNS)
    )
    try:
        with duckdb.connect(config={"python_enable_replacements": False}) as connection:
            connection.execute(f"CREATE VIEW silver_events AS SELECT {empty} WHERE FALSE")
            found = connection.execute(f"DESCRIBE {table.partial}").fetchall()
    except duckdb.Error as error:
        raise QueryError(f"gold.{table.name}, section partial: {error}") from error
    columns = []
    for name, duckdb_type, *_ in found:
        plain = duckdb_type.replace(" ", "")
        glue_type = plain.lower() if plain.startswith("DECIMAL(") else _GLUE_TYPES.get(plain)
        if glue_type is None:
            raise QueryError(
                f"gold.{table.name}: the partial's column {name} is {duckdb_type}: cast it to one of "
                f"{', '.join(_GLUE_TYPES)} or DECIMAL(p, s)"
            )
        columns.append(Column(name, glue_type, f"Of the partial of gold.{table.name}"))
    description = f"Partials of gold.{table.name}, one partition per landing hour; only the pipeline reads them."
    return Table(PARTIALS_DATABASE, table.name, description, tuple(columns), LANDING_HOUR_COLUMNS)


def grain_faults_query(table: GoldTable, days: Sequence[date]) -> exp.Query:
    """Return the SELECT of grain values that stand more than once in some days, at most 20, with their rows."""
    grain = ", ".join(("event_date", *table.grain))
    return parse_query(
        f"SELECT {grain}, COUNT(*) AS rows_found FROM {table.table.full_name} WHERE {_of_days(days)} GROUP BY {grain}"
        f" HAVING COUNT(*) > 1 ORDER BY {grain} LIMIT {_FAULTS_SHOWN}"
    )


MOST_SCANS = 40
"""Reads of tables that one query has at most: each is a stage or more, of which Athena takes about a hundred."""


def reconcile_queries(table: GoldTable, totals: Mapping[date, DayTotals]) -> list[exp.Query]:
    """Return SELECTs (day, measure, gold, silver) of the measures of some days: as many days in each as scans allow."""
    together, scans = list[exp.Query](), 0
    for day, day_totals in totals.items():
        relations = {
            "gold_day": parse_query(f"SELECT * FROM {table.table.full_name} WHERE {_of_days([day])}"),
            "silver_totals": parse_query(silver_totals_query(day_totals)),
        }
        measures = _inlined(parse_query(table.reconcile), relations)
        of_day = exp.select(
            f"DATE '{day}' AS day",
            "measure",
            "CAST(gold AS DECIMAL(38, 2)) AS gold",
            "CAST(silver AS DECIMAL(38, 2)) AS silver",
            dialect="duckdb",
        ).from_(measures.subquery("measures"))
        of_day_scans = sum(1 for node in of_day.find_all(exp.Table) if node.db)
        if together and scans + of_day_scans <= MOST_SCANS:
            together[-1], scans = exp.union(together[-1], of_day, distinct=False), scans + of_day_scans
        else:
            together, scans = [*together, of_day], of_day_scans
    return together


def measures(rows: pa.Table) -> list[Measure]:
    """Return the rows of one of `reconcile_queries` as measures; whole numbers come as such."""
    return [Measure(row["day"], row["measure"], _plain(row["gold"]), _plain(row["silver"])) for row in rows.to_pylist()]


def _plain(value: Any) -> Any:
    return int(value) if value is not None and value == int(value) and value.as_tuple().exponent == 0 else value


def _of_days(days: Sequence[date]) -> str:
    among = ", ".join(f"DATE '{day}'" for day in days)
    return f"event_date IN ({among})" if days else "FALSE"


def _inlined(query: exp.Query, relations: Mapping[str, exp.Query]) -> exp.Query:
    """Put subqueries in place of tables: a UNION of days cannot share the names of common table expressions."""

    def inline(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Table) and not node.db and node.name in relations:
            return relations[node.name].subquery(node.alias or node.name)
        return node

    return cast(exp.Query, query.transform(inline))
