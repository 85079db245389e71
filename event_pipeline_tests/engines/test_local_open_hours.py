"""Hours that are built before they are over: each object is decoded once, and the hour once more when it is over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.base import SilverBuild
from event_pipeline.engines.host import pool_builder as silver_module
from event_pipeline.engines.host.decoded import ObjectReport, ObjectTask
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import NotBuildableError
from event_pipeline.inspection.verification import verify
from event_pipeline.operations.building import plan_build
from event_pipeline.rules.accounting import decoded_name
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import BuildMode, Settings, load_settings
from event_pipeline_tests.pipeline import HOUR, assert_agrees_with_oracle, build, event, purchase, write_object

DECODED = Path("scratch") / "decoded"


class Clock:
    """The time that the engine sees."""

    def __init__(self) -> None:
        self.now: datetime = HOUR.start + timedelta(minutes=6)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def settings(root: Path) -> Settings:
    return load_settings(root=root, workers=1, build_mode="every_object")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(settings: Settings, clock: Clock) -> LocalEngine:
    return LocalEngine(settings, clock=clock)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Minute of every object that is decoded, in order."""
    seen: list[str] = []
    real = silver_module.validate_to_scratch

    def noted(task: ObjectTask) -> ObjectReport:
        seen.append(task.listed.key.split("minute=")[1][:2])
        return real(task)

    monkeypatch.setattr(silver_module, "validate_to_scratch", noted)
    return seen


def land(root: Path, minute: int, *more: Any) -> str:
    """One object with a row of its own, a duplicate of the first object's, and a broken record."""
    return write_object(root, HOUR, minute, [event(), purchase(second=60 * minute + 1), {"bad": 1}, *more])


def silver(engine: LocalEngine, **options: bool) -> SilverBuild:
    """Build and register the hour, without Gold."""
    (built,) = engine.build_silver([HOUR], progress=lambda _: None, **options)
    engine.register_hours([HOUR])
    return built


def state_of(engine: LocalEngine, settings: Settings, now: datetime) -> HourState:
    return Pipeline(engine, load_gold_tables(), settings).states(now, HourRange(HOUR, HOUR.plus(1)))[HOUR]


def test_an_hour_that_gains_an_object_decodes_that_one_alone(
    engine: LocalEngine, root: Path, decoded: list[str]
) -> None:
    for minute in range(0, 60, 5):
        land(root, minute)
        silver(engine)
        assert decoded[-1] == f"{minute:02d}"

    build(engine, [HOUR])
    expected = assert_agrees_with_oracle(engine, root)
    assert decoded == [f"{minute:02d}" for minute in range(0, 60, 5)]
    assert expected.hours[str(HOUR)].duplicates == 11


def test_objects_that_cannot_be_read_or_hold_nothing_are_remembered_as_well(
    engine: LocalEngine, root: Path, decoded: list[str]
) -> None:
    write_object(root, HOUR, 0, b"no gzip")
    write_object(root, HOUR, 5, [])
    write_object(root, HOUR, 10, [{"bad": 1}])
    for minute in (15, 20):
        land(root, minute)
        silver(engine)

    build(engine, [HOUR])
    assert decoded == ["00", "05", "10", "15", "20"]
    assert_agrees_with_oracle(engine, root)


def test_a_replaced_object_is_decoded_again_and_the_old_one_is_dropped(
    engine: LocalEngine, root: Path, decoded: list[str]
) -> None:
    for minute in (0, 5):
        land(root, minute)
    silver(engine)
    write_object(root, HOUR, 0, [event(user_id="u_2")])
    build(engine, [HOUR])

    assert decoded == ["00", "05", "00"]
    assert len(entries(root)) == 2
    assert_agrees_with_oracle(engine, root)


def test_what_other_limits_let_through_is_not_taken(
    engine: LocalEngine, settings: Settings, clock: Clock, root: Path, decoded: list[str]
) -> None:
    land(root, 0, event(second=-5 * 86_400))
    silver(engine)
    second = silver(LocalEngine(settings.model_copy(update={"event_max_age_days": 3}), clock=clock))

    assert decoded == ["00", "00"]
    assert second.commit.account.quarantined_by_reason == {"missing_timestamp": 1, "timestamp_out_of_range": 1}


