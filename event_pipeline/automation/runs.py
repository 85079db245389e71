"""Runs of the hourly pipeline inside this process, as `event-pipeline run` does them, recorded where the UI looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from event_pipeline import shipped
from event_pipeline.assets.isolation import failures_of
from event_pipeline.assets.pipeline import pipeline_assets
from event_pipeline.assets.progress import HourProgress
from event_pipeline.assets.silver import SILVER
from event_pipeline.automation.concurrency import set_pool_limits, taken_pools
from event_pipeline.automation.jobs import HOURLY_PIPELINE, hourly_pipeline_job
from event_pipeline.automation.resources import pipeline_resources
from event_pipeline.automation.run_hours import close_abandoned_runs, range_tags
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline.shipped import shipped_file

DAGSTER_YAML = shipped_file(shipped.DAGSTER_YAML)
"""The configuration of Dagster; every data folder gets a copy of it."""

_NO_COMPUTE_LOGS = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}
"""Steps in the process of the command line write to its own terminal. Dagster would put files in the place of stdout
and stderr and start four processes a step to copy them back: no progress bar, and a traceback from each at Ctrl-C."""

_INTERRUPTS = frozenset(("DagsterExecutionInterruptedError", "KeyboardInterrupt"))


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """One asset check that did not pass in one hour."""

    check: str
    asset: str
    hour: Hour
    severity: str
    """`WARN` or `ERROR`."""
    description: str


@dataclass(frozen=True, slots=True)
class RangeOutcome:
    """What became of one run."""

    hours: HourRange
    run_id: str
    succeeded: bool
    error: str | None
    """Why the first failed step failed, in words for a person; None when all steps succeeded."""
    failed_checks: tuple[FailedCheck, ...]
    silver: Mapping[Hour, str]
    """Hour -> `built` or `unchanged`, for the hours whose Silver was recorded."""
    failed_hours: Mapping[Hour, str] = field(default_factory=dict)
    """Hours that failed by themselves while the others went on -> the step and its reason."""


def prepare_instance(settings: Settings) -> dg.DagsterInstance:
    """Open Dagster's storage in the data folder, made and configured if need be; close it after use.

    Copies the shipped dagster.yaml there when it differs, sets the limits of the pools, and closes the runs of
    commands that were killed.

    Raises:
        StorageError: the folder or the configuration cannot be read or written.
    """
    home = settings.dagster_home
    try:
        wanted = DAGSTER_YAML.read_text(encoding="utf-8")
        home.mkdir(parents=True, exist_ok=True)
        present = home / DAGSTER_YAML.name
        if not present.is_file() or present.read_text(encoding="utf-8") != wanted:
            present.write_text(wanted, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"Dagster's folder {home} cannot be prepared: {error}") from error
    instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=_NO_COMPUTE_LOGS))
    set_pool_limits(instance, settings)
    close_abandoned_runs(instance)
    return instance


def run_range(
    hours: HourRange,
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    force: bool = False,
    allow_fewer_objects: bool = False,
    verbose: bool = False,
    progress: HourProgress,
    gold_folder: Path = GOLD_FOLDER,
) -> RangeOutcome:
    """Materialize a range of hours in one run, raw objects to Gold, and wait for it.

    `progress` is called with a line for each step and each hour of Silver as it finishes. Dagster's own log lines go
    to the event log only, or to the console as well when `verbose`.

    Raises:
        KeyboardInterrupt: the run was interrupted; it is recorded as failed, and nothing half is published.
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
    result = job.execute_in_process(
        run_config={
            "loggers": {"console": {"config": {"log_level": "DEBUG" if verbose else "CRITICAL"}}},
            "ops": {
                SILVER: {"config": {"force": force, "allow_fewer_objects": allow_fewer_objects}},
                **{table.name: {"config": {"force": force}} for table in load_gold_tables(gold_folder)},
            },
        },
        instance=instance,
        partition_key=single,
        tags=None if single else range_tags(hours),
        raise_on_error=False,
    )
    failures = [event for event in result.all_events if event.is_step_failure]
    if any(_root(event.step_failure_data.error)[0] in _INTERRUPTS for event in failures):
        raise KeyboardInterrupt
    failed_checks = tuple(failed_checks_of(result.get_asset_check_evaluations()))
    return RangeOutcome(
        hours,
        result.run_id,
        result.success,
        None if result.success else explanation(result.all_events, failed_checks),
        failed_checks,
        _silver_outcomes(result.get_asset_materialization_events()),
        _failed_hours(result.all_events),
    )


def _failed_hours(events: Iterable[dg.DagsterEvent]) -> dict[Hour, str]:
    found: dict[Hour, str] = {}
    for failure in failures_of(events):
        found.setdefault(failure.hour, str(failure))
    return dict(sorted(found.items()))


def failed_checks_of(evaluations: Iterable[dg.AssetCheckEvaluation]) -> Iterable[FailedCheck]:
    """Yield the checks of single hours that did not pass."""
    for each in evaluations:
        if not each.passed and each.partition:
            yield FailedCheck(
                each.check_name,
                each.asset_key.to_user_string(),
                Hour.parse(each.partition),
                each.severity.value,
                each.description or "",
            )


def _silver_outcomes(events: Iterable[dg.DagsterEvent]) -> dict[Hour, str]:
    materializations = (event.materialization for event in events if event.asset_key == dg.AssetKey(SILVER))
    return {
        Hour.parse(each.partition): str(each.metadata["outcome"].value)
        for each in materializations
        if each.partition and "outcome" in each.metadata
    }


def explanation(events: Iterable[dg.DagsterEvent], failed_checks: Iterable[FailedCheck]) -> str:
    """Return one message: of the blocking checks if they stopped the run, else of the first step that failed."""
    for event in events:
        if event.is_step_failure:
            described = event.step_failure_data.user_failure_data
            if described and described.description:
                return f"{event.step_key}: {described.description}"
            error_class, message = _root(event.step_failure_data.error)
            if error_class == "DagsterAssetCheckFailedError":
                stopping = [each for each in failed_checks if each.asset == event.step_key and each.severity == "ERROR"]
                return "; ".join(f"{each.asset} {each.hour}: {each.check}: {each.description}" for each in stopping)
            return f"{event.step_key}: {message}"
        if event.is_failure:
            return _root(event.job_failure_data.error)[1]
    return "the run did not finish, and Dagster recorded no reason"


def _root(error: Any) -> tuple[str, str]:
    """Return class name and message of the error that started a chain (Dagster's SerializableErrorInfo)."""
    if error is None:
        return "", "no error was recorded"
    while error.cause:
        error = error.cause
    return error.cls_name or "", str(error.message).strip()
