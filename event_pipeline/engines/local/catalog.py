"""The local catalog: which committed files queries see. One SQLite file, which can be rebuilt from commit records."""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from event_pipeline.engines.catalog import Partition
from event_pipeline.engines.commit import Commit, DataFile, DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.host.lake_files import RegisteredFile
from event_pipeline.engines.host.layout import storage_faults
from event_pipeline.engines.leftovers import shown_tables
from event_pipeline.engines.names import (
    PARTIALS_DATABASE,
    day_of_partition,
    day_partition,
    gold_table,
    hour_of_partition,
    partial_table,
)
from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_LEDGER, Table
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.rules.stored_json import read_json

_SCHEMA_VERSION = 3
_BUSY_TIMEOUT_SECONDS = 30.0

_MOST_VALUES = 10_000
"""Partitions that one statement names; SQLite takes 32,766 values."""
_TABLES = {
    "partition": """
        table_name TEXT NOT NULL, partition TEXT NOT NULL, build_id TEXT NOT NULL, committed_at TEXT NOT NULL,
        made_from TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY (table_name, partition)""",
    "data_file": """
        table_name TEXT NOT NULL, partition TEXT NOT NULL, path TEXT NOT NULL, row_count INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL, PRIMARY KEY (table_name, partition, path)""",
    "silver_day": """
        hour TEXT NOT NULL, event_date TEXT NOT NULL, totals TEXT NOT NULL, PRIMARY KEY (event_date, hour)""",
    "partial_day": """
        table_name TEXT NOT NULL, hour TEXT NOT NULL, event_date TEXT NOT NULL,
        PRIMARY KEY (table_name, event_date, hour)""",
    "day_input": """
        table_name TEXT NOT NULL, event_date TEXT NOT NULL, hour TEXT NOT NULL, build_id TEXT NOT NULL,
        PRIMARY KEY (table_name, event_date, hour)""",
}


_DAY_PREFIX = "event_date="

_PLACES = {
    "partition": "table_name, partition",
    "data_file": "table_name, partition",
    "silver_day": f"'{HOUR_LEDGER.full_name}', hour",
    "partial_day": "'partials.' || table_name, hour",
    "day_input": f"'gold.' || table_name, '{_DAY_PREFIX}' || event_date",
}
"""Catalog table -> SQL expression for the partition that a row belongs to."""

Rows = frozenset[tuple[str, tuple[Any, ...]]]
"""All rows of the catalog for a partition: (one of the catalog's own tables, values of a row)."""

_WORDS = {
    "partition": "version or time",
    "data_file": "files",
    "silver_day": "control totals",
    "partial_day": "event days",
    "day_input": "partials",
}
"""Catalog table -> what is wrong if its rows differ from the commit record."""


@dataclass(frozen=True, slots=True)
class SqliteEntry:
    """Implements `engines.catalog.Entry` over the catalog's rows of one partition; some may be lost."""

    table: str
    partition: str
    rows: Rows

    @property
    def build_id(self) -> str:
        """The build that it shows; empty if that row is lost."""
        return str(self._shown[2])

    @property
    def made_from(self) -> str:
        """Silver: fingerprint of the input. Partial: build id of its Silver. Day: empty."""
        return str(self._shown[4])

    @property
    def version(self) -> str:
        """Rules version, or digest of the Gold SQL."""
        return str(self._shown[5])

    @property
    def days(self) -> dict[date, DayTotals]:
        """The event days that it has rows for; the ledger's entry has their control totals."""
        found = {values[1]: _day_totals(values[2]) for values in self._of("silver_day")}
        found |= {values[2]: DayTotals() for values in self._of("partial_day")}
        return {day: totals for text, totals in sorted(found.items()) if (day := _day(text))}

    @property
    def partials(self) -> dict[str, str]:
        """For a Gold day: landing hour (Hive path) -> build id of the partial that was folded in."""
        return {values[2]: values[3] for values in sorted(self._of("day_input"))}

    @property
    def _shown(self) -> tuple[Any, ...]:
        return next(iter(self._of("partition")), ("",) * 6)

    def _of(self, catalog_table: str) -> list[tuple[Any, ...]]:
        return [values for name, values in self.rows if name == catalog_table]


