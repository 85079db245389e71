"""The code location as Dagster loads it: quickly, without the engine's libraries, and from the checkout's files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import yaml

from event_pipeline.definitions import build_definitions
from event_pipeline.settings import PREFIX, Settings
from event_pipeline_tests.materializing import ASSETS

CHECKOUT = Path(__file__).parents[1]
ENGINE_LIBRARIES = ("pyarrow", "duckdb", "pandas", "boto3", "numpy", "rich", "typer")
SECONDS_TO_LOAD = 2.0


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, with these of our settings and no others."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_HOME"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_loading_is_quick_and_leaves_the_engines_libraries_alone() -> None:
    # Seconds of the processor, not of the clock: other tests run beside this one.
    answer = run_python(
        "import json, sys, time\n"
        "from event_pipeline.definitions import defs\n"
        f"loaded = [name for name in {ENGINE_LIBRARIES} if name in sys.modules]\n"
        "print(json.dumps({'seconds': time.process_time(), 'loaded': loaded}))"
    )

    assert answer.stderr == ""
    found = json.loads(answer.stdout)
    assert found["loaded"] == []
    assert found["seconds"] < SECONDS_TO_LOAD


def test_loading_writes_nothing(tmp_path: Path) -> None:
    answer = run_python(
        "from event_pipeline.definitions import defs; defs.get_repository_def().load_all_definitions()",
        EVENT_PIPELINE_ROOT=str(tmp_path / "data"),
    )

    assert answer.returncode == 0, answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_settings_is_the_last_word_of_the_error() -> None:
    answer = run_python("import event_pipeline.definitions", EVENT_PIPELINE_ROT="/data")

    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].endswith(
        "EVENT_PIPELINE_ROT is not a setting: did you mean EVENT_PIPELINE_ROOT?"
    )


def test_dagster_validates_the_code_location(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    answer = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate"],
        env={**clean, "DAGSTER_HOME": str(tmp_path)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert answer.returncode == 0, answer.stderr
    assert "Validation successful for code location event_pipeline" in answer.stdout


def test_workspace_and_project_name_the_same_code_location() -> None:
    (location,) = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["dagster"]

    assert location["python_module"] == {
        "module_name": project["module_name"],
        "location_name": project["code_location_name"],
    }


def test_what_the_code_location_holds(settings: Settings) -> None:
    definitions = build_definitions(settings)
    repository = definitions.get_repository_def()

    assert {key.to_user_string() for key in repository.assets_defs_by_key} == {*ASSETS, "report"}
    assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == {
        "hourly_pipeline",
        "repair_partitions",
        "housekeeping",
        "refresh_report",
    }
    assert {each.name for each in repository.schedule_defs} == {
        "hourly_schedule",
        "housekeeping_schedule",
        "report_schedule",
    }
    assert sorted(each.name for each in repository.sensor_defs) == ["alerts", "new_raw_objects"]
    assert set(definitions.resolve_job_def("hourly_pipeline").asset_layer.executable_asset_keys) == {
        dg.AssetKey(asset) for asset in ASSETS
    }


def test_everything_that_people_start_is_described(settings: Settings) -> None:
    repository = build_definitions(settings).get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    started: list[dg.JobDefinition | dg.ScheduleDefinition | dg.SensorDefinition] = [
        *jobs,
        *repository.schedule_defs,
        *repository.sensor_defs,
    ]

    for each in started:
        assert len(each.description or "") > 60, each.name


def test_dagsters_configuration_for_one_machine(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "dagster.yaml", tmp_path)
    configured = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())

    assert configured["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
    queue = configured["concurrency"]["runs"]
    (of_backfills,) = queue["tag_concurrency_limits"]
    assert of_backfills["key"] == "dagster/backfill"
    assert of_backfills["limit"] < queue["max_concurrent_runs"]
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert not instance.run_retries_max_retries > 3
        assert instance.run_coordinator.__class__.__name__ == "QueuedRunCoordinator"
        assert instance.event_log_storage.__class__.__name__ == "SqliteEventLogStorage"
