"""Loads a Gold table from its `.sql` file: header, partial, fold and reconciliation.

The file completely defines a Gold table; asset, checks, catalog entry and documentation follow from it. Layout:

    -- description: one sentence, shown to people
    -- grain: product_id, category            (columns that, with event_date, identify a row)
    -- lineage:                               (optional; shown by Dagster, no part of the version)
    --   product_id: product_id               (column: the columns of silver.events that its values depend on)
    -- columns:
    --   product_id   string   The product    (name, Glue type, meaning: the columns after event_date)
    -- traps:                                (optional, for the data dictionary)
    --   product_id   p_1001   Without an event it has no row    (name, example without spaces, trap)

    -- section: partial     one landing hour, from `silver_events`; its first column is event_date; must merge
    -- section: fold        one event day, from `partials` (rows of all partials of the day); the columns above
    -- section: reconcile   from `gold_day` and `silver_totals` (one row: accounting.DayTotals): rows of
                            (measure, gold, silver); each pair must be equal

A section ends with a semicolon, so that other tools can parse the file; it is not part of the section.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, takewhile
from pathlib import Path

from event_pipeline.rules.contract import EVENT_DATE, SILVER_EVENTS, Column, Table
from event_pipeline.rules.hour import Hour

GOLD_FOLDER = Path(__file__).parent / "gold"
SECTIONS = ("partial", "fold", "reconcile")

_SECTION = re.compile(r"^-- section: *(.*?) *$", re.MULTILINE)
_COLUMN = re.compile(r"--   (\w+) +(\S+) +(\S.*)")
"""A line of the columns, or of the traps."""
_DEPENDS = re.compile(r"^--   (\w+): +(\S.*?) *$", re.MULTILINE)
_TYPE = re.compile(r"string|int|bigint|double|boolean|date|timestamp|decimal\((?:[1-9]|[12]\d|3[0-8]),\d{1,2}\)")


class GoldFileError(ValueError):
    """A Gold table's `.sql` file does not have the layout; the message has file and fault."""


@dataclass(frozen=True, slots=True)
class GoldTable:
    """One Gold table, as defined by its `.sql` file."""

    name: str
    description: str
    grain: tuple[str, ...]
    """Columns that identify a row of a day; empty if a day has only one row."""
    columns: tuple[Column, ...]
    """The columns after event_date, in order."""
    partial: str
    fold: str
    reconcile: str
    lineage: tuple[tuple[str, tuple[str, ...]], ...]
    """Column, and the columns of `silver.events` that its values depend on; empty if the file does not say."""
    version: str
    """Digest of the SQL that produces rows; with another version, partials and days are rebuilt."""

    @property
    def measures(self) -> tuple[str, ...]:
        """What a chart of a day shows: the first sum of money, or the first three counts; nothing for a single row."""
        columns = [column for column in self.columns if column.name not in self.grain and self.grain]
        numbers = [column for column in columns if column.type == "bigint" or column.type.startswith("decimal")]
        if not numbers or numbers[0].type != "bigint":
            return tuple(column.name for column in numbers[:1])
        counts = takewhile(lambda column: column.type == "bigint", numbers)
        return tuple(column.name for column in islice(counts, 3))

    @property
    def table(self) -> Table:
        """The catalog table: `gold.<name>`, partitioned by event_date."""
        return Table("gold", self.name, self.description, self.columns, (EVENT_DATE,))


def load_gold_tables(folder: Path = GOLD_FOLDER) -> tuple[GoldTable, ...]:
    """Load every Gold table of a folder, by name.

    Raises:
        GoldFileError: a file does not have the layout.
    """
    return tuple(load_gold_table(path) for path in sorted(folder.glob("*.sql")))


