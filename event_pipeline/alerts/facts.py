"""Gathers the facts for alerts from the engine and from Dagster's runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from event_pipeline.alerts.conditions import (
    PUBLISHED_STATES,
    Facts,
    FailedRun,
    FinishedBackfill,
)
from event_pipeline.alerts.state import AlertState
from event_pipeline.dagster_instance.storage import RunState, run_state
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import BrokenLawError, StorageError
from event_pipeline.rules.hour import Hour, HourRange

if TYPE_CHECKING:
    from dagster import DagsterEvent, DagsterInstance, DagsterRun

RUNS_LOOKED_AT = 1_000
BACKFILLS_LOOKED_AT = 25
ERRORS_READ = 5
"""Failed runs whose event logs are read per evaluation; in an outage the others failed for the same reason."""


def gather(
    pipeline: Pipeline,
    instance: DagsterInstance | None,
    state: AlertState,
    now: datetime,
) -> Facts:
    """Read the facts: listings and commit records of the hours in the alert window, and Dagster's runs of them.

    Without an instance no runs are read. All keys are listed once an hour, or every time while some are not read.
    Records of older hours come from the state, so the cost does not grow with the history.

    Raises:
        PipelineError: something cannot be read.
    """
    engine, settings = pipeline.engine, pipeline.settings
    current = Hour.containing(now)
    first = max(settings.first_partition, current.plus(-settings.alert_hours))
    before = {Hour.parse(hour): records for hour, records in state.records.items()}
    newest = Hour.parse(state.newest_published) if state.newest_published else None
    unmatched = () if state.keys_looked_at == str(current) else tuple(engine.unmatched_raw_keys())
    if first >= current:
        return Facts(now, {}, {}, {}, before, newest, {}, unmatched)
    hours = HourRange(first, current)
    states = pipeline.states(now, hours)
    damaged = dict[Hour, StorageError]()
    commits = engine.hour_commits(hours, damaged)
    oldest = first.plus(-24 * settings.alert_volume_days)
    records = {hour: count for hour, count in before.items() if hour >= oldest}
    if not before and oldest < first:
        # A damaged record before the alert window is only one hour less to learn from.
        older = engine.hour_commits(HourRange(oldest, first), {})
        records |= {hour: each.account.records for hour, each in older.items()}
    published = [hour for hour, each in states.items() if each in PUBLISHED_STATES]
    records |= {hour: commits[hour].account.records for hour in published if hour in commits}
    newest = max([hour for hour in published if hour in commits and commits[hour].account.objects], default=newest)
    if newest is None:
        newest = max(engine.registered_builds(), default=None)
    return Facts(
        now,
        states,
        commits,
        dict(sorted(records.items())),
        before,
        newest,
        {hour: len(listing.objects) for hour, listing in engine.list_raw_hours(hours).items()},
        unmatched,
        failed_runs(instance, first.start) if instance else (),
        finished_backfills(instance, first.start, state.reported) if instance else (),
        {hour: str(error) for hour, error in damaged.items()},
    )


def failed_runs(instance: DagsterInstance, since: datetime) -> list[FailedRun]:
    """Return the runs that failed permanently since an instant, newest first, with the hours still unbuilt."""
    from dagster import RunsFilter

    from event_pipeline.assets.isolation import hours_that_failed

    failed: list[tuple[DagsterRun, list[Hour]]] = []
    judged: set[Hour | str] = set()
    records = instance.get_run_records(RunsFilter(updated_after=since), limit=RUNS_LOOKED_AT)
    for run in (record.dagster_run for record in records):
        has_failed = _has_failed(run)
        if has_failed is None:
            continue
        new = [subject for subject in _subjects(run) if subject not in judged]
        judged.update(new)
        by_itself = hours_that_failed(run)
        about = [each for each in new if not isinstance(each, Hour) or by_itself is None or each in by_itself]
        if has_failed and about:
            failed.append((run, [subject for subject in about if isinstance(subject, Hour)]))
    return [
        _failed_run(instance, run, about) if number < ERRORS_READ else _unread(run, about)
        for number, (run, about) in enumerate(failed)
    ]


def finished_backfills(instance: DagsterInstance, since: datetime, known: Collection[str]) -> list[FinishedBackfill]:
    """Return the backfills that ended since an instant, without the known ones."""
    from dagster import RunsFilter
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter
    from dagster._core.storage.tags import BACKFILL_ID_TAG

    from event_pipeline.assets.isolation import hours_that_failed
    from event_pipeline.dagster_instance.run_hours import hours_of_tags

    finished = []
    wanted = BulkActionsFilter(statuses=BULK_ACTION_TERMINAL_STATUSES)
    for each in instance.get_backfills(filters=wanted, limit=BACKFILLS_LOOKED_AT):
        ended = each.backfill_end_timestamp
        if ended is None or ended < since.timestamp() or each.backfill_id in known:
            continue
        done, failed = set[Hour](), set[Hour]()
        for run in instance.get_runs(filters=RunsFilter(tags={BACKFILL_ID_TAG: each.backfill_id})):
            covered = set(hours_of_tags(run.tags) or ())
            lost = set() if run.is_success else covered & (hours_that_failed(run) or covered)
            failed |= lost
            done |= covered - lost
        seconds = ended - each.backfill_timestamp
        finished.append(
            FinishedBackfill(
                each.backfill_id, each.status.value.lower(), tuple(sorted(done)), tuple(sorted(failed - done)), seconds
            )
        )
    return finished


def _has_failed(run: DagsterRun) -> bool | None:
    """Return whether a run failed; None while it is running, if Dagster retries it, or if a user cancelled it."""
    from dagster._core.storage.tags import WILL_RETRY_TAG

    if run.is_success:
        return False
    is_retried = run.is_failure and run.tags.get(WILL_RETRY_TAG) == "true"
    return True if run_state(run) is RunState.FAILED and not is_retried else None


def _subjects(run: DagsterRun) -> list[Hour | str]:
    """Return the subjects of a run: its hours, however old, or, for other jobs, the job."""
    from event_pipeline.dagster_instance.run_hours import hours_of_tags

    covered = hours_of_tags(run.tags)
    return list(covered) if covered else [run.job_name]


def _failed_run(instance: DagsterInstance, run: DagsterRun, hours: Sequence[Hour]) -> FailedRun:
    from dagster import DagsterEventType

    from event_pipeline.dagster_instance.outcomes import explanation, failed_checks_of

    wanted = {
        DagsterEventType.STEP_FAILURE,
        DagsterEventType.PIPELINE_FAILURE,
        DagsterEventType.ASSET_CHECK_EVALUATION,
    }
    entries = instance.all_logs(run.run_id, of_type=wanted)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    evaluations = (
        event.asset_check_evaluation_data
        for event in events
        if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION
    )
    checks = tuple(failed_checks_of(evaluations))
    fault = next((fault for fault in map(_fault, events) if fault), "")
    breaks_law = fault == BrokenLawError.__name__ or any(check.check == "conservation_law" for check in checks)
    if not run.is_finished:
        return FailedRun(run.run_id, tuple(hours), run.job_name, "the process that executed it is gone", "", False)
    return FailedRun(run.run_id, tuple(hours), run.job_name, explanation(events, checks), fault, breaks_law)


def _unread(run: DagsterRun, hours: Sequence[Hour]) -> FailedRun:
    return FailedRun(run.run_id, tuple(hours), run.job_name, "see the run's page", "", False)


def _fault(event: DagsterEvent) -> str:
    """Return the class of the pipeline error that failed a step."""
    from event_pipeline.assets.faults import FAULT_CLASS

    if not event.is_step_failure:
        return ""
    described = event.step_failure_data.user_failure_data
    value = described.metadata.get(FAULT_CLASS) if described and described.metadata else None
    return str(value.value) if value else ""