class SqliteCatalog:
    """Implements `engines.catalog.Catalog` over one SQLite file; each change is one transaction."""

    changes_at_once = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- opening

    @contextmanager
    def _session(self, *, write: bool = False, complete: bool = True) -> Iterator[sqlite3.Connection]:
        """Open a transaction; `complete` refuses a catalog that is missing or not filled yet.

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
                    # Inside the transaction: an answer from a half-filled catalog would be taken as the truth.
                    if complete and session.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA_VERSION:
                        raise self._lost()
                    yield session
                except BaseException:
                    # After a full disk SQLite has already rolled back, and another error here would hide the cause.
                    if session.in_transaction:
                        session.execute("ROLLBACK")
                    raise
                session.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _lost(self) -> TransientError:
        return TransientError(
            f"{self.path}: the catalog was removed or replaced while in use: run again, it is rebuilt from the "
            "commit records"
        )

    def _explain(self, error: sqlite3.Error) -> Exception:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return TransientError(f"{self.path}: the catalog has been busy for over {_BUSY_TIMEOUT_SECONDS:g} s")
        if name.startswith("SQLITE_FULL"):
            return StorageError(f"{self.path}: the disk is full: free some space and run again; published data stays")
        if name.startswith("SQLITE_IOERR"):
            return TransientError(
                f"{self.path}: the disk is full or failed ({error}): free some space, or check the device"
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            # SQLite opens a file for reading alone if it cannot be opened for writing just then.
            if self._obstacle() is None:
                return self._passed(error)
            return StorageError(f"{self.path}: the catalog is not writable ({error}): check its owner and mode")
        if name.startswith("SQLITE_CANTOPEN"):
            return self._obstacle() or self._passed(error)
        return StorageError(
            f"{self.path}: the catalog is damaged ({error}): `event-pipeline repair` rebuilds it from the "
            "commit records, no data is lost"
        )

    def _obstacle(self) -> Exception | None:
        """Return why the files cannot be opened now, which SQLite does not report: permission, descriptors or space."""
        try:
            with storage_faults(self.path), self.path.open("r+b"):
                pass
            for beside in (f"{self.path}-wal", f"{self.path}-shm"):
                # There as long as a session is open.
                with storage_faults(beside), suppress(FileNotFoundError), Path(beside).open("r+b"):
                    pass
            with storage_faults(self.path), tempfile.TemporaryFile(dir=self.path.parent):
                pass
        except (PipelineError, OSError) as cause:
            return cause
        return None

    def _passed(self, error: sqlite3.Error) -> TransientError:
        return TransientError(
            f"{self.path}: the disk failed for a moment: the catalog could not be opened ({error}), and now it can"
        )

    def is_complete(self) -> bool:
        """Return whether the file exists with all its tables.

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
        """Check that every page of the file is sound.

        Raises:
            StorageError: it is damaged.
        """
        with self._session(complete=False) as session:
            # Not quick_check, which in SQLite 3.40 reports "NULL value in partial_day.hour" for sound tables whose
            # primary key has another column order than the table.
            found = session.execute("PRAGMA integrity_check").fetchone()[0]
            if found == "ok":
                for catalog_table in _TABLES:
                    deque(self._read(session, f"SELECT * FROM {catalog_table}", catalog_table), maxlen=0)
        if found != "ok":
            raise self._explain(sqlite3.DatabaseError(found))

    def _registered(self, partition: Any, path: Any, version: Any) -> RegisteredFile:
        if not isinstance(partition, str) or not isinstance(path, str) or not isinstance(version, str):
            raise self._explain(sqlite3.DatabaseError(f"{(partition, path, version)!r:.200} in data_file"))
        return RegisteredFile(partition, path, version)

    def _read(
        self, session: sqlite3.Connection, query: str, catalog_table: str, values: Sequence[str] = ()
    ) -> Iterator[tuple[Any, ...]]:
        """Yield rows of one of the catalog's own tables, which may come after the partition that they belong to.

        Raises:
            StorageError: a value is of another type than its column: SQLite stores whatever it is given.
        """
        wanted = _TYPES[catalog_table]
        for row in session.execute(query, values):
            if tuple(map(type, row[-len(wanted) :])) != wanted:
                raise self._explain(sqlite3.DatabaseError(f"{row!r:.200} in {catalog_table}"))
            yield row

    def create(self) -> None:
        """Create empty tables in a new file; call `fill` next."""
        with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_SECONDS)) as session:
            try:
                session.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error as error:
                raise self._explain(error) from error
        with self._session(write=True, complete=False) as session:
            for name, columns in _TABLES.items():
                session.execute(f"CREATE TABLE {name} ({columns}) WITHOUT ROWID")

    def fill(self, commits: Iterable[Commit]) -> list[Partition]:
        """Show commits in a new catalog and mark it as complete; return what it shows."""
        shown = list[Partition]()
        with self._session(write=True, complete=False) as session:
            for commit in commits:
                for entry in entries_of(commit):
                    _insert(session, entry.rows)
                    shown.append((entry.table, entry.partition))
            session.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        return shown

    # -- changes

    def ensure(self, table: Table) -> None:
        """Do nothing: tables need no definition in this catalog."""

    def ensure_gold(self, table: GoldTable) -> None:
        """Do nothing: tables need no definition in this catalog."""

    def change(self, show: Iterable[SqliteEntry], drop: Collection[Partition]) -> None:
        """Set entries and drop others in one transaction."""
        with self._session(write=True) as session:
            for place in drop:
                _delete(session, place)
            for entry in show:
                _delete(session, (entry.table, entry.partition))
                _insert(session, entry.rows)

    # -- questions

    def entries_of(self, commit: Commit) -> list[SqliteEntry]:
        """Return the entries that show a commit."""
        return entries_of(commit)

    def differences(self, wanted: SqliteEntry, present: SqliteEntry) -> list[str]:
        """Return in words in which of the catalog's tables two entries differ."""
        differing = {catalog_table for catalog_table, _ in wanted.rows ^ present.rows}
        return [words for catalog_table, words in _WORDS.items() if catalog_table in differing]

    def get(self, table: str, partitions: Sequence[str]) -> dict[str, SqliteEntry]:
        """Return the entries of some partitions by Hive path, even if the catalog lost some of their rows."""
        found = dict[str, SqliteEntry]()
        with self._session() as session:
            for partition in partitions:
                rows = set[tuple[str, tuple[Any, ...]]]()
                for each in _selections((table, partition)):
                    query = f"SELECT * FROM {each.catalog_table} WHERE {each.condition}"
                    found_rows = self._read(session, query, each.catalog_table, each.values)
                    rows |= {(each.catalog_table, row) for row in found_rows}
                if rows:
                    found[partition] = SqliteEntry(table, partition, frozenset(rows))
        return found

    def entries(
        self, table: str, hours: HourRange | None = None, days: tuple[date, date] | None = None
    ) -> list[SqliteEntry]:
        """Return the registered partitions of a table in order, without their files."""
        first, last = "", "~"
        if hours is not None:
            first, last = hours.first.hive_path, hours.last.hive_path
        elif days is not None:
            first, last = str(days[0]), str(days[1])
        found = defaultdict[str, set[tuple[str, tuple[Any, ...]]]](set)
        with self._session() as session:
            for each in _selections_within(table, first, last):
                query = f"SELECT * FROM {each.catalog_table} WHERE {each.condition}"
                for row in self._read(session, query, each.catalog_table, each.values):
                    found[_partition_of(each.catalog_table, row)].add((each.catalog_table, row))
        return [SqliteEntry(table, partition, frozenset(rows)) for partition, rows in sorted(found.items())]

    def needed(self, entry: SqliteEntry) -> list[str]:
        """Return the keys of the files that an entry shows."""
        return [values[2] for name, values in entry.rows if name == "data_file"]

    def everything(self, tables: Sequence[str], hours: HourRange | None) -> dict[Partition, SqliteEntry]:
        """Return all entries, or those of a range: of its hours and, for Gold, of its days."""
        found = defaultdict[Partition, set[tuple[str, tuple[Any, ...]]]](set)
        with self._session() as session:
            for catalog_table, place in _PLACES.items():
                query = f"SELECT {place}, * FROM {catalog_table}"
                for table, partition, *values in self._read(session, query, catalog_table):
                    if _is_within(partition, hours):
                        found[table, partition].add((catalog_table, tuple(values)))
        return {place: SqliteEntry(*place, frozenset(rows)) for place, rows in found.items()}

    def snapshot(
        self, tables: Iterable[str], partitions: Sequence[str] | None = None
    ) -> dict[str, list[RegisteredFile]]:
        """Return the files of several tables from one snapshot, all or of some partitions, in order."""
        names = sorted(set(tables))
        found: dict[str, list[RegisteredFile]] = {name: [] for name in names}
        where, values = "", list[str]()
        few = partitions is not None and len(partitions) <= _MOST_VALUES
        if partitions is not None and few:
            where = f" AND partition IN ({', '.join('?' * len(partitions))})"
            values = list(partitions)
        with self._session() as session:
            for name in names:
                rows = session.execute(
                    "SELECT partition, path, COALESCE(version, '') FROM data_file"
                    f" LEFT JOIN partition USING (table_name, partition) WHERE table_name = ?{where}"
                    " ORDER BY partition, path",
                    (name, *values),
                )
                found[name] = [self._registered(*row) for row in rows]
        if partitions is not None and not few:
            wanted = set(partitions)
            return {name: [file for file in files if file.partition in wanted] for name, files in found.items()}
        return found


