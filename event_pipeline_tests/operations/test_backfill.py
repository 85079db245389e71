"""A backfill as the UI submits it, taken through by Dagster's own backfill daemon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.workspace.context import WorkspaceProcessContext

from event_pipeline.dagster_instance.run_hours import hours_of_tags
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.dagster_daemon import look_at_backfills, workspace
from event_pipeline_tests.materializing import materialized_hours, metadata, one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, rows, write_object

HOURS = HourRange(HOUR.plus(-1), HOUR.plus(4))
ASSETS = ("raw_events", "silver_events", "silver_partitions", "user_activity")


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings for runs of three hours at most."""
    return load_settings(root=root, workers=1, hours_per_run=3)


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


@pytest.mark.long
# Dagster's daemon uses its own deprecated parts.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::dagster.BetaWarning")
def test_a_backfill_over_midnight_runs_in_ranges_and_fills_every_hour(
    settings: Settings, instance: dg.DagsterInstance, root: Path, tmp_path: Path
) -> None:
    for hour in (HOUR, HOUR.plus(2)):
        write_object(root, hour, 0, [event(hour)])
    with workspace(instance, settings, tmp_path, one_gold_table(tmp_path / "gold")) as context:
        backfill_id = submit(context, HOURS)
        for _ in range(10):
            look_at_backfills(context)
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
