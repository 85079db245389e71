"""The report as an asset downstream of Gold, with the job and the schedule that write it again each hour."""

from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import dagster as dg

from event_pipeline.assets.faults import faults_explained
from event_pipeline.assets.presentation import OWNERS, seconds_text
from event_pipeline.dagster_instance.storage import latest_run_states
from event_pipeline.engines.base import Engine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.rules.printable import size_text
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

REPORT = "report"
REFRESH_REPORT = "refresh_report"
REPORT_SCHEDULE = "report_schedule"

_MINUTES_AFTER_THE_HOURS = 15
"""The hourly schedule requests what is not built; a production hour takes some minutes."""


def report_asset(gold_tables: tuple[GoldTable, ...], settings: Settings) -> dg.AssetsDefinition:
    """Return the asset that is the report's file. It has no partitions, because the page shows many days."""

    @dg.asset(
        name=REPORT,
        deps=[table.name for table in gold_tables],
        description=(
            "One HTML page with the five answers, filters for days and categories, and the health of the pipeline. It "
            "needs no server and no network. Materializing it reads Gold and replaces the file."
        ),
        group_name="report",
        kinds={"html"},
        owners=OWNERS,
    )
    def report(context: dg.AssetExecutionContext, engine: dg.ResourceParam[Engine]) -> "dg.MaterializeResult[None]":
        from event_pipeline.report.page import report_path, write_report

        with faults_explained(context):
            started = monotonic()
            runs = latest_run_states(settings.dagster_home)
            pipeline = Pipeline(engine, gold_tables, settings)
            written = write_report(pipeline, datetime.now(UTC), runs, report_path(settings))
        seconds = monotonic() - started
        days = f"{written.first_day} to {written.last_day}" if written.first_day else "No day is published"
        return dg.MaterializeResult(
            metadata={
                "summary": f"{days}, {size_text(written.size)}, in {seconds_text(seconds)}",
                "file": dg.MetadataValue.path(written.path),
                "bytes": written.size,
                "seconds": round(seconds, 3),
            }
        )

    return report


def report_job(asset: dg.AssetsDefinition) -> "UnresolvedAssetJobDefinition":
    """Return the job that writes the report again."""
    return dg.define_asset_job(
        REFRESH_REPORT,
        selection=dg.AssetSelection.assets(asset),
        description="Writes the report again from what is published now. Builds nothing; safe at any time.",
    )


def report_schedule(job: "UnresolvedAssetJobDefinition", settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule that writes the report each hour; off until switched on."""
    minute = (settings.schedule_minute + _MINUTES_AFTER_THE_HOURS) % 60
    return dg.ScheduleDefinition(
        name=REPORT_SCHEDULE,
        job=job,
        cron_schedule=f"{minute} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"At minute {minute} of each hour, writes the report again from what is published then.",
    )
