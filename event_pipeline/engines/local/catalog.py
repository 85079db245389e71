"""The local catalog: which committed files queries see. One SQLite file that commit records can rebuild."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from event_pipeline.engines.commit import DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.decisions import (
    ShownPartial,
    day_of,
    day_partition,
    folded_totals,
    gold_table,
    partial_table,
)
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.local.lake_files import RegisteredFile
from event_pipeline.engines.local.layout import storage_faults
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange, InvalidHourError

_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_SECONDS = 30.0

_TABLES = {
    "partition": """
        table_name TEXT NOT NULL, partition TEXT NOT NULL, run_id TEXT NOT NULL, committed_at TEXT NOT NULL,
        made_from TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY (table_name, partition)""",
    "data_file": """
        table_name TEXT NOT NULL, partition TEXT NOT NULL, path TEXT NOT NULL, row_count INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL, PRIMARY KEY (table_name, partition, path)""",
    "silver_day": """
        hour TEXT NOT NULL, event_date TEXT NOT NULL, events INTEGER NOT NULL, page_views INTEGER NOT NULL,
        add_to_carts INTEGER NOT NULL, remove_from_carts INTEGER NOT NULL, purchases INTEGER NOT NULL,
        searches INTEGER NOT NULL, items_sold INTEGER NOT NULL, revenue TEXT NOT NULL,
        PRIMARY KEY (event_date, hour)""",
    "partial_day": """
        table_name TEXT NOT NULL, hour TEXT NOT NULL, event_date TEXT NOT NULL,
        PRIMARY KEY (table_name, event_date, hour)""",
    "day_input": """
        table_name TEXT NOT NULL, event_date TEXT NOT NULL, hour TEXT NOT NULL, run_id TEXT NOT NULL,
        PRIMARY KEY (table_name, event_date, hour)""",
}


_MEASURES = DayTotals.__slots__[:-1]
"""Of the control totals, all but the revenue, which is kept as text."""

_DAY_PREFIX = "event_date="

_PLACES = {
    "partition": "table_name, partition",
    "data_file": "table_name, partition",
    "silver_day": f"'{HOUR_LEDGER.full_name}', hour",
    "partial_day": "'partials.' || table_name, hour",
    "day_input": f"'gold.' || table_name, '{_DAY_PREFIX}' || event_date",
}
"""Catalog table -> SQL of the place that a row of it belongs to."""

Commit = HourCommit | PartialCommit | DayCommit

Place = tuple[str, str]
"""A table as the pipeline names it (`silver.events`, `partials.<table>`, `gold.<table>`) and a partition of it."""

Rows = frozenset[tuple[str, tuple[Any, ...]]]
"""All that the catalog holds of a place: (one of the catalog's own tables, values of one of its rows)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered partition."""

    table: str
    partition: str
    run_id: str
    made_from: str
    """Silver: fingerprint of the input. Partial: run id of its Silver. Day: empty."""
    version: str
    """Rules version, or digest of the Gold SQL."""


class Catalog:
    """Reads and changes of the catalog; each change is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- opening

    @contextmanager
    def _session(self, *, write: bool = False, complete: bool = True) -> Iterator[sqlite3.Connection]:
        """Open one transaction; `complete` refuses a catalog that is lost or not filled yet.

        Raises:
            TransientError: another process removed the catalog, or is about to rebuild it.
            StorageError: it is damaged.
        """
        if complete and not self.path.exists():
            raise self._lost()
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)) as session:
                session.execute("PRAGMA synchronous = NORMAL")
                session.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    # Inside the transaction: an answer from a catalog that is half filled would be taken for the truth.
                    if complete and session.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA_VERSION:
                        raise self._lost()
                    yield session
                except BaseException:
                    # A full disk has rolled back already, and another error here would hide the cause.
                    if session.in_transaction:
                        session.execute("ROLLBACK")
                    raise
                session.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _lost(self) -> TransientError:
        return TransientError(
            f"{self.path}: the catalog was removed or replaced while it was used: run again, it is rebuilt from the "
            "commit records"
        )

    def _explain(self, error: sqlite3.Error) -> Exception:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return TransientError(f"{self.path}: the catalog is busy for over {_BUSY_TIMEOUT_SECONDS:g} s")
        if name.startswith("SQLITE_FULL"):
            return StorageError(f"{self.path}: the disk is full: make room and run again; what was published stays")
        if name.startswith("SQLITE_IOERR"):
            return TransientError(
                f"{self.path}: the disk is full or failed ({error}): make room, or see the system's log for the device"
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            return StorageError(f"{self.path}: the catalog cannot be written ({error}): check its owner and mode")
        if name.startswith("SQLITE_CANTOPEN"):
            return self._why_not_opened(error)
        return StorageError(
            f"{self.path}: the catalog is damaged ({error}): `event-pipeline repair` rebuilds it from the "
            "commit records, no data is lost"
        )

    def _why_not_opened(self, error: sqlite3.Error) -> Exception:
        """Return the cause of a failure to open, which SQLite does not say: no permission, no descriptor, no room."""
        try:
            with storage_faults(self.path), self.path.open("r+b"):
                pass
            with storage_faults(self.path), tempfile.TemporaryFile(dir=self.path.parent):
                pass
        except (PipelineError, OSError) as cause:
            return cause
        return StorageError(f"{self.path}: the catalog cannot be opened ({error}): check owner and mode of its folder")

    def is_complete(self) -> bool:
        """Tell whether the file exists with all its tables.

        Raises:
            StorageError: it is damaged.
        """
        if not self.path.exists():
            return False
        with self._session(complete=False) as session:
            rows = session.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            version = session.execute("PRAGMA user_version").fetchone()[0]
        return version == _SCHEMA_VERSION and _TABLES.keys() <= {name for (name,) in rows}

    def check(self) -> None:
        """See that every page of the file is sound.

        Raises:
            StorageError: it is damaged.
        """
        with self._session(complete=False) as session:
            # Not quick_check: SQLite 3.40 reports "NULL value in partial_day.hour" there for sound tables whose
            # primary key has another column order than the table.
            found = session.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise self._explain(sqlite3.DatabaseError(found))

    def create(self) -> None:
        """Make the tables, empty, in a new file; `fill` is to follow."""
        with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS)) as session:
            try:
                session.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as error:
                raise self._explain(error) from error
        with self._session(write=True, complete=False) as session:
            for name, columns in _TABLES.items():
                session.execute(f"CREATE TABLE {name} ({columns}) WITHOUT ROWID")

    def fill(self, commits: Iterable[Commit]) -> list[Place]:
        """Show commits in a new catalog and say that it holds all of them; return what it shows."""
        shown = list[Place]()
        with self._session(write=True, complete=False) as session:
            for commit in commits:
                for place, rows in rows_of(commit).items():
                    _insert(session, rows)
                    shown += [place] if rows else []
            session.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        return shown

    # -- changes

    def register_partial(self, commit: PartialCommit) -> None:
        """Make exactly this build of a partial the one that is folded."""
        self.show(rows_of(commit))

    def register_day(self, commit: DayCommit) -> None:
        """Show exactly this fold of an event day; a day without rows is not shown."""
        self.show(rows_of(commit))

    def show(self, wanted: Mapping[Place, Rows]) -> None:
        """Make the catalog hold exactly these rows of some places, in one transaction; no rows forget a place."""
        with self._session(write=True) as session:
            for place, rows in wanted.items():
                for each in _selections(place):
                    session.execute(f"DELETE FROM {each.catalog_table} WHERE {each.condition}", each.values)
                _insert(session, rows)

    # -- questions

    def held(self, places: Collection[Place] | None = None) -> dict[Place, Rows]:
        """Return all that the catalog holds of some places, or of every place that it holds rows of."""
        found = defaultdict[Place, set[tuple[str, tuple[Any, ...]]]](set)
        with self._session() as session:
            if places is None:
                for catalog_table, place in _PLACES.items():
                    for table, partition, *values in session.execute(f"SELECT {place}, * FROM {catalog_table}"):
                        found[table, partition].add((catalog_table, tuple(values)))
            for each in places or ():
                for selection in _selections(each):
                    query = f"SELECT * FROM {selection.catalog_table} WHERE {selection.condition}"
                    rows = session.execute(query, selection.values)
                    found[each] |= {(selection.catalog_table, row) for row in rows}
        return {place: frozenset(rows) for place, rows in found.items()}

    def entry(self, table: str, partition: str) -> Entry | None:
        """Return one registered partition."""
        with self._session() as session:
            row = session.execute(
                "SELECT table_name, partition, run_id, made_from, version FROM partition"
                " WHERE table_name = ? AND partition = ?",
                (table, partition),
            ).fetchone()
        return Entry(*row) if row else None

    def entries(self, table: str | None = None, hours: HourRange | None = None) -> list[Entry]:
        """Return the registered partitions of one table or all, in order; `hours` bounds landing hours."""
        where, values = ["TRUE"], list[str]()
        if table is not None:
            where.append("table_name = ?")
            values.append(table)
        if hours is not None:
            where.append("partition >= ? AND partition < ?")
            values += [hours.first.hive_path, hours.end.hive_path]
        with self._session() as session:
            rows = session.execute(
                "SELECT table_name, partition, run_id, made_from, version FROM partition"
                f" WHERE {' AND '.join(where)} ORDER BY table_name, partition",
                values,
            ).fetchall()
        return [Entry(*row) for row in rows]

    def files(self, table: str, partitions: list[str] | None = None) -> list[str]:
        """Return the paths (relative to the lake) that a table consists of, all or of some partitions."""
        with self._session() as session:
            if partitions is None:
                rows = session.execute(
                    "SELECT path FROM data_file WHERE table_name = ? ORDER BY partition, path", (table,)
                ).fetchall()
            else:
                rows = [
                    row
                    for partition in partitions
                    for row in session.execute(
                        "SELECT path FROM data_file WHERE table_name = ? AND partition = ? ORDER BY path",
                        (table, partition),
                    )
                ]
        return [path for (path,) in rows]

    def snapshot(
        self, tables: Iterable[str], partitions: Sequence[str] | None = None
    ) -> dict[str, list[RegisteredFile]]:
        """Return the files of several tables as they were at one moment, all or of some partitions, in order."""
        names = sorted(set(tables))
        found: dict[str, list[RegisteredFile]] = {name: [] for name in names}
        where, values = "", list[str]()
        if partitions is not None:
            where = f" AND partition IN ({', '.join('?' * len(partitions))})"
            values = list(partitions)
        with self._session() as session:
            for name in names:
                rows = session.execute(
                    f"SELECT partition, path FROM data_file WHERE table_name = ?{where} ORDER BY partition, path",
                    (name, *values),
                )
                found[name] = [RegisteredFile(*row) for row in rows]
        return found

    def data_files(self) -> list[tuple[str, str, str]]:
        """Return (table, partition, path relative to the lake) of every registered file."""
        with self._session() as session:
            return session.execute("SELECT table_name, partition, path FROM data_file ORDER BY 1, 2, 3").fetchall()

    def silver_totals(self, day: date) -> DayTotals:
        """Sum the control totals of one event day over the registered hours."""
        with self._session() as session:
            rows = session.execute(
                f"SELECT {', '.join(DayTotals.__slots__)} FROM silver_day WHERE event_date = ?", (str(day),)
            ).fetchall()
        totals = DayTotals()
        for row in rows:
            totals += _day_totals(row)
        return totals

    def folded_day(self, table: str, day: date) -> tuple[list[str], DayTotals | None]:
        """Return the files of a published day and the control totals of what it was folded from, at one moment.

        None where other runs have put newer Silver or partials in place since.
        """
        with self._session() as session:
            paths = session.execute(
                "SELECT path FROM data_file WHERE table_name = ? AND partition = ? ORDER BY path",
                (gold_table(table), day_partition(day)),
            ).fetchall()
            folded = dict(
                session.execute(
                    "SELECT hour, run_id FROM day_input WHERE table_name = ? AND event_date = ?", (table, str(day))
                ).fetchall()
            )
            silver = {}
            # A retired hour has no Silver; its ledger stays.
            for hour, run_id, *values in session.execute(
                "SELECT d.hour, COALESCE(s.run_id, l.run_id),"
                f" {', '.join(f'd.{name}' for name in DayTotals.__slots__)} FROM silver_day d"
                " LEFT JOIN partition s ON s.table_name = ? AND s.partition = d.hour"
                " LEFT JOIN partition l ON l.table_name = ? AND l.partition = d.hour WHERE d.event_date = ?",
                (SILVER_EVENTS.full_name, HOUR_LEDGER.full_name, str(day)),
            ):
                silver[hour] = (run_id, _day_totals(values))
            partials = {}
            for hour in {*folded, *silver}:
                found = session.execute(
                    "SELECT p.run_id, p.made_from, d.hour IS NOT NULL FROM partition p"
                    " LEFT JOIN partial_day d ON d.table_name = ? AND d.hour = p.partition AND d.event_date = ?"
                    " WHERE p.table_name = ? AND p.partition = ?",
                    (table, str(day), partial_table(table), hour),
                ).fetchone()
                if found:
                    partials[hour] = ShownPartial(found[0], found[1], bool(found[2]))
        return [path for (path,) in paths], folded_totals(folded, partials, silver)

    def touched_days(self, table: str, hour: Hour) -> list[date]:
        """Return the event days that an hour's partial contributes to, or was folded into before."""
        with self._session() as session:
            rows = session.execute(
                "SELECT event_date FROM partial_day WHERE table_name = ? AND hour = ?"
                " UNION SELECT event_date FROM day_input WHERE table_name = ? AND hour = ? ORDER BY 1",
                (table, hour.hive_path) * 2,
            ).fetchall()
        return [day for (text,) in rows if (day := day_of_partition(f"{_DAY_PREFIX}{text}"))]

    def partial_hours(self, table: str, day: date) -> list[Hour]:
        """Return the hours whose partial holds rows of a day."""
        with self._session() as session:
            rows = session.execute(
                "SELECT hour FROM partial_day WHERE table_name = ? AND event_date = ? ORDER BY 1", (table, str(day))
            ).fetchall()
        return [hour for (path,) in rows if (hour := hour_of_partition(path))]

    def hours_behind(self, table: str, sql_version: str, hours: HourRange | None) -> list[Hour]:
        """Return the registered hours whose Silver, or whose SQL, a Gold table does not show yet."""
        query = """
            SELECT s.partition FROM partition s
            LEFT JOIN partition p ON p.table_name = :partials AND p.partition = s.partition
            WHERE s.table_name = :silver AND s.partition >= :first AND s.partition < :end
              AND (p.partition IS NULL OR p.made_from <> s.run_id OR p.version <> :version)
            UNION
            SELECT d.hour FROM partial_day d
            JOIN partition p ON p.table_name = :partials AND p.partition = d.hour
            LEFT JOIN day_input i ON i.table_name = d.table_name AND i.event_date = d.event_date AND i.hour = d.hour
            LEFT JOIN partition g ON g.table_name = :gold AND g.partition = 'event_date=' || d.event_date
            WHERE d.table_name = :table AND d.hour >= :first AND d.hour < :end
              AND (i.run_id IS NULL OR i.run_id <> p.run_id OR g.version IS NULL OR g.version <> :version)
            UNION
            SELECT i.hour FROM day_input i
            LEFT JOIN partial_day d ON d.table_name = i.table_name AND d.event_date = i.event_date AND d.hour = i.hour
            WHERE i.table_name = :table AND i.hour >= :first AND i.hour < :end AND d.hour IS NULL
            ORDER BY 1"""
        with self._session() as session:
            rows = session.execute(
                query,
                {
                    "table": table,
                    "partials": partial_table(table),
                    "gold": gold_table(table),
                    "silver": SILVER_EVENTS.full_name,
                    "version": sql_version,
                    # Hive paths begin with `year=` and sort as the hours do.
                    "first": hours.first.hive_path if hours else "",
                    "end": hours.end.hive_path if hours else "z",
                },
            ).fetchall()
        return [hour for (path,) in rows if (hour := hour_of_partition(path))]


def _day_totals(values: Sequence[Any]) -> DayTotals:
    """Read control totals.

    Raises:
        StorageError: they are no numbers.
    """
    measures = dict(zip(DayTotals.__slots__, values, strict=True))
    try:
        return DayTotals() + DayTotals(**{**measures, "revenue": Decimal(measures["revenue"])})
    except (ArithmeticError, TypeError, ValueError) as error:
        raise StorageError(
            f"the catalog's control totals {measures} are no numbers: `event-pipeline repair` restores them"
        ) from error


def hour_of_partition(partition: str) -> Hour | None:
    """Return the landing hour of a Hive path as the catalog holds it; None for what no build has written."""
    try:
        hour = Hour.of_hive_path(partition)
    except InvalidHourError:
        return None
    return hour if hour.hive_path == partition else None


def day_of_partition(partition: str) -> date | None:
    """Return the event day of a Hive path as the catalog holds it; None for what no build has written."""
    try:
        day = day_of(partition)
    except ValueError:
        return None
    return day if day_partition(day) == partition else None


def _insert(session: sqlite3.Connection, rows: Rows) -> None:
    for catalog_table, values in rows:
        marks = ", ".join("?" * len(values))
        session.execute(f"INSERT INTO {catalog_table} VALUES ({marks})", values)


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which rows of one of the catalog's own tables belong to a place."""

    catalog_table: str
    condition: str
    values: tuple[str, ...]


def _selections(place: Place) -> list[_Selection]:
    table, partition = place
    database, _, name = table.partition(".")
    found = [
        _Selection(catalog_table, "table_name = ? AND partition = ?", place)
        for catalog_table in ("partition", "data_file")
    ]
    if table == HOUR_LEDGER.full_name:
        found.append(_Selection("silver_day", "hour = ?", (partition,)))
    elif database == "partials":
        found.append(_Selection("partial_day", "table_name = ? AND hour = ?", (name, partition)))
    elif database == "gold":
        day = partition.removeprefix(_DAY_PREFIX)
        found.append(_Selection("day_input", "table_name = ? AND event_date = ?", (name, day)))
    return found


def rows_of(commit: Commit) -> dict[Place, Rows]:
    """Return all that the catalog has to hold of a commit record, by place; a place of a retired hour has no rows."""
    match commit:
        case HourCommit():
            partition, shown = commit.hour.hive_path, shown_tables(commit)
            rows = dict[Place, Rows]()
            for table in HOUR_TABLES:
                entry = Entry(table.full_name, partition, commit.run_id, commit.fingerprint, commit.rules_version)
                files = commit.files_of(table.full_name)
                rows[table.full_name, partition] = (
                    _rows(entry, commit.committed_at, files) if table in shown else frozenset()
                )
            # Beside the ledger, which every hour keeps: Gold still shows the events of a retired one.
            rows[HOUR_LEDGER.full_name, partition] |= {
                ("silver_day", (partition, day, *(getattr(totals, name) for name in _MEASURES), str(totals.revenue)))
                for day, totals in commit.account.days.items()
            }
            return rows
        case PartialCommit():
            name, partition = partial_table(commit.table), commit.hour.hive_path
            entry = Entry(name, partition, commit.run_id, commit.silver_run_id, commit.sql_version)
            days = {("partial_day", (commit.table, partition, day)) for day in commit.days}
            return {(name, partition): _rows(entry, commit.committed_at, commit.files) | days}
        case DayCommit():
            name, partition = gold_table(commit.table), day_partition(commit.day)
            entry = Entry(name, partition, commit.run_id, "", commit.sql_version)
            inputs = {
                ("day_input", (commit.table, str(commit.day), hour, run_id)) for hour, run_id in commit.partials.items()
            }
            return {(name, partition): _rows(entry, commit.committed_at, commit.files) | inputs}


def _rows(entry: Entry, committed_at: datetime, files: Sequence[DataFile]) -> Rows:
    key = (entry.table, entry.partition)
    shown = (*key, entry.run_id, committed_at.isoformat(), entry.made_from, entry.version)
    return frozenset(
        (("partition", shown), *(("data_file", (*key, file.path, file.rows, file.size)) for file in files))
    )
