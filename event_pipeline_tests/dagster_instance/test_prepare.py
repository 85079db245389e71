"""Dagster's storage in the data folder: its configuration, its pools, and runs whose process is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from uuid import uuid4

import dagster as dg
import pytest

from event_pipeline.dagster_instance import run_hours
from event_pipeline.dagster_instance.prepare import DAGSTER_YAML, prepare_instance
from event_pipeline.dagster_instance.run_hours import PROCESS_TAG, close_abandoned_runs, process_tag
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
    job = build_definitions(settings).resolve_job_def("hourly_pipeline")
    ids = [str(uuid4()) for _ in range(3)]
    own = process_tag(ids[1])
    gone = {PROCESS_TAG: process_tag(ids[0])[PROCESS_TAG].replace(f":{os.getpid()}:", f":{2**22 + 1}:")}
    # The last is a retry of the first that has not said yet who executes it: it has its parent's tags.
    killed, alive, retry = (
        instance.create_run_for_job(job, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTED)
        for run_id, tags in zip(ids, [gone, own, gone], strict=True)
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


def test_a_run_that_counts_as_ended_and_is_still_at_work_keeps_its_pool(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    job, run_id = build_definitions(settings).resolve_job_def("hourly_pipeline"), str(uuid4())
    run = instance.create_run_for_job(
        job, run_id=run_id, tags=process_tag(run_id), status=dg.DagsterRunStatus.CANCELING
    )
    instance.event_log_storage.claim_concurrency_slot("silver", run_id, "silver_events")
    instance.report_run_canceled(run)

    assert close_abandoned_runs(instance) == []
    assert instance.event_log_storage.get_concurrency_info("silver").active_run_ids == {run_id}


def test_a_process_of_the_same_number_that_started_later_is_another_one(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    job, run_id = build_definitions(settings).resolve_job_def("hourly_pipeline"), str(uuid4())
    host, process, started, _ = process_tag(run_id)[PROCESS_TAG].split(":")
    before_restart = {PROCESS_TAG: f"{host}:{process}:{int(started) - 60}:{run_id}"}
    instance.create_run_for_job(job, run_id=run_id, tags=before_restart, status=dg.DagsterRunStatus.STARTED)

    assert close_abandoned_runs(instance) == [run_id]


def test_a_run_that_ends_in_order_while_the_runs_are_looked_through_is_no_abandoned_one(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, run_id = build_definitions(settings).resolve_job_def("hourly_pipeline"), str(uuid4())
    run = instance.create_run_for_job(job, run_id=run_id, status=dg.DagsterRunStatus.STARTED)

    def ends(_: dg.DagsterRun) -> bool:
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run_id)
        return True

    monkeypatch.setattr(run_hours, "process_is_gone", ends)
    assert close_abandoned_runs(instance) == []
    ended = instance.get_run_by_id(run_id)
    assert ended
    assert ended.status is dg.DagsterRunStatus.SUCCESS


def test_a_killed_process_is_gone_though_its_parent_has_not_asked_for_its_exit_code(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    job, run_id = build_definitions(settings).resolve_job_def("hourly_pipeline"), str(uuid4())
    says_who = f"from event_pipeline.dagster_instance.run_hours import *; print(*process_tag({run_id!r}).values())"
    with subprocess.Popen([sys.executable, "-c", f"{says_who}\ninput()"], stdout=PIPE, stdin=PIPE, text=True) as child:
        assert child.stdout
        assert child.stdin
        tags = {PROCESS_TAG: child.stdout.readline().strip()}
        instance.create_run_for_job(job, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTED)
        assert close_abandoned_runs(instance) == []

        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # until it is over, and left as it is
        assert close_abandoned_runs(instance) == [run_id]


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
