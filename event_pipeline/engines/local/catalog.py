"""The local catalog: which committed files queries see. One SQLite file that commit records can rebuild."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from event_pipeline.engines.base import PassingFaultError, StorageError
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
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_LEDGER, HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import Hour, HourRange

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
    def _session(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None)) as session:
                session.execute("PRAGMA synchronous = NORMAL")
                session.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield session
                except BaseException:
                    session.execute("ROLLBACK")
                    raise
                session.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> Exception:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return PassingFaultError(f"{self.path}: the catalog is busy for over {_BUSY_TIMEOUT_SECONDS:g} s")
        if name.startswith("SQLITE_FULL"):
            return StorageError(f"{self.path}: the disk is full: make room and run again, nothing was published")
        if name.startswith("SQLITE_IOERR"):
            return StorageError(f"{self.path}: the disk is full or failing ({error}): nothing was published")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return StorageError(f"{self.path}: the catalog cannot be opened for writing ({error})")
        return StorageError(
            f"{self.path}: the catalog is damaged ({error}): `event-pipeline repair` rebuilds it from the "
            "commit records, no data is lost"
        )

    def is_complete(self) -> bool:
        """Tell whether the file exists with all its tables.

        Raises:
            StorageError: it is damaged.
        """
        if not self.path.exists():
            return False
        with self._session() as session:
            rows = session.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            version = session.execute("PRAGMA user_version").fetchone()[0]
        return version == _SCHEMA_VERSION and _TABLES.keys() <= {name for (name,) in rows}

    def check(self) -> None:
        """See that every page of the file is sound.

        Raises:
            StorageError: it is damaged.
        """
        with self._session() as session:
            # Not quick_check: SQLite 3.40 reports "NULL value in partial_day.hour" there for sound tables whose
            # primary key has another column order than the table.
            found = session.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise self._explain(sqlite3.DatabaseError(found))

    def create(self) -> None:
        """Make the tables anew, empty; `mark_complete` is to follow once they are filled."""
        with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS)) as session:
            try:
                session.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as error:
                raise self._explain(error) from error
        with self._session(write=True) as session:
            session.execute("PRAGMA user_version = 0")
            for name, columns in _TABLES.items():
                session.execute(f"DROP TABLE IF EXISTS {name}")
                session.execute(f"CREATE TABLE {name} ({columns}) WITHOUT ROWID")

    def mark_complete(self) -> None:
        """Say that the tables hold all that is committed: until then nobody reads them."""
        with self._session(write=True) as session:
            session.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    # -- changes

    def register_hour(self, commit: HourCommit) -> None:
        """Show exactly this build of a landing hour in its tables, of a retired hour in the ledger alone.

        The control totals of a retired hour stay: Gold still shows its events.
        """
        partition, shown = commit.hour.hive_path, shown_tables(commit)
        with self._session(write=True) as session:
            for table in HOUR_TABLES:
                name = table.full_name
                if table not in shown:
                    _forget(session, name, partition)
                    continue
                files = commit.files_of(name)
                _replace(session, Entry(name, partition, commit.run_id, commit.fingerprint, commit.rules_version),
                         commit.committed_at, files)  # fmt: skip
            session.execute("DELETE FROM silver_day WHERE hour = ?", (partition,))
            session.executemany(
                "INSERT INTO silver_day VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        partition,
                        day,
                        *(getattr(totals, name) for name in DayTotals.__slots__[:-1]),
                        str(totals.revenue),
                    )
                    for day, totals in commit.account.days.items()
                ],
            )

    def register_partial(self, commit: PartialCommit) -> None:
        """Make exactly this build of a partial the one that is folded."""
        partition = commit.hour.hive_path
        entry = Entry(partial_table(commit.table), partition, commit.run_id, commit.silver_run_id, commit.sql_version)
        with self._session(write=True) as session:
            _replace(session, entry, commit.committed_at, commit.files)
            session.execute("DELETE FROM partial_day WHERE table_name = ? AND hour = ?", (commit.table, partition))
            session.executemany(
                "INSERT INTO partial_day VALUES (?, ?, ?)",
                [(commit.table, partition, day) for day in commit.days],
            )

    def register_day(self, commit: DayCommit) -> None:
        """Show exactly this fold of an event day; a day without rows is not shown."""
        name, partition = gold_table(commit.table), day_partition(commit.day)
        with self._session(write=True) as session:
            _replace(session, Entry(name, partition, commit.run_id, "", commit.sql_version), commit.committed_at,
                     commit.files)  # fmt: skip
            session.execute(
                "DELETE FROM day_input WHERE table_name = ? AND event_date = ?",
                (commit.table, str(commit.day)),
            )
            session.executemany(
                "INSERT INTO day_input VALUES (?, ?, ?, ?)",
                [(commit.table, str(commit.day), hour, run_id) for hour, run_id in commit.partials.items()],
            )

    def drop(self, table: str, partition: str) -> None:
        """Forget a partition, and what was noted beside it."""
        database, _, name = table.partition(".")
        with self._session(write=True) as session:
            _forget(session, table, partition)
            if table == SILVER_EVENTS.full_name:
                session.execute("DELETE FROM silver_day WHERE hour = ?", (partition,))
            elif database == "partials":
                session.execute("DELETE FROM partial_day WHERE table_name = ? AND hour = ?", (name, partition))
            elif database == "gold":
                session.execute(
                    "DELETE FROM day_input WHERE table_name = ? AND event_date = ?",
                    (name, str(day_of(partition))),
                )

    # -- questions

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

    def partial_days(self, table: str, hour: Hour) -> list[date]:
        """Return the event days for which an hour's partial has rows."""
        with self._session() as session:
            rows = session.execute(
                "SELECT event_date FROM partial_day WHERE table_name = ? AND hour = ? ORDER BY 1",
                (table, hour.hive_path),
            ).fetchall()
        return [date.fromisoformat(day) for (day,) in rows]

    def touched_days(self, table: str, hour: Hour) -> list[date]:
        """Return the event days that an hour's partial contributes to, or was folded into before."""
        with self._session() as session:
            rows = session.execute(
                "SELECT event_date FROM partial_day WHERE table_name = ? AND hour = ?"
                " UNION SELECT event_date FROM day_input WHERE table_name = ? AND hour = ? ORDER BY 1",
                (table, hour.hive_path) * 2,
            ).fetchall()
        return [date.fromisoformat(day) for (day,) in rows]

    def partials_of(self, table: str, day: date) -> tuple[dict[str, str], list[str]]:
        """Return what a day is to be folded from: landing hour -> run id, and the partials' paths, at one moment."""
        with self._session() as session:
            rows = session.execute(
                "SELECT d.hour, p.run_id, f.path FROM partial_day d"
                " JOIN partition p ON p.table_name = ? AND p.partition = d.hour"
                " JOIN data_file f ON f.table_name = p.table_name AND f.partition = p.partition"
                " WHERE d.table_name = ? AND d.event_date = ? ORDER BY d.hour, f.path",
                (partial_table(table), table, str(day)),
            ).fetchall()
        return {hour: run_id for hour, run_id, _ in rows}, [path for _, _, path in rows]

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
        return [Hour.of_hive_path(path) for (path,) in rows]


def _day_totals(values: Sequence[Any]) -> DayTotals:
    measures = dict(zip(DayTotals.__slots__, values, strict=True))
    return DayTotals(**{**measures, "revenue": Decimal(measures["revenue"])})


def _forget(session: sqlite3.Connection, table: str, partition: str) -> None:
    for each in ("partition", "data_file"):
        session.execute(f"DELETE FROM {each} WHERE table_name = ? AND partition = ?", (table, partition))


def _replace(session: sqlite3.Connection, entry: Entry, committed_at: datetime, files: tuple[DataFile, ...]) -> None:
    key = (entry.table, entry.partition)
    session.execute("DELETE FROM data_file WHERE table_name = ? AND partition = ?", key)
    session.execute(
        "INSERT OR REPLACE INTO partition VALUES (?, ?, ?, ?, ?, ?)",
        (*key, entry.run_id, committed_at.isoformat(), entry.made_from, entry.version),
    )
    session.executemany(
        "INSERT INTO data_file VALUES (?, ?, ?, ?, ?)",
        [(*key, file.path, file.rows, file.size) for file in files],
    )
