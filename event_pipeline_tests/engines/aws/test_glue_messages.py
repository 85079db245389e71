"""A Glue run reports to the Dagster run that started it while it works, and leaves no message objects behind."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.assets.glue_messages import glue_runs_followed
from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.base import SilverOutcome
from event_pipeline.engines.local import LocalEngine
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land
from event_pipeline_tests.pipeline import HOUR, event

pytestmark = pytest.mark.long


def materialize(engine: AwsEngine | LocalEngine) -> list[str]:
    """Build the hour in an asset that follows Glue runs and return what its run logged."""
    partitions = dg.HourlyPartitionsDefinition(HOUR.start, fmt="%Y-%m-%d-%H:%M")

    @dg.asset(partitions_def=partitions)
    def silver_events(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        with glue_runs_followed(context, engine) as followed:
            (built,) = followed.build_silver([HOUR], progress=context.log.info)
            assert built.outcome is SilverOutcome.BUILT
        yield dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([silver_events], instance=instance, partition_key=HOUR.partition_key)
        assert result.success
        return [entry.user_message for entry in instance.all_logs(result.run_id)]


@pytest.mark.spark
def test_the_lines_of_a_run_reach_dagster(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> None:
    key = land(aws, settings, HOUR, 0, [event()])
    lines = materialize(engine)
    assert f"{HOUR}: object 1 of 1: {key}: 1 records" in lines
    assert any(line.startswith("Glue run jr_") and "cloudwatch" in line for line in lines)
    listed = aws.client("s3").list_objects_v2(Bucket=settings.artifacts_bucket, Prefix="pipes/")
    assert listed.get("Contents", []) == []


def test_an_engine_without_glue_is_given_as_it_is(root: Path) -> None:
    local = load_settings(root=root, workers=1)
    assert f"{HOUR}: committed 0 Silver rows (no raw objects: built as an empty hour)" in materialize(
        LocalEngine(local)
    )
