"""`event-pipeline query`: queries over the published data."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import UsageError
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.reporting.results import ResultFormat
from event_pipeline.reporting.terminal import WARNING, messages, quiet_when_reader_leaves
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings

FormatOption = Annotated[ResultFormat, typer.Option("--format", help="table for people, csv or json for programs.")]

MOST_DAYS = 20 * 366
"""Maximum length of a range: a mistyped year must not keep a command busy for hours."""


def query(
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="[SQL]",
            help="One SELECT over silver.*, ops.hour_ledger and gold.*, or DESCRIBE and the name of one of them",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="A Gold table, whole and in order, instead of SQL.")
    ] = None,
    day: Annotated[str | None, typer.Option("--day", metavar="YYYY-MM-DD", help="With --name: one event day.")] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="YYYY-MM-DD",
            help="With --name: one answer for all event days from this one on, without a row per day.",
        ),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", metavar="YYYY-MM-DD", help="With --name: the last event day of that answer, inclusive."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="With --name: one answer for all published event days together.")
    ] = False,
    result_format: FormatOption = ResultFormat.TABLE,
) -> None:
    """Query the published data. Timestamps are UTC; stdout has only the result.

    With --from and --to (days, both inclusive) or --all, a Gold table answers for the whole range: the best products of
    the week, the distinct users of the month. Such numbers cannot be had by adding up days. What is missing in the
    range is named on stderr.

    Rows are streamed. EVENT_PIPELINE_QUERY_* limit time, result and spilled data.
    """
    from event_pipeline.reporting.answers import named_query, print_describe_command
    from event_pipeline.reporting.results import write_result

    if (sql is None) == (name is None):
        raise UsageError("give either one SQL statement or --name with a Gold table")
    if day is not None and name is None:
        raise UsageError("--day goes with --name: in SQL write WHERE event_date = DATE '2025-12-07'")
    days = day_range(first, last, whole=whole)
    if days is not None and name is None:
        raise UsageError("--from, --to and --all go with --name: in SQL write WHERE event_date BETWEEN ... AND ...")
    if days is not None and day is not None:
        raise UsageError("--day is one event day: omit it, or --from, --to and --all")
    settings = load_settings()
    pipeline = open_pipeline(settings)
    if name is not None and days is None:
        sql = named_query(name, load_gold_tables(), event_day(day, "--day") if day is not None else None)
    with memory_bounded(settings.duckdb_memory_mb), quiet_when_reader_leaves():
        if name is not None and days is not None:
            answer_range(pipeline, name, days, result_format)
        else:
            with pipeline.engine.query_stream(sql or "") as result:
                write_result(result, result_format)
        if name is not None and result_format is ResultFormat.TABLE:
            print_describe_command(name)


def answer_range(pipeline: Pipeline, name: str, days: DayRangeOptions, result_format: ResultFormat) -> None:
    """Write the answer of a Gold table for a range of days, then say on stderr what it does not have."""
    from event_pipeline.inspection.coverage import coverage
    from event_pipeline.reporting.answers import named_table, print_coverage, print_range
    from event_pipeline.reporting.results import write_result

    table = named_table(name, pipeline.gold_tables)
    first, last = days
    with pipeline.engine.answer(table, first or date.min, last or date.max) as answer:
        found = answer.range
        write_result(answer.rows, result_format)
    if found.days:
        first, last = first or found.days[0], last or found.days[-1]
    if first is None or last is None:
        of_range = f" from {first} on" if first else f" until {last}" if last else ""
        messages().print(f"No event day of gold.{table.name}{of_range} is published", style=WARNING, soft_wrap=True)
        return
    print_range(table, first, last, found)
    print_coverage(table, coverage(pipeline, table, first, last, found.days, datetime.now(UTC)))


DayRangeOptions = tuple[date | None, date | None]
"""First and last event day, both inclusive; None is the first or last that is published."""


def day_range(first: str | None, last: str | None, *, whole: bool) -> DayRangeOptions | None:
    """Read `--from`, `--to` and `--all`; without any of them there is no range.

    Raises:
        UsageError: they do not go together, or one of them is not a day.
    """
    if whole and (first is not None or last is not None):
        raise UsageError("--all has every published event day: omit it, or --from and --to")
    if not whole and first is None and last is None:
        return None
    first_day = event_day(first, "--from") if first is not None else None
    last_day = event_day(last, "--to") if last is not None else None
    if first_day and last_day and first_day > last_day:
        raise UsageError(f"--from {first_day} is after --to {last_day}: give the earlier day first; both are inclusive")
    if first_day and last_day and (last_day - first_day).days >= MOST_DAYS:
        raise UsageError(
            f"{first_day} to {last_day} is more than {MOST_DAYS:,} days, twenty years: choose a shorter range"
        )
    return first_day, last_day


def event_day(text: str, option: str) -> date:
    """Parse an event day.

    Raises:
        UsageError: the text is not a day.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a day: write YYYY-MM-DD, for example 2025-12-07") from None
