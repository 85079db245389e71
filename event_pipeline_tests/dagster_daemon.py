"""Dagster's own daemons in the test's process, one look at a time, over a code location with the test's data folder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import ScheduleIterationTimes, launch_scheduled_runs
from dagster._time import get_current_datetime
from dagster_shared.error import SerializableErrorInfo

from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings

Looked = dict[str, ScheduleIterationTimes]
"""What the schedule daemon remembers from look to look."""

_CODE_LOCATION = """\
from pathlib import Path

from event_pipeline.definitions import build_definitions
from event_pipeline.settings import load_settings

settings = load_settings(root={root!r}, workers=1, hours_per_run={hours_per_run}, first_partition={first!r})
defs = build_definitions(settings, Path({gold!r}))
"""


class WaitingRunLauncher(SyncInMemoryRunLauncher):
    """Executes nothing: a launched run counts as started until the test ends it."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Mark the run as started."""
        _report(self._instance, context.dagster_run, DagsterEventType.PIPELINE_START)

    def terminate(self, run_id: str) -> bool:
        """Stop the run at once."""
        run = self._instance.get_run_by_id(run_id)
        assert run
        self._instance.report_run_canceled(run)
        return True


@contextmanager
def storage(home: Path, launcher: type[SyncInMemoryRunLauncher]) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in a folder with a dagster.yaml, whose runs are started by a launcher."""
    overrides = {"run_launcher": {"module": launcher.__module__, "class": launcher.__name__}}
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides)) as instance:
        yield instance


@contextmanager
def workspace(
    instance: dg.DagsterInstance, settings: Settings, folder: Path, gold_folder: Path = GOLD_FOLDER
) -> Iterator[WorkspaceProcessContext]:
    """What Dagster's daemons work with: an instance and the code location, loaded in this process."""
    file = folder / "code_location.py"
    file.write_text(
        _CODE_LOCATION.format(
            root=str(settings.root),
            hours_per_run=settings.hours_per_run,
            # Set, so that a backfill may begin before the first object.
            first=str(settings.first_partition),
            gold=str(gold_folder),
        )
    )
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file=str(file)), location_name="event_pipeline")
    with WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context:
        yield context


def look_at_backfills(context: WorkspaceProcessContext) -> None:
    """Let the backfill daemon look once: it queues runs, and notes what became of them."""
    errors = [error for error in execute_backfill_iteration(context, logging.getLogger("backfill")) if error]
    assert errors == []


def look_at_queue(context: WorkspaceProcessContext) -> None:
    """Let the run queue's daemon look once: it launches what the limits allow."""
    with QueuedRunCoordinatorDaemon(interval_seconds=5) as daemon:
        list(daemon.run_iteration(context))


def switch_on(context: WorkspaceProcessContext, sensors: Sequence[str], schedules: Sequence[str]) -> None:
    """Turn sensors and schedules on, as a user does in the UI."""
    location = context.create_request_context().get_code_location("event_pipeline")
    (repository,) = location.get_repositories().values()
    for name in sensors:
        context.instance.start_sensor(repository.get_sensor(name))
    for name in schedules:
        context.instance.start_schedule(repository.get_schedule(name))


def look_at_sensors(context: WorkspaceProcessContext) -> list[str]:
    """Let the sensor daemon look once, and return what went wrong; it asks the sensors whose interval is over."""
    return _messages(execute_sensor_iteration(context, logging.getLogger("sensors"), None, None))


def look_at_schedules(context: WorkspaceProcessContext, looked: Looked) -> list[str]:
    """Let the schedule daemon look once, and return what went wrong; `looked` is what it remembers of earlier looks."""
    return _messages(launch_scheduled_runs(context, logging.getLogger("schedules"), get_current_datetime(), looked))


def look_at_runs(context: WorkspaceProcessContext) -> list[str]:
    """Let the daemon that monitors runs look once, and return what went wrong."""
    return _messages(execute_run_monitoring_iteration(context, logging.getLogger("runs")))


def _messages(found: Iterable[object]) -> list[str]:
    return [each.message for each in found if isinstance(each, SerializableErrorInfo)]


def finish(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """End a run that a WaitingRunLauncher left under way."""
    _report(instance, run, DagsterEventType.PIPELINE_SUCCESS)


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, event: DagsterEventType) -> None:
    instance.report_dagster_event(DagsterEvent(event.value, run.job_name), run_id=run.run_id)
