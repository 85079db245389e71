"""The sensor over a year of hours: every due hour is asked for exactly once, and a look costs the same at any size."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.assets.pipeline import hourly_pipeline_job, pipeline_assets
from event_pipeline.automation.sensor_cursor import MOST_CURSOR_BYTES, Cursor, Request
from event_pipeline.automation.sensors import NOTICED_DAYS_AT_ONCE, new_raw_objects_sensor
from event_pipeline.dagster_instance.run_hours import hours_of_tags
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import TransientError
from event_pipeline.rules.accounting import RawObject
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.automation.counting_engine import CountingEngine, raw_object

NOW = datetime(2026, 11, 1, 0, 30, tzinfo=UTC)
YEAR = HourRange(Hour.parse("2025-11-01T00"), Hour.parse("2026-11-01T00"))
OBJECTS_PER_HOUR = 12
RECENT_DAYS = 3
"""Days that 48 hours reach into, today among them."""
CALLS_OF_ONE_DAY = Counter(list_raw_hours=1, hour_commits=1, registered_builds=1, hours_behind=5)


class Year:
    """A year of hours and the sensor over it, at its default settings but for the sweep."""

    def __init__(self, instance: dg.DagsterInstance, engine: Any, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.instance = instance
        self.now = NOW
        self.cursor: str | None = None
        self.run_keys: set[str] = set()
        self.sensor = new_raw_objects_sensor(
            hourly_pipeline_job(pipeline_assets(settings)), load_gold_tables(), settings, lambda: self.now
        )

    def look(self) -> list[HourRange]:
        """Take one look 30 seconds after the last one, and return the ranges it asks for, in its order."""
        self.now += timedelta(seconds=30)
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, resources={"engine": self.engine}, sensor_name="new_raw_objects"
        )
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        assert len((self.cursor or "").encode()) <= MOST_CURSOR_BYTES
        ranges = []
        for request in result.run_requests or []:
            if request.run_key in self.run_keys:
                continue  # Dagster takes each run key once
            self.run_keys.add(str(request.run_key))
            key = request.partition_key
            hours = HourRange.of([Hour.parse(key)]) if key else hours_of_tags(request.tags)
            assert hours
            ranges.append(hours)
        return ranges

    def asked_in(self, looks: int, *, built: bool = True) -> list[Hour]:
        """Every hour that some looks ask for, as often as they do; runs are done before the next look, or never."""
        asked = []
        for _ in range(looks):
            hours = [hour for hours in self.look() for hour in hours]
            if built:
                self.engine.build(hours)
            asked += hours
        return asked


@pytest.fixture
def settings() -> Settings:
    return load_settings(first_partition=YEAR.first)


@cache
def objects_of_a_year(per_hour: int) -> dict[Hour, dict[str, RawObject]]:
    """The raw objects of a year: 105,120 with 12 an hour."""
    objects = ((hour, [raw_object(hour, number) for number in range(per_hour)]) for hour in YEAR)
    return {hour: {each.key: each for each in landed} for hour, landed in objects}


def year_of(
    instance: dg.DagsterInstance, settings: Settings, per_hour: int = OBJECTS_PER_HOUR, *, built: bool = True
) -> Year:
    engine = CountingEngine(settings.event_time_limits.rules_version, objects_of_a_year(per_hour))
    if built:
        engine.build(YEAR)
    return Year(instance, engine, settings)


@pytest.fixture
def full_year(instance: dg.DagsterInstance, settings: Settings) -> Year:
    """105,120 objects in 8,760 hours, all built."""
    return year_of(instance, settings)


@pytest.fixture
def year(instance: dg.DagsterInstance, settings: Settings) -> Year:
    """8,760 hours of one object each, all built: for what does not depend on how many there are."""
    return year_of(instance, settings, 1)


def swept_quickly(year: Year) -> Year:
    """The same with a sweep of a month at each look, for tests that wait for the whole of it."""
    faster = year.settings.model_copy(update={"sensor_sweep_hours": 744})
    return Year(year.instance, year.engine, faster)


WHOLE_SWEEP = 13
"""Looks in which such a sweep has met every hour."""


@pytest.mark.long
def test_a_look_at_an_unchanged_year_lists_its_days_and_reads_little_else(full_year: Year) -> None:
    full_year.look()
    days = RECENT_DAYS - 1 + 1  # today has no closed hour yet
    assert full_year.engine.calls == Counter(take_notices=1) + sum((CALLS_OF_ONE_DAY for _ in range(days)), Counter())

    full_year.engine.calls.clear()
    full_year.engine.listed = 0
    # Time of this process, which other processes of the machine do not add to.
    started = time.process_time()
    assert full_year.look() == []
    assert time.process_time() - started < 2
    # The recent days are settled; the next day of the sweep is compared in full, once a day.
    assert full_year.engine.calls == Counter(take_notices=1, list_raw_hours=2) + CALLS_OF_ONE_DAY
    assert full_year.engine.listed == days * 24 * OBJECTS_PER_HOUR


def test_a_sweep_over_days_that_were_compared_today_lists_them_and_reads_nothing_else(year: Year) -> None:
    quick = swept_quickly(year)
    quick.asked_in(WHOLE_SWEEP)
    quick.engine.calls.clear()
    quick.asked_in(WHOLE_SWEEP)

    assert set(quick.engine.calls) == {"take_notices", "list_raw_hours"}


@pytest.mark.long
def test_500_objects_in_one_look_are_each_asked_for_exactly_once(full_year: Year) -> None:
    chosen = random.Random(7).sample(list(YEAR), 500)
    quick = swept_quickly(full_year)
    quick.asked_in(3)
    for hour in chosen:
        quick.engine.land(hour, 99, modified=quick.now - timedelta(minutes=5))
    asked = quick.asked_in(2 * WHOLE_SWEEP)

    assert Counter(asked) == Counter(chosen)


def test_500_recent_and_noticed_objects_are_asked_for_by_the_next_looks(year: Year) -> None:
    """All at once: the recent hours get new objects, and the queue tells of as many old ones as it can."""
    recent = list(YEAR)[-48:]
    old = list(YEAR)[:452]
    for hour in (*recent, *old):
        year.engine.land(hour, 99, modified=NOW - timedelta(minutes=5))
    year.engine.told = old
    first = year.look()

    assert [hours.first for hours in first] == sorted((hours.first for hours in first), reverse=True)
    assert set(recent) <= {hour for hours in first for hour in hours}
    year.engine.build(hour for hours in first for hour in hours)
    days = -(-len(old) // 24)
    rest = year.asked_in(-(-days // NOTICED_DAYS_AT_ONCE))
    assert Counter([*(hour for hours in first for hour in hours), *rest]) == Counter([*recent, *old])


@pytest.mark.long
def test_a_year_that_is_not_built_is_asked_for_once_newest_first_in_whole_runs(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    quick = swept_quickly(year_of(instance, settings, built=False))
    ranges = []
    for _ in range(WHOLE_SWEEP):
        asked = quick.look()
        ranges += asked
        quick.engine.build(hour for hours in asked for hour in hours)

    assert Counter(hour for hours in ranges for hour in hours) == Counter(YEAR)
    assert [hours.first for hours in ranges] == sorted((hours.first for hours in ranges), reverse=True)
    assert len(ranges) <= len(YEAR) / settings.hours_per_run + WHOLE_SWEEP


def test_hours_that_nothing_builds_fill_the_cursor_to_its_bound_and_no_further(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    quick = swept_quickly(year_of(instance, settings, 1, built=False))
    asked = quick.asked_in(WHOLE_SWEEP, built=False)

    assert Counter(asked) == Counter(YEAR)
    assert len(Cursor.from_json(quick.cursor).requests) == 1_000


def test_the_largest_cursor_has_fewer_bytes_than_its_bound() -> None:
    hours = list(HourRange(YEAR.first, YEAR.first.plus(20_000)))
    cursor = Cursor(
        date(2025, 11, 1),
        {hour: Request("f" * 16, 99, NOW) for hour in hours},
        {hour.start.date(): "f" * 16 for hour in hours},
        frozenset(hour.start.date() for hour in hours),
        tuple("r" * 1024 for _ in range(50)),
    )
    written = cursor.to_json()
    read = Cursor.from_json(written)

    assert 100_000 < len(written) <= MOST_CURSOR_BYTES
    assert (len(read.requests), len(read.settled), len(read.noticed), len(read.receipts)) == (1_000, 400, 400, 50)
    assert max(read.requests) == hours[-1]


# -- notices


def test_an_object_whose_notice_is_lost_is_found_by_the_sweep(year: Year) -> None:
    quick = swept_quickly(year)
    late = YEAR.first.plus(100)
    quick.asked_in(1)
    quick.engine.land(late, 5, etag="replaced")

    assert quick.asked_in(WHOLE_SWEEP) == [late]


def test_a_notice_makes_an_old_hour_looked_at_now(year: Year) -> None:
    late = YEAR.first.plus(100)
    year.look()
    year.engine.land(late, 99)
    year.engine.told = [late]

    assert year.asked_in(1) == [late]


def test_a_notice_is_done_with_once_the_cursor_that_holds_it_comes_back(year: Year) -> None:
    late = YEAR.first.plus(100)
    year.engine.told = [late]
    before = year.cursor
    year.look()
    assert year.engine.done_with == []
    # The daemon died before it stored the cursor: the queue shows the notice again.
    year.cursor, year.engine.told = before, [late]
    year.look()
    assert year.engine.done_with == []
    for _ in range(2):
        year.look()

    assert year.engine.done_with == [f"receipt of {late}"]


def test_notices_that_come_doubled_and_in_any_order_ask_once(year: Year) -> None:
    late = [YEAR.first.plus(offset) for offset in (100, 101, 500)]
    year.engine.told = [late[2], late[0]]  # the notice is there before the objects
    asked = year.asked_in(1)
    for hour in late:
        year.engine.land(hour, 99)
    for told in ([late[2], late[1]], [late[0], late[2]], [late[2]]):
        year.engine.told = list(told)
        asked += year.asked_in(1)

    assert Counter(asked) == Counter(late)


def test_a_noticed_day_is_looked_at_until_nothing_waits_in_it(year: Year) -> None:
    late = YEAR.first.plus(100)
    year.engine.land(late, 99, modified=year.now)
    year.engine.told = [late]

    assert year.asked_in(1) == []
    assert Cursor.from_json(year.cursor).noticed == {late.start.date()}
    assert year.asked_in(2) == [late]
    assert Cursor.from_json(year.cursor).noticed == frozenset()


def test_a_queue_that_fails_stops_nothing(year: Year, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(done_with: object) -> None:
        raise TransientError("sqs:ReceiveMessage: denied")

    monkeypatch.setattr(year.engine, "take_notices", fails)
    year.engine.land(YEAR.last, 99)

    assert year.asked_in(1) == [YEAR.last]


# -- objects


def test_objects_of_the_same_second_and_older_ones_are_all_seen(year: Year) -> None:
    """What a bookmark of the newest time misses: an object of the same second, and one that is dated before it."""
    second = YEAR.last.start + timedelta(minutes=59)
    year.look()
    asked = []
    for number, modified in enumerate((second, second, second - timedelta(minutes=2))):
        year.engine.land(YEAR.last, 100 + number, modified)
        asked += year.asked_in(1)

    assert asked == [YEAR.last] * 3


def test_a_replaced_object_is_seen_though_key_size_and_time_are_the_same(year: Year) -> None:
    year.look()
    year.engine.land(YEAR.last, 3, etag="other bytes")

    assert year.asked_in(3) == [YEAR.last]


def test_an_object_a_week_late_is_found_within_a_week_of_looks(year: Year) -> None:
    late = YEAR.last.plus(-7 * 24)
    year.asked_in(2)
    year.cursor = None
    year.engine.land(late, 99)

    assert year.asked_in(7) == [late]


def test_a_listing_that_fails_half_way_moves_nothing_and_loses_nothing(year: Year) -> None:
    quick = swept_quickly(year)
    quick.asked_in(2)
    before = quick.cursor
    late = [YEAR.first.plus(300), YEAR.last]
    for hour in late:
        quick.engine.land(hour, 99)
    for listing in (1, 2, 20):
        quick.engine.fail_at_listing = listing
        with pytest.raises(TransientError, match="SlowDown"):
            quick.look()
        assert quick.cursor == before

    assert Counter(quick.asked_in(WHOLE_SWEEP)) == Counter(late)


def test_hours_that_a_lifecycle_rule_empties_are_never_asked_for(year: Year) -> None:
    quick = swept_quickly(year)
    quick.engine.expire(list(YEAR)[:2000])
    quick.engine.expire(list(YEAR)[2000:2100], keep=5)

    assert quick.asked_in(2 * WHOLE_SWEEP) == []


def test_everything_is_compared_again_each_day(year: Year) -> None:
    year.asked_in(1)
    year.now += timedelta(days=1)
    year.engine.calls.clear()
    year.look()

    assert year.engine.calls["hour_commits"] == year.engine.calls["list_raw_hours"]


# -- the local engine


def test_a_look_of_the_local_engine_takes_seconds_with_a_year_in_its_catalog(
    instance: dg.DagsterInstance, settings: Settings, tmp_path: Path
) -> None:
    local = settings.model_copy(update={"root": tmp_path, "workers": 1})
    engine = LocalEngine(local)
    assert engine.registered_builds() == {}
    fill_catalog(local)
    recent = list(YEAR)[-72:]
    for key in (key for hour in recent for key in objects_of_a_year(OBJECTS_PER_HOUR)[hour]):
        path = local.root / "raw" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (NOW.timestamp() - 3600,) * 2)
    looking = Year(instance, engine, local)
    started = time.process_time()
    asked = [hour for hours in looking.look() for hour in hours]
    assert looking.look() == []

    assert time.process_time() - started < 10
    assert sorted(asked) == recent
    assert len(engine.registered_builds()) == len(YEAR)


def fill_catalog(settings: Settings) -> None:
    """Register a year of hours, as many entries as their builds would make."""
    gold_tables = load_gold_tables()
    versions = {"silver.events": "", "silver.quarantine": "", "ops.hour_ledger": ""}
    versions |= {f"partials.{table.name}": table.version for table in gold_tables}
    paths = [(hour.hive_path, str(hour.start.date())) for hour in YEAR]
    with closing(sqlite3.connect(settings.root / "catalog.sqlite")) as catalog:
        catalog.executemany(
            "INSERT INTO partition VALUES (?, ?, 'r', '2026-01-01', 'r', ?)",
            [(table, path, version) for table, version in versions.items() for path, _ in paths],
        )
        for table in gold_tables:
            rows = [(table.name, path, day) for path, day in paths]
            catalog.executemany("INSERT INTO partial_day VALUES (?, ?, ?)", rows)
            catalog.executemany(
                "INSERT INTO day_input VALUES (?, ?, ?, 'r')", [(*row[:1], row[2], row[1]) for row in rows]
            )
        catalog.commit()
