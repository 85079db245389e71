"""Assembles Dagster's code location from assets, jobs, schedule, sensors and resources; contains no logic."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from event_pipeline.assets.pipeline import hourly_pipeline_job, pipeline_assets
from event_pipeline.automation.alert_sensor import alerts_sensor
from event_pipeline.automation.housekeeping_job import housekeeping_job, housekeeping_schedule
from event_pipeline.automation.jobs import repair_partitions_job
from event_pipeline.automation.report_asset import report_asset, report_job, report_schedule
from event_pipeline.automation.schedules import hourly_schedule
from event_pipeline.automation.sensors import new_raw_objects_sensor
from event_pipeline.dagster_instance.executor import in_process_executor
from event_pipeline.dagster_instance.resources import pipeline_resources
from event_pipeline.engines.base import Engine
from event_pipeline.engines.open import with_first_partition
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Settings, load_settings


def build_definitions(
    settings: Settings | None = None, gold_folder: Path = GOLD_FOLDER, engine: Engine | None = None
) -> dg.Definitions:
    """Return the definitions of the code location.

    Settings are read from the environment when none are given, Gold tables from the `.sql` files of a folder; without
    an engine each run opens the local one.

    Raises:
        SettingsError: an environment variable is unknown or has a value that is not allowed.
        GoldFileError: a Gold table's file does not have the layout.
        StorageError: the data folder cannot be read.
    """
    settings = with_first_partition(settings or load_settings())
    gold_tables = load_gold_tables(gold_folder)
    assets = pipeline_assets(settings, gold_folder, engine.place.kinds if engine else None)
    hourly_pipeline = hourly_pipeline_job(assets)
    housekeeping = housekeeping_job(settings)
    report = report_asset(gold_tables, settings)
    refresh_report = report_job(report)
    return dg.Definitions(
        assets=[*assets, report],
        jobs=[hourly_pipeline, repair_partitions_job(), housekeeping, refresh_report],
        schedules=[
            hourly_schedule(hourly_pipeline, gold_tables, settings),
            housekeeping_schedule(housekeeping, settings),
            report_schedule(refresh_report, settings),
        ],
        sensors=[
            new_raw_objects_sensor(hourly_pipeline, gold_tables, settings),
            alerts_sensor(gold_tables, settings),
        ],
        resources=pipeline_resources(settings, gold_folder, engine),
        executor=in_process_executor,
    )


defs = build_definitions()
