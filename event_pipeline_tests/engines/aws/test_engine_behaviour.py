"""What every engine promises, whatever its ports are: order, locks, swaps, freshness, completeness, lost objects."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from event_pipeline.engines import layout
from event_pipeline.engines.base import LeftoverKind, PartitionAction, SilverOutcome
from event_pipeline.engines.builder import Built, HourInput
from event_pipeline.engines.commit import Commit, HourCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.gold import GoldRefresher
from event_pipeline.engines.names import gold_table, new_build_id
from event_pipeline.errors import (
    BrokenLawError,
    LostObjectsError,
    NotPublishedError,
    OvertakenError,
    PipelineError,
    StorageError,
)
from event_pipeline.rules.accounting import RawListing, UnmatchedKey
from event_pipeline.rules.contract import HOUR_TABLES, SILVER_EVENTS
from event_pipeline.rules.hour import RAW_LAYOUT, Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline_tests.engines.aws.conftest import every_lake, everywhere, without_locks
from event_pipeline_tests.engines.aws.pipeline import World, change_settings, landed, seen, silver
from event_pipeline_tests.pipeline import HOUR, event, in_order, purchase, rows, silent, write_object

NEXT = HOUR.plus(1)
DAY = HOUR.start.date()
GOLD = {table.name: table for table in load_gold_tables()}
TABLE = GOLD["user_activity"]
DAYS_AGO = -3 * 86_400
"""Seconds from the start of an hour to an event that the limits still accept."""


@pytest.fixture
def engine(world: World) -> PortEngine[Any]:
    """The engine of the world, with its ports in reach."""
    assert isinstance(world.engine, PortEngine)
    return world.engine


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


class Interfered:
    """A builder whose next result something happens to."""

    def __init__(self, builder: Any, waiting: list[Callable[[Built], Built]]) -> None:
        self._builder, self._waiting = builder, waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def build(self, inputs: Sequence[HourInput], **options: Any) -> Built:
        """Build, and let it happen."""
        built: Built = self._builder.build(inputs, **options)
        return self._waiting.pop(0)(built) if self._waiting else built


@pytest.fixture
def interfering(engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[Built], Built]]]:
    """What happens between the next builds and their publication; nothing by default."""
    waiting, real = list[Callable[[Built], Built]](), engine.builder
    monkeypatch.setattr(engine, "builder", lambda: Interfered(real(), waiting))
    yield waiting
    assert waiting == []


def a_record_more(commit: HourCommit) -> HourCommit:
    first, *others = commit.account.objects
    counted = (replace(first, records=first.records + 1), *others)
    return replace(commit, account=replace(commit.account, objects=counted))


def a_row_fewer(commit: HourCommit) -> HourCommit:
    files = (replace(each, rows=each.rows - (each.table == SILVER_EVENTS.full_name)) for each in commit.files)
    return replace(commit, files=tuple(files))


@everywhere
@pytest.mark.parametrize(
    ("miscount", "said"),
    [(a_record_more, "3 records, but 2 Silver rows"), (a_row_fewer, r"written: 1 and 0")],
    ids=["a record more was read", "a row fewer was written"],
)
def test_an_hour_whose_records_do_not_add_up_is_never_published(
    world: World,
    engine: PortEngine[Any],
    interfering: list[Callable[[Built], Built]],
    miscount: Callable[[HourCommit], HourCommit],
    said: str,
) -> None:
    landed(world, 0)
    interfering.append(lambda built: replace(built, commits={HOUR: miscount(built.commits[HOUR])}))
    with pytest.raises(BrokenLawError, match=said):
        list(engine.build_silver([HOUR], progress=silent))
    assert engine.hour_commit(HOUR) is None
    world.build([HOUR])
    world.assert_agrees_with_oracle()


@everywhere
def test_a_build_with_a_file_that_it_does_not_name_is_not_published_and_keeps_no_other_hour_back(
    world: World, engine: PortEngine[Any], interfering: list[Callable[[Built], Built]]
) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT)])
    world.land()

    def stray(built: Built) -> Built:
        engine._lake.write(f"{layout.build_prefix(built.commits[HOUR])}events/events-9.parquet", b"PAR1")
        return built

    interfering.append(stray)
    with pytest.raises(PipelineError, match=r"not part of it .*events-9\.parquet"):
        list(engine.build_silver([HOUR, NEXT], progress=silent))
    assert [hour for hour in (HOUR, NEXT) if engine.hour_commit(hour)] == [NEXT]
    world.build([HOUR, NEXT], force=True)
    world.assert_agrees_with_oracle()


@everywhere
def test_nothing_is_shown_before_it_is_committed(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, committed, shown = CommitStore.publish, set[str](), list[str]()

    def publish(self: CommitStore, commit: Commit, replaces: str | None) -> str:
        for entry in engine._catalog.entries_of(commit):
            present = engine._catalog.get(entry.table, [entry.partition]).get(entry.partition)
            shown.extend([entry.table] if present and present.build_id == commit.build_id else [])
        committed.add(type(commit).__name__)
        return real(self, commit, replaces)

    monkeypatch.setattr(CommitStore, "publish", publish)
    for minute in (0, 5):
        landed(world, minute)
        world.build([HOUR])
    assert committed == {"HourCommit", "PartialCommit", "DayCommit"}
    assert shown == []
    world.assert_agrees_with_oracle()


# --- Locks --------------------------------------------------------------------------------------------------------


@every_lake
def test_every_commit_record_is_read_and_replaced_under_its_own_lock(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = {layout.hour_commit(HOUR): f"hours/{HOUR}"}
    for table in world.tables:
        locks[layout.partial_commit(table.name, HOUR)] = f"partials/{table.name}/{HOUR}"
        locks[layout.day_commit(table.name, DAY)] = f"days/{table.name}/event_date={DAY}"
    lake_type, catalog_type, thread = type(engine._lake), type(engine._catalog), threading.local()
    exclusive, read, replace_object, change = (
        lake_type.exclusive,
        lake_type.read,
        lake_type.replace,
        catalog_type.change,
    )
    replaced, faults = set[str](), list[str]()

    def held() -> list[tuple[str, set[str]]]:
        thread.held = getattr(thread, "held", [])
        return thread.held  # type: ignore[no-any-return]

    @contextmanager
    def watched_exclusive(self: Any, name: str) -> Iterator[None]:
        with exclusive(self, name):
            held().append((name, set()))
            try:
                yield
            finally:
                held().pop()

    def watched_read(self: Any, key: str) -> Any:
        for _, keys in held():
            keys.add(key)
        return read(self, key)

    def watched_replace(self: Any, key: str, body: bytes, version: str | None) -> Any:
        replaced.add(key)
        if not any(name == locks.get(key) and key in keys for name, keys in held()):
            faults.append(f"{key} was replaced under {held()}")
        return replace_object(self, key, body, version)

    def watched_change(self: Any, show: Any, drop: Any) -> None:
        if not held():
            faults.append("the catalog was changed without a lock")
        change(self, show, drop)

    landed(world, 0)
    world.build([HOUR])
    landed(world, 5)
    with monkeypatch.context() as patched:
        patched.setattr(lake_type, "exclusive", watched_exclusive)
        patched.setattr(lake_type, "read", watched_read)
        patched.setattr(lake_type, "replace", watched_replace)
        patched.setattr(catalog_type, "change", watched_change)
        world.build([HOUR])
        assert (replaced, faults) == (set(locks), [])
        replaced.clear()
        change_settings(world, patched, silver_retention_days=1, gold_retention_days=9)
        for kind in (LeftoverKind.RETIRED_HOUR, LeftoverKind.RETIRED_DAY):
            for leftover in engine.leftovers(datetime.now(UTC)):
                if leftover.kind is kind:
                    engine.remove(leftover)
    assert replaced == {key for key, lock in locks.items() if not lock.startswith("partials/")}
    assert faults == []


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
def test_who_builds_while_newer_input_is_published_publishes_nothing(
    world: World, engine: PortEngine[Any], interfering: list[Callable[[Built], Built]]
) -> None:
    landed(world, 0)

    def other(built: Built) -> Built:
        landed(world, 5)
        list(engine.build_silver([HOUR], progress=silent))
        return built

    interfering.append(other)
    with pytest.raises(OvertakenError):
        list(engine.build_silver([HOUR], progress=silent))
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    assert commit.account.silver_rows == 4


@without_locks
def test_who_listed_the_hour_before_newer_input_was_published_publishes_nothing(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    real, waiting = engine._raw.list_hour, [True]

    def list_hour(hour: Hour) -> RawListing:
        listed = real(hour)
        if waiting:
            waiting.clear()
            landed(world, 5)
            list(engine.build_silver([HOUR], progress=silent))
        return listed

    monkeypatch.setattr(engine._raw, "list_hour", list_hour)
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


@without_locks
def test_a_day_that_another_hour_publishes_without_this_one_is_folded_again_with_both(
    world: World, engine: PortEngine[Any], overtaking: list[Callable[[], object]]
) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT), purchase(NEXT, 1)])
    world.land()
    silver(engine, HOUR, NEXT)
    engine.refresh_gold(TABLE, [NEXT], progress=silent)
    older = engine._commits.day(TABLE.name, DAY)
    assert older.commit is not None
    # Another fold of the next hour, which listed the partials before that of the first one was there.
    slower = replace(older.commit, build_id=new_build_id())
    overtaking.append(lambda: engine._commits.publish(slower, older.version))
    overtaking.append(lambda: None)
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    day = engine._commits.day(TABLE.name, DAY).commit
    assert day is not None
    assert sorted(day.partials) == [HOUR.hive_path, NEXT.hive_path]
    assert engine.hours_behind(TABLE) == []


@without_locks
def test_who_is_overtaken_by_a_partial_of_older_silver_does_not_take_it_for_its_own(
    world: World, engine: PortEngine[Any], overtaking: list[Callable[[], object]]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    older = engine._commits.partial(TABLE.name, HOUR)
    assert older.commit is not None
    slower = replace(older.commit, build_id=new_build_id())
    landed(world, 5)
    silver(engine, HOUR)
    overtaking.append(lambda: engine._commits.publish(slower, older.version))
    with pytest.raises(OvertakenError):
        engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert engine.hours_behind(TABLE) == [HOUR]
    world.build([HOUR])
    world.assert_agrees_with_oracle()


def fold_next_hour_meanwhile(engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another process refresh the next hour once the day's partials were listed for its fold."""
    real, listed = CommitStore.partial_versions, list[bool]()

    def partial_versions(self: CommitStore, *arguments: Any) -> dict[Hour, str]:
        found = real(self, *arguments)
        listed.append(True)
        # The first listing looks for lost partials, the second one is what the day is folded from.
        if len(listed) == 2:
            engine.refresh_gold(TABLE, [NEXT], progress=silent)
        return found

    monkeypatch.setattr(CommitStore, "partial_versions", partial_versions)


