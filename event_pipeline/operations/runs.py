"""Runs of the hourly pipeline inside this process, for `event-pipeline run`, recorded in the storage of the UI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.utils import make_new_run_id

from event_pipeline.assets.isolation import failures_of
from event_pipeline.assets.pipeline import HOURLY_PIPELINE, hourly_pipeline_job, pipeline_assets
from event_pipeline.assets.progress import HourProgress
from event_pipeline.assets.silver import SILVER
from event_pipeline.dagster_instance.concurrency import taken_pools
from event_pipeline.dagster_instance.outcomes import FailedCheck, explanation, failed_checks_of, root_cause
from event_pipeline.dagster_instance.resources import pipeline_resources
from event_pipeline.dagster_instance.run_hours import process_tag, range_tags
from event_pipeline.dagster_instance.storage import reason_of_run
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Settings

_INTERRUPTS = frozenset(("DagsterExecutionInterruptedError", "KeyboardInterrupt"))


@dataclass(frozen=True, slots=True)
class RangeOutcome:
    """The outcome of one run."""

    hours: HourRange
    run_id: str
    succeeded: bool
    error: str | None
    """Why the first failed step failed, as readable text; None when all steps succeeded."""
    failed_checks: tuple[FailedCheck, ...]
    silver: Mapping[Hour, str]
    """Hour -> `built` or `unchanged`, for the hours whose Silver was recorded."""
    failed_hours: Mapping[Hour, str] = field(default_factory=dict)
    """Hours that failed on their own while the others went on -> the step and its reason."""


def run_range(
    hours: HourRange,
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    force: bool = False,
    allow_lost_objects: bool = False,
    verbose: bool = False,
    progress: HourProgress,
    gold_folder: Path = GOLD_FOLDER,
) -> RangeOutcome:
    """Materialize a range of hours in one run, raw objects to Gold, and wait for it.

    `progress` is called with a line for each step and each hour of Silver as it finishes. Dagster's own log lines go
    to the event log only, or to the console as well when `verbose`.

    Raises:
        KeyboardInterrupt: the run was interrupted; it is recorded as failed, and nothing is published halfway.
    """
    for line in taken_pools(instance):
        progress(line, None)
    assets = pipeline_assets(settings, gold_folder)
    job = dg.Definitions(
        assets=assets,
        jobs=[hourly_pipeline_job(assets)],
        resources=pipeline_resources(settings, gold_folder, progress=progress),
    ).resolve_job_def(HOURLY_PIPELINE)
    single = hours.first.partition_key if len(hours) == 1 else None
    run_id = make_new_run_id()
    result = job.execute_in_process(
        run_config={
            "loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "CRITICAL"}}},
            "ops": {
                SILVER: {"config": {"force": force, "allow_lost_objects": allow_lost_objects}},
                **{table.name: {"config": {"force": force}} for table in load_gold_tables(gold_folder)},
            },
        },
        instance=instance,
        partition_key=single,
        run_id=run_id,
        # Recorded at the start: a command may be killed before its first step records the executing process.
        tags=process_tag(run_id) | ({} if single else range_tags(hours)),
        raise_on_error=False,
    )
    failures = [event for event in result.all_events if event.is_step_failure]
    if any(root_cause(event.step_failure_data.error)[0] in _INTERRUPTS for event in failures):
        raise KeyboardInterrupt
    failed_checks = tuple(failed_checks_of(result.get_asset_check_evaluations()))
    return RangeOutcome(
        hours,
        result.run_id,
        result.success,
        None if result.success else reason_of_run(settings.dagster_home, explanation(result.all_events, failed_checks)),
        failed_checks,
        _silver_outcomes(result.get_asset_materialization_events()),
        _failed_hours(result.all_events),
    )


def _failed_hours(events: Iterable[dg.DagsterEvent]) -> dict[Hour, str]:
    found: dict[Hour, str] = {}
    for failure in failures_of(events):
        found.setdefault(failure.hour, str(failure))
    return dict(sorted(found.items()))


def _silver_outcomes(events: Iterable[dg.DagsterEvent]) -> dict[Hour, str]:
    materializations = (event.materialization for event in events if event.asset_key == dg.AssetKey(SILVER))
    return {
        Hour.parse(each.partition): str(each.metadata["outcome"].value)
        for each in materializations
        if each.partition and "outcome" in each.metadata
    }
