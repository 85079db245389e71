"""What every engine promises of what it has published: repair, housekeeping and retention."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from event_pipeline.engines import housekeeping
from event_pipeline.engines.base import Engine, LeftoverKind, PartitionAction, PartitionChange, SilverOutcome
from event_pipeline.engines.commit import Commit
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.names import day_partition, gold_table, partial_table
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.repair import PartitionRepair
from event_pipeline.engines.state import HourState
from event_pipeline.errors import LostObjectsError, StorageError
from event_pipeline.inspection.verification import verify
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline_tests.engines.aws.conftest import MEMORY, every_lake, everywhere, without_locks
from event_pipeline_tests.engines.aws.pipeline import World, change_settings, landed, seen, silver
from event_pipeline_tests.pipeline import HOUR, event, in_order, purchase, rows, silent, write_object

NEXT = HOUR.plus(1)
DAY = HOUR.start.date()
GOLD = {table.name: table for table in load_gold_tables()}
TABLE = GOLD["user_activity"]


@pytest.fixture
def engine(world: World) -> PortEngine[Any]:
    """The engine of the world, with its ports in reach."""
    assert isinstance(world.engine, PortEngine)
    return world.engine


# --- Repair -------------------------------------------------------------------------------------------------------


def places(*tables: str) -> list[tuple[str, str]]:
    partitions = {partial_table(TABLE.name): HOUR.hive_path, gold_table(TABLE.name): day_partition(DAY)}
    return [(table, partitions.get(table, HOUR.hive_path)) for table in tables]


@every_lake
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
    reported = [(change.table, change.partition) for change in engine.repair()]
    assert sorted(reported) == sorted(set(reported))
    assert {table for table, _ in reported} >= {each.full_name for each in HOUR_TABLES}
    world.assert_agrees_with_oracle()


@every_lake
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


@every_lake
def test_an_entry_without_a_commit_record_is_named_and_dropped(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    world.build([HOUR])
    record = f"commits/hours/{HOUR.hive_path}.json"
    engine._lake.delete([record])
    assert engine.silver_totals(DAY).events == 2
    places = [(table.full_name, HOUR.hive_path) for table in HOUR_TABLES]
    for changes in (engine.disagreements(), engine.repair()):
        dropped = [(each.table, each.partition) for each in changes if each.action is PartitionAction.DROPPED]
        assert sorted(dropped) == sorted(places)
        assert {each.reason for each in changes} <= {"", "not in any commit record"}
    assert (seen(engine), engine.registered_builds()) == (0, {})
    assert engine.silver_totals(DAY) == DayTotals()
    assert engine.disagreements() == []


def shown_with_files_of(engine: PortEngine[Any], old: Commit, new: Commit) -> list[Any]:
    """Show the files of one build under the name of another one, as no build does, and return these entries."""
    wrong = []
    files = engine._catalog.entries_of(replace(new, files=old.files))
    for entry, of_old in zip(files, engine._catalog.entries_of(old), strict=True):
        # Glue shows a location, the other catalogs show files.
        wrong.append(replace(entry, location=of_old.location) if hasattr(entry, "location") else entry)
    engine._catalog.change(wrong, ())
    return wrong


@every_lake
def test_files_of_another_build_under_the_name_of_the_right_one_are_named_and_replaced(
    world: World, engine: PortEngine[Any]
) -> None:
    write_object(world.root, HOUR, 0, [event(), purchase(second=1), b"no json"])
    world.build([HOUR])
    old = all_commits(engine)
    write_object(world.root, HOUR, 5, [event(second=300), purchase(second=301), b"no json"])
    world.build([HOUR])
    new = all_commits(engine)
    hour = engine.hour_commit(HOUR)
    assert hour is not None
    wrong = [entry for pair in zip(old, new, strict=True) for entry in shown_with_files_of(engine, *pair)]
    assert seen(engine) == 2
    assert engine.misshown({HOUR: hour}) == {HOUR}
    faults = engine.partition_faults(HOUR)
    assert len([fault for fault in faults if "differs from the commit record in" in fault]) == len(HOUR_TABLES)
    named = engine.disagreements()
    assert {(each.table, each.partition) for each in named} == {(each.table, each.partition) for each in wrong}
    assert {each.action for each in named} == {PartitionAction.REPOINTED}
    assert all(each.reason.endswith("differed from the commit record") for each in named)
    engine.repair()
    assert engine.disagreements() == []
    world.assert_agrees_with_oracle()


def all_commits(engine: PortEngine[Any]) -> list[Commit]:
    """Return what is published of the first hour, of its partial and of its day."""
    commits = engine._commits
    hour, partial = commits.hour(HOUR).commit, commits.partial(TABLE.name, HOUR).commit
    found: list[Commit | None] = [hour, partial, commits.day(TABLE.name, DAY).commit]
    return [commit for commit in found if commit]


@everywhere
@pytest.mark.parametrize("which", [0, 1, 2], ids=["Silver", "a partial", "a day"])
def test_a_refresh_shows_again_what_is_committed_and_goes_by_it(
    world: World, engine: PortEngine[Any], which: int
) -> None:
    landed(world, 0)
    world.build([HOUR])
    old = all_commits(engine)[which]
    landed(world, 5)
    world.build([HOUR])
    shown_with_files_of(engine, old, all_commits(engine)[which])
    # Another hour of the day, so that the day is folded from the partial.
    write_object(world.root, NEXT, 0, [event(NEXT)])
    world.land()
    silver(engine, NEXT)
    engine.refresh_gold(TABLE, [HOUR] if which == 2 else [NEXT, HOUR], force=which == 0, progress=silent)
    world.build([NEXT])
    world.assert_agrees_with_oracle()
    assert engine.disagreements() == []


@every_lake
def test_a_registration_that_is_broken_off_is_completed_by_the_next_refresh(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    world.build([HOUR])
    landed(world, 5)
    silver(engine, HOUR)
    catalog_type = type(engine._catalog)
    real = catalog_type.change
    for table in (partial_table(TABLE.name), gold_table(TABLE.name)):

        def change(self: Any, show: Iterable[Any], drop: Any, broken: str = table) -> None:
            shown = list(show)
            if any(entry.table == broken for entry in shown):
                raise StorageError("the catalog is away")
            real(self, shown, drop)

        with monkeypatch.context() as patch:
            patch.setattr(catalog_type, "change", change)
            with pytest.raises(StorageError, match="the catalog is away"):
                engine.refresh_gold(TABLE, [HOUR], progress=silent)
        assert engine.hours_behind(TABLE) == [HOUR]
        assert rows(engine, "SELECT total_events FROM gold.user_activity") == [{"total_events": 2}]
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert engine.hours_behind(TABLE) == []
    assert rows(engine, "SELECT total_events FROM gold.user_activity") == [{"total_events": 4}]
    engine.repair()
    assert engine.disagreements() == []


@pytest.mark.parametrize("world", [MEMORY], indirect=True)
def test_a_partial_without_rows_whose_registration_broke_off_is_registered_by_the_next_refresh(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No day is folded from it: a fold would register it as well.
    table = GOLD["hourly_revenue"]
    write_object(world.root, HOUR, 0, [event()])
    world.land()
    silver(engine, HOUR)

    def change(*_: Any) -> None:
        raise StorageError("the catalog is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine._catalog), "change", change)
        with pytest.raises(StorageError, match="the catalog is away"):
            engine.refresh_gold(table, [HOUR], progress=silent)
    assert engine.hours_behind(table) == [HOUR]
    engine.refresh_gold(table, [HOUR], progress=silent)
    assert engine.hours_behind(table) == []


@every_lake
def test_an_hour_whose_files_are_gone_is_dropped_and_no_other_one(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT)])
    world.build([HOUR, NEXT])
    engine._lake.delete([each.key for each in engine._lake.list(f"runs/hours/{HOUR.hive_path}/")])
    changes = engine.repair()
    assert {(each.table, each.partition) for each in changes if each.action is PartitionAction.DROPPED} == {
        (table.full_name, HOUR.hive_path) for table in HOUR_TABLES
    }
    assert {each.action for each in changes} == {PartitionAction.DROPPED, PartitionAction.UNCHANGED}
    assert (seen(engine), list(engine.registered_builds())) == (1, [NEXT])
    with pytest.raises(StorageError, match=f"event-pipeline run --from {HOUR} --to {NEXT}"):
        engine.register_hours([HOUR])
    world.build([HOUR])
    world.assert_agrees_with_oracle()


@every_lake
def test_repair_of_a_range_leaves_other_hours_alone(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT)])
    world.build([HOUR, NEXT])
    engine._catalog.change((), [(SILVER_EVENTS.full_name, hour.hive_path) for hour in (HOUR, NEXT)])
    for hours, registered in ((HourRange.of([HOUR]), [HOUR]), (None, [HOUR, NEXT])):
        actions = [each.action for each in engine.repair(hours)]
        assert actions.count(PartitionAction.ADDED) == 1
        assert set(actions) == {PartitionAction.ADDED, PartitionAction.UNCHANGED}
        assert list(engine.registered_builds()) == registered
    assert engine.repair(HourRange.of([HOUR.plus(-48)])) == []


@without_locks
@pytest.mark.parametrize("lost", [False, True], ids=["an older build is shown", "its record was lost"])
def test_a_repair_that_is_overtaken_shows_the_newest_build(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    landed(world, 0)
    silver(engine, HOUR)
    list(engine.build_silver([HOUR], force=True, progress=silent))
    if lost:
        engine._lake.delete([f"commits/hours/{HOUR.hive_path}.json"])
    catalog_type, waiting = type(engine._catalog), [True]
    real = catalog_type.change

    def change(self: Any, *arguments: Any) -> None:
        if waiting:
            waiting.clear()
            silver(engine, HOUR, force=True)
        real(self, *arguments)

    monkeypatch.setattr(catalog_type, "change", change)
    engine.repair()
    assert waiting == []
    assert engine.disagreements() == []
    assert seen(engine) == 2


@without_locks
def test_repair_never_drops_what_was_published_since_it_looked(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    silver(engine, HOUR)
    engine._lake.delete([f"commits/hours/{HOUR.hive_path}.json"])
    real, waiting, catalog_type = PartitionRepair._compare, [True], type(engine._catalog)
    change, dropped = catalog_type.change, list[Any]()

    def compare(self: Any, *arguments: Any) -> list[PartitionChange]:
        found = real(self, *arguments)
        # Without the first looks: those of the survey, which drop nothing.
        if waiting and any(each.action is PartitionAction.DROPPED for each in found):
            waiting.clear()
            list(engine.build_silver([HOUR], progress=silent))
        return found

    def noted(self: Any, show: Iterable[Any], drop: Any) -> None:
        dropped.extend(drop)
        change(self, show, drop)

    monkeypatch.setattr(PartitionRepair, "_compare", compare)
    monkeypatch.setattr(catalog_type, "change", noted)
    engine.repair()
    assert (waiting, dropped) == ([], [])
    assert engine.disagreements() == []
    assert seen(engine) == 2


# --- Housekeeping -------------------------------------------------------------------------------------------------


def keep_house(engine: Engine, now: datetime) -> dict[str, int]:
    """Do one round and return kind -> how many were removed; what is passing is left alone."""
    removed: dict[str, int] = {}
    for leftover in engine.leftovers(now):
        if leftover.kind not in (LeftoverKind.SCRATCH, LeftoverKind.DRAFT, LeftoverKind.LOCK):
            engine.remove(leftover)
            removed[leftover.kind] = removed.get(leftover.kind, 0) + 1
    return removed


@every_lake
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


@every_lake
def test_a_build_that_nobody_committed_is_never_shown_and_goes_after_its_grace(
    world: World, engine: PortEngine[Any]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    # One of an hour that was never built, one that seems newer than what is published.
    builds = f"{NEXT.hive_path}/20251208T000000Z-abandoned", f"{HOUR.hive_path}/29990101T000000Z-abandoned"
    left = [f"runs/hours/{build}/events/events-0.parquet" for build in builds]
    for path in left:
        engine._lake.write(path, b"half")
    assert {each.action for each in engine.repair()} == {PartitionAction.UNCHANGED}
    now, grace = datetime.now(UTC), timedelta(days=engine._settings.build_grace_days)
    assert keep_house(engine, now + grace - timedelta(minutes=5)) == {}
    assert keep_house(engine, now + grace + timedelta(minutes=5)) == {LeftoverKind.ABANDONED: 2}
    assert [engine._lake.read(path) for path in left] == [None, None]
    world.assert_agrees_with_oracle()


@every_lake
def test_what_the_catalog_still_shows_stays_although_another_build_is_committed(
    world: World, engine: PortEngine[Any]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    (rebuilt,) = engine.build_silver([HOUR], force=True, progress=silent)
    later = datetime.now(UTC) + timedelta(days=engine._settings.build_grace_days, minutes=5)
    assert keep_house(engine, later) == {}
    assert seen(engine) == 2
    engine.register_hours([HOUR])
    assert keep_house(engine, later) == {LeftoverKind.REPLACED: 1}
    assert engine.registered_builds() == {HOUR: rebuilt.commit.build_id}
    assert engine.partition_faults(HOUR) == []
    assert seen(engine) == 2


# --- Retention ----------------------------------------------------------------------------------------------------


@pytest.fixture
def keeping(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets how many days Silver and Gold are kept."""

    def keep(silver: int, gold: int = 0) -> None:
        change_settings(world, monkeypatch, silver_retention_days=silver, gold_retention_days=gold)

    return keep


