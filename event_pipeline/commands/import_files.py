"""`event-pipeline import`: takes flat files of raw events into the raw folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.place import place_of
from event_pipeline.reporting.terminal import messages, output, progress
from event_pipeline.settings import load_settings


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", help="Gzipped JSON Lines, or folders with them.", exists=True),
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Show where the files belong; copy nothing.")] = False,
) -> None:
    """Copy flat files into the raw folder, into the hours of the UTC times in their names.

    A name has year, month, day and hour, as in events-20251119-174454.jsonl.gz or clicks_2025-11-19T17.gz. Files that
    are there already are left alone, and none is replaced. A file that is in the raw folder itself is moved. Exits with
    2 if a file has no place, and with 4 if another one is there.

    Examples:
      event-pipeline import --plan downloads/

      event-pipeline import downloads/events-20251119-*.jsonl.gz
    """
    from event_pipeline.operations.importing import Placing, plan_import
    from event_pipeline.operations.importing import import_files as copy_files
    from event_pipeline.reporting.generated import print_not_read
    from event_pipeline.reporting.imported import print_imported, print_not_placed

    settings = load_settings()
    planned = plan_import(files, settings.raw_folder, settings.first_partition, datetime.now(UTC))
    new = sum(each.placing is Placing.NEW for each in planned)
    if new and not plan:
        with progress(total=new) as view:
            planned = copy_files(planned, settings.raw_folder, view.step)
    print_imported(planned, output(), plan_only=plan)
    print_not_placed(planned, messages())
    print_not_read(place_of(settings), messages())
    found = {each.placing for each in planned}
    if Placing.CONFLICT in found:
        raise typer.Exit(ExitCode.REFUSED)
    if Placing.NAME in found:
        raise typer.Exit(ExitCode.USAGE)
