"""The job that repairs partitions: a range or everything, with every change told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings
from event_pipeline_tests.materializing import QUIET, failure
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, write_object

NEXT_HOUR = HOUR.plus(1)


def repair(settings: Settings, instance: dg.DagsterInstance, **config: str) -> dg.ExecuteInProcessResult:
    """Run the job with a config; failures are in the result."""
    job = build_definitions(settings).resolve_job_def("repair_partitions")
    return job.execute_in_process(
        run_config={**QUIET, "ops": {"repair_catalog": {"config": config}}}, instance=instance, raise_on_error=False
    )


def reported(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the one output."""
    (output,) = [event for event in result.all_events if event.is_successful_output]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


@pytest.fixture
def _two_hours_and_no_catalog(settings: Settings, root: Path) -> None:
    for hour in (HOUR, NEXT_HOUR):
        write_object(root, hour, 0, [event(hour), purchase(hour, 1)])
    build(LocalEngine(settings), [HOUR, NEXT_HOUR])
    for path in root.glob("catalog.sqlite*"):
        path.unlink()


@pytest.mark.usefixtures("_two_hours_and_no_catalog")
def test_a_lost_catalog_is_rebuilt_and_every_entry_reported(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    result = repair(settings, instance)

    entries = 2 * 3 + 2 * 5 + 5
    assert {name: reported(result)[name] for name in ("added", "repointed", "dropped", "unchanged")} == {
        "added": entries,
        "repointed": 0,
        "dropped": 0,
        "unchanged": 0,
    }
    assert f"| silver.events | {HOUR.hive_path} | added | committed but missing |" in reported(result)["changes"]
    lines = [entry.user_message for entry in instance.all_logs(result.run_id) if "added" in entry.user_message]
    assert len(lines) == entries
    assert_agrees_with_oracle(LocalEngine(settings), root)

    assert reported(repair(settings, instance))["unchanged"] == entries


@pytest.mark.usefixtures("_two_hours_and_no_catalog")
def test_a_range_repairs_its_hours_only(settings: Settings, instance: dg.DagsterInstance) -> None:
    LocalEngine(settings).registered_builds()
    for commit in sorted((settings.root / "lake").glob("commits/hours/**/*.json")):
        commit.unlink()
    result = repair(settings, instance, from_hour=str(NEXT_HOUR), to_hour=str(NEXT_HOUR.plus(1)))

    assert reported(result)["dropped"] == 3
    assert list(LocalEngine(settings).registered_builds()) == [HOUR]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"from_hour": "2025-12-07T22"}, "Give both from_hour and to_hour, or neither for everything"),
        ({"from_hour": "tonight", "to_hour": "2025-12-07T22"}, "'tonight' is not an hour"),
        ({"from_hour": "2025-12-07T22", "to_hour": "2025-12-07T22"}, "is empty: the end is exclusive"),
    ],
)
def test_bounds_that_name_no_range_get_a_clear_answer(
    settings: Settings, instance: dg.DagsterInstance, config: dict[str, str], message: str
) -> None:
    assert message in failure(repair(settings, instance, **config))


def test_a_single_hour_can_be_named_by_its_partition_key(settings: Settings, instance: dg.DagsterInstance) -> None:
    result = repair(settings, instance, from_hour=HOUR.partition_key, to_hour=Hour.parse(str(NEXT_HOUR)).partition_key)

    assert result.success
