"""Isolation of failed hours: how a step reports them while the other hours of the run go on, and later steps skip them.

In Dagster a step succeeds or fails as a whole, and a failed step's dependents are skipped: one bad hour would block all
others of its run. So a step with healthy and failed hours ends without an error if steps depend on it, materializes
only the healthy hours, and records an observation of each failed one. Later steps skip those hours, and the last one
fails, so that the run fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from event_pipeline.assets.faults import FAULT_CLASS
from event_pipeline.errors import PipelineError
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.printable import printable

FAILED_HOURS_TAG = "event_pipeline/failed_hours"
"""`run id:hours, comma separated`: the hours that failed on their own in a run. A retry inherits its parent's tags,
hence the run id."""

REASON = "not_published_because"
"""Metadata key of an observation: why the hour failed."""

MOST_PARENTS = 10


@dataclass(frozen=True, slots=True)
class HourFailure:
    """Why one hour failed in one step."""

    hour: Hour
    step: str
    reason: str

    def __str__(self) -> str:
        """Return step and reason, without the hour, which is always shown next to it."""
        return f"{self.step}: {self.reason.removeprefix(f'{self.hour}: ')}"


def observation(asset_key: dg.AssetKey, hour: Hour, error: PipelineError) -> dg.AssetObservation:
    """Return the event that reports to users and later steps that an hour failed in a step."""
    return dg.AssetObservation(
        asset_key,
        partition=hour.partition_key,
        description=printable(f"{hour} failed: {error}"),
        metadata={REASON: printable(str(error)), FAULT_CLASS: type(error).__name__},
    )


def failures_of(events: Iterable[dg.DagsterEvent]) -> Iterator[HourFailure]:
    """Yield the hours that failed on their own, from the events of a run, in the order of the steps."""
    for event in events:
        if event.event_type is not dg.DagsterEventType.ASSET_OBSERVATION:
            continue
        observed = event.asset_observation_data.asset_observation
        if observed.partition and REASON in observed.metadata:
            step = observed.asset_key.to_user_string()
            yield HourFailure(Hour.parse(observed.partition), step, str(observed.metadata[REASON].value))


def failed_before(context: dg.AssetExecutionContext) -> dict[Hour, HourFailure]:
    """Return the hours of this run that failed in the steps before this one.

    A run that continues another run (a retry after its process died, or a re-execution from failure) takes the results
    of the steps that it does not execute from that run.
    """
    graph = context.job_def.asset_layer.asset_graph
    upstream = {key.to_user_string() for key in graph.get_ancestor_asset_keys(context.asset_key)}
    found: dict[Hour, HourFailure] = {}
    run: dg.DagsterRun | None = context.run
    for _ in range(MOST_PARENTS):
        if run is None or not upstream:
            break
        records = context.instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION
        ).records
        events = (record.event_log_entry.dagster_event for record in records)
        for failure in failures_of(event for event in events if event):
            if failure.step in upstream:
                found.setdefault(failure.hour, failure)
        if run.step_keys_to_execute is None:
            break
        upstream -= set(run.step_keys_to_execute)
        run = context.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None
    return found


def has_later_steps(context: dg.AssetExecutionContext) -> bool:
    """Return whether this run executes steps that depend on this one and would be skipped if it failed."""
    layer = context.job_def.asset_layer
    later = {key.to_user_string() for key in layer.get(context.asset_key).child_keys & layer.selected_asset_keys}
    executed = context.run.step_keys_to_execute
    return bool(later if executed is None else later & set(executed))


def note_failed_hours(context: dg.AssetExecutionContext, hours: Iterable[Hour]) -> None:
    """Tag the run with the hours that failed on their own, for the next request of hours."""
    run = context.instance.get_run_by_id(context.run.run_id)
    known = hours_that_failed(run) if run else None
    named = ",".join(str(hour) for hour in sorted({*hours, *(known or ())}))
    context.instance.add_run_tags(context.run.run_id, {FAILED_HOURS_TAG: f"{context.run.run_id}:{named}"})


def hours_that_failed(run: dg.DagsterRun) -> frozenset[Hour] | None:
    """Return the hours of a run that failed on their own; None if it has no such tag, so all of them failed."""
    run_id, _, hours = run.tags.get(FAILED_HOURS_TAG, "").partition(":")
    return frozenset(map(Hour.parse, hours.split(","))) if run_id == run.run_id and hours else None
