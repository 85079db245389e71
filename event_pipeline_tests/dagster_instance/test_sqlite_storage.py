"""The storage of a command: the same files as Dagster's own, read and written beside it, and closed in the end."""

import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from uuid import uuid4

import dagster as dg
import psutil
import pytest

from event_pipeline.dagster_instance import sqlite_storage
from event_pipeline.dagster_instance.executor import in_process_executor
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.dagster_instance.run_hours import PROCESS_TAG
from event_pipeline.dagster_instance.sqlite_storage import KeptEventLogStorage
from event_pipeline.settings import Settings, load_settings

RUNS = 3
EVENTS = 40
POOL = "thing"
WAIT_SECONDS = 3.0


@dg.op
def noted(context: dg.OpExecutionContext) -> None:
    """Record something that a person reads in the UI."""
    context.log.info("noted")
    context.log_event(dg.AssetMaterialization("thing", metadata={"run": context.run_id}))


@dg.op(pool=POOL)
def pooled() -> None:
    """Need a place in the pool."""


@dg.job(executor_def=in_process_executor)
def waiting() -> None:
    """Run that op."""
    pooled()


@dg.job
def noting() -> None:
    """Run that op."""
    noted()


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings over the test's data folder."""
    return load_settings(root=root)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage as a command opens it."""
    with prepare_instance(settings) as instance:
        yield instance


def test_dagsters_own_storage_reads_what_a_command_recorded(settings: Settings, instance: dg.DagsterInstance) -> None:
    runs = [noting.execute_in_process(instance=instance) for _ in range(RUNS)]
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as own:
        assert {run.run_id: run.status for run in own.get_runs()} == {
            run.run_id: dg.DagsterRunStatus.SUCCESS for run in runs
        }
        for run in runs:
            assert [entry.message for entry in own.all_logs(run.run_id)] == [
                entry.message for entry in instance.all_logs(run.run_id)
            ]
        newest = own.get_latest_materialization_event(dg.AssetKey("thing"))
    assert newest
    assert newest.run_id == runs[-1].run_id


def claimed(instance: dg.DagsterInstance, process: psutil.Process) -> str:
    """Let a run that a process executes hold the pool; return its id."""
    run_id = str(uuid4())
    host_and_process = f"{socket.gethostname()}:{process.pid}:{process.create_time():.0f}"
    instance.create_run_for_job(
        noting, run_id=run_id, tags={PROCESS_TAG: f"{host_and_process}:{run_id}"}, status=dg.DagsterRunStatus.STARTED
    )
    instance.event_log_storage.set_concurrency_slots(POOL, 1)
    assert instance.event_log_storage.claim_concurrency_slot(POOL, run_id, "its step").is_claimed
    return run_id


def unnoticed(instance: dg.DagsterInstance, run_id: str) -> None:
    """Do nothing: nobody has noticed that the run's process is gone."""


def closed(instance: dg.DagsterInstance, run_id: str) -> None:
    """Mark a run whose process is gone as failed, and do no more."""
    run = instance.get_run_by_id(run_id)
    assert run
    instance.report_run_failed(run)


def closed_and_half_freed(instance: dg.DagsterInstance, run_id: str) -> None:
    """Close a run, and free its place, but leave it in the queue."""
    closed(instance, run_id)
    storage = instance.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    storage._free_concurrency_slots(run_id=run_id)


