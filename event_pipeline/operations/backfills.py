"""Backfills: planning, starting, pausing, resuming and cancelling them through Dagster.

A backfill is one or more of Dagster's own asset backfills with the same tag: Dagster splits the hours into runs by the
assets' backfill policy, queues and monitors them and shows them in the UI. No other state is kept. What is left to do
follows from listings and commit records, so a resumed backfill requests exactly the hours that are not built yet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from event_pipeline.assets.builder_choice import BUILDER_TAG, builder_of_tags
from event_pipeline.assets.partitions import landing_hours
from event_pipeline.assets.pipeline import pipeline_assets
from event_pipeline.assets.silver import SILVER
from event_pipeline.dagster_instance.run_hours import (
    BACKFILL_PRIORITY,
    UNFINISHED,
    failed_hours_of,
    hours_of_tags,
    hours_under_way,
)
from event_pipeline.engines.base import SilverOutcome
from event_pipeline.engines.open import with_first_partition
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import DUE_STATES, HourState
from event_pipeline.errors import BackfillError
from event_pipeline.operations.building import check_buildable
from event_pipeline.rules.drift import declared_since
from event_pipeline.rules.hour import Hour, HourRange, contiguous
from event_pipeline.settings import Settings, SilverBuilderKind

BACKFILL_TAG = "event_pipeline/backfill"
"""Id of a backfill; shared by all Dagster backfills that a resumed one consists of."""
BACKFILL_HOURS_TAG = "event_pipeline/backfill_hours"
"""The requested hours: `2025-12-01T00/2025-12-31T00`, the end exclusive."""

WAITING = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED]
IN_PROGRESS = [status for status in UNFINISHED if status not in WAITING]

RUNS_MEASURED = 200
"""Latest materializations used to measure the speed of this machine."""
SUBMISSION_TIMEOUT_SECONDS = 600
"""The daemon queues up to 25 runs in one batch, and takes seconds for each run of a day."""
HEARTBEAT_SECONDS = 120
"""Daemons send a heartbeat every 30 seconds; Dagster itself reports one missing after half an hour."""
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a backfill of a range would do with each of its hours."""

    hours: HourRange
    states: Mapping[HourState, tuple[Hour, ...]]
    """The hours of the range by state, without those under way."""
    under_way: tuple[Hour, ...]
    """Hours that are already part of a queued or running run."""
    runs: tuple[HourRange, ...]
    """The hours to build, as Dagster splits them into runs."""
    raw_bytes: int
    """Stored raw bytes of the hours to build."""
    gains: Mapping[Hour, Mapping[str, int]]
    """Hour to build -> fields that have been declared since it was built -> records that have them, in order."""

    @property
    def to_build(self) -> tuple[Hour, ...]:
        """The hours to build, in order."""
        return tuple(hour for hours in self.runs for hour in hours)

    def of_state(self, state: HourState) -> tuple[Hour, ...]:
        """Return the hours in a state, in order."""
        return self.states.get(state, ())


def plan_backfill(pipeline: Pipeline, instance: dg.DagsterInstance, now: datetime, hours: HourRange) -> BackfillPlan:
    """Compare listings, commit records and catalog of a range, leaving out what is already running; changes nothing.

    Hours without raw objects have nothing to build; hours that lost objects keep their published build.

    Raises:
        NotBuildableError: the range begins before the first partition or holds an hour that is not over.
        StorageError: the data folder cannot be read or is damaged.
    """
    settings = pipeline.settings
    check_buildable(hours, settings, now)
    found = pipeline.states(now, hours)
    busy = hours_under_way(instance)
    under_way = tuple(hour for hour, state in found.items() if hour in busy and state in DUE_STATES)
    states: dict[HourState, list[Hour]] = {}
    for hour, state in found.items():
        if hour not in under_way:
            states.setdefault(state, []).append(hour)
    due = sorted(hour for state in DUE_STATES for hour in states.get(state, ()))
    listings = pipeline.engine.list_raw_hours(hours)
    return BackfillPlan(
        hours,
        {state: tuple(each) for state, each in states.items()},
        under_way,
        tuple(contiguous(due, settings.hours_per_run)),
        sum(listings[hour].raw_bytes for hour in due if hour in listings),
        _gains(pipeline, [hour for hour in due if found[hour] is not HourState.NEW]),
    )


