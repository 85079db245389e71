"""`event-pipeline repair`: makes the catalog match the commit records."""

from __future__ import annotations

from event_pipeline.commands.options import FromOption, ToOption, hour_range
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.terminal import output
from event_pipeline.settings import load_settings


def repair(first: FromOption = None, end: ToOption = None) -> None:
    """Make the catalog match the commit records, for a range or for everything, and report what changed.

    Examples:
      event-pipeline repair

      event-pipeline repair --from 2025-12-07T20 --to 2025-12-08T02
    """
    from event_pipeline.reporting.repair import print_changes

    print_changes(open_engine(load_settings()).repair(hour_range(first, end)), output())