_TYPES = {
    name: tuple(int if kind == "INTEGER" else str for kind in re.findall(r"\w+ (TEXT|INTEGER) NOT NULL", columns))
    for name, columns in _TABLES.items()
}
"""Catalog table -> the Python types of its columns."""


def _day_totals(stored: Any) -> DayTotals:
    """Parse control totals.

    Raises:
        StorageError: they are not numbers.
    """
    try:
        return DayTotals.of_measures(read_json(stored))
    except (TypeError, ValueError) as error:
        raise StorageError(
            f"the catalog's control totals {stored!r:.300} are not numbers: `event-pipeline repair` restores them"
        ) from error


def _day(text: str) -> date | None:
    """Return an event day; None if no build can have written the text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _is_within(partition: str, hours: HourRange | None) -> bool:
    """Return whether an entry belongs to a range of hours, or, for Gold, to its days; None is everything."""
    if hours is None:
        return True
    hour, day = hour_of_partition(partition), day_of_partition(partition)
    return (hour is not None and hour in hours) or (day is not None and hours.touches(day))


def _insert(session: sqlite3.Connection, rows: Rows) -> None:
    for catalog_table, values in rows:
        marks = ", ".join("?" * len(values))
        session.execute(f"INSERT INTO {catalog_table} VALUES ({marks})", values)


@dataclass(frozen=True, slots=True)
class _Selection:
    """Selects the rows of one of the catalog's own tables that belong to a partition."""

    catalog_table: str
    condition: str
    values: tuple[str, ...]


