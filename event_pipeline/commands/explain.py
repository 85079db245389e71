"""`event-pipeline explain`: where a number of a Gold table comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import ExitCode, UsageError
from event_pipeline.commands.query import event_day
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import output, quiet_when_reader_leaves
from event_pipeline.settings import load_settings


def explain(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="A Gold table, for example gold.hourly_revenue.")],
    day: Annotated[str, typer.Option("--day", metavar="YYYY-MM-DD", help="Event day.")],
    hour: Annotated[
        str | None, typer.Option("--hour", metavar="0-23", help="Hour of the day; the same as --where event_hour=H.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows with this value; may be given several times."),
    ] = None,
) -> None:
    """Walk a number back: fold, landing hours, Silver rows, raw objects, and the records refused beside them.

    The rows are computed again from Silver by the table's own SQL. Exits with 1 if a step does not add up.

    Examples:
      event-pipeline explain gold.hourly_revenue --day 2025-12-07 --hour 22

      event-pipeline explain top_products --day 2025-12-07 --where product_id=p_1001
    """
    from event_pipeline.inspection.lineage import explain as walk_back
    from event_pipeline.reporting.answers import named_table
    from event_pipeline.reporting.lineage import print_lineage

    pairs = [*map(_pair, where or []), *([("event_hour", hour)] if hour is not None else [])]
    values = dict(pairs)
    if len(values) < len(pairs):
        raise UsageError("a column has two values: give each one once, with --hour or --where")
    settings = load_settings()
    pipeline = open_pipeline(settings)
    table = named_table(name, pipeline.gold_tables)
    with memory_bounded(settings.duckdb_memory_mb), quiet_when_reader_leaves():
        lineage = walk_back(pipeline.engine, table, event_day(day, "--day"), values)
        print_lineage(lineage, output())
    if lineage.differences:
        raise typer.Exit(ExitCode.NOT_HELD)


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name.strip():
        raise UsageError(f"--where {text!r} is not COLUMN=VALUE, for example category=books")
    return name.strip(), value