@without_locks
def test_a_day_that_another_hour_folds_after_its_partials_were_listed_is_folded_again_with_both(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT), purchase(NEXT, 1)])
    world.land()
    silver(engine, HOUR, NEXT)
    fold_next_hour_meanwhile(engine, monkeypatch)
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    day = engine._commits.day(TABLE.name, DAY).commit
    assert day is not None
    assert sorted(day.partials) == [HOUR.hive_path, NEXT.hive_path]
    assert engine.hours_behind(TABLE) == []


@without_locks
def test_a_partial_that_is_replaced_between_two_attempts_at_a_day_is_read_again(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in (0, 5):
        landed(world, minute)
        write_object(world.root, NEXT, minute, [event(NEXT, 60 * minute), purchase(NEXT, 60 * minute + 1)])
        if minute == 0:
            world.build([HOUR, NEXT])
    world.land()
    silver(engine, HOUR, NEXT)
    fold_next_hour_meanwhile(engine, monkeypatch)
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert rows(engine, "SELECT total_events FROM gold.user_activity") == [{"total_events": 8}]
    assert engine.hours_behind(TABLE) == []


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


@without_locks
def test_a_slower_registration_does_not_take_a_day_back(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT, user_id="u_2")])
    world.land()
    silver(engine, HOUR, NEXT)
    catalog_type, waiting = type(engine._catalog), [True]
    real = catalog_type.change

    def change(self: Any, show: Iterable[Any], drop: Any) -> None:
        shown = list(show)
        if waiting and any(entry.table == gold_table(TABLE.name) for entry in shown):
            waiting.clear()
            engine.refresh_gold(TABLE, [NEXT], progress=silent)
        real(self, shown, drop)

    monkeypatch.setattr(catalog_type, "change", change)
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert waiting == []
    assert rows(engine, "SELECT unique_users FROM gold.user_activity") == [{"unique_users": 2}]
    assert engine.hours_behind(TABLE) == []
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


