"""A backfill as the UI submits it, taken through by Dagster's own backfill daemon."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration

from event_pipeline.automation.run_hours import hours_of_tags
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import Settings
from event_pipeline_tests.materializing import materialized_hours, metadata, one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, rows, write_object

HOURS = HourRange(HOUR.plus(-1), HOUR.plus(4))
ASSETS = ("raw_events", "silver_events", "silver_partitions", "user_activity")
CODE_LOCATION = """\
from pathlib import Path

from event_pipeline.definitions import build_definitions
from event_pipeline.settings import load_settings

defs = build_definitions(load_settings(root={root!r}, workers=1, hours_per_run=3), Path({gold!r}))
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage on disk, whose runs are queued and executed in this process when they are launched."""
    home = tmp_path / "dagster"
    home.mkdir()
    overrides = {
        "run_launcher": {
            "module": "dagster._core.launcher.sync_in_memory_run_launcher",
            "class": "SyncInMemoryRunLauncher",
        }
    }
    with dg.DagsterInstance.local_temp(str(home), overrides) as instance:
        yield instance


@contextmanager
def workspace(instance: dg.DagsterInstance, settings: Settings, folder: Path) -> Iterator[WorkspaceProcessContext]:
    """Dagster's daemon over a code location with the test's data folder."""
    file = folder / "code_location.py"
    gold = one_gold_table(folder / "gold")
    file.write_text(CODE_LOCATION.format(root=str(settings.root), gold=str(gold)))
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file=str(file)), location_name="event_pipeline")
    with WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context:
        yield context


def submit(context: WorkspaceProcessContext, hours: HourRange) -> str:
    """Submit a backfill of all assets, as the UI's dialog does."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id="backfill",
        asset_graph=context.create_request_context().asset_graph,
        partition_names=[hour.partition_key for hour in hours],
        asset_selection=[dg.AssetKey(asset) for asset in ASSETS],
        backfill_timestamp=datetime.now(UTC).timestamp(),
        tags={},
        dynamic_partitions_store=context.instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    context.instance.add_backfill(backfill)
    return backfill.backfill_id


# Dagster's daemon uses its own deprecated parts.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::dagster.BetaWarning")
def test_a_backfill_over_midnight_runs_in_ranges_and_fills_every_hour(
    settings: Settings, instance: dg.DagsterInstance, root: Path, tmp_path: Path
) -> None:
    for hour in (HOUR, HOUR.plus(2)):
        write_object(root, hour, 0, [event(hour)])
    with workspace(instance, settings, tmp_path) as context:
        backfill_id = submit(context, HOURS)
        for _ in range(10):
            errors = [error for error in execute_backfill_iteration(context, logging.getLogger("backfill")) if error]
            assert errors == []
            for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
                instance.launch_run(run.run_id, context.create_request_context())
            backfill = instance.get_backfill(backfill_id)
            if backfill and backfill.status is BulkActionStatus.COMPLETED_SUCCESS:
                break

    assert backfill
    assert backfill.status is BulkActionStatus.COMPLETED_SUCCESS
    ranges = [hours_of_tags(run.tags) for run in instance.get_runs()]
    assert sorted(len(hours) for hours in ranges if hours) == [2, 3]
    assert all(materialized_hours(instance, asset) == list(HOURS) for asset in ASSETS)
    assert metadata(instance, "silver_events", HOUR)["records"] == 1
    assert [tuple(row.values()) for row in rows(LocalEngine(settings), "SELECT * FROM gold.user_activity")] == [
        (HOUR.start.date(), 1, 1, 1, 1.0, 1.0, 1.0),
        (HOUR.plus(2).start.date(), 1, 1, 1, 1.0, 1.0, 1.0),
    ]
