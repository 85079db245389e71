"""Records the results of a run hour by hour: one materialization and one result per check and hour.

Dagster does this on its own only for runs of a single hour. In a range run it has one data version for all partitions
and leaves partitioned checks planned forever, so both are recorded here hour by hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

# A result without its target materialization counts as outdated on the check's partitions page; Dagster 1.13
# exports the evaluation, but not this part of it.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as JudgedMaterialization,
)
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType

# A result with this mark materializes nothing; without it Dagster materializes every hour of the run.
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

# What Dagster records for an output's partitions, restricted to the healthy ones.
from dagster._core.execution.plan.execute_step import _get_output_asset_events

from event_pipeline.assets.faults import FAULT_CLASS, retry_passing
from event_pipeline.assets.isolation import HourFailure, has_later_steps, note_failed_hours, observation
from event_pipeline.assets.presentation import described, plain_metadata
from event_pipeline.errors import BlockedError, PipelineError, failed_hours_text
from event_pipeline.rules.hour import Hour, HourRange, hours_text
from event_pipeline.rules.printable import printable

DATA_VERSION_TAG = "dagster/data_version"
DATA_VERSION_IS_OURS_TAG = "dagster/data_version_is_user_provided"

HOURS_PER_LOOKUP = 200
"""Dagster returns at most 1,000 records at a time."""

HourEvent = (
    dg.MaterializeResult[Any]
    | dg.AssetMaterialization
    | dg.AssetObservation
    | dg.Output[None]
    | dg.AssetCheckEvaluation
)

BLOCKING_CHECKS = frozenset(("conservation_law", "partition_readable"))
"""Checks whose failure keeps an hour from later steps."""


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """The result of one check for one hour."""

    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


@dataclass(frozen=True, slots=True)
class HourResult:
    """The result of a run for one hour of an asset."""

    metadata: Mapping[str, Any]
    verdicts: Mapping[str, CheckVerdict]
    """Check name -> result, for every check of the asset."""
    data_version: str | None = None
    """Equal if and only if the hour's data is the same; None leaves it to Dagster."""


def hour_events(
    context: dg.AssetExecutionContext,
    results: Mapping[Hour, HourResult],
    failures: Mapping[Hour, PipelineError] | None = None,
    earlier: Mapping[Hour, HourFailure] | None = None,
) -> Iterator[HourEvent]:
    """Yield the events that record the results of all hours of a run.

    `failures` are hours that failed in this step, `earlier` those that failed in earlier steps; neither are
    materialized. If one of several hours fails a blocking check, it is a failed hour as well.

    In a range run whose hours have data versions, each hour is materialized twice: first by Dagster, with the same
    version for all of them and no metadata, then with its own version and metadata. So downstream assets are stale
    only when they should be, and each hour is one point in a plot.

    Raises:
        dagster.RetryRequested: an hour has a transient error.
        dagster.Failure: hours failed, and this is the last step of the run, or no hour is healthy.
    """
    failures, earlier = failures or {}, earlier or {}
    stopped = {} if len(results) + len(failures) + len(earlier) == 1 else _stopped(results)
    if failures or stopped or earlier:
        healthy = {hour: result for hour, result in results.items() if hour not in stopped}
        retry_passing(context, failures, healthy=bool(healthy))
        yield from _events_of_healthy(context, results, healthy, {**failures, **stopped}, earlier)
        return
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
                tags={**tags, **_version_tags(version)},
            )
    else:
        for hour, result in results.items():
            context.add_asset_metadata(plain_metadata(result.metadata), partition_key=hour.partition_key)
        yield dg.MaterializeResult(data_version=dg.DataVersion(next(iter(versions.values()))) if versions else None)
    yield from _evaluations(context, results, _newest_materializations(context, list(results)), stopping=True)
    yield from _check_outputs(context)


def _stopped(results: Mapping[Hour, HourResult]) -> dict[Hour, PipelineError]:
    """Return the hours that failed a blocking check."""
    stopped: dict[Hour, PipelineError] = {}
    for hour, result in results.items():
        found = {name: verdict for name, verdict in result.verdicts.items() if name in BLOCKING_CHECKS}
        reasons = [f"{name}: {each.description}" for name, each in found.items() if not each.passed]
        if reasons:
            stopped[hour] = BlockedError("; ".join(reasons))
    return stopped


