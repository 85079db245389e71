"""Dagster's storage in the data folder: its configuration, its pools, and runs whose process is gone."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import dagster as dg
import pytest

from event_pipeline.dagster_instance.prepare import DAGSTER_YAML, prepare_instance
from event_pipeline.dagster_instance.run_hours import PROCESS_TAG
from event_pipeline.definitions import build_definitions
from event_pipeline.errors import StorageError
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import GOLD


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings for hours of one object."""
    return load_settings(root=root, workers=1, expected_objects=1, silver_pool_limit=2)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in the data folder."""
    with prepare_instance(settings) as instance:
        yield instance


def test_dagsters_configuration_is_copied_and_kept_fresh(settings: Settings, instance: dg.DagsterInstance) -> None:
    copy = settings.dagster_home / "dagster.yaml"
    assert copy.read_text() == DAGSTER_YAML.read_text()
    copy.write_text("telemetry: {enabled: true}\n")
    prepare_instance(settings).dispose()

    assert copy.read_text() == DAGSTER_YAML.read_text()


def test_pools_get_the_limits_of_the_settings(settings: Settings, instance: dg.DagsterInstance) -> None:
    def limits(of: dg.DagsterInstance) -> dict[str, tuple[int, bool]]:
        return {pool.name: (pool.limit, pool.from_default) for pool in of.event_log_storage.get_pool_limits()}

    assert limits(instance) == {"silver": (2, False), **{f"gold_{table}": (1, False) for table in GOLD}}
    with prepare_instance(settings.model_copy(update={"gold_pool_limit": 3})) as changed:
        assert limits(changed) == {"silver": (2, False), **{f"gold_{table}": (3, False) for table in GOLD}}


def test_a_killed_command_is_recorded_as_failed_and_gives_its_pool_slot_back(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    host = socket.gethostname()
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    ids, gone = [str(uuid4()) for _ in range(3)], 2**22 + 1
    # The last is a retry of the first that has not said yet who executes it: it has its parent's tags.
    processes = [f"{gone}:{ids[0]}", f"{os.getpid()}:{ids[1]}", f"{gone}:{ids[0]}"]
    killed, alive, retry = (
        instance.create_run_for_job(
            job, run_id=run_id, tags={PROCESS_TAG: f"{host}:{process}"}, status=dg.DagsterRunStatus.STARTED
        )
        for run_id, process in zip(ids, processes, strict=True)
    )
    for run in (killed, alive):
        instance.event_log_storage.claim_concurrency_slot("silver", run.run_id, "silver_events")

    with prepare_instance(settings) as reopened:
        states = {run.run_id: run.status for run in reopened.get_runs()}
        claimed = reopened.event_log_storage.get_concurrency_info("silver").claimed_slots
    assert states == {
        killed.run_id: dg.DagsterRunStatus.FAILURE,
        alive.run_id: dg.DagsterRunStatus.STARTED,
        retry.run_id: dg.DagsterRunStatus.STARTED,
    }
    assert [slot.run_id for slot in claimed] == [alive.run_id]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_a_run_whose_code_server_was_killed_before_its_process_said_so_is_recorded_as_failed(
    settings: Settings, instance: dg.DagsterInstance, short_folder: Path, status: dg.DagsterRunStatus
) -> None:
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    listening, left_behind = short_folder / "listening", short_folder / "left-behind"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(left_behind))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))
        server.listen()
        starting, lost, vanished = (
            instance.create_run_for_job(
                job,
                tags={".dagster/grpc_info": json.dumps({"host": "localhost", "socket": str(path)})},
                status=status,
            )
            for path in (listening, left_behind, short_folder / "vanished")
        )
        with prepare_instance(settings) as reopened:
            states = {run.run_id: run.status for run in reopened.get_runs()}
    assert states == {
        starting.run_id: status,
        lost.run_id: dg.DagsterRunStatus.FAILURE,
        vanished.run_id: dg.DagsterRunStatus.FAILURE,
    }


def test_a_folder_that_cannot_be_made_gets_a_clear_answer(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")

    with pytest.raises(StorageError, match=r"Dagster's folder .*/data/dagster cannot be prepared"):
        prepare_instance(load_settings(root=tmp_path / "data"))
