"""How a run tells the process that started it how far it has come."""

from __future__ import annotations

from collections.abc import Callable

from event_pipeline.rules.hour import Hour

HourProgress = Callable[[str, Hour | None], None]
"""Takes one line for a person, and the hour whose Silver was just finished if one was."""


def silent(line: str, hour: Hour | None) -> None:
    """Take no notice: whoever is not in the run's process reads Dagster's event log."""
