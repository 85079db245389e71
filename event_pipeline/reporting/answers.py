"""Prints the Gold tables for one event day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.engines.base import DayRange, Engine
from event_pipeline.engines.place import Place
from event_pipeline.engines.state import HourState
from event_pipeline.errors import QueryError
from event_pipeline.inspection.coverage import Coverage
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import QUIET, WARNING, messages, typed_command
from event_pipeline.rules.contract import HOUR_TABLES, Column
from event_pipeline.rules.hour import hours_text
from event_pipeline.rules.query import GoldTable

ROWS_SHOWN = 12
"""Rows shown per table; a line below says how to get the others."""

NEXT_STEPS = (
    ("query --name top_products --all", "an answer in full, for all days"),
    ("report", "one page with charts and health, to open in a browser"),
    ("queries", "questions with ready answers"),
    ("status", "every hour at a glance"),
    ("verify", "the proof that no record is lost or counted twice"),
    ("dev", "the Dagster UI over the same data"),
)
_WIDEST_STEP = max(len(rest) for rest, _ in NEXT_STEPS)


def named_table(name: str, gold_tables: Sequence[GoldTable]) -> GoldTable:
    """Return the Gold table that `query --name` names, with or without `gold.`.

    Raises:
        QueryError: there is no Gold table of that name; the message lists the existing ones.
    """
    tables = {table.name: table for table in gold_tables}
    table = tables.get(name.removeprefix("gold."))
    if table is None:
        others = ", ".join(each.full_name for each in HOUR_TABLES)
        raise QueryError(
            f"no Gold table is named {name!r}: choose from {', '.join(tables)} (SQL can also query {others}), or a "
            "question that `event-pipeline queries` lists"
        )
    return table


def named_query(name: str, gold_tables: Sequence[GoldTable], day: date | None = None) -> str:
    """Return the SELECT behind `query --name`: a whole Gold table, or one event day of it, in its natural order.

    Raises:
        QueryError: there is no Gold table of that name; the message lists the existing ones.
    """
    table = named_table(name, gold_tables)
    # A Gold table's columns are in reading order, ranks and keys first.
    order = ", ".join(["event_date", *(column.name for column in table.columns)])
    where = f" WHERE event_date = DATE '{day}'" if day else ""
    return f"SELECT * FROM {table.table.full_name}{where} ORDER BY {order}"


def print_describe_command(name: str) -> None:
    """Name the command that shows what the columns of a Gold table mean."""
    statement = f"DESCRIBE gold.{name.removeprefix('gold.')}"
    messages().print(f'What the columns mean: event-pipeline query "{statement}"', style=QUIET, soft_wrap=True)


def print_range(table: GoldTable, first: date, last: date, found: DayRange) -> None:
    """Say of which days and hours the answer for a range is."""
    days = f"{len(found.days):,} published day{'s' if len(found.days) != 1 else ''}"
    hours = f"{len(found.hours):,} landing hour{'s' if len(found.hours) != 1 else ''}"
    messages().print(
        f"gold.{table.name} of {first} to {last}, both inclusive, as one answer: {days}, folded from {hours}",
        style=QUIET,
        soft_wrap=True,
    )


def print_coverage(table: GoldTable, missing: Coverage) -> None:
    """Say what a range does not have; nothing if it is complete."""
    console = messages()
    if missing.days:
        count = f"{len(missing.days):,} day{'s' if len(missing.days) != 1 else ''}"
        console.print(
            f"Not in: {count} without published rows of gold.{table.name} ({_days_text(missing.days)})",
            style=WARNING,
            soft_wrap=True,
        )
    for state, hours in missing.hours.items():
        console.print(
            f"{_OF_STATE.get(state, 'Not as it is now')}: {hours_text(hours)}: {state.value}",
            style=WARNING,
            soft_wrap=True,
        )
    if missing.hours:
        console.print("event-pipeline status shows every hour, event-pipeline run builds what is due", style=QUIET)


_OF_STATE = {
    HourState.NO_RAW: "Not in",
    HourState.OPEN: "Not in",
    HourState.NEW: "Not in",
    HourState.DAMAGED: "Perhaps not in",
    HourState.UNREGISTERED: "Perhaps not in",
}


def _days_text(days: Sequence[date]) -> str:
    """Format days as ranges, both ends inclusive; at most six."""
    runs = list[tuple[date, date]]()
    for day in days:
        if runs and runs[-1][1] + timedelta(days=1) == day:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    named = ", ".join(f"{first} to {last}" if first < last else str(first) for first, last in runs[:6])
    return f"{named} and {len(runs) - 6} more" if len(runs) > 6 else named


def newest_day(engine: Engine, gold_tables: Sequence[GoldTable]) -> date | None:
    """Return the newest event day for which any Gold table has rows.

    A day after that of the newest landing hour has only events of its first minutes: it counts if no other day does.
    """
    landed = max(engine.registered_builds(), default=None)
    until = f"DATE '{landed.start.date() if landed else date.max}'"
    days = " UNION ALL ".join(
        f"SELECT MAX(CASE WHEN event_date <= {until} THEN event_date END) AS begun, MAX(event_date) AS day "
        f"FROM {table.table.full_name}"
        for table in gold_tables
    )
    newest = engine.query(f"SELECT COALESCE(MAX(begun), MAX(day)) AS day FROM ({days}) AS days").to_pylist()[0]["day"]
    return newest if isinstance(newest, date) else None


def print_newest_answers(engine: Engine, gold_tables: Sequence[GoldTable], console: Console) -> None:
    """Print the Gold tables for the newest event day."""
    day = newest_day(engine, gold_tables)
    if day is None:
        console.print("No event day has rows yet: the Gold tables are empty.")
    else:
        print_answers(engine, gold_tables, day, console)


def print_answers(engine: Engine, gold_tables: Sequence[GoldTable], day: date, console: Console) -> None:
    """Print the first rows of every Gold table for an event day."""
    console.print()
    console.print(f"The answers of {day}", style="bold")
    for table in gold_tables:
        rows = engine.query(named_query(table.name, gold_tables, day)).to_pylist()
        console.print()
        console.print(Text.assemble((f"gold.{table.name}", "bold"), (f"  {table.description}", QUIET)))
        console.print(_answer(table, rows[:ROWS_SHOWN]))
        if len(rows) > ROWS_SHOWN:
            console.print(
                f"and {len(rows) - ROWS_SHOWN:,} more: event-pipeline query --name {table.name} --day {day}",
                style=QUIET,
            )


def _answer(table: GoldTable, rows: Sequence[dict[str, Any]]) -> Table:
    # Without underscores a heading can break between words where the terminal is narrow.
    headings = {column: column.name.replace("_", " ") for column in table.columns}
    return lay_out(
        list(headings.values()),
        [[_cell(column, row[column.name]) for column in table.columns] for row in rows],
        left=[heading for column, heading in headings.items() if column.type == "string"],
    )


def _cell(column: Column, value: Any) -> Text:
    if value is None:
        return Text("null", style=QUIET)
    if column.type == "double":
        return Text(f"{value:,.4f}")
    if column.type in ("int", "bigint") or column.type.startswith("decimal"):
        return Text(f"{value:,}")
    return Text(str(value))


def print_places(place: Place, console: Console) -> None:
    """Print where the data is and how to query it."""
    console.print()
    console.print(f"The data is in {place.name}", style="bold")
    for part, meaning in place.parts:
        console.print(Text.assemble(f"  {part}", (f"  {meaning}", QUIET)), soft_wrap=True)


def print_next_steps(console: Console) -> None:
    """Print what people want after their data is built, as they can type it."""
    command = typed_command()
    console.print("Next", style="bold")
    for rest, meaning in NEXT_STEPS:
        console.print(Text.assemble(f"  {command} {rest:<{_WIDEST_STEP}}", (f"  {meaning}", QUIET)), soft_wrap=True)
