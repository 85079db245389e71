"""Steps of the tests that run Dagster: execute the hourly pipeline, and read back what the event log says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from event_pipeline.dagster_instance.run_hours import range_tags
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.base import Engine
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings

GOLD = ("category_performance", "conversion_funnel", "hourly_revenue", "top_products", "user_activity")
ASSETS = ("raw_events", "silver_events", "silver_partitions", *GOLD)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def materialize(
    settings: Settings,
    instance: dg.DagsterInstance,
    hours: HourRange,
    *,
    engine: Engine | None = None,
    gold_folder: Path = GOLD_FOLDER,
    assets: Sequence[str] | None = None,
    silver: dict[str, bool] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run the hourly pipeline, or some of its assets, for an hour or a range; failures are in the result."""
    job = build_definitions(settings, gold_folder, engine).resolve_job_def("hourly_pipeline")
    single = len(hours) == 1
    return job.execute_in_process(
        run_config={**QUIET, **({"ops": {"silver_events": {"config": silver}}} if silver else {})},
        instance=instance,
        partition_key=hours.first.partition_key if single else None,
        tags={**({} if single else range_tags(hours)), **(tags or {})},
        asset_selection=[dg.AssetKey(asset) for asset in assets] if assets else None,
        raise_on_error=False,
    )


def one_gold_table(folder: Path) -> Path:
    """A folder of Gold tables with user_activity alone, for tests to which the other four tell nothing new."""
    folder.mkdir()
    shutil.copy(GOLD_FOLDER / "user_activity.sql", folder)
    return folder


def one(hour: Hour) -> HourRange:
    """The range of a single hour."""
    return HourRange.of([hour])


def newest(instance: dg.DagsterInstance, asset: str, hour: Hour) -> dg.AssetMaterialization:
    """The newest materialization of an hour, from the event log."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[hour.partition_key])
    record = instance.fetch_materializations(wanted, limit=1).records[0]
    assert record.asset_materialization
    return record.asset_materialization


def metadata(instance: dg.DagsterInstance, asset: str, hour: Hour) -> dict[str, Any]:
    """The metadata of the newest materialization of an hour, as plain values."""
    return {name: value.value for name, value in newest(instance, asset, hour).metadata.items()}


def data_version(instance: dg.DagsterInstance, asset: str, hour: Hour) -> str:
    """The data version of the newest materialization of an hour."""
    return (newest(instance, asset, hour).tags or {})["dagster/data_version"]


def materialized_hours(instance: dg.DagsterInstance, asset: str) -> list[Hour]:
    """Every hour that Dagster shows as materialized."""
    return sorted(Hour.parse(key) for key in instance.get_materialized_partitions(dg.AssetKey(asset)))


def verdicts(instance: dg.DagsterInstance, asset: str, check: str) -> dict[Hour | None, str]:
    """The newest status of a check per hour, from the storage behind the check's page."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(asset), check), limit=1000
    )
    return {
        Hour.parse(record.partition) if record.partition else None: record.status.value for record in reversed(history)
    }


def evaluation(
    result: dg.ExecuteInProcessResult, check: str, hour: Hour | None = None, asset: str | None = None
) -> dg.AssetCheckEvaluation:
    """The one evaluation of a check (of an hour, of an asset) in a run."""
    found = [
        each
        for each in result.get_asset_check_evaluations()
        if each.check_name == check
        and hour in (None, Hour.parse(each.partition or ""))
        and asset in (None, each.asset_key.to_user_string())
    ]
    assert len(found) == 1, found
    return found[0]


def executed(result: dg.ExecuteInProcessResult) -> list[str]:
    """The steps that succeeded, in order."""
    return [event.step_key for event in result.all_events if event.is_step_success and event.step_key]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the one failed step says to a person."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    described = event.step_failure_data.user_failure_data
    assert described, event.step_failure_data.error
    return described.description or ""
