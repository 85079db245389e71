"""Plans which hours `event-pipeline run` builds, and builds them range after range through Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from event_pipeline.dagster_instance.storage import storage_faults
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import DUE_STATES, HourState
from event_pipeline.errors import NotBuildableError
from event_pipeline.rules.accounting import UnmatchedKey
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from event_pipeline.operations.runs import RangeOutcome


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What to build, and what to skip on purpose."""

    hours: tuple[Hour, ...]
    lost: tuple[Hour, ...]
    """Hours that lost some raw objects since they were built: a rebuild would lose records."""
    lost_all: tuple[Hour, ...]
    """Hours that lost all of them: the published build stays."""
    too_early: tuple[Hour, ...]
    """Published hours before the first partition, which was moved to a later hour since."""
    unmatched: tuple[UnmatchedKey, ...] = ()
    """Keys that are not read: all of them, or those of the requested range."""


def plan_build(
    pipeline: Pipeline,
    now: datetime,
    hours: HourRange | None,
    *,
    force: bool = False,
    allow_lost_objects: bool = False,
) -> BuildPlan:
    """Choose the hours to build: all of a range, or every hour that is not up to date and may be built.

    Raises:
        NotBuildableError: the range begins before the first partition or holds an hour that is not over.
        StorageError: the data folder cannot be read or is damaged.
    """
    settings = pipeline.settings
    if hours is not None:
        check_buildable(hours, settings, now)
    landed = pipeline.engine.list_raw_hours(hours)
    states = pipeline.states(now, hours, listings=landed, thorough=True)
    too_early = tuple(hour for hour in states if hour < settings.first_partition)
    with_lost = [hour for hour, state in states.items() if state is HourState.LOST_OBJECTS and hour not in too_early]
    lost = tuple(hour for hour in with_lost if hour in landed and not allow_lost_objects)
    lost_all = tuple(hour for hour in with_lost if hour not in landed and not (force and allow_lost_objects))
    left = {*too_early, *lost, *lost_all}
    wanted = DUE_STATES | {HourState.LOST_OBJECTS}
    chosen = (hour for hour, state in states.items() if hour not in left and (hours is not None or state in wanted))
    unmatched = (
        [each for listing in landed.values() for each in listing.unmatched]
        if hours is not None
        else pipeline.engine.unmatched_raw_keys()
    )
    return BuildPlan(tuple(chosen), lost, lost_all, too_early, tuple(unmatched))


def check_buildable(hours: HourRange, settings: Settings, now: datetime) -> None:
    """Check that all hours of a range exist and are over.

    Raises:
        NotBuildableError: the range begins before the first partition or holds an hour that is not over.
    """
    if hours.first < settings.first_partition:
        raise NotBuildableError(
            f"{hours.first} is before the first partition {settings.first_partition}: begin there or later, or set "
            "EVENT_PIPELINE_FIRST_PARTITION"
        )
    end = Hour.containing(now).plus(1 if settings.builds_open_hours else 0)
    if hours.end > end:
        raise NotBuildableError(
            f"{hours.last} {'has not begun' if settings.builds_open_hours else 'is not over yet'} (it is "
            f"{now:%Y-%m-%dT%H:%M} UTC): the last hour that can be built is {end.plus(-1)}, so --to {end} at most"
        )


def build(
    plan: BuildPlan,
    settings: Settings,
    *,
    force: bool,
    allow_lost_objects: bool,
    progress: Callable[[str, Hour | None], None],
) -> Iterator[RangeOutcome]:
    """Materialize the hours of a plan through Dagster, range after range; a failed one does not stop the others.

    Raises:
        StorageError: Dagster's storage is damaged or cannot be written.
    """
    if not plan.hours:
        return
    progress("starting Dagster", None)
    from event_pipeline.dagster_instance.attempts import attempts, ranges_of
    from event_pipeline.dagster_instance.prepare import prepare_instance
    from event_pipeline.operations.runs import run_range

    with storage_faults(settings.dagster_home), prepare_instance(settings) as instance:
        # Hours that failed before come last and alone: one of them may kill the whole process.
        failed = {hour for hour, each in attempts(instance, plan.hours).items() if each.failed}
        for hours in ranges_of(plan.hours, failed, settings.hours_per_run):
            yield run_range(
                hours, settings, instance, force=force, allow_lost_objects=allow_lost_objects, progress=progress
            )