def load_gold_table(path: Path) -> GoldTable:
    """Load one Gold table; its name is the file's.

    Raises:
        GoldFileError: the file does not have the layout.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GoldFileError(f"{path}: byte {error.start + 1} is not UTF-8: save the file as UTF-8") from error
    header, *rest = _SECTION.split(text)
    sections = {name: sql.strip().rstrip(";") for name, sql in zip(rest[::2], rest[1::2], strict=True)}
    if tuple(sections) != SECTIONS or len(rest) != 2 * len(SECTIONS):
        raise GoldFileError(f"{path}: sections are {rest[::2]}, expected exactly {list(SECTIONS)} in this order")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", path.stem):
        raise GoldFileError(f"{path}: a table name has lower-case letters, digits and underscores only")
    columns = _columns(path, header)
    grain = tuple(name for name in re.split(r"[,\s]+", _line(path, header, "grain")) if name and name != "-")
    if unknown := set(grain) - {column.name for column in columns}:
        raise GoldFileError(f"{path}: grain names {sorted(unknown)}, which are not among its columns")
    made_by = "\0".join((sections["partial"], sections["fold"], *(f"{c.name} {c.type}" for c in columns)))
    return GoldTable(
        name=path.stem,
        description=_line(path, header, "description"),
        grain=grain,
        columns=columns,
        lineage=_lineage(path, header, columns),
        version=hashlib.sha256(made_by.encode()).hexdigest()[:16],
        **sections,
    )


def from_silver(table: GoldTable, where: str) -> str:
    """Return the SELECT of a table's columns as its own SQL makes them from some rows of `silver.events`."""
    columns = ", ".join(column.name for column in table.columns)
    return f"WITH {_silver_events(where)}, partials AS ({table.partial}) SELECT {columns} FROM ({table.fold}) AS folded"


def partial_of_silver(table: GoldTable, where: str) -> str:
    """Return the SELECT of a table's partial as its own SQL makes it from some rows of `silver.events`."""
    return f"WITH {_silver_events(where)} SELECT * FROM ({table.partial}) AS partials"


def _silver_events(where: str) -> str:
    """Return what a partial reads, as the common table expression of its name."""
    return f"silver_events AS (SELECT * FROM {SILVER_EVENTS.full_name} WHERE {where})"


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def hour_values_of(hours: Iterable[Hour]) -> str:
    """Return the SQL condition for the partitions of some landing hours; without hours it selects nothing."""
    days_of = dict[tuple[str, str, tuple[str, ...]], list[str]]()
    for (year, month, day), group in groupby(sorted(hours), key=lambda hour: hour.partition_values[:3]):
        # Days of a month with the same hours are one condition: Athena takes 262,144 bytes of SQL, and a year has 8,760
        # hours.
        days_of.setdefault((year, month, tuple(hour.partition_values[3] for hour in group)), []).append(day)
    conditions = [
        f"(year = '{year}' AND month = '{month}' AND {_among('day', days)} AND hour IN ({_texts(of_day)}))"
        for (year, month, of_day), days in days_of.items()
    ]
    return f"({' OR '.join(conditions)})" if conditions else "FALSE"


def _among(name: str, values: Sequence[str]) -> str:
    return f"{name} = '{values[0]}'" if len(values) == 1 else f"{name} IN ({_texts(values)})"


def _texts(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _line(path: Path, header: str, name: str) -> str:
    found = re.findall(rf"^-- {name}: *(\S.*?) *$", header, re.MULTILINE)
    if len(found) != 1:
        raise GoldFileError(f"{path}: the header needs one line `-- {name}: ...`, found {len(found)}")
    return str(found[0])


def _lineage(path: Path, header: str, columns: Sequence[Column]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    listed = header.partition("-- lineage:\n")[2].partition("-- columns:\n")[0]
    found = tuple((name, tuple(re.split(r"[,\s]+", of))) for name, of in _DEPENDS.findall(listed))
    declared, of_silver = {column.name for column in columns}, {column.name for column in SILVER_EVENTS.columns}
    for name, sources in found:
        if name not in declared:
            raise GoldFileError(f"{path}: lineage names {name}, which is not among its columns")
        if unknown := set(sources) - of_silver:
            raise GoldFileError(f"{path}: lineage of {name} names {sorted(unknown)}, which silver.events does not have")
    return found


def _columns(path: Path, header: str) -> tuple[Column, ...]:
    _, marker, below = header.partition("-- columns:\n")
    listed, _, trapped = below.partition("-- traps:\n")
    traps = {match[1]: match.groups()[1:] for match in map(_COLUMN.fullmatch, trapped.splitlines()) if match}
    columns = [
        Column(*match.groups(), *traps.pop(match[1], ()))
        for match in map(_COLUMN.fullmatch, listed.splitlines())
        if match
    ]
    if traps:
        raise GoldFileError(f"{path}: traps are given for {sorted(traps)}, which are not among its columns")
    if not marker or not columns:
        raise GoldFileError(f"{path}: the header lists no columns; write `--   name type meaning` lines")
    for column in columns:
        if not _TYPE.fullmatch(column.type):
            raise GoldFileError(f"{path}: column {column.name} has type {column.type!r}; allowed: {_TYPE.pattern}")
        if column.name == EVENT_DATE.name:
            raise GoldFileError(f"{path}: event_date is every Gold table's partition column; do not list it")
    names: Sequence[str] = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise GoldFileError(f"{path}: a column is listed twice")
    return tuple(columns)
