"""What a run says about each of its hours: one materialization and one result per check and hour.

Dagster does this by itself only for runs of a single hour. In a range run it knows one data version for all
partitions and leaves partitioned checks planned for ever, so both are said here hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

# A result that does not name the materialization it judged counts as outdated on the check's partitions page;
# Dagster 1.13 exports the evaluation, but not this part of it.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as JudgedMaterialization,
)

from event_pipeline.assets.presentation import plain_metadata
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.printable import printable

DATA_VERSION_TAG = "dagster/data_version"
DATA_VERSION_IS_OURS_TAG = "dagster/data_version_is_user_provided"

HOURS_PER_LOOKUP = 200
"""Dagster hands out at most 1,000 records at a time."""

HourEvent = dg.MaterializeResult[Any] | dg.AssetMaterialization | dg.Output[None] | dg.AssetCheckEvaluation


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found in one hour."""

    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


@dataclass(frozen=True, slots=True)
class HourResult:
    """What a run says about one hour of an asset."""

    metadata: Mapping[str, Any]
    verdicts: Mapping[str, Verdict]
    """Check name -> what it found; every check of the asset."""
    data_version: str | None = None
    """Equal exactly when the hour's data is the same; None leaves it to Dagster."""


def hour_events(context: dg.AssetExecutionContext, results: Mapping[Hour, HourResult]) -> Iterator[HourEvent]:
    """Yield the events that record the results of all hours of a run.

    In a range run whose hours have data versions, each hour is materialized twice: first by Dagster, which writes
    the same version to all of them and no numbers, then with its own version and numbers. So what lies downstream
    is stale only when it should be, and each hour is one point of a plot.
    """
    asset_key = context.asset_key
    versions = {hour: result.data_version for hour, result in results.items() if result.data_version}
    if versions and len(results) > 1:
        yield dg.MaterializeResult(metadata={"range": str(HourRange.of(list(results)))})
        tags = _provenance_tags(_newest_materializations(context, list(results)))
        for hour, version in versions.items():
            yield dg.AssetMaterialization(
                asset_key,
                partition=hour.partition_key,
                metadata=plain_metadata(results[hour].metadata),
                tags={**tags, DATA_VERSION_TAG: version, DATA_VERSION_IS_OURS_TAG: "true"},
            )
    else:
        for hour, result in results.items():
            context.add_asset_metadata(plain_metadata(result.metadata), partition_key=hour.partition_key)
        yield dg.MaterializeResult(data_version=dg.DataVersion(next(iter(versions.values()))) if versions else None)
    judged = _newest_materializations(context, list(results))
    for spec in context.assets_def.check_specs:
        for hour, result in results.items():
            verdict = result.verdicts[spec.name]
            yield dg.AssetCheckEvaluation(
                asset_key=asset_key,
                check_name=spec.name,
                passed=verdict.passed,
                # What a check made of data is quoted there; this is for what libraries put into messages.
                description=printable(verdict.description),
                metadata=plain_metadata(verdict.metadata),
                severity=verdict.severity,
                blocking=spec.blocking,
                partition=hour.partition_key,
                target_materialization_data=JudgedMaterialization(
                    storage_id=judged[hour].storage_id,
                    run_id=judged[hour].run_id,
                    timestamp=judged[hour].timestamp,
                ),
            )
        yield dg.Output(None, output_name=spec.get_python_identifier())


def _newest_materializations(context: dg.AssetExecutionContext, hours: list[Hour]) -> dict[Hour, dg.EventLogRecord]:
    """Return the newest materialization of each hour; each was just made by this step, once or twice."""
    newest: dict[Hour, dg.EventLogRecord] = {}
    for first in range(0, len(hours), HOURS_PER_LOOKUP):
        keys = [hour.partition_key for hour in hours[first : first + HOURS_PER_LOOKUP]]
        wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=keys)
        for record in context.instance.fetch_materializations(wanted, limit=2 * len(keys)).records:
            if record.partition_key:
                newest.setdefault(Hour.parse(record.partition_key), record)
    return newest


def _provenance_tags(records: Mapping[Hour, dg.EventLogRecord]) -> Mapping[str, str]:
    """Return the tags by which Dagster remembers code and inputs, the same for all partitions of a run."""
    materialization = next(iter(records.values())).asset_materialization
    return (materialization.tags if materialization else None) or {}
