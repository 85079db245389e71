"""Faults during a run: passing ones are tried again, bad data and refusals are not, and an interrupt ends it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.assets import faults
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import BrokenLawError, LockTimeoutError, StorageError, TransientError
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings
from event_pipeline_tests.materializing import executed, failure, materialize, metadata, one
from event_pipeline_tests.pipeline import HOUR, event, write_object


class FaultyEngine(LocalEngine):
    """The local engine, whose raw listing fails the first few times."""

    def __init__(self, settings: Settings, fault: BaseException, times: int) -> None:
        super().__init__(settings)
        self.fault = fault
        self.times = times
        self.calls = 0

    def list_raw(self, hour: Hour) -> RawListing:
        self.calls += 1
        if self.calls <= self.times:
            raise self.fault
        return super().list_raw(hour)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "BACKOFF", dg.RetryPolicy(max_retries=3, delay=0))


@pytest.mark.parametrize(
    "fault",
    [
        TransientError("the store asks to slow down"),
        LockTimeoutError("another process builds 2025-12-07T22"),
        OSError(errno.EIO, "Input/output error", "/data/raw"),
    ],
    ids=["passing", "lock", "EIO"],
)
def test_a_passing_fault_is_tried_again(
    settings: Settings, instance: dg.DagsterInstance, root: Path, fault: Exception
) -> None:
    write_object(root, HOUR, 0, [event()])
    engine = FaultyEngine(settings, fault, times=2)
    result = materialize(settings, instance, one(HOUR), engine=engine, assets=["raw_events"])

    assert executed(result) == ["raw_events"]
    assert metadata(instance, "raw_events", HOUR)["objects"] == 1
    assert sum(event.is_step_up_for_retry for event in result.all_events) == 2


def test_a_fault_that_does_not_pass_is_given_up_with_its_message(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    engine = FaultyEngine(settings, TransientError("the store asks to slow down"), times=100)
    result = materialize(settings, instance, one(HOUR), engine=engine, assets=["raw_events"])

    assert failure(result) == "the store asks to slow down (given up after 4 attempts)"
    assert engine.calls == 4


class BusyEngine(LocalEngine):
    """The local engine, one of whose questions cannot be answered the first few times."""

    def __init__(self, settings: Settings, question: str, times: int) -> None:
        super().__init__(settings)
        answer, left = getattr(self, question), [times]

        def ask(*arguments: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise TransientError("the store asks to slow down")
            return answer(*arguments)

        setattr(self, question, ask)


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """Name the checks that say that the data is wrong; a warning is none."""
    evaluated = result.get_asset_check_evaluations()
    return [each.check_name for each in evaluated if not each.passed and each.severity is dg.AssetCheckSeverity.ERROR]


@pytest.mark.parametrize("hours", [one(HOUR), HourRange(HOUR, HOUR.plus(2))], ids=["one hour", "two hours"])
@pytest.mark.parametrize(
    "question",
    [
        "reconcile",
        *(
            pytest.param(question, marks=pytest.mark.long)
            for question in ("count_rows", "partition_faults", "grain_faults")
        ),
    ],
)
def test_a_check_that_cannot_be_made_just_now_is_tried_again_and_says_nothing_of_the_data(
    settings: Settings, instance: dg.DagsterInstance, root: Path, question: str, hours: HourRange
) -> None:
    for hour in hours:
        write_object(root, hour, 0, [event(hour)])
    # Of several hours the days are asked one by one after they could not be asked together.
    engine = BusyEngine(settings, question, times=len(hours))
    result = materialize(settings, instance, hours, engine=engine)

    assert result.get_asset_check_evaluations()
    assert failed_checks(result) == []
    for asset in ("silver_events", "silver_partitions", "user_activity"):
        for hour in hours:
            assert metadata(instance, asset, hour), (asset, hour)


def test_a_check_that_can_never_be_made_fails_the_run_and_not_the_data(
    settings: Settings, instance: dg.DagsterInstance, root: Path
) -> None:
    write_object(root, HOUR, 0, [event()])
    engine = BusyEngine(settings, "reconcile", times=1_000)
    assets = ["silver_events", "silver_partitions", "user_activity"]
    result = materialize(settings, instance, one(HOUR), engine=engine, assets=assets)

    assert failure(result) == "the store asks to slow down (given up after 4 attempts)"
    assert failed_checks(result) == []


@pytest.mark.parametrize(
    "fault",
    [
        BrokenLawError("2025-12-07T22: 3 records have no verdict"),
        StorageError("/data/lake: no space left"),
        OSError(errno.ENOSPC, "No space left on device", "/data/lake"),
    ],
    ids=["law", "storage", "ENOSPC"],
)
def test_any_other_fault_fails_at_once_with_its_message(
    settings: Settings, instance: dg.DagsterInstance, fault: Exception
) -> None:
    engine = FaultyEngine(settings, fault, times=100)
    result = materialize(settings, instance, one(HOUR), engine=engine)

    assert failure(result) == str(fault)
    assert engine.calls == 1
    assert executed(result) == []


def test_an_interrupted_step_is_not_tried_again(settings: Settings, instance: dg.DagsterInstance) -> None:
    engine = FaultyEngine(settings, KeyboardInterrupt(), times=1)
    result = materialize(settings, instance, one(HOUR), engine=engine)

    assert engine.calls == 1
    assert executed(result) == []
    run = instance.get_run_by_id(result.run_id)
    assert run
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_waiting_grows_with_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    backoff: Callable[[int], float] = faults.BACKOFF.calculate_delay

    assert [0 <= backoff(1) <= 10, 10 <= backoff(2) <= 20, 30 <= backoff(3) <= 40] == [True] * 3