def _selections(place: Partition) -> list[_Selection]:
    table, partition = place
    database, _, name = table.partition(".")
    found = [
        _Selection(catalog_table, "table_name = ? AND partition = ?", place)
        for catalog_table in ("partition", "data_file")
    ]
    if table == HOUR_LEDGER.full_name:
        found.append(_Selection("silver_day", "hour = ?", (partition,)))
    elif database == PARTIALS_DATABASE:
        found.append(_Selection("partial_day", "table_name = ? AND hour = ?", (name, partition)))
    elif database == "gold":
        day = partition.removeprefix(_DAY_PREFIX)
        found.append(_Selection("day_input", "table_name = ? AND event_date = ?", (name, day)))
    return found


def _selections_within(table: str, first: str, last: str) -> list[_Selection]:
    """Return the selections for the partitions of a table between two inclusive bounds, without data files."""
    database, _, name = table.partition(".")
    if database == "gold":
        prefixed = (table, f"{_DAY_PREFIX}{first}" if first else "", f"{_DAY_PREFIX}{last}")
        return [
            _Selection("partition", "table_name = ? AND partition >= ? AND partition <= ?", prefixed),
            _Selection("day_input", "table_name = ? AND event_date >= ? AND event_date <= ?", (name, first, last)),
        ]
    bounds = (first, last)
    found = [_Selection("partition", "table_name = ? AND partition >= ? AND partition <= ?", (table, *bounds))]
    if table == HOUR_LEDGER.full_name:
        found.append(_Selection("silver_day", "hour >= ? AND hour <= ?", bounds))
    elif database == PARTIALS_DATABASE:
        found.append(_Selection("partial_day", "table_name = ? AND hour >= ? AND hour <= ?", (name, *bounds)))
    return found