def test_an_hour_that_is_over_is_built_whole_once_and_what_was_kept_is_dropped(
    engine: LocalEngine, settings: Settings, clock: Clock, root: Path, decoded: list[str]
) -> None:
    for minute in (0, 5):
        land(root, minute)
    build(engine, [HOUR])
    assert state_of(engine, settings, clock.now) is HourState.OPEN
    clock.now = HOUR.end
    assert state_of(engine, settings, clock.now) is HourState.PROVISIONAL
    decoded.clear()
    (whole,) = build(engine, [HOUR])

    assert (whole.outcome, whole.reason) == ("built", "the hour is over: built whole")
    assert decoded == ["00", "05"]
    assert not (root / DECODED / HOUR.hive_path).exists()
    assert state_of(engine, settings, clock.now) is HourState.READY
    (again,) = build(engine, [HOUR])
    assert (again.outcome, again.reason) == ("unchanged", "same input, same rules")
    assert_agrees_with_oracle(engine, root)


def test_an_hour_that_ends_while_it_is_built_is_built_whole_after_all(
    engine: LocalEngine, settings: Settings, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(root, 0)
    real = silver_module.validate_to_scratch

    def slow(task: ObjectTask) -> ObjectReport:
        clock.now = HOUR.end + timedelta(seconds=3)
        return real(task)

    clock.now = HOUR.end - timedelta(seconds=1)
    monkeypatch.setattr(silver_module, "validate_to_scratch", slow)
    silver(engine)

    assert state_of(engine, settings, clock.now) is HourState.PROVISIONAL


def test_a_late_object_of_an_hour_that_is_over_keeps_nothing(engine: LocalEngine, clock: Clock, root: Path) -> None:
    clock.now = HOUR.end
    land(root, 0)
    silver(engine)

    assert not (root / DECODED).exists()


def entries(root: Path) -> list[Path]:
    """What is kept of the hour."""
    return sorted((root / DECODED / HOUR.hive_path).iterdir())


def cut_rows(entry: Path) -> None:
    rows = entry / "rows.arrow"
    rows.write_bytes(rows.read_bytes()[:-1])


@pytest.mark.parametrize(
    "damage",
    [
        cut_rows,
        lambda entry: (entry / "rows.arrow").unlink(),
        lambda entry: (entry / "quarantine.arrow").unlink(),
        lambda entry: (entry / "report.json").unlink(),
        lambda entry: (entry / "report.json").write_text("{"),
        lambda entry: (entry / "report.json").write_text("{}"),
    ],
)
def test_what_is_kept_and_not_whole_is_decoded_again(
    engine: LocalEngine, root: Path, decoded: list[str], damage: Callable[[Path], object]
) -> None:
    for minute in (0, 5):
        land(root, minute)
    first = silver(engine)
    damage(entries(root)[0])
    land(root, 10)
    second = silver(engine)

    assert len(decoded) == 4
    assert second.commit.account.objects[:2] == first.commit.account.objects
    assert second.commit.account.silver_rows == 4
    assert len(entries(root)) == 3


class KilledError(BaseException):
    """Stands for the end of the process: nothing of the pipeline handles it."""


@pytest.mark.parametrize("step", range(1, 6))
def test_a_build_that_is_killed_at_any_step_of_keeping_leaves_the_next_one_right(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    land(root, 0)
    silver(engine)
    land(root, 5)
    steps = iter(range(1, 100))

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Path, *arguments: Any, **named: Any) -> Any:
            if "decoded" in self.parts or any("decoded" in str(each) for each in arguments):
                if next(steps) == step:
                    raise KilledError
            return real(self, *arguments, **named)

        return method

    with monkeypatch.context() as patched:
        for name in ("rename", "write_text", "mkdir"):
            patched.setattr(Path, name, dies(getattr(Path, name)))
        with pytest.raises(KilledError):
            silver(engine)
    built = silver(engine)

    assert (built.commit.account.silver_rows, built.commit.account.duplicates) == (3, 1)
    assert len(entries(root)) == 2
    assert not [entry for entry in entries(root) if entry.name.startswith(".")]


def test_two_engines_that_build_an_open_hour_side_by_side_agree(settings: Settings, clock: Clock, root: Path) -> None:
    for minute in range(0, 30, 5):
        land(root, minute)

    def once(_: int) -> SilverBuild:
        return silver(LocalEngine(settings, clock=clock))

    with ThreadPoolExecutor(2) as both:
        builds = list(both.map(once, range(2)))

    assert sorted(each.outcome for each in builds) == ["built", "unchanged"]
    assert builds[0].commit == builds[1].commit
    assert builds[0].commit.account.silver_rows == 7


# -- around the build


def test_an_open_hour_is_due_when_an_object_landed_since_it_was_built(
    engine: LocalEngine, settings: Settings, clock: Clock, root: Path
) -> None:
    complete = settings.model_copy(update={"build_mode": BuildMode.COMPLETE})
    land(root, 0)
    assert state_of(engine, settings, clock.now) is HourState.NEW
    assert state_of(engine, complete, clock.now) is HourState.OPEN
    build(engine, [HOUR])
    assert state_of(engine, settings, clock.now) is HourState.OPEN
    land(root, 5)
    assert state_of(engine, settings, clock.now) is HourState.CHANGED
    # For a clock that is behind it has not begun.
    assert state_of(engine, settings, HOUR.start - timedelta(seconds=1)) is HourState.OPEN


def test_a_plan_holds_the_open_hour_and_none_that_has_not_begun(
    engine: LocalEngine, settings: Settings, clock: Clock, root: Path
) -> None:
    land(root, 0)
    pipeline = Pipeline(engine, load_gold_tables(), settings)
    assert plan_build(pipeline, clock.now, None).hours == (HOUR,)
    assert plan_build(pipeline, clock.now, HourRange(HOUR, HOUR.plus(1))).hours == (HOUR,)
    with pytest.raises(NotBuildableError, match=f"{HOUR.plus(1)} has not begun .* so --to {HOUR.plus(1)} at most"):
        plan_build(pipeline, clock.now, HourRange(HOUR, HOUR.plus(2)))


def test_objects_that_landed_since_an_open_hour_was_built_are_no_difference(
    engine: LocalEngine, settings: Settings, clock: Clock, root: Path
) -> None:
    def proven(now: datetime) -> Any:
        return verify(engine, (), settings.event_time_limits, None, now, lambda *_: None)

    land(root, 0)
    silver(engine)
    assert (proven(clock.now).differences, len(proven(clock.now).hours)) == ([], 1)
    land(root, 5)

    assert proven(clock.now).differences == []
    assert proven(clock.now).not_recounted == {HOUR: "the hour is not over: 1 of 2 raw objects are built"}
    assert len(proven(HOUR.end).differences) == 1


def test_rules_and_accounts_of_a_kept_object_come_back_as_they_were(engine: LocalEngine, root: Path) -> None:
    lines: Iterable[Any] = [event(extra=1), purchase(second=1, price=0.1, quantity=3), {"timestamp": 5}]
    write_object(root, HOUR, 0, lines)
    first, second = silver(engine), silver(engine, force=True)

    assert first.commit.account == second.commit.account
    assert replace(first.commit, build_id="", files=()) == replace(second.commit, build_id="", files=())


def test_what_is_kept_is_on_the_disk_before_it_gets_its_name(
    engine: LocalEngine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, faults, kept = dict[int, int](), list[str](), list[str]()
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(handle: int) -> None:
        synced[os.fstat(handle).st_ino] = os.fstat(handle).st_size
        fsync(handle)

    def watched_rename(source: Path, target: Path) -> Path:
        if source.is_dir():
            for path in source.iterdir():
                kept.append(path.name)
                if synced.get(path.stat().st_ino) != path.stat().st_size:
                    faults.append(path.name)
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    land(root, 0)
    silver(engine)
    assert (sorted(kept), faults) == (["quarantine.arrow", "report.json", "rows.arrow"], [])


def test_the_name_of_a_decoded_object_follows_all_that_it_depends_on() -> None:
    of: tuple[Any, ...] = (HOUR, "rules", "nobody", "events/a.gz", "etag", 7)
    others: tuple[Any, ...] = (HOUR.plus(1), "other", "somebody", "events/b.gz", "e", 8)
    changed = [(*of[:number], other, *of[number + 1 :]) for number, other in enumerate(others)]
    assert len({decoded_name(*each) for each in (of, *changed)}) == 1 + len(others)
