"""Dagster's run history: which old runs may be deleted, and deleting them.

Deleting a run deletes its materializations, and Dagster shows an hour without any as never built. So a run stays,
however old it is, while it holds the newest materialization of any hour of any asset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

RUNS_PER_LOOKUP = 500
RECORDS_PER_LOOKUP = 500
"""Dagster returns at most 1,000 records at a time."""


@dataclass(frozen=True, slots=True)
class OldRun:
    """A finished run that may be deleted."""

    run_id: str
    job: str
    ended: datetime
    size: int
    """Bytes of its event database, if Dagster keeps one per run."""


def old_runs(instance: DagsterInstance, settings: Settings, now: datetime) -> Iterator[OldRun]:
    """Yield the finished runs older than EVENT_PIPELINE_RUN_HISTORY_DAYS that hold no newest materialization."""
    if not settings.run_history_days:
        return
    from dagster import DagsterRunStatus, RunsFilter

    before = now - timedelta(days=settings.run_history_days)
    finished = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    wanted = RunsFilter(statuses=finished, updated_before=before)
    cursor, known_by = None, None
    while records := instance.get_run_records(wanted, limit=RUNS_PER_LOOKUP, cursor=cursor):
        cursor = records[-1].dagster_run.run_id
        for record in records:
            run = record.dagster_run
            known_by = _runs_of_newest(instance) if known_by is None else known_by
            if run.run_id not in known_by:
                database = run_database(settings, run.run_id)
                size = database.stat().st_size if database.is_file() else 0
                ended = record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC)
                yield OldRun(run.run_id, run.job_name, ended, size)


def _runs_of_newest(instance: DagsterInstance) -> set[str]:
    """Return the ids of the runs that hold the newest materialization of any hour of any asset."""
    from dagster import AssetRecordsFilter, DagsterEventType

    runs = set()
    for key in instance.all_asset_keys():
        newest = instance.get_latest_storage_id_by_partition(key, DagsterEventType.ASSET_MATERIALIZATION)
        ids = sorted(newest.values())
        for start in range(0, len(ids), RECORDS_PER_LOOKUP):
            batch = ids[start : start + RECORDS_PER_LOOKUP]
            found = instance.fetch_materializations(AssetRecordsFilter(key, storage_ids=batch), limit=len(batch))
            runs |= {record.run_id for record in found.records}
    return runs


def forget_run(instance: DagsterInstance, settings: Settings, run: OldRun) -> None:
    """Delete a run with its events; a run that is already gone is not an error."""
    if instance.has_run(run.run_id):
        instance.delete_run(run.run_id)
    # Dagster empties the run's own SQLite file but leaves the file.
    for suffix in ("", "-shm", "-wal"):
        database = run_database(settings, run.run_id)
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def run_database(settings: Settings, run_id: str) -> Path:
    """Return the path where Dagster's SQLite storage keeps the events of one run."""
    return settings.dagster_home / "history" / "runs" / f"{run_id}.db"