def two_hours(world: World) -> None:
    """Build two hours of one day; the second one has a purchase of the day before."""
    write_object(world.root, HOUR, 0, [event(), purchase(second=1), b"no json"])
    write_object(world.root, NEXT, 0, [event(NEXT), purchase(NEXT, 1), purchase(NEXT, -86_400)])
    world.build([HOUR, NEXT])


@every_lake
def test_an_hour_past_its_retention_keeps_its_ledger_its_totals_its_gold_and_its_raw_objects(
    world: World, engine: PortEngine[Any], keeping: Callable[..., None]
) -> None:
    two_hours(world)
    assert keep_house(engine, datetime.now(UTC)) == {}
    keeping(30)
    assert keep_house(engine, HOUR.end + timedelta(days=30, seconds=-1)) == {}
    kept = ["FROM ops.hour_ledger", *(f"FROM {table.table.full_name}" for table in world.tables)]
    before, totals = [in_order(rows(engine, query)) for query in kept], engine.silver_totals(DAY)
    now = HOUR.end + timedelta(days=30)
    assert keep_house(engine, now) == {LeftoverKind.RETIRED_HOUR: 1}
    assert (seen(engine), list(engine.registered_builds())) == (3, [NEXT])
    assert rows(engine, "FROM silver.quarantine") == []
    assert ([in_order(rows(engine, query)) for query in kept], engine.silver_totals(DAY)) == (before, totals)
    assert engine.list_raw(HOUR).objects
    # Nobody complains, and nobody builds it again.
    states = Pipeline(engine, tuple(world.tables), engine._settings).states(datetime.now(UTC))
    assert states == {HOUR: HourState.RETIRED, NEXT: HourState.READY}
    assert engine.partition_faults(HOUR) == []
    (unchanged,) = world.build([HOUR])
    assert unchanged.reason == "past its retention: Silver was removed on purpose"
    assert {change.action for change in engine.repair()} == {PartitionAction.UNCHANGED}
    assert keep_house(engine, now) == {}
    # Late data still reaches the day, beside what the retired hour had of it.
    write_object(world.root, NEXT, 5, [purchase(HOUR, 6, user_id="u_late")])
    world.build([HOUR, NEXT])
    query = f"SELECT unique_users FROM gold.user_activity WHERE event_date = DATE '{DAY}'"
    assert rows(engine, query) == [{"unique_users": 2}]
    verified = verify(
        engine, world.tables, engine._settings.event_time_limits, None, datetime.now(UTC), lambda *_: None
    )
    assert (verified.differences, verified.retired, verified.not_built) == ([], (HOUR,), ())