def _gains(pipeline: Pipeline, hours: Sequence[Hour]) -> dict[Hour, Mapping[str, int]]:
    """Return which published hours hold values of fields that were declared later, from their commit records."""
    # A damaged record counts nothing; its hour is built anyway.
    commits = pipeline.engine.hour_commits(HourRange.of(hours), {}) if hours else {}
    gains = {hour: declared_since(commits[hour].account) for hour in hours if hour in commits}
    return {hour: fields for hour, fields in gains.items() if fields}


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """How fast recent runs built hours from raw objects to Gold."""

    runs: int
    raw_bytes: int
    seconds: float
    """Total time of the runs, one after the other."""

    def seconds_for(self, raw_bytes: int) -> float:
        """Return an estimate of the time for that many raw bytes, one run at a time."""
        return self.seconds * raw_bytes / self.raw_bytes


def measured_speed(instance: dg.DagsterInstance) -> MeasuredSpeed | None:
    """Return the speed of recent successful runs that built Silver; None if there are none."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(SILVER))
    built = Counter[str]()
    for record in instance.fetch_materializations(wanted, limit=RUNS_MEASURED).records:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        if "bytes_in" in metadata and metadata["outcome"].value == SilverOutcome.BUILT.value:
            built[record.run_id] += int(str(metadata["bytes_in"].value))
    if not built:
        return None
    finished = dg.RunsFilter(run_ids=list(built), statuses=[dg.DagsterRunStatus.SUCCESS])
    records = [each for each in instance.get_run_records(filters=finished) if each.start_time and each.end_time]
    raw_bytes = sum(built[each.dagster_run.run_id] for each in records)
    seconds = sum((each.end_time or 0) - (each.start_time or 0) for each in records)
    return MeasuredSpeed(len(records), raw_bytes, seconds) if raw_bytes else None


# -- doing


def start_backfill(
    plan: BackfillPlan,
    settings: Settings,
    instance: dg.DagsterInstance,
    resumed: str | None = None,
    builder: SilverBuilderKind | None = None,
) -> str:
    """Submit the hours of a plan to Dagster's backfill daemon, below live runs, and return the backfill's id.

    `resumed` is the id of the backfill that this one continues; `builder` builds Silver in its runs, instead of the one
    in the settings.
    """
    # The same partitions as in the code location, or its daemon would not know the hours.
    wanted = landing_hours(with_first_partition(settings)).subset_with_partition_keys(
        [hour.partition_key for hour in plan.to_build]
    )
    dagster_id = make_new_backfill_id()
    backfill_id = resumed or dagster_id
    instance.add_backfill(
        PartitionBackfill.from_asset_graph_subset(
            backfill_id=dagster_id,
            asset_graph_subset=AssetGraphSubset(  # type: ignore[call-arg] # its decorator hides the signature
                {asset.key: wanted for asset in pipeline_assets(settings)}, set()
            ),
            backfill_timestamp=datetime.now(UTC).timestamp(),
            tags={
                BACKFILL_TAG: backfill_id,
                BACKFILL_HOURS_TAG: f"{plan.hours.first}/{plan.hours.end}",
                **BACKFILL_PRIORITY,
                **({BUILDER_TAG: builder.value} if builder else {}),
            },
            dynamic_partitions_store=instance,
            title=f"{plan.hours.first} to {plan.hours.end}: {len(plan.to_build)} hours",
            description=f"event-pipeline backfill status {backfill_id}",
            run_config=None,
        )
    )
    return backfill_id


def pause_backfill(instance: dg.DagsterInstance, backfill_id: str) -> tuple[int, int]:
    """Cancel queued runs and let running ones finish; return the number of each.

    Raises:
        BackfillError: there is no such backfill, nothing of it is queued or running, or the daemon does not stop.
    """
    active = [each for each in _dagster_backfills(instance, backfill_id) if not _is_over(each)]
    if not active and not _runs(instance, backfill_id, UNFINISHED):
        raise BackfillError(f"backfill {backfill_id} is not running: nothing to pause")
    taken_back, until = 0, time.monotonic() + SUBMISSION_TIMEOUT_SECONDS
    for each in active:
        # Repeat if needed: a daemon that had just read the backfill overwrites this status.
        while (now := instance.get_backfill(each.backfill_id)) and not _is_over(now):
            ended = datetime.now(UTC).timestamp()
            instance.update_backfill(now._replace(status=BulkActionStatus.CANCELED, backfill_end_timestamp=ended))
            # It queues runs in batches, and checks only between batches whether the backfill was stopped.
            while _is_queueing(instance, now) and is_daemon_heard(instance):
                taken_back += _take_back_queued_runs(instance, backfill_id)
                if time.monotonic() > until:
                    raise BackfillError(
                        f"the Dagster daemon kept queueing runs of backfill {backfill_id} for "
                        f"{SUBMISSION_TIMEOUT_SECONDS} s: pause it again"
                    )
                time.sleep(_POLL_SECONDS)
    taken_back += _take_back_queued_runs(instance, backfill_id)
    return taken_back, len(_runs(instance, backfill_id, UNFINISHED))


def cancel_backfill(instance: dg.DagsterInstance, backfill_id: str) -> None:
    """Ask the daemon to cancel the backfill: queued and running runs are stopped.

    Raises:
        BackfillError: there is no such backfill, or nothing of it is queued or running.
    """
    backfills = _dagster_backfills(instance, backfill_id)
    with_runs = {run.tags.get("dagster/backfill") for run in _runs(instance, backfill_id, UNFINISHED)}
    ending = [each for each in backfills if not _is_over(each) or each.backfill_id in with_runs]
    if not ending:
        raise BackfillError(f"backfill {backfill_id} is not running: nothing to cancel")
    for each in ending:
        instance.update_backfill(each._replace(status=BulkActionStatus.CANCELING))


def hours_to_resume(instance: dg.DagsterInstance, backfill_id: str) -> HourRange:
    """Return the hours that a backfill was started for.

    Raises:
        BackfillError: there is no such backfill, or it is still running.
    """
    backfills = _dagster_backfills(instance, backfill_id)
    if not all(_is_over(each) for each in backfills):
        raise BackfillError(f"backfill {backfill_id} is running: `event-pipeline backfill status` shows how far it is")
    return _asked_for(backfills[0])


def builder_to_resume(instance: dg.DagsterInstance, backfill_id: str) -> SilverBuilderKind | None:
    """Return the builder that a backfill was last started with; None for the one in the settings.

    Raises:
        BackfillError: there is no such backfill.
    """
    return builder_of_tags(_dagster_backfills(instance, backfill_id)[0].tags)


def is_daemon_heard(instance: dg.DagsterInstance) -> bool:
    """Return whether a Dagster daemon is running; a busy part of it may send no heartbeat for minutes."""
    since = time.time() - HEARTBEAT_SECONDS
    return any(heartbeat.timestamp > since for heartbeat in instance.get_daemon_heartbeats().values())


# -- looking


class BackfillState(StrEnum):
    """The state of a backfill."""

    RUNNING = "running"
    STOPPING = "stopping"
    """Paused or cancelled, and some of its runs have not finished yet."""
    STOPPED = "stopped"
    """Paused or cancelled with hours left to build."""
    FAILED = "failed"
    """All its runs have finished, and hours are left to build."""
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class BackfillStatus:
    """One backfill, its resumptions included."""

    backfill_id: str
    hours: HourRange
    """The requested hours."""
    started: datetime
    state: BackfillState
    left: int
    """Hours of the range that are due now; a late object can add one at any time."""
    published: int
    """Hours of the range that are published up to Gold now, whichever run built them."""
    queued: int
    """Number of runs, as in the next four fields."""
    running: int
    succeeded: int
    failed: int
    taken_back: int
    """Removed from the queue, or stopped."""
    failed_hours: tuple[Hour, ...]
    """Hours that failed in their latest run of this backfill, while the other hours of that run went on."""

    @property
    def is_resumable(self) -> bool:
        """Return whether hours are left and none of them is being built."""
        return self.state in (BackfillState.STOPPED, BackfillState.FAILED)


def backfill_statuses(
    instance: dg.DagsterInstance, pipeline: Pipeline, now: datetime, backfill_id: str | None = None
) -> list[BackfillStatus]:
    """Return one backfill, or all, newest first.

    Raises:
        BackfillError: there is no backfill with that id.
    """
    found: dict[str, list[PartitionBackfill]] = {}
    if backfill_id is not None:
        found[backfill_id] = _dagster_backfills(instance, backfill_id)
    else:
        for each in instance.get_backfills():
            if tag := each.tags.get(BACKFILL_TAG):
                found.setdefault(tag, []).append(each)
    statuses = []
    for series_id, backfills in found.items():
        hours = _asked_for(backfills[0])
        states = Counter(pipeline.states(now, hours).values())
        left = sum(states[state] for state in DUE_STATES)
        of_series = _runs(instance, series_id)
        runs = Counter(run.status for run in of_series)
        statuses.append(
            BackfillStatus(
                series_id,
                hours,
                datetime.fromtimestamp(min(each.backfill_timestamp for each in backfills), UTC),
                _state(backfills, runs, left),
                left,
                states[HourState.READY],
                queued=runs[dg.DagsterRunStatus.NOT_STARTED] + runs[dg.DagsterRunStatus.QUEUED],
                running=sum(runs[status] for status in IN_PROGRESS),
                succeeded=runs[dg.DagsterRunStatus.SUCCESS],
                failed=runs[dg.DagsterRunStatus.FAILURE],
                taken_back=runs[dg.DagsterRunStatus.CANCELED],
                failed_hours=_failed_hours(of_series),
            )
        )
    return sorted(statuses, key=lambda each: each.started, reverse=True)


def _failed_hours(runs: Sequence[dg.DagsterRun]) -> tuple[Hour, ...]:
    """Return the hours that failed in their newest finished run; `runs` are newest first."""
    judged, failed = set[Hour](), set[Hour]()
    for run in runs:
        if run.is_finished:
            covered = set(hours_of_tags(run.tags) or ()) - judged
            failed |= covered & failed_hours_of(run)
            judged |= covered
    return tuple(sorted(failed))


def _state(backfills: Sequence[PartitionBackfill], runs: Mapping[dg.DagsterRunStatus, int], left: int) -> BackfillState:
    if any(each.status is BulkActionStatus.REQUESTED for each in backfills):
        return BackfillState.RUNNING
    if any(runs.get(status) for status in UNFINISHED) or not all(_is_over(each) for each in backfills):
        return BackfillState.STOPPING
    if not left:
        return BackfillState.FINISHED
    newest = max(backfills, key=lambda each: each.backfill_timestamp)
    return BackfillState.STOPPED if newest.status is BulkActionStatus.CANCELED else BackfillState.FAILED


def _dagster_backfills(instance: dg.DagsterInstance, backfill_id: str) -> list[PartitionBackfill]:
    """Return the Dagster backfills that belong to a backfill, newest first."""
    found = [each for each in instance.get_backfills() if each.tags.get(BACKFILL_TAG) == backfill_id]
    if not found:
        known = sorted({each.tags[BACKFILL_TAG] for each in instance.get_backfills() if BACKFILL_TAG in each.tags})
        raise BackfillError(f"there is no backfill {backfill_id!r}; known: {', '.join(known) or 'none'}")
    return sorted(found, key=lambda each: each.backfill_timestamp, reverse=True)


def _asked_for(backfill: PartitionBackfill) -> HourRange:
    first, _, end = backfill.tags[BACKFILL_HOURS_TAG].partition("/")
    return HourRange(Hour.parse(first), Hour.parse(end))


def _is_over(backfill: PartitionBackfill) -> bool:
    return backfill.status in BULK_ACTION_TERMINAL_STATUSES


def _runs(
    instance: dg.DagsterInstance, backfill_id: str, statuses: Sequence[dg.DagsterRunStatus] = ()
) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(filters=dg.RunsFilter(tags={BACKFILL_TAG: backfill_id}, statuses=list(statuses)))


def _is_queueing(instance: dg.DagsterInstance, stopped: PartitionBackfill) -> bool:
    """Return whether the daemon still works on the batch that it was queueing when the backfill was stopped."""
    now = instance.get_backfill(stopped.backfill_id)
    batch = list(stopped.submitting_run_requests)
    return bool(batch) and now is not None and list(now.submitting_run_requests) == batch


def _take_back_queued_runs(instance: dg.DagsterInstance, backfill_id: str) -> int:
    queued = _runs(instance, backfill_id, [dg.DagsterRunStatus.QUEUED])
    for run in queued:
        instance.report_run_canceling(run, message="Removed from the queue: the backfill is paused.")
        instance.report_run_canceled(run)
    return len(queued)
