"""Resources of assets and jobs: the engine, and the callback for progress."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from event_pipeline.assets.progress import HourProgress, silent
from event_pipeline.dagster_instance.run_hours import process_tag
from event_pipeline.engines.base import Engine
from event_pipeline.engines.open import open_engine
from event_pipeline.engines.place import place_of
from event_pipeline.rules.printable import printable
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings


def pipeline_resources(
    settings: Settings,
    gold_folder: Path = GOLD_FOLDER,
    engine: Engine | None = None,
    progress: HourProgress = silent,
) -> dict[str, dg.ResourceDefinition]:
    """Return the resources by key; without `engine`, each run's process opens the one in the settings."""
    place = engine.place if engine else place_of(settings)

    def opened(context: dg.InitResourceContext) -> Engine:
        if context.run and context.instance:
            # The executing process tags the run, so that its death can be detected.
            context.instance.add_run_tags(context.run.run_id, process_tag(context.run.run_id))
        return engine or open_engine(settings, gold_folder)

    return {
        "engine": dg.ResourceDefinition(opened, description=printable(f"Reads and writes {place.stores}")),
        "progress": dg.ResourceDefinition.hardcoded_resource(
            progress, description="Receives progress lines in the run's process"
        ),
    }
