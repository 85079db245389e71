"""The landing hours of a run, read from and written to its tags, and which runs are under way."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

import dagster as dg
import psutil
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from event_pipeline.assets.isolation import hours_that_failed
from event_pipeline.rules.hour import Hour, HourRange, InvalidHourError

PRIORITY_TAG = "dagster/priority"
LIVE_TAGS = {PRIORITY_TAG: "10"}
"""Priority of runs that sensor and schedule request: ahead of everything else in the run queue and in the pools. Runs
started in the UI, including its backfills, have priority 0."""
LATE_TAGS = {PRIORITY_TAG: "5"}
"""Priority of runs that the sensor requests for old hours, behind recent ones."""
BACKFILL_PRIORITY = {PRIORITY_TAG: "-10"}
"""Priority of the runs of `event-pipeline backfill`."""

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PROCESS_TAG = "event_pipeline/process"
"""`host:process id:second in which it started:run id` of the process that executes a run.

Dagster does not monitor the processes of one machine: after a power cut a run would count as running for hours. Process
ids are reused, immediately in a restarted container; a retry inherits its parent's tags, hence the run id.
"""
_START_TOLERANCE_SECONDS = 2
"""The operating system derives start times from a clock that may be adjusted meanwhile."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

_WITH_A_CODE_SERVER = frozenset((dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED))
"""States of a run that was handed to a code server."""


def range_tags(hours: HourRange) -> dict[str, str]:
    """Return the tags with which Dagster materializes a range of hours in one run."""
    return {RANGE_START_TAG: hours.first.partition_key, RANGE_END_TAG: hours.last.partition_key}


def range_request(run_key: str, hours: HourRange, *, late: bool = False) -> dg.RunRequest:
    """Return the request for one run of an hour or a range; `late` puts it behind runs of recent hours."""
    tags = LATE_TAGS if late else LIVE_TAGS
    if len(hours) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=hours.first.partition_key, tags=tags)
    return dg.RunRequest(run_key=run_key, tags={**tags, **range_tags(hours)})


def hours_of_tags(tags: Mapping[str, str]) -> HourRange | None:
    """Return the hours that a run with these tags covers, or None if it has no landing hours."""
    single = tags.get(PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, single), tags.get(RANGE_END_TAG, single)
    if not first or not last:
        return None
    try:
        return HourRange(Hour.parse(first), Hour.parse(last).plus(1))
    except InvalidHourError:
        return None  # another partitions definition: an unrelated run in the same Dagster


def failed_hours_of(run: dg.DagsterRun) -> frozenset[Hour]:
    """Return the hours that failed in a run: those in its tag, or all of them if it failed as a whole."""
    if not (run.is_failure or (not run.is_finished and process_is_gone(run))):
        return frozenset()
    named = hours_that_failed(run)
    return named if named is not None else frozenset(hours_of_tags(run.tags) or ())


def hours_under_way(instance: dg.DagsterInstance) -> set[Hour]:
    """Return the hours of all runs that are queued or running, or about to be queued by a backfill."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED))
    ranges = (hours_of_tags(run.tags) for run in runs if not process_is_gone(run))
    return {hour for hours in ranges if hours for hour in hours} | _hours_about_to_be_queued(instance)


def _hours_about_to_be_queued(instance: dg.DagsterInstance) -> set[Hour]:
    """Return the hours of active backfills for which the daemon has not created runs yet."""
    keys = set[str]()
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])):
        if data := backfill.asset_backfill_data:
            waiting = data.target_subset - data.requested_subset
            for subset in waiting.partitions_subsets_by_asset_key.values():
                keys.update(subset.get_partition_keys())
    ranges = (hours_of_tags({PARTITION_TAG: key}) for key in keys)
    return {hours.first for hours in ranges if hours}


def process_tag(run_id: str) -> dict[str, str]:
    """Return the tag for a run that this process executes."""
    process = psutil.Process()
    return {PROCESS_TAG: f"{socket.gethostname()}:{process.pid}:{process.create_time():.0f}:{run_id}"}


def process_is_gone(run: dg.DagsterRun) -> bool:
    """Return whether the process of this host that executed a run, or was about to, no longer exists."""
    process = _process_of(run)
    if process is None:
        # A run starts seconds before its process tags it: killed in between, it would count as running forever.
        return run.status in _WITH_A_CODE_SERVER and _code_server_is_gone(run)
    host, number, started = process
    return host == socket.gethostname() and not _is_alive(number, started)


def _process_of(run: dg.DagsterRun) -> tuple[str, int, int] | None:
    """Return host, process id and start of the process that tagged a run, None if none has yet."""
    host, _, rest = run.tags.get(PROCESS_TAG, "").partition(":")
    number, started, run_id = [*rest.split(":"), "", ""][:3]
    return (host, int(number), int(started)) if run_id == run.run_id else None


def _is_alive(process_id: int, started: int) -> bool:
    """Return whether a process of this host still runs; a later process with its id, or a zombie, does not count.

    A killed process stays in the process table until its parent reads its exit code, which may be never.
    """
    try:
        process = psutil.Process(process_id)
        if abs(process.create_time() - started) > _START_TOLERANCE_SECONDS:
            return False
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _code_server_is_gone(run: dg.DagsterRun) -> bool:
    """Return whether the code server that was to execute a run no longer listens on its socket.

    A run that had not begun, or whose process had not tagged it yet, leaves no other trace. It would hold its hours
    until the start timeout, or forever.
    """
    path = json.loads(run.tags.get(GRPC_INFO_TAG, "{}")).get("socket")
    if not path:
        return False  # the code server has a port: it may be on another machine
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except PermissionError:
            return False
    return False


def close_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed, free the pools that ended runs still hold, and return their ids.

    A killed process cannot do this itself; its claimed slot would block every later run.
    """
    gone = [run for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)) if process_is_gone(run)]
    # Read again: a run may have ended in order, and its process with it, since the runs were listed.
    abandoned = [run for each in gone if (run := instance.get_run_by_id(each.run_id)) and not run.is_finished]
    for run in abandoned:
        instance.report_run_failed(
            run, f"The process that executed the run is gone ({run.tags.get(PROCESS_TAG, 'its code server')})."
        )
    _free_pools(instance)
    return [run.run_id for run in abandoned]


def _free_pools(instance: dg.DagsterInstance) -> None:
    """Free what runs hold in pools that have ended, or are deleted.

    These are not only the runs that were just found: whoever closed such a run before may have been killed in between.
    """
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        run = instance.get_run_by_id(run_id)
        if run is None or (run.is_finished and not _is_executed_still(run)):
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _is_executed_still(run: dg.DagsterRun) -> bool:
    """Return whether a run that counts as ended, for example after it was cancelled by force, may still be at work."""
    return _process_of(run) is not None and not process_is_gone(run)
