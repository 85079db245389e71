"""Dagster's run storage in the data folder for the command line: reads it and explains its errors.

Imports Dagster only when there is a storage to read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

RUNS_LOOKED_AT = 1_000
"""Latest runs that are read: weeks of hourly data if nothing ever fails."""


class RunState(StrEnum):
    """Noteworthy states of Dagster's latest run of an hour."""

    FAILED = "failed"
    IN_PROGRESS = "in progress"


_NOT_IN_A_PATH = re.compile(r"\?|%[0-9A-Fa-f]{2}")
"""Dagster builds a database URL from the unescaped path, where these have a special meaning."""


def check_home(dagster_home: Path) -> None:
    """Check that Dagster can keep its storage in a folder with this path.

    Raises:
        StorageError: the path contains characters that Dagster would misinterpret.
    """
    if wrong := _NOT_IN_A_PATH.search(str(dagster_home)):
        raise StorageError(
            f"{dagster_home}: Dagster cannot keep its storage under a path with {wrong.group()!r}: rename the "
            f"folder, or set {PREFIX}ROOT to another one (`?`, and `%` before two hexadecimal digits, cannot be used)"
        )


@contextmanager
def storage_faults(dagster_home: Path) -> Iterator[None]:
    """Turn the errors of a damaged Dagster storage into one with a remedy.

    Raises:
        StorageError: Dagster, SQLAlchemy or YAML raised an error, or the folder's path cannot be used.
    """
    check_home(dagster_home)
    from dagster import DagsterError
    from sqlalchemy.exc import SQLAlchemyError
    from yaml import YAMLError

    try:
        yield
    except (DagsterError, SQLAlchemyError, YAMLError) as error:
        raise StorageError(_with_remedy(dagster_home, str(error).splitlines()[0])) from error


def reason_of_run(dagster_home: Path, reason: str) -> str:
    """Return why a run failed; what SQLite said of Dagster's storage, which ends a run at any point, with a remedy."""
    return _with_remedy(dagster_home, reason.splitlines()[0]) if "sqlite3.OperationalError" in reason else reason


def _with_remedy(dagster_home: Path, reason: str) -> str:
    if "disk is full" in reason or "disk I/O error" in reason:
        return (
            f"{dagster_home}: the disk is full or failing ({reason}): free some space and run again; what was "
            "published stays"
        )
    if "unable to open database file" in reason:
        # SQLite does not say why: permission, descriptors or space.
        reason = _why_not_opened(dagster_home) or reason
    return (
        f"{dagster_home}: Dagster's storage cannot be used ({reason}): check that the disk has space "
        "and is writable; a damaged folder may be moved away, it holds only the run history, no data"
    )


def _why_not_opened(dagster_home: Path) -> str | None:
    """Return the operating system's reason why no file can be opened in the folder; None if one can be."""
    try:
        with tempfile.TemporaryFile(dir=dagster_home):
            return None
    except OSError as cause:
        return cause.strerror


def is_there(dagster_home: Path) -> bool:
    """Return whether anything was ever run, without importing Dagster."""
    return (dagster_home / "dagster.yaml").is_file()


@contextmanager
def instance_if_there(dagster_home: Path) -> Iterator[DagsterInstance | None]:
    """Open Dagster's storage for reading; yields None if nothing was ever run."""
    if not is_there(dagster_home):
        yield None
        return
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(dagster_home)) as instance:
        yield instance


def latest_run_states(dagster_home: Path) -> dict[Hour, RunState]:
    """Return the hours whose latest run failed or is still running; all others are left out.

    Raises:
        StorageError: Dagster's storage is damaged or was written by another version.
    """
    if not is_there(dagster_home):
        return {}
    from dagster import DagsterInstance

    from event_pipeline.dagster_instance.run_hours import failed_hours_of, hours_of_tags

    latest: dict[Hour, RunState | None] = {}
    with storage_faults(dagster_home), DagsterInstance.from_config(str(dagster_home)) as instance:
        for record in instance.get_run_records(limit=RUNS_LOOKED_AT):
            run = record.dagster_run
            state, failed = run_state(run), failed_hours_of(run)
            for hour in hours_of_tags(run.tags) or ():
                latest.setdefault(hour, None if state is RunState.FAILED and hour not in failed else state)
    return {hour: state for hour, state in latest.items() if state is not None}


def limit_faults_of_home(settings: Settings) -> list[str]:
    """Return which limits of Dagster's storage in the data folder differ from the settings.

    Raises:
        StorageError: Dagster's storage is damaged or was written by another version.
    """
    from dagster import DagsterInstance

    from event_pipeline.dagster_instance.concurrency import limit_faults

    home = settings.dagster_home
    with storage_faults(home), DagsterInstance.from_config(str(home)) as instance:
        return limit_faults(instance, settings)


def run_state(run: DagsterRun) -> RunState | None:
    """Return whether a run failed or is still running; None if it ended otherwise."""
    from event_pipeline.dagster_instance.run_hours import process_is_gone

    if run.is_failure or (not run.is_finished and process_is_gone(run)):
        return RunState.FAILED
    return None if run.is_finished else RunState.IN_PROGRESS
