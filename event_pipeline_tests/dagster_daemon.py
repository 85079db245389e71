"""Dagster's own daemons in the test's process, one look at a time, over a code location with the test's data folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
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
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from event_pipeline.rules.query import GOLD_FOLDER
from event_pipeline.settings import Settings

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


def finish(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """End a run that a WaitingRunLauncher left under way."""
    _report(instance, run, DagsterEventType.PIPELINE_SUCCESS)


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, event: DagsterEventType) -> None:
    instance.report_dagster_event(DagsterEvent(event.value, run.job_name), run_id=run.run_id)