def _partition_of(catalog_table: str, row: Sequence[Any]) -> str:
    match catalog_table:
        case "silver_day":
            return str(row[0])
        case "day_input":
            return f"{_DAY_PREFIX}{row[1]}"
        case _:
            return str(row[1])


def _delete(session: sqlite3.Connection, place: Partition) -> None:
    for each in _selections(place):
        session.execute(f"DELETE FROM {each.catalog_table} WHERE {each.condition}", each.values)


def entries_of(commit: Commit) -> list[SqliteEntry]:
    """Return the entries that show a commit, with all rows that the catalog must have for each."""
    match commit:
        case HourCommit():
            partition, entries = commit.hour.hive_path, list[SqliteEntry]()
            for table in shown_tables(commit):
                key = (table.full_name, partition)
                made = (commit.fingerprint, commit.rules_version)
                rows = _rows(key, commit, *made, commit.files_of(table.full_name))
                if table is HOUR_LEDGER:
                    # Stored with the ledger, which every hour keeps: Gold still shows the events of a retired one.
                    rows |= {
                        ("silver_day", (partition, day, json.dumps(each.stored)))
                        for day, each in commit.account.days.items()
                    }
                entries.append(SqliteEntry(*key, rows))
            return entries
        case PartialCommit():
            key = (partial_table(commit.table), commit.hour.hive_path)
            rows = _rows(key, commit, commit.silver_build_id, commit.sql_version, commit.files)
            days = {("partial_day", (commit.table, commit.hour.hive_path, day)) for day in commit.days_with_rows}
            return [SqliteEntry(*key, rows | days)]
        case DayCommit():
            key = (gold_table(commit.table), day_partition(commit.day))
            rows = _rows(key, commit, "", commit.sql_version, commit.files)
            inputs = {
                ("day_input", (commit.table, str(commit.day), hour, build_id))
                for hour, build_id in commit.partials.items()
            }
            return [SqliteEntry(*key, rows | inputs)]


def _rows(key: Partition, commit: Commit, made_from: str, version: str, files: Sequence[DataFile]) -> Rows:
    shown = (*key, commit.build_id, commit.committed_at.isoformat(), made_from, version)
    return frozenset(
        (("partition", shown), *(("data_file", (*key, file.path, file.rows, file.size)) for file in files))
    )
