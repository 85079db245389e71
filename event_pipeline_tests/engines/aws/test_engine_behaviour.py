"""What every engine promises, whatever its ports are: order, swaps, freshness, completeness, repair, housekeeping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.base import LeftoverKind, PartitionAction, SilverOutcome
from event_pipeline.engines.builder import Built, HourInput
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.names import day_partition, gold_table, partial_table
from event_pipeline.errors import BrokenLawError, NotPublishedError, OvertakenError, PipelineError, StorageError
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.query import load_gold_tables
from event_pipeline_tests.engines.aws.conftest import AWS_BY_HOST, AWS_WITH_TWO_TABLES, MEMORY
from event_pipeline_tests.engines.aws.pipeline import World, seen, silver
from event_pipeline_tests.pipeline import HOUR, event, purchase, rows, silent, write_object

NEXT = HOUR.plus(1)
DAY = HOUR.start.date()
GOLD = {table.name: table for table in load_gold_tables()}
TABLE = GOLD["user_activity"]

everywhere = pytest.mark.parametrize("world", ["local", MEMORY, AWS_WITH_TWO_TABLES, AWS_BY_HOST], indirect=True)
without_locks = pytest.mark.parametrize("world", [MEMORY, AWS_BY_HOST], indirect=True)


@pytest.fixture
def engine(world: World) -> PortEngine[Any]:
    """The engine of the world, with its ports in reach."""
    assert isinstance(world.engine, PortEngine)
    return world.engine


def landed(world: World, *minutes: int) -> None:
    """Let objects of two events each land in the first hour."""
    for minute in minutes:
        write_object(world.root, HOUR, minute, [event(second=60 * minute), purchase(second=60 * minute + 1)])
    world.land()


# --- Order --------------------------------------------------------------------------------------------------------


@everywhere
def test_a_committed_hour_is_seen_once_it_is_registered_and_not_before(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    (built,) = engine.build_silver([HOUR], progress=silent)
    assert engine.hour_commit(HOUR) == built.commit
    assert (seen(engine), engine.registered_builds()) == (0, {})
    changes = engine.register_hours([HOUR])
    assert {change.table for change in changes if change.action is PartitionAction.ADDED} == {
        table.full_name for table in HOUR_TABLES
    }
    assert (seen(engine), engine.registered_builds()) == (2, {HOUR: built.commit.build_id})
    landed(world, 5)
    list(engine.build_silver([HOUR], progress=silent))
    assert seen(engine) == 2
    engine.register_hours([HOUR])
    assert seen(engine) == 4


@everywhere
def test_an_hour_that_dies_before_its_commit_leaves_what_was_published(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    world.build([HOUR])
    before = engine.hour_commit(HOUR)
    landed(world, 5)
    with monkeypatch.context() as patch:

        def dies(*_: Any) -> str:
            raise KeyboardInterrupt

        patch.setattr(CommitStore, "publish", dies)
        with pytest.raises(KeyboardInterrupt):
            list(engine.build_silver([HOUR], progress=silent))
    assert engine.hour_commit(HOUR) == before
    assert seen(engine) == 2
    world.build([HOUR])
    world.assert_agrees_with_oracle()
    assert engine.disagreements() == []


@everywhere
def test_nobody_registers_an_hour_that_is_not_committed(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    with pytest.raises(NotPublishedError, match=f"{HOUR}: no build is committed"):
        engine.register_hours([HOUR])
    list(engine.build_silver([HOUR], progress=silent))
    with pytest.raises(NotPublishedError, match=f"{HOUR}: gold.user_activity needs silver.events"):
        engine.refresh_gold(TABLE, [HOUR], progress=silent)


class Miscounting:
    """A builder that reports one record more than it read."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def build(self, inputs: Sequence[HourInput], **options: Any) -> Built:
        """Build, and count once too often."""
        built: Built = self._builder.build(inputs, **options)
        commits = {}
        for hour, commit in built.commits.items():
            first, *others = commit.account.objects
            counted = (replace(first, records=first.records + 1), *others)
            commits[hour] = replace(commit, account=replace(commit.account, objects=counted))
        return replace(built, commits=commits)