def _events_of_healthy(
    context: dg.AssetExecutionContext,
    results: Mapping[Hour, HourResult],
    healthy: Mapping[Hour, HourResult],
    failures: Mapping[Hour, PipelineError],
    earlier: Mapping[Hour, HourFailure],
) -> Iterator[HourEvent]:
    """Record healthy hours as materialized and the others as failed; continue if any are healthy and steps follow."""
    for hour, error in sorted(failures.items()):
        context.log.error(printable(f"{hour} failed: {error}"))
        yield observation(context.asset_key, hour, error)
    if failures:
        note_failed_hours(context, failures)
    yield from _materializations(context, healthy)
    yield from _evaluations(context, results, _newest_materializations(context, list(healthy)), stopping=False)
    if not healthy or not has_later_steps(context):
        reasons = {hour: str(failure) for hour, failure in earlier.items()}
        reasons |= {hour: str(error) for hour, error in failures.items()}
        others = f". {hours_text(sorted(healthy))} succeeded" if healthy else ""
        faults = {type(error).__name__ for error in failures.values()}
        raise dg.Failure(
            printable(f"{failed_hours_text(reasons)}{others}"),
            {FAULT_CLASS: next(iter(faults))} if len(faults) == 1 else None,
            allow_retries=False,
        )
    # A result without this mark would materialize all hours of the range, including the failed ones.
    yield dg.MaterializeResult(metadata={SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True})
    yield from _check_outputs(context)


def _materializations(
    context: dg.AssetExecutionContext, results: Mapping[Hour, HourResult]
) -> Iterator[dg.AssetMaterialization]:
    """Yield Dagster's materializations of some hours of the range, each with its own metadata and data version."""
    if not results:
        return
    for hour, result in results.items():
        context.add_asset_metadata(plain_metadata(result.metadata), partition_key=hour.partition_key)
    step = context.op_execution_context.get_step_execution_context()
    (output,) = (each for each in step.op_def.output_defs if each.name == "result")
    hours = [hour.partition_key for hour in results]
    for event in _get_output_asset_events(
        context.asset_key, hours, dg.Output(None), output, {}, step, AssetExecutionType.MATERIALIZATION
    ):
        if not isinstance(event, dg.AssetMaterialization) or event.partition is None:
            raise TypeError(f"Dagster described an hour of {context.asset_key} by {event!r}")
        version = results[Hour.parse(event.partition)].data_version
        tags = {**(event.tags or {}), **(_version_tags(version) if version else {})}
        yield event._replace(tags=tags)


def _evaluations(
    context: dg.AssetExecutionContext,
    results: Mapping[Hour, HourResult],
    judged: Mapping[Hour, dg.EventLogRecord],
    *,
    stopping: bool,
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield one result per check and hour; unless `stopping`, blocking checks do not end the step."""
    for spec in context.assets_def.check_specs:
        for hour, result in results.items():
            verdict, record = result.verdicts[spec.name], judged.get(hour)
            yield dg.AssetCheckEvaluation(
                asset_key=context.asset_key,
                check_name=spec.name,
                passed=verdict.passed,
                description=described(verdict.description),
                metadata=plain_metadata(verdict.metadata),
                severity=verdict.severity,
                blocking=spec.blocking and stopping,
                partition=hour.partition_key,
                target_materialization_data=record
                and JudgedMaterialization(
                    storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
                ),
            )


def _check_outputs(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    for spec in context.assets_def.check_specs:
        yield dg.Output(None, output_name=spec.get_python_identifier())


def _version_tags(version: str) -> dict[str, str]:
    return {DATA_VERSION_TAG: version, DATA_VERSION_IS_OURS_TAG: "true"}


def _newest_materializations(context: dg.AssetExecutionContext, hours: list[Hour]) -> dict[Hour, dg.EventLogRecord]:
    """Return the newest materialization of each hour; this step has just recorded each, once or twice."""
    newest: dict[Hour, dg.EventLogRecord] = {}
    for first in range(0, len(hours), HOURS_PER_LOOKUP):
        keys = [hour.partition_key for hour in hours[first : first + HOURS_PER_LOOKUP]]
        wanted = dg.AssetRecordsFilter(context.asset_key, asset_partitions=keys)
        for record in context.instance.fetch_materializations(wanted, limit=2 * len(keys)).records:
            if record.partition_key:
                newest.setdefault(Hour.parse(record.partition_key), record)
    return newest


def _provenance_tags(records: Mapping[Hour, dg.EventLogRecord]) -> Mapping[str, str]:
    """Return the tags with Dagster's record of code and inputs, the same for all partitions of a run."""
    materialization = next(iter(records.values())).asset_materialization
    return (materialization.tags if materialization else None) or {}
