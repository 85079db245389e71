"""The schedule: each hour, a little after it closed, is taken through the pipeline."""

from typing import TYPE_CHECKING

import dagster as dg

from event_pipeline.automation.run_hours import LIVE_TAGS, hours_under_way
from event_pipeline.engines.base import Engine
from event_pipeline.engines.state import HourState, hour_states
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

HOURLY_SCHEDULE = "hourly_schedule"


def hourly_schedule(
    job: "UnresolvedAssetJobDefinition", gold_tables: tuple[GoldTable, ...], settings: Settings
) -> dg.ScheduleDefinition:
    """Return the schedule that requests the hour which closed last before each tick; off until switched on."""

    @dg.schedule(
        name=HOURLY_SCHEDULE,
        job=job,
        cron_schedule=f"{settings.schedule_minute} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=(
            f"At minute {settings.schedule_minute}, takes the hour that just closed from raw objects to Gold, with "
            "objects or without. Skips an hour that is published already or has lost raw objects."
        ),
    )
    def requests(
        context: dg.ScheduleEvaluationContext, engine: dg.ResourceParam[Engine]
    ) -> dg.RunRequest | dg.SkipReason:
        hour = Hour.containing(context.scheduled_execution_time).plus(-1)
        if hour < settings.first_partition:
            return dg.SkipReason(f"{hour} lies before the first partition {settings.first_partition}")
        if hour in hours_under_way(context.instance):
            return dg.SkipReason(f"A run of {hour} is queued or running")
        state = hour_states(
            engine,
            gold_tables,
            settings.event_time_limits.rules_version,
            context.scheduled_execution_time,
            HourRange.of([hour]),
        )[hour]
        if state is HourState.READY:
            return dg.SkipReason(f"{hour} is published already")
        if state is HourState.SHRUNK:
            return dg.SkipReason(f"{hour} has lost raw objects since it was built: the published build stays")
        return dg.RunRequest(run_key=str(hour), partition_key=hour.partition_key, tags=LIVE_TAGS)

    return requests