@every_lake
def test_files_of_a_retired_hour_go_when_it_has_been_retired_for_the_grace_period(
    world: World, engine: PortEngine[Any], keeping: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    world.build([HOUR])
    keeping(1)
    retired_at = datetime.now(UTC) + timedelta(days=90)

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Then:
            return cls.fromtimestamp(retired_at.timestamp(), tz)

    with monkeypatch.context() as patch:
        patch.setattr(housekeeping, "datetime", Then)
        assert keep_house(engine, retired_at) == {LeftoverKind.RETIRED_HOUR: 1}
    grace = timedelta(days=engine._settings.build_grace_days)
    assert keep_house(engine, retired_at + grace - timedelta(minutes=1)) == {}
    assert keep_house(engine, retired_at + grace + timedelta(minutes=1)) == {LeftoverKind.RETIRED_FILES: 1}
    left = [each.key for each in engine._lake.list(f"runs/hours/{HOUR.hive_path}/")]
    assert [key.rpartition("/")[2] for key in left] == ["ledger.parquet"]
    assert engine.partition_faults(HOUR) == []
    assert len(rows(engine, "FROM ops.hour_ledger")) == 1
    world.build([HOUR], force=True)
    world.assert_agrees_with_oracle()


@every_lake
def test_a_retired_hour_is_not_built_again_without_its_lost_objects(
    world: World, engine: PortEngine[Any], keeping: Callable[..., None]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    keeping(1)
    keep_house(engine, datetime.now(UTC))
    shutil.rmtree(world.root / "raw" / HOUR.raw_prefix)
    with pytest.raises(LostObjectsError):
        world.build([HOUR], force=True)
    (kept,) = world.build([HOUR])
    assert kept.outcome is SilverOutcome.UNCHANGED


@every_lake
def test_an_hour_is_retired_once_queries_see_it_in_silver_and_in_all_of_gold(
    world: World, engine: PortEngine[Any], keeping: Callable[..., None]
) -> None:
    keeping(1)
    landed(world, 0)
    world.build([HOUR])
    landed(world, 5)
    list(engine.build_silver([HOUR], progress=silent))
    now = datetime.now(UTC)
    assert keep_house(engine, now) == {}
    engine.register_hours([HOUR])
    for table in world.tables:
        assert keep_house(engine, now) == {}
        engine.refresh_gold(table, [HOUR], progress=silent)
    assert keep_house(engine, now) == {LeftoverKind.RETIRED_HOUR: 1}


@every_lake
def test_a_retirement_that_is_broken_off_is_completed_by_the_next_round(
    world: World, engine: PortEngine[Any], keeping: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    world.build([HOUR])
    totals, now = engine.silver_totals(DAY), datetime.now(UTC)
    keeping(1, 9)

    def change(*_: Any) -> None:
        raise StorageError("the catalog is away")

    for kind, places in ((LeftoverKind.RETIRED_HOUR, 1), (LeftoverKind.RETIRED_DAY, len(world.tables))):
        with monkeypatch.context() as patch:
            patch.setattr(type(engine._catalog), "change", change)
            due = [each for each in engine.leftovers(now) if each.kind is kind]
            assert len(due) == places
            for leftover in due:
                with pytest.raises(StorageError, match="the catalog is away"):
                    engine.remove(leftover)
        assert seen(engine) == (2 if kind is LeftoverKind.RETIRED_HOUR else 0)
        assert engine.silver_totals(DAY) == totals
        again = [each for each in engine.leftovers(now) if each.kind is kind]
        assert [each.place for each in again] == [each.place for each in due]
        for leftover in again:
            engine.remove(leftover)
    assert engine.registered_builds() == {}
    assert engine.silver_totals(DAY) == totals
    assert keep_house(engine, now) == {}
    assert engine.disagreements() == []


@every_lake
def test_gold_days_past_their_retention_go_once_no_hour_feeds_them_and_nothing_brings_them_back(
    world: World, engine: PortEngine[Any], keeping: Callable[..., None]
) -> None:
    two_hours(world)
    keeping(30, 38)
    first = HOUR.end + timedelta(days=30)
    assert keep_house(engine, first) == {LeftoverKind.RETIRED_HOUR: 1}
    # The day before is past the retention of Gold, but the second hour, which has rows of it, may change it.
    keeping(30, 1)
    assert keep_house(engine, first) == {}
    keeping(30, 38)
    now = HOUR.end + timedelta(days=50)
    assert keep_house(engine, now) == {LeftoverKind.RETIRED_HOUR: 1}
    days = [commit for commit in engine._commits.days() if commit.files]
    assert keep_house(engine, now) == {LeftoverKind.RETIRED_DAY: len(days)}
    assert {commit.day for commit in days} == {DAY, DAY - timedelta(days=1)}
    assert keep_house(engine, now) == {}
    for _ in range(2):
        for table in world.tables:
            assert rows(engine, f"FROM {table.table.full_name}") == []
        assert len(rows(engine, "FROM ops.hour_ledger")) == 2
        world.build([HOUR, NEXT])
    assert engine.disagreements() == []
    states = Pipeline(engine, tuple(world.tables), engine._settings).states(datetime.now(UTC))
    assert states == {HOUR: HourState.RETIRED, NEXT: HourState.RETIRED}
    assert engine.refresh_gold(world.tables[0], [HOUR], progress=silent).unchanged_hours == (HOUR,)
    later = datetime.now(UTC) + timedelta(days=engine._settings.build_grace_days, minutes=5)
    assert keep_house(engine, later)[LeftoverKind.REPLACED] == len(days)