def deleted(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run that holds a pool, as somebody may in the UI."""
    instance.delete_run(run_id)


def left_without_a_next(instance: dg.DagsterInstance, run_id: str) -> None:
    """Leave the pool without giving the place to the step that waits."""
    storage = instance.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    storage._free_concurrency_slots(run_id=run_id)
    storage._remove_pending_steps(run_id=run_id)


def test_a_run_that_waits_for_a_pool_leaves_the_core_to_others(instance: dg.DagsterInstance) -> None:
    holder = claimed(instance, psutil.Process())
    Timer(WAIT_SECONDS, instance.event_log_storage.free_concurrency_slots_for_run, [holder]).start()
    began, used = time.monotonic(), time.thread_time()
    assert waiting.execute_in_process(instance=instance).success
    assert time.monotonic() - began > WAIT_SECONDS
    assert time.thread_time() - used < WAIT_SECONDS / 2


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "end", [unnoticed, closed, closed_and_half_freed, deleted, left_without_a_next], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("waits_already", [False, True], ids=["waits later", "waits already"])
def test_a_pool_is_free_wherever_the_one_who_was_to_free_it_was_killed(
    instance: dg.DagsterInstance,
    end: Callable[[dg.DagsterInstance, str], None],
    waits_already: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_storage, "_CLAIMS_BETWEEN_LOOKS", 2)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        holder = claimed(instance, psutil.Process(other.pid))

        def is_killed() -> None:
            other.kill()
            end(instance, holder)

        if waits_already:
            Timer(1, is_killed).start()
        else:
            is_killed()
        assert waiting.execute_in_process(instance=instance).success
    assert instance.event_log_storage.get_concurrency_run_ids() == set()


def test_a_command_and_dagsters_own_processes_write_beside_each_other(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as own, ThreadPoolExecutor(4) as threads:
        # One after the other: Dagster configures logging for each, which it cannot do in two threads.
        runs = [noting.execute_in_process(instance=writer).run_id for writer in (instance, own, instance, own)]

        def report(number: int) -> None:
            writer, run_id = (instance, own)[number % 2], runs[number % len(runs)]
            run = writer.get_run_by_id(run_id)
            assert run
            writer.report_engine_event(f"event {number}", run)

        list(threads.map(report, range(EVENTS)))
        found = [entry.message for run_id in runs for entry in own.all_logs(run_id)]
        found = [message for message in found if message.startswith("event ")]
        assert sorted(found) == sorted(f"event {number}" for number in range(EVENTS))
        assert len(own.fetch_materializations(dg.AssetKey("thing"), limit=10).records) == len(runs)


def test_a_commit_does_not_wait_for_the_disk_and_the_log_is_written_ahead(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    assert isinstance(storage, KeptEventLogStorage)
    with storage.index_connection() as connection:
        full = 2
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() < full
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@dg.job(executor_def=in_process_executor)
def noting_apart() -> None:
    """As a run process of the daemon executes it."""
    noted()


def test_a_run_that_the_daemon_starts_keeps_its_connections_until_it_ends(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(sqlite_storage, "_sync_less", lambda connection, record: opened.append(connection))
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as own:
        run = dg.execute_job(dg.reconstructable(noting_apart), instance=own)
        assert run.success
        assert len(opened) == len(["the run", "all runs"])
    assert [entry.message for entry in instance.all_logs(run.run_id)][-1].startswith("Finished execution")
    newest = instance.get_latest_materialization_event(dg.AssetKey("thing"))
    assert newest
    assert newest.run_id == run.run_id


def test_a_web_server_sees_each_event_while_the_run_goes_on(settings: Settings, instance: dg.DagsterInstance) -> None:
    run = instance.get_run_by_id(noting.execute_in_process(instance=instance).run_id)
    assert run
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as own:
        seen, cursor = queue.Queue[str](), own.get_records_for_run(run.run_id).cursor
        own.watch_event_logs(run.run_id, cursor, lambda entry, _: seen.put(entry.message))
        for number in range(3):
            instance.report_engine_event(f"event {number}", run)
            assert seen.get(timeout=60) == f"event {number}"


def test_nothing_stays_open_after_a_command(settings: Settings) -> None:
    with prepare_instance(settings) as instance:
        noting.execute_in_process(instance=instance)
        assert opened_below(settings.dagster_home)
    assert opened_below(settings.dagster_home) == []


def opened_below(folder: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    found = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
    return [path for path in found if path.startswith(str(folder))]
