"""Runs inside this process, as the command line does them, and the storage that they share with the UI."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import dagster as dg
import pytest

from event_pipeline.automation.run_hours import PROCESS_TAG, hours_of_tags
from event_pipeline.automation.runs import DAGSTER_YAML, FailedCheck, RangeOutcome, prepare_instance, run_range
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import StorageError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.materializing import ASSETS, GOLD, materialized_hours, one, one_gold_table
from event_pipeline_tests.pipeline import HOUR, event, rows, write_object

HOURS = HourRange(HOUR, HOUR.plus(2))


Run = Callable[..., RangeOutcome]


@dataclass
class Told:
    """What a run told the process that started it."""

    lines: list[str] = field(default_factory=list)
    hours: list[Hour] = field(default_factory=list)

    def __call__(self, line: str, hour: Hour | None) -> None:
        self.lines.append(line)
        if hour:
            self.hours.append(hour)


@pytest.fixture
def settings(root: Path) -> Settings:
    """Settings for hours of one object."""
    return load_settings(root=root, workers=1, expected_objects=1, silver_pool_limit=2)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage in the data folder."""
    with prepare_instance(settings) as instance:
        yield instance


@pytest.fixture
def run(settings: Settings, instance: dg.DagsterInstance, tmp_path: Path) -> Run:
    """Run hours with one Gold table."""
    return partial(run_range, settings=settings, instance=instance, gold_folder=one_gold_table(tmp_path / "gold"))


def test_a_range_is_built_reported_and_recorded_where_the_ui_looks(
    settings: Settings, instance: dg.DagsterInstance, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_object(root, HOUR, 0, [event()])
    write_object(root, HOUR.plus(1), 0, b"not gzip")
    told = Told()
    outcome = run_range(HOURS, settings, instance, progress=told)

    assert (outcome.hours, outcome.succeeded, outcome.error) == (HOURS, True, None)
    assert outcome.silver == {HOUR: "built", HOUR.plus(1): "built"}
    (failed,) = outcome.failed_checks
    assert (failed.asset, failed.check, failed.hour, failed.severity) == (
        "silver_events",
        "unreadable_objects",
        HOUR.plus(1),
        "ERROR",
    )
    assert failed.description.endswith("events-20251207-230000.jsonl.gz: not_gzip")
    assert told.hours == list(HOURS)
    assert [line.split(":")[0] for line in told.lines] == [
        "raw_events",
        "2025-12-07T22",
        "2025-12-07T23",
        "silver_partitions",
        *GOLD,
    ]
    assert capfd.readouterr() == ("", "")

    run = instance.get_run_by_id(outcome.run_id)
    assert run
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert hours_of_tags(run.tags) == HOURS
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as of_the_ui:
        assert all(materialized_hours(of_the_ui, asset) == list(HOURS) for asset in ASSETS)


def test_a_single_hour_and_force(settings: Settings, instance: dg.DagsterInstance, root: Path, run: Run) -> None:
    write_object(root, HOUR, 0, [event()])
    outcomes = [run(one(HOUR), force=force, progress=Told()) for force in (False, True)]

    assert [outcome.silver[HOUR] for outcome in outcomes] == ["built", "built"]
    recorded = instance.get_run_by_id(outcomes[0].run_id)
    assert recorded
    assert recorded.tags["dagster/partition"] == HOUR.partition_key


def test_a_refusal_is_one_clear_message(settings: Settings, instance: dg.DagsterInstance, root: Path, run: Run) -> None:
    write_object(root, HOUR, 0, [event()])
    lost = write_object(root, HOUR, 5, [event(second=1)])
    list(LocalEngine(settings).build_silver([HOUR], progress=print))
    (root / "raw" / lost).unlink()

    refused = run(one(HOUR), progress=Told())
    assert not refused.succeeded
    assert (refused.error or "").startswith("silver_events: 2025-12-07T22: 1 raw objects of the published build")
    assert "Traceback" not in (refused.error or "")
    assert refused.silver == {}

    allowed = run(one(HOUR), allow_fewer_objects=True, progress=Told())
    assert (allowed.succeeded, allowed.silver) == (True, {HOUR: "built"})


def test_a_blocking_check_is_the_reason_why_the_run_failed(settings: Settings, root: Path, run: Run) -> None:
    write_object(root, HOUR, 0, [event()])
    engine = LocalEngine(settings)
    (build,) = engine.build_silver([HOUR], progress=print)
    damaged = root / "lake" / build.commit.files_of("silver.events")[0].path
    damaged.chmod(0o644)
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    outcome = run(one(HOUR), progress=Told())

    assert not outcome.succeeded
    (failed,) = outcome.failed_checks
    assert failed == FailedCheck("conservation_law", "silver_events", HOUR, "ERROR", failed.description)
    assert outcome.error == f"silver_events 2025-12-07T22: conservation_law: {failed.description}"
    assert engine.registered_runs() == {}


def test_an_unexpected_error_names_the_step_and_itself(run: Run) -> None:
    def mistaken(line: str, hour: Hour | None) -> None:
        raise LookupError("no such line")

    outcome = run(one(HOUR), progress=mistaken)

    assert outcome.error == "raw_events: LookupError: no such line"


def test_an_interrupt_ends_the_run_and_leaves_nothing_half(
    settings: Settings, instance: dg.DagsterInstance, root: Path, run: Run
) -> None:
    for hour in HOURS:
        write_object(root, hour, 0, [event(hour)])

    def interrupt_after_the_first_hour(line: str, hour: Hour | None) -> None:
        if hour == HOUR:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(HOURS, progress=interrupt_after_the_first_hour)

    (interrupted,) = instance.get_runs()
    assert interrupted.status is dg.DagsterRunStatus.FAILURE
    engine = LocalEngine(settings)
    assert list(engine.hour_commits()) == [HOUR]
    assert engine.registered_runs() == {}

    again = run(HOURS, progress=Told())
    assert again.silver == {HOUR: "unchanged", HOUR.plus(1): "built"}
    assert len(rows(engine, "FROM silver.events")) == 2


def test_a_run_that_must_wait_for_another_one_says_so(instance: dg.DagsterInstance, root: Path, run: Run) -> None:
    storage = instance.event_log_storage
    for step in ("silver_events", "silver_partitions"):
        storage.claim_concurrency_slot("silver", "another-run", step)
    told = Told()

    def let_go_when_told(line: str, hour: Hour | None) -> None:
        told(line, hour)
        if line.startswith("waiting"):
            storage.free_concurrency_slots_for_run("another-run")

    outcome = run(one(HOUR), progress=let_go_when_told)

    assert told.lines[0] == "waiting for pool silver, which is taken by run another-, another-"
    assert outcome.succeeded


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


def test_a_run_whose_code_server_was_killed_before_it_began_is_recorded_as_failed(
    settings: Settings, instance: dg.DagsterInstance, short_folder: Path
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
                status=dg.DagsterRunStatus.STARTING,
            )
            for path in (listening, left_behind, short_folder / "vanished")
        )
        with prepare_instance(settings) as reopened:
            states = {run.run_id: run.status for run in reopened.get_runs()}
    assert states == {
        starting.run_id: dg.DagsterRunStatus.STARTING,
        lost.run_id: dg.DagsterRunStatus.FAILURE,
        vanished.run_id: dg.DagsterRunStatus.FAILURE,
    }


def test_a_folder_that_cannot_be_made_gets_a_clear_answer(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")

    with pytest.raises(StorageError, match=r"Dagster's folder .*/data/dagster cannot be prepared"):
        prepare_instance(load_settings(root=tmp_path / "data"))
