"""`event-pipeline report`: the five answers and the health of the pipeline as one HTML page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from event_pipeline.commands.memory import memory_bounded
from event_pipeline.commands.options import file_to_write
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import messages, output
from event_pipeline.rules.printable import size_text
from event_pipeline.settings import load_settings


def report(
    target: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the page here instead of report.html in the data folder."),
    ] = None,
) -> None:
    """Write one HTML page with the five answers and the pipeline's health, and print where it is.

    The page needs no server and no network: open it in a browser, mail it, print it. Range and categories can be chosen
    in it. It has the newest 366 event days and 28 days of landing hours.

    Examples:
      event-pipeline report --output week.html
    """
    from event_pipeline.dagster_instance.storage import latest_run_states
    from event_pipeline.report.page import report_path, write_report

    settings = load_settings()
    written_to = report_path(settings) if target is None else file_to_write(target, "--output")
    with memory_bounded(settings.duckdb_memory_mb):
        written = write_report(
            open_pipeline(settings),
            datetime.now(UTC),
            latest_run_states(settings.dagster_home),
            written_to,
        )
    days = f"{written.first_day} to {written.last_day}" if written.first_day else "no day is published yet"
    messages().print(f"{days}, {size_text(written.size)}", soft_wrap=True)
    output().print(str(written.path), soft_wrap=True, highlight=False)
