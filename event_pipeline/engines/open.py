"""Opens the engine that the settings name; what one engine needs is imported only when it is opened."""

from __future__ import annotations

from pathlib import Path

from event_pipeline.engines.base import Engine
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Environment, Settings


def open_engine(settings: Settings, gold_folder: Path = GOLD_FOLDER) -> Engine:
    """Return the engine of EVENT_PIPELINE_ENV; opening one reads and calls nothing."""
    match settings.env:
        case Environment.LOCAL:
            from event_pipeline.engines.local import LocalEngine

            return LocalEngine(settings, gold_folder)
        case Environment.AWS:
            from event_pipeline.engines.aws import AwsEngine

            return AwsEngine(settings, gold_folder)
