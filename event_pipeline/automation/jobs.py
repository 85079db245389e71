"""The job that repairs catalog partitions."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from event_pipeline.assets.faults import faults_explained
from event_pipeline.assets.presentation import markdown_table
from event_pipeline.assets.silver import SILVER_POOL
from event_pipeline.engines.base import Engine, PartitionAction
from event_pipeline.rules.hour import Hour, HourRange, InvalidHourError
from event_pipeline.rules.printable import printable

REPAIR_PARTITIONS = "repair_partitions"
CHANGES_SHOWN = 200


class RepairConfig(dg.Config):
    """Which landing hours to repair; without bounds everything, including Gold's days."""

    from_hour: str | None = Field(default=None, description="First landing hour, for example 2025-12-07T22")
    to_hour: str | None = Field(default=None, description="Landing hour before which to stop (exclusive)")

    def hours(self) -> HourRange | None:
        """Return the range, or None for everything.

        Raises:
            dagster.Failure: only one bound is given, or they do not form a range of hours.
        """
        if not self.from_hour and not self.to_hour:
            return None
        if not self.from_hour or not self.to_hour:
            raise dg.Failure("Give both from_hour and to_hour, or neither for everything", allow_retries=False)
        try:
            return HourRange(Hour.parse(self.from_hour), Hour.parse(self.to_hour))
        except InvalidHourError as error:
            raise dg.Failure(printable(str(error)), allow_retries=False) from None


def repair_partitions_job() -> dg.JobDefinition:
    """Return the job that makes the catalog match the commit records."""

    @dg.op(out=dg.Out(dg.Nothing), pool=SILVER_POOL)
    def repair_catalog(
        context: dg.OpExecutionContext, config: RepairConfig, engine: dg.ResourceParam[Engine]
    ) -> Iterator[dg.Output[None]]:
        """Registers committed partitions that are missing, repoints those of another run, drops those without files."""
        with faults_explained(context):
            changes = engine.repair(config.hours())
        changed = [change for change in changes if change.action is not PartitionAction.UNCHANGED]
        for change in changed:
            context.log.info(printable(f"{change.table} {change.partition}: {change.action} ({change.reason})"))
        counts = Counter(change.action for change in changes)
        yield dg.Output(
            None,
            metadata={
                **{action.value: counts[action] for action in PartitionAction},
                "changes": markdown_table(
                    ("table", "partition", "action", "reason"),
                    [(each.table, each.partition, each.action, each.reason) for each in changed[:CHANGES_SHOWN]],
                ),
            },
        )

    @dg.job(
        name=REPAIR_PARTITIONS,
        description=(
            "Makes the catalog match the commit records, for a range of landing hours or for everything. Safe at any "
            "time; rebuilds a lost catalog. Every change is logged."
        ),
    )
    def repair_partitions() -> None:
        repair_catalog()

    return repair_partitions