@every_lake
@pytest.mark.parametrize(
    ("name", "then"),
    [("user_activity", [purchase(second=DAYS_AGO), event(second=DAYS_AGO + 1)]), ("hourly_revenue", [event()])],
    ids=["more rows", "no row of its day any more"],
)
def test_an_hour_whose_day_was_not_folded_is_behind_until_the_next_refresh_folds_it(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch, name: str, then: list[Any]
) -> None:
    write_object(world.root, HOUR, 0, [purchase(second=DAYS_AGO)])
    world.build([HOUR])
    before = rows(engine, f"FROM gold.{name}")
    write_object(world.root, HOUR, 0, then)
    world.land()
    silver(engine, HOUR)
    with monkeypatch.context() as patch:
        patch.setattr(GoldRefresher, "_fold", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.refresh_gold(GOLD[name], [HOUR], progress=silent)
    assert [engine.hours_behind(GOLD[name], hours) for hours in (None, HourRange.of([HOUR]))] == [[HOUR]] * 2
    assert rows(engine, f"FROM gold.{name}") == before
    refreshed = engine.refresh_gold(GOLD[name], [HOUR], progress=silent)
    assert (refreshed.unchanged_hours, list(refreshed.day_rows)) == ((HOUR,), [DAY - timedelta(days=3)])
    world.build([HOUR])
    world.assert_agrees_with_oracle()


@every_lake
def test_an_hour_without_rows_of_a_table_is_behind_once_the_sql_is_another(
    world: World, engine: PortEngine[Any]
) -> None:
    write_object(world.root, HOUR, 0, [event()])
    world.land()
    silver(engine, HOUR)
    table = GOLD["hourly_revenue"]
    engine.refresh_gold(table, [HOUR], progress=silent)
    assert engine.hours_behind(table) == []
    assert engine.hours_behind(replace(table, version="other")) == [HOUR]


@every_lake
def test_an_object_that_is_replaced_within_one_second_by_one_of_its_size_is_built_again(
    world: World, engine: PortEngine[Any]
) -> None:
    for nanosecond, product in enumerate(("p_1", "p_2")):
        stored = gzip.compress(json.dumps(event(product_id=product)).encode(), compresslevel=0, mtime=0)
        path = world.root / "raw" / write_object(world.root, HOUR, 0, stored)
        os.utime(path, ns=(1_765_144_800_000_000_000 + nanosecond,) * 2)
        (built,) = world.build([HOUR])
        assert built.outcome is SilverOutcome.BUILT
        (listed,) = engine.list_raw(HOUR).objects
        assert listed.size == len(stored)
    assert [row["product_id"] for row in rows(engine, "FROM silver.events")] == ["p_2"]
    world.assert_agrees_with_oracle()


@every_lake
def test_a_forced_hour_is_built_again_with_the_same_rows(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    (first,) = world.build([HOUR])
    before = in_order(rows(engine, "FROM silver.events"))
    (second,) = world.build([HOUR], force=True)
    assert (second.outcome, second.reason) == (SilverOutcome.BUILT, "forced")
    assert second.commit.build_id != first.commit.build_id
    assert in_order(rows(engine, "FROM silver.events")) == before


@everywhere
def test_other_event_time_limits_are_other_rules(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object(world.root, HOUR, 0, [event(), event(second=-3 * 86_400)])
    world.build([HOUR])
    change_settings(world, monkeypatch, event_max_age_days=1)
    (rebuilt,) = silver(engine, HOUR)
    assert rebuilt.reason == "rules changed"
    assert rebuilt.commit.account.quarantined_by_reason == {"timestamp_out_of_range": 1}
    assert engine.hours_behind(TABLE) == [HOUR]


@every_lake
def test_a_refresh_makes_the_partial_of_the_new_hour_only(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    write_object(world.root, NEXT, 0, [event(NEXT)])
    world.build([HOUR])
    silver(engine, NEXT)
    refreshed = engine.refresh_gold(TABLE, [HOUR, NEXT], progress=silent)
    assert (list(refreshed.partial_rows), refreshed.unchanged_hours) == ([NEXT], (HOUR,))
    assert refreshed.day_rows == {DAY: 1}


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


@every_lake
@pytest.mark.parametrize(("place", "partials", "days"), [("days", [], [DAY]), ("partials", [HOUR], [DAY])])
def test_a_gold_file_that_vanished_is_made_again(
    world: World, engine: PortEngine[Any], place: str, partials: list[Hour], days: list[date]
) -> None:
    landed(world, 0)
    world.build([HOUR])
    engine._lake.delete([each.key for each in engine._lake.list(f"runs/{place}/{TABLE.name}/")])
    refreshed = engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert (list(refreshed.partial_rows), list(refreshed.day_rows)) == (partials, days)
    world.assert_agrees_with_oracle()
    assert engine.disagreements() == []


@everywhere
def test_a_day_keeps_what_hours_have_of_it_that_wider_limits_accepted(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    then = HOUR.plus(-24 * 20)
    write_object(world.root, HOUR, 0, [event(), event(then, user_id="u_old")])
    world.land()
    with monkeypatch.context() as wider:
        change_settings(world, wider, event_max_age_days=30)
        silver(engine, HOUR)
    query = f"SELECT unique_users FROM gold.user_activity WHERE event_date = DATE '{then.start.date()}'"
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert rows(engine, query) == [{"unique_users": 1}]
    write_object(world.root, then, 0, [event(then, 1, user_id="u_new")])
    world.land()
    silver(engine, then)
    engine.refresh_gold(TABLE, [then], progress=silent)
    assert rows(engine, query) == [{"unique_users": 2}]
    assert [engine.hours_behind(TABLE, hours) for hours in (None, HourRange.of([HOUR]))] == [[], []]
    measures = engine.reconcile(TABLE, [then.start.date()])
    assert {(each.name, each.gold, each.silver) for each in measures} >= {("events", 2, 2)}


@everywhere
def test_a_day_forgets_what_an_hour_lost_although_a_fold_was_killed_and_limits_are_narrower_since(
    world: World, engine: PortEngine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    then = HOUR.plus(-24 * 5)
    write_object(world.root, HOUR, 0, [event(), event(then, user_id="u_old")])
    world.land()
    silver(engine, HOUR)
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    query = f"SELECT unique_users FROM gold.user_activity WHERE event_date = DATE '{then.start.date()}'"
    assert rows(engine, query) == [{"unique_users": 1}]
    write_object(world.root, HOUR, 0, [event(user_id="u_new")])
    world.land()
    for days in (7, 1):
        # Two runs end between a partial and its days.
        change_settings(world, monkeypatch, event_max_age_days=days)
        silver(engine, HOUR, force=True)
        with monkeypatch.context() as killed:
            killed.setattr(GoldRefresher, "_fold", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.refresh_gold(TABLE, [HOUR], progress=silent)
        assert rows(engine, query) == [{"unique_users": 1}]
    engine.refresh_gold(TABLE, [HOUR], progress=silent)
    assert rows(engine, query) == []
    assert engine.hours_behind(TABLE) == []
    assert rows(engine, "SELECT unique_users FROM gold.user_activity") == [{"unique_users": 1}]


@every_lake
def test_a_day_is_folded_from_hours_of_both_months_that_it_landed_in(world: World) -> None:
    last = Hour.parse("2025-11-30T23")
    write_object(world.root, last.plus(1), 0, [event(last, 3_500), event(last.plus(1))])
    world.build([last.plus(1)])
    write_object(world.root, last, 0, [event(last, user_id="u_2"), purchase(last, 1)])
    world.build([last])
    world.assert_agrees_with_oracle()


@every_lake
def test_a_day_has_the_events_of_the_first_and_of_the_last_hour_that_may_have_some(
    world: World, engine: PortEngine[Any]
) -> None:
    day = Hour.parse("2025-12-08T00")
    first, last = day.plus(-1), day.plus(24 + 7 * 24 - 1)
    write_object(world.root, first, 0, [event(day, 60)])
    write_object(world.root, last, 0, [event(day.plus(23), 3_599, user_id="u_2"), event(last)])
    for hour in (first, last):
        world.build([hour])
    for table in world.tables:
        assert [engine.hours_behind(table, HourRange.of([hour])) for hour in (first, last)] == [[], []]
    assert engine.silver_totals(day.start.date()).events == 2
    assert {(each.gold, each.silver) for each in engine.reconcile(TABLE, [day.start.date()])} == {(2, 2)}
    world.assert_agrees_with_oracle()


@every_lake
def test_keys_outside_the_layout_are_reported_and_not_read(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    odd = f"{HOUR.raw_prefix}minute=00/readme.txt"
    for stray in ("events/_SUCCESS", odd, "events/year=2025/month=13/x"):
        path = world.root / "raw" / stray
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"?")
    world.land()
    if world.bucket is not None:
        aws, bucket = world.bucket
        # What consoles make of a folder is no object.
        aws.client("s3").put_object(Bucket=bucket, Key="events/", Body=b"")
    assert [str(each) for each in engine.unmatched_raw_keys()] == [
        f"{key} (not named {RAW_LAYOUT})" for key in ("events/_SUCCESS", odd, "events/year=2025/month=13/x")
    ]
    unmatched = (UnmatchedKey(odd, f"not named {RAW_LAYOUT}"),)
    assert engine.list_raw(HOUR).unmatched == unmatched
    assert {hour: listing.unmatched for hour, listing in engine.list_raw_hours().items()} == {HOUR: unmatched}
    (built,) = world.build([HOUR])
    assert (len(built.commit.account.objects), built.commit.account.records) == (1, 2)


# --- Proofs -------------------------------------------------------------------------------------------------------


def edit_day(engine: PortEngine[Any], change: str, folder: Path) -> None:
    """Rewrite the published file of a day of gold.hourly_revenue by SQL over its rows."""
    day = engine._commits.day("hourly_revenue", DAY).commit
    assert day is not None
    (file,) = day.files
    before, after = folder / "before.parquet", folder / "after.parquet"
    assert engine._lake.download(file.path, before)
    select = change.format(day=f"read_parquet('{before}', hive_partitioning = false)")
    with closing(duckdb.connect()) as connection:
        connection.execute(f"COPY ({select}) TO '{after}' (FORMAT parquet)")
    engine._lake.take(file.path, after)


@everywhere
def test_a_cent_too_much_in_gold_is_found(world: World, engine: PortEngine[Any], tmp_path: Path) -> None:
    write_object(world.root, HOUR, 0, [purchase()])
    world.build([HOUR])
    table = GOLD["hourly_revenue"]
    assert [each for each in engine.reconcile(table, [DAY]) if each.gold != each.silver] == []
    edit_day(engine, "SELECT * REPLACE (total_revenue + 0.01 AS total_revenue) FROM {day}", tmp_path)
    wrong = [each for each in engine.reconcile(table, [DAY]) if each.gold != each.silver]
    assert [(each.name, each.gold, each.silver) for each in wrong] == [("revenue", Decimal("19.99"), Decimal("19.98"))]


@everywhere
def test_a_row_that_gold_has_twice_is_found(world: World, engine: PortEngine[Any], tmp_path: Path) -> None:
    write_object(world.root, HOUR, 0, [purchase()])
    world.build([HOUR])
    assert engine.grain_faults(GOLD["hourly_revenue"], [DAY]) == []
    edit_day(engine, "SELECT * FROM {day} UNION ALL SELECT * FROM {day}", tmp_path)
    (fault,) = engine.grain_faults(GOLD["hourly_revenue"], [DAY])
    assert (fault["event_date"], fault["rows_found"]) == (DAY, 2)


# --- Lost objects -------------------------------------------------------------------------------------------------


@every_lake
def test_an_hour_that_lost_an_object_keeps_its_published_build(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0, 5)
    world.build([HOUR])
    (lost,) = (world.root / "raw" / HOUR.raw_prefix).rglob("minute=05/*.gz")
    lost.unlink()
    landed(world, 10)
    for force in (False, True):
        with pytest.raises(LostObjectsError, match=rf"{lost.name}.*--allow-lost-objects"):
            world.build([HOUR], force=force)
    assert seen(engine) == 4
    (told,) = world.build([HOUR], allow_lost_objects=True)
    assert told.reason == "rebuilt without the lost objects on request"
    world.assert_agrees_with_oracle()


@every_lake
def test_an_hour_whose_raw_expired_stays_as_it_was_built(world: World, engine: PortEngine[Any]) -> None:
    landed(world, 0)
    world.build([HOUR])
    shutil.rmtree(world.root / "raw" / HOUR.raw_prefix)
    (kept,) = world.build([HOUR])
    assert kept.outcome is SilverOutcome.UNCHANGED
    assert kept.reason == "its raw objects are lost, the published build stays"
    with pytest.raises(LostObjectsError):
        world.build([HOUR], force=True)
    assert seen(engine) == 2


@every_lake
def test_removing_an_unreadable_object_loses_nothing_and_is_allowed(world: World) -> None:
    landed(world, 0)
    broken = write_object(world.root, HOUR, 5, b"not gzip")
    (build_with,) = world.build([HOUR])
    assert [each.unreadable for each in build_with.commit.account.objects] == [None, "not_gzip"]
    (world.root / "raw" / broken).unlink()
    (without,) = world.build([HOUR])
    assert (without.reason, without.commit.account.unreadable) == ("input changed", ())
    world.assert_agrees_with_oracle()


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
    assert "move it away and rebuild" in str(failed.value)
    assert (engine._lake.read(record) or (b"",))[0] == b"{"
    engine._lake.delete([record])
    world.build([HOUR, NEXT])
    world.assert_agrees_with_oracle()
