"""The hourly schedule: requests every unbuilt hour of the last days, however long the schedule was off."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from event_pipeline.automation.due import warn_of_abandoned_runs, why_waiting
from event_pipeline.dagster_instance.attempts import Attempts, attempts, ranges_of, retry_wait
from event_pipeline.dagster_instance.run_hours import hours_under_way, range_request
from event_pipeline.engines.base import Engine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import AUTOMATIC_STATES, HourState
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

HOURLY_SCHEDULE = "hourly_schedule"


def hourly_schedule(
    job: "UnresolvedAssetJobDefinition", gold_tables: tuple[GoldTable, ...], settings: Settings
) -> dg.ScheduleDefinition:
    """Return the schedule that fills every gap of the last days; off until switched on."""

    @dg.schedule(
        name=HOURLY_SCHEDULE,
        job=job,
        cron_schedule=f"{settings.schedule_minute} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=(
            f"At minute {settings.schedule_minute}, requests every closed hour of the last {settings.catch_up_days} "
            "days that is not up to date, with or without objects, many hours per run. An hour that failed is "
            "requested alone, with exponential backoff. Skips what is published, under way, or has lost raw objects."
        ),
    )
    def requests(
        context: dg.ScheduleEvaluationContext, engine: dg.ResourceParam[Engine]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        now = context.scheduled_execution_time
        warn_of_abandoned_runs(context)
        end = Hour.containing(now)
        first = max(settings.first_partition, end.plus(-24 * settings.catch_up_days))
        if end <= first:
            return dg.SkipReason(f"{end.plus(-1)} is before the first partition {settings.first_partition}")
        hours = HourRange(first, end)
        listings = engine.list_raw_hours(hours)
        states = Pipeline(engine, gold_tables, settings).states(now, hours, listings=listings)
        # An hour in which nothing landed is built as empty, so that the ledger has it: the hour that just closed,
        # and gaps after the first known hour. Hours before that one are not gaps.
        known = min((hour for hour, state in states.items() if state is not HourState.NO_RAW), default=hours.last)
        under_way = hours_under_way(context.instance)
        history = attempts(context.instance, states)
        chosen: list[Hour] = []
        left: Counter[str] = Counter()
        for hour, state in states.items():
            if state not in AUTOMATIC_STATES and not (state is HourState.NO_RAW and hour >= known):
                left[state.after_a_number] += 1
            elif hour in under_way:
                left["under way"] += 1
            elif _waits_for_its_retry(history.get(hour), listings.get(hour), settings, now):
                left["failed, asked for again later"] += 1
            elif reason := why_waiting(state, listings.get(hour, RawListing(hour, ())), settings, now):
                left[reason] += 1
            else:
                chosen.append(hour)
        if not chosen:
            return dg.SkipReason(
                f"Nothing to do from {hours}: " + ", ".join(f"{number} {what}" for what, number in sorted(left.items()))
            )
        alone = {hour for hour in chosen if hour in history and history[hour].failed}
        ranges = sorted(ranges_of(chosen, alone, settings.hours_per_run), key=lambda each: each.first, reverse=True)
        return [range_request(f"{each.first}/{len(each)}h", each) for each in ranges]

    return requests


def _waits_for_its_retry(
    before: Attempts | None, listing: RawListing | None, settings: Settings, now: datetime
) -> bool:
    """Return whether an hour failed a short time ago and nothing has landed in it since."""
    if before is None or not before.failed:
        return False
    is_new = listing is not None and any(each.modified > before.last for each in listing.objects)
    return not is_new and now < before.last + retry_wait(before.failed, settings)
