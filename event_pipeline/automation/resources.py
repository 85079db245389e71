"""What assets and jobs are handed at run time: the engine, and whom to tell about progress."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from event_pipeline.assets.progress import HourProgress, silent
from event_pipeline.engines.base import Engine
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings


def pipeline_resources(
    settings: Settings,
    gold_folder: Path = GOLD_FOLDER,
    engine: Engine | None = None,
    progress: HourProgress = silent,
) -> dict[str, dg.ResourceDefinition]:
    """Return the resources by key; without an engine, the local one is opened in each run's process."""

    def open_engine(_: dg.InitResourceContext) -> Engine:
        if engine is not None:
            return engine
        # Imported in the run: DuckDB and pyarrow would double the time the code location takes to load.
        from event_pipeline.engines.local import LocalEngine

        return LocalEngine(settings, gold_folder)

    return {
        "engine": dg.ResourceDefinition(
            open_engine, description=f"Reads and writes the data folder {settings.root.absolute()}"
        ),
        "progress": dg.ResourceDefinition.hardcoded_resource(
            progress, description="Takes progress lines in the process that runs"
        ),
    }
