"""`event-pipeline query`: queries over the published data."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import typer

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import UsageError
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.results import ResultFormat
from event_pipeline.reporting.terminal import quiet_when_reader_leaves
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings

FormatOption = Annotated[ResultFormat, typer.Option("--format", help="table for people, csv or json for programs.")]


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
    result_format: FormatOption = ResultFormat.TABLE,
) -> None:
    """Query the published data. Timestamps are UTC; stdout has only the result.

    Rows are streamed. EVENT_PIPELINE_QUERY_* limit time, result and spilled data.
    """
    from event_pipeline.reporting.answers import named_query, print_describe_command
    from event_pipeline.reporting.results import write_result

    if (sql is None) == (name is None):
        raise UsageError("give either one SQL statement or --name with a Gold table")
    if day is not None and name is None:
        raise UsageError("--day goes with --name: in SQL write WHERE event_date = DATE '2025-12-07'")
    if name is not None:
        sql = named_query(name, load_gold_tables(), event_day(day) if day is not None else None)
    described = name is not None and result_format is ResultFormat.TABLE
    settings = load_settings()
    with (
        memory_bounded(settings.duckdb_memory_mb),
        quiet_when_reader_leaves(),
        open_engine(settings).query_stream(sql or "") as result,
    ):
        write_result(result, result_format)
        if described:
            print_describe_command(str(name))


def event_day(text: str) -> date:
    """Parse an event day.

    Raises:
        UsageError: the text is not a day.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        raise UsageError(f"--day {text!r} is not a day: write YYYY-MM-DD, for example 2025-12-07") from None
