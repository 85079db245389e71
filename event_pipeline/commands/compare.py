"""`event-pipeline compare`: the same questions of Bronze, Silver and Gold."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

import typer

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import ExitCode, UsageError, hour_range
from event_pipeline.commands.query import DayRangeOptions, day_range, event_day
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import quiet_when_reader_leaves
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import load_settings


class CompareFormat(StrEnum):
    """Output formats of a comparison."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TABLE]...", help="Gold tables to ask about; default: all."),
    ] = None,
    day: Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="One event day.")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY|HOUR", help="First event day; or first landing hour, like 2025-12-07T22."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="DAY|HOUR", help="Last event day, inclusive; or landing hour after the last one."),
    ] = None,
    result_format: Annotated[
        CompareFormat, typer.Option("--format", help="table for a terminal, markdown for a page, json for programs.")
    ] = CompareFormat.TABLE,
) -> None:
    """Ask the questions of the Gold tables of raw lines, Silver and Gold: rows, seconds, bytes, and USD on AWS.

    Silver is asked by the table's own SQL; the SQL for raw lines is what an analyst would write. Exits with 1 if Gold
    and Silver differ. Raw lines may differ: they have refused records and duplicates, which are counted at the end.

    Examples:
      event-pipeline compare --day 2025-12-07

      event-pipeline compare hourly_revenue --from 2025-12-01 --to 2025-12-07 --format markdown

      event-pipeline compare --from 2025-12-07T22 --to 2025-12-07T23
    """
    from event_pipeline.inspection.comparison import Asked
    from event_pipeline.inspection.comparison import compare as compare_layers
    from event_pipeline.reporting.answers import named_table
    from event_pipeline.reporting.comparison import print_account, print_comparison, write_comparison
    from event_pipeline.reporting.results import ResultFormat

    (first_day, last_day), landed = _range(day, first, last)
    settings = load_settings()
    pipeline = open_pipeline(settings)
    tables = [named_table(name, pipeline.gold_tables) for name in names or ()] or list(pipeline.gold_tables)
    asked = Asked(first_day or date.min, last_day or date.max, landed)
    with memory_bounded(settings.duckdb_memory_mb), quiet_when_reader_leaves():
        found = compare_layers(pipeline.engine, tables, asked)
        if result_format is CompareFormat.TABLE:
            print_comparison(found)
        else:
            write_comparison(found, ResultFormat(result_format))
        print_account(found)
    if found.differing:
        raise typer.Exit(ExitCode.NOT_HELD)


def _range(day: str | None, first: str | None, last: str | None) -> tuple[DayRangeOptions, HourRange | None]:
    """Read the event days, or the landing hours, of the options.

    Raises:
        UsageError: they do not go together.
        InvalidHourError: a landing hour is not an hour, or the range is empty.
    """
    if day is not None:
        if first is not None or last is not None:
            raise UsageError("--day is one event day: omit it, or --from and --to")
        return (event_day(day, "--day"),) * 2, None
    if any("T" in each for each in (first, last) if each is not None):
        return (None, None), hour_range(first, last)
    days = day_range(first, last, whole=False)
    if days is None:
        raise UsageError("give --day, or --from and --to with event days (inclusive) or landing hours (end exclusive)")
    return days, None
