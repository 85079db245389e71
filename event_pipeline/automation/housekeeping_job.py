"""The housekeeping job and its daily schedule: one round, with the found or removed items as metadata."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from event_pipeline.assets.faults import faults_explained
from event_pipeline.assets.presentation import markdown_table
from event_pipeline.engines.base import Engine
from event_pipeline.operations.housekeeping import Housework, find_housework, remove_housework, summarize
from event_pipeline.rules.printable import printable
from event_pipeline.settings import Settings

HOUSEKEEPING = "housekeeping"
HOUSEKEEPING_SCHEDULE = "housekeeping_schedule"


class HousekeepingConfig(dg.Config):
    """Whether a round of housekeeping removes anything."""

    delete: bool = Field(default=False, description="Remove the items; otherwise only list them")


def housekeeping_job(settings: Settings) -> dg.JobDefinition:
    """Return the job that removes what is no longer needed."""

    @dg.op(out=dg.Out(dg.Nothing))
    def keep_house(
        context: dg.OpExecutionContext, config: HousekeepingConfig, engine: dg.ResourceParam[Engine]
    ) -> Iterator[dg.Output[None]]:
        """Lists replaced and abandoned builds, expired data, scratch files and old runs; removes them if configured."""
        with faults_explained(context):
            work, kept = find_housework(engine, context.instance, settings, datetime.now(UTC)), list[str]()
            if config.delete:
                work, kept = remove_housework(
                    work, engine, context.instance, settings, lambda line, _: context.log.debug(printable(line))
                )
            for reason in kept:
                context.log.warning(printable(f"left for the next time: {reason}"))
        yield dg.Output(None, metadata={"removed": config.delete, "left for the next time": len(kept), **_sums(work)})

    @dg.job(
        name=HOUSEKEEPING,
        description=(
            "Removes what is no longer needed: replaced and abandoned builds after their grace period, hours and days "
            "past their retention, scratch files of killed steps, old Dagster runs. Safe during builds and queries. "
            "Launched manually it only lists; the schedule removes."
        ),
    )
    def housekeeping() -> None:
        keep_house()

    return housekeeping


def _sums(work: Housework) -> dict[str, int | dg.MarkdownMetadataValue]:
    rows = summarize(work)
    return {
        "things": sum(row.count for row in rows),
        "files": sum(row.files for row in rows),
        "bytes": sum(row.size for row in rows),
        "kinds": markdown_table(
            ("what", "number", "files", "bytes", "why"),
            [(row.kind, row.count, row.files, row.size, row.why) for row in rows],
        ),
    }


def housekeeping_schedule(job: dg.JobDefinition, settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule that runs housekeeping once a day; off until switched on."""
    return dg.ScheduleDefinition(
        name=HOUSEKEEPING_SCHEDULE,
        job=job,
        cron_schedule=f"30 {settings.housekeeping_hour} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        run_config={"ops": {"keep_house": {"config": {"delete": True}}}},
        description=(
            f"At {settings.housekeeping_hour:02d}:30 UTC, removes replaced and abandoned builds after their grace "
            "period, what is past its retention, and old Dagster runs."
        ),
    )
