"""`event-pipeline settings`: every setting with its meaning."""

from __future__ import annotations

from event_pipeline.reporting.terminal import output
from event_pipeline.settings import load_settings


def settings() -> None:
    """List every EVENT_PIPELINE_* variable: value, default, allowed values, meaning.

    Examples:
      event-pipeline settings
    """
    from event_pipeline.reporting.settings_table import print_settings

    print_settings(load_settings(), output())