@everywhere
def test_an_hour_whose_records_do_not_add_up_is_never_published(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    real = engine.builder
    with monkeypatch.context() as patched:
        patched.setattr(engine, "builder", lambda: Miscounting(real()))
        with pytest.raises(BrokenLawError, match="3 records, but 2 Silver rows"):
            list(engine.build_silver([HOUR], progress=silent))
    assert engine.hour_commit(HOUR) is None
    world.build([HOUR])
    world.assert_agrees_with_oracle()


# --- Swaps --------------------------------------------------------------------------------------------------------


@pytest.fixture
def overtaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What another process does just before the next commit record is replaced; nothing by default."""
    waiting: list[Callable[[], object]] = []
    real = CommitStore.publish

    def publish(self: CommitStore, *arguments: Any) -> str:
        if waiting:
            waiting.pop()()
        return real(self, *arguments)

    monkeypatch.setattr(CommitStore, "publish", publish)
    yield waiting
    assert waiting == []


@without_locks
def test_who_is_overtaken_by_newer_input_publishes_nothing(
    world: World, engine: PortEngine[Any], overtaking: list[Callable[[], object]]
) -> None:
    landed(world, 0)

    def other() -> None:
        landed(world, 5)
        list(engine.build_silver([HOUR], progress=silent))

    overtaking.append(other)
    with pytest.raises(OvertakenError):
        list(engine.build_silver([HOUR], progress=silent))
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    assert commit.account.silver_rows == 4


@without_locks
def test_who_is_overtaken_by_the_same_input_takes_what_is_there(
    world: World, engine: PortEngine[Any], overtaking: list[Callable[[], object]]
) -> None:
    landed(world, 0)
    others = list[str]()
    overtaking.append(
        lambda: others.extend(each.commit.build_id for each in engine.build_silver([HOUR], progress=silent))
    )
    (built,) = engine.build_silver([HOUR], progress=silent)
    assert built.outcome is SilverOutcome.UNCHANGED
    assert [built.commit.build_id] == others
    assert engine.hour_commit(HOUR) == built.commit


@without_locks
def test_a_day_that_another_hour_folds_meanwhile_is_folded_again_with_both(
    world: World, engine: PortEngine[Any], overtaking: list[Callable[[], object]]
) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT), purchase(NEXT, 1)])
    world.land()
    silver(engine, HOUR, NEXT)
    table = GOLD["hourly_revenue"]
    # The first record to be replaced is that of the partial, the second that of the day.
    overtaking.append(lambda: engine.refresh_gold(table, [NEXT], progress=silent))
    overtaking.append(lambda: None)
    engine.refresh_gold(table, [HOUR], progress=silent)
    day = engine._commits.day(table.name, DAY).commit
    assert day is not None
    assert sorted(day.partials) == [HOUR.hive_path, NEXT.hive_path]
    assert engine.hours_behind(table) == []
    assert engine.disagreements() == []


@everywhere
def test_hours_that_fold_one_day_side_by_side_lose_nothing(world: World, engine: PortEngine[Any]) -> None:
    hours = [HOUR, NEXT, HOUR.plus(-1), HOUR.plus(-2)]
    for hour in hours:
        write_object(world.root, hour, 0, [event(hour), purchase(hour, 1)])
    world.land()
    silver(engine, *hours)
    with ThreadPoolExecutor(4) as workers:
        for table in world.tables:
            list(workers.map(lambda hour, gold=table: engine.refresh_gold(gold, [hour], progress=silent), hours))
    world.assert_agrees_with_oracle()
    assert [engine.hours_behind(table) for table in world.tables] == [[]] * len(world.tables)


@without_locks
def test_a_registration_that_is_overtaken_shows_the_newest_build(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    list(engine.build_silver([HOUR], progress=silent))
    catalog_type, waiting = type(engine._catalog), [True]
    real = catalog_type.change

    def change(self: Any, *arguments: Any) -> None:
        if waiting:
            waiting.clear()
            landed(world, 5)
            silver(engine, HOUR)
        real(self, *arguments)

    monkeypatch.setattr(catalog_type, "change", change)
    engine.register_hours([HOUR])
    assert seen(engine) == 4
    assert engine.disagreements() == []


# --- Freshness ----------------------------------------------------------------------------------------------------


@everywhere
def test_an_hour_is_behind_until_its_partial_and_its_days_are_of_its_silver_and_sql(
    world: World, engine: PortEngine[Any]
) -> None:
    landed(world, 0)
    silver(engine, HOUR)
    assert engine.hours_behind(TABLE) == [HOUR]
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert engine.hours_behind(TABLE) == []
    assert engine.hours_behind(replace(TABLE, version="other")) == [HOUR]
    landed(world, 5)
    silver(engine, HOUR)
    assert engine.hours_behind(TABLE) == [HOUR]
    refreshed = engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert (list(refreshed.partial_rows), list(refreshed.day_rows)) == ([HOUR], [DAY])
    again = engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert (again.partial_rows, again.day_rows) == ({}, {})
    assert (again.unchanged_hours, again.unchanged_days) == ((HOUR,), (DAY,))


@everywhere
def test_a_day_that_an_hour_no_longer_touches_is_folded_again_without_it(world: World, engine: PortEngine[Any]) -> None:
    key = write_object(world.root, HOUR, 0, [event(), event(second=-86_400)])
    world.build([HOUR])
    assert len(rows(engine, "FROM gold.user_activity")) == 2
    (world.root / "raw" / key).unlink()
    write_object(world.root, HOUR, 0, [event()])
    world.build([HOUR])
    world.assert_agrees_with_oracle()
    assert engine.hours_behind(TABLE) == []


# --- Completeness -------------------------------------------------------------------------------------------------


def a_file_goes(engine: PortEngine[Any]) -> str:
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    (file,) = commit.files_of(SILVER_EVENTS.full_name)
    engine._lake.delete([file.path])
    return file.path


def a_file_is_cut(engine: PortEngine[Any]) -> str:
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    (file,) = commit.files_of(SILVER_EVENTS.full_name)
    engine._lake.write(file.path, b"PAR1")
    return file.path


@everywhere
@pytest.mark.parametrize("accident", [a_file_goes, a_file_is_cut])
def test_a_file_that_is_not_what_was_committed_is_found_refused_and_healed(
    world: World, engine: PortEngine[Any], accident: Callable[[PortEngine[Any]], str]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    path = accident(engine)
    commits = engine.hour_commits()
    assert engine.misshown(commits) == {HOUR}
    assert engine.partition_faults(HOUR) != []
    with pytest.raises(StorageError, match=path):
        engine.count_rows(commits[HOUR])
    with pytest.raises(StorageError, match=path):
        engine.register_hours([HOUR])
    (built, *_) = world.build([HOUR])
    assert (built.outcome, built.reason) == (SilverOutcome.BUILT, "committed files were gone")
    assert engine.partition_faults(HOUR) == []
    world.assert_agrees_with_oracle()


@everywhere
def test_a_file_that_no_commit_names_keeps_an_hour_from_being_sound(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    world.build([HOUR])
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    (file,) = commit.files_of(SILVER_EVENTS.full_name)
    content, _ = engine._lake.read(file.path) or (b"", "")
    stray = file.path.replace("events-0", "events-7")
    engine._lake.write(stray, content)
    assert any(stray in fault for fault in engine.partition_faults(HOUR))
    counted = engine.count_rows(commit)
    assert (counted.silver_rows, counted.quarantined) == (2, 0)


# --- Repair -------------------------------------------------------------------------------------------------------


def places(*tables: str) -> list[tuple[str, str]]:
    partitions = {partial_table(TABLE.name): HOUR.hive_path, gold_table(TABLE.name): day_partition(DAY)}
    return [(table, partitions.get(table, HOUR.hive_path)) for table in tables]


@everywhere
@pytest.mark.parametrize(
    "tables",
    [
        [SILVER_EVENTS.full_name],
        [table.full_name for table in HOUR_TABLES],
        [partial_table(TABLE.name)],
        [gold_table(TABLE.name)],
    ],
    ids=["one table of an hour", "an hour", "a partial", "a day"],
)
def test_an_entry_that_was_lost_is_named_and_shown_again(
    world: World, engine: PortEngine[Any], tables: list[str]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    engine._catalog.change((), places(*tables))
    assert {(change.table, change.action) for change in engine.disagreements()} == {
        (table, PartitionAction.ADDED) for table in tables
    }
    engine.repair()
    assert engine.disagreements() == []
    world.assert_agrees_with_oracle()


@everywhere
def test_an_older_build_that_is_shown_is_named_and_replaced(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    world.build([HOUR])
    old = engine.hour_commit(HOUR)
    landed(world, 5)
    world.build([HOUR])
    new = engine.hour_commit(HOUR)
    assert old is not None
    assert new is not None
    engine._catalog.change(engine._catalog.entries_of(old), ())
    assert engine.misshown({HOUR: new}) == {HOUR}
    assert seen(engine) == 2
    named = engine.disagreements()
    assert {(each.action, each.reason) for each in named} == {
        (PartitionAction.REPOINTED, f"showed {old.build_id} instead of the committed {new.build_id}")
    }
    engine.repair()
    assert (seen(engine), engine.disagreements()) == (4, [])


@everywhere
def test_an_entry_without_a_commit_record_is_named_and_dropped(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    world.build([HOUR])
    record = f"commits/hours/{HOUR.hive_path}.json"
    engine._lake.delete([record])
    assert {each.action for each in engine.disagreements()} == {PartitionAction.DROPPED}
    assert seen(engine) == 2
    engine.repair()
    assert (seen(engine), engine.registered_builds()) == (0, {})


# --- Housekeeping -------------------------------------------------------------------------------------------------


@everywhere
def test_a_replaced_build_goes_after_its_grace_and_what_is_shown_never_does(
    world: World, engine: PortEngine[Any]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    landed(world, 5)
    world.build([HOUR])
    now, days = datetime.now(UTC), engine._settings.build_grace_days
    assert [each for each in engine.leftovers(now) if each.kind is LeftoverKind.REPLACED] == []
    later = now + timedelta(days=days, minutes=5)
    due = [each for each in engine.leftovers(later) if each.kind is LeftoverKind.REPLACED]
    assert any(f"runs/hours/{HOUR.hive_path}/" in each.place for each in due)
    for leftover in due:
        engine.remove(leftover)
        engine.remove(leftover)
    assert [each for each in engine.leftovers(later) if each.kind is LeftoverKind.REPLACED] == []
    assert engine.partition_faults(HOUR) == []
    world.assert_agrees_with_oracle()


@everywhere
def test_a_build_that_nobody_committed_goes_after_its_grace(
    world: World, engine: PortEngine[Any], tmp_path: Path
) -> None:
    landed(world, 0)
    world.build([HOUR])
    left = f"runs/hours/{NEXT.hive_path}/20251208T000000Z-abandoned/events/events-0.parquet"
    engine._lake.write(left, b"half")
    later = datetime.now(UTC) + timedelta(days=engine._settings.build_grace_days, minutes=5)
    (abandoned,) = [each for each in engine.leftovers(later) if each.kind is LeftoverKind.ABANDONED]
    assert abandoned.paths == (left,)
    engine.remove(abandoned)
    assert engine._lake.read(left) is None


# --- Hours that fail ----------------------------------------------------------------------------------------------


@everywhere
def test_an_hour_that_fails_keeps_no_other_back(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    world.build([HOUR])
    write_object(world.root, NEXT, 0, [event(NEXT)])
    world.land()
    record = f"commits/hours/{HOUR.hive_path}.json"
    engine._lake.write(record, b"{")
    builds = list[Any]()
    with pytest.raises(PipelineError) as failed:
        builds.extend(engine.build_silver([HOUR, NEXT], progress=silent))
    commit = engine.hour_commit(NEXT)
    assert commit is not None
    assert str(HOUR) in str(failed.value)
    assert record.rpartition("/")[2] in str(failed.value)
    assert (engine._lake.read(record) or (b"",))[0] == b"{"
