"""Progress reports from a run to the process that started it."""

from __future__ import annotations

from collections.abc import Callable

from event_pipeline.rules.hour import Hour

HourProgress = Callable[[str, Hour | None], None]
"""Called with one line of text, and the hour whose Silver was just finished, if any."""


def silent(line: str, hour: Hour | None) -> None:
    """Ignore progress: outside the run's process it is in Dagster's event log."""
