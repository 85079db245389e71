"""`event-pipeline status`: the state of every landing hour."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from event_pipeline.commands.options import FromOption, ToOption, hour_range
from event_pipeline.engines.open import open_pipeline
from event_pipeline.reporting.terminal import output, quiet_when_reader_leaves
from event_pipeline.settings import load_settings


class StatusFormat(StrEnum):
    """Output formats of the status."""

    GRID = "grid"
    JSON = "json"


def status(
    first: FromOption = None,
    end: ToOption = None,
    status_format: Annotated[StatusFormat, typer.Option("--format", help="grid for people, json for programs.")] = (
        StatusFormat.GRID
    ),
) -> None:
    """Show the state of every landing hour: raw objects, commit record, catalog, Gold and Dagster's last run.

    Examples:
      event-pipeline status

      event-pipeline status --from 2025-12-07T00 --to 2025-12-08T00 --format json
    """
    from event_pipeline.dagster_instance.storage import latest_run_states
    from event_pipeline.inspection.status import read_status
    from event_pipeline.reporting.status import print_status, status_as_json

    settings = load_settings()
    shown = read_status(
        open_pipeline(settings),
        datetime.now(UTC),
        hour_range(first, end),
        latest_run_states(settings.dagster_home),
    )
    with quiet_when_reader_leaves():
        if status_format is StatusFormat.JSON:
            sys.stdout.write(json.dumps(status_as_json(shown), indent=1).replace("\x7f", "\\u007f") + "\n")
        else:
            print_status(shown, output())
