"""Opens the engine that the settings name; what one engine needs is imported only when it is opened."""

from __future__ import annotations

from pathlib import Path

from event_pipeline.engines.base import Engine, PipelineError
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Environment, Settings


def open_engine(settings: Settings, gold_folder: Path = GOLD_FOLDER) -> Engine:
    """Return the engine of EVENT_PIPELINE_ENV; opening one reads and calls nothing.

    Raises:
        PipelineError: the packages of the AWS path are not installed.
    """
    match settings.env:
        case Environment.LOCAL:
            from event_pipeline.engines.local import LocalEngine

            return LocalEngine(settings, gold_folder)
        case Environment.AWS:
            try:
                from event_pipeline.engines.aws import AwsEngine
            except ModuleNotFoundError as error:
                raise PipelineError(
                    f"EVENT_PIPELINE_ENV=aws needs the package {error.name}: install the project with its `aws` extra, "
                    "`.venv/bin/pip install -c constraints.txt -e '.[aws]'`"
                ) from error

            return AwsEngine(settings, gold_folder)
