"""The whole pipeline rehearsed: Dagster's webserver and daemon as processes, objects landing, faults and kills.

Past hours are fed one after the other, so each takes only seconds. Some objects arrive late, twice or broken, or are
replaced. Killed are a run of a backfill, the daemon, every process in the middle of a run, and runs at random times. At
the end every hour must be published and match its raw objects exactly.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from event_pipeline.automation.schedules import HOURLY_SCHEDULE
from event_pipeline.automation.sensors import NEW_RAW_OBJECTS
from event_pipeline.dagster_instance.run_hours import UNFINISHED
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.dev_process import Dev, TimedOutError, dev_running, wait_for

SETTLE_SECONDS = 600
HOURS_BEFORE_NOW = 3
"""Between the hours that are fed and the present one nothing lands."""
HOURS_BACKFILLED = 2
"""They have landed before the sensor is switched on."""
_LATEST_KILL_SECONDS = 2.0
"""A run that has just started is killed within this time; it takes longer."""
OPTIONS = GeneratorOptions(
    events_per_file=60, seed=11, bad_share=0.02, duplicate_share=0.02, late_share=0.05, broken_objects=1
)


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The result of a rehearsal."""

    hours: int
    objects: int
    runs: int
    kills: int
    """Of single processes, and of all at once."""
    seconds: float
    peaks_mb: dict[str, float]
    most_at_once: dict[str, int]
    """Pool -> most steps that held it at the same time; `runs` -> most runs."""


class Feed:
    """Objects generated in advance, which land in the raw folder one by one."""

    def __init__(
        self,
        root: Path,
        staging: Path,
        hours: HourRange,
        every_seconds: float,
        options: GeneratorOptions = OPTIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        generate(staging, hours, options, lambda made: None)
        self._root, self._staging, self._every, self._clock = root, staging, every_seconds, clock
        self._keys = {hour: sorted(self._keys_of(hour)) for hour in hours}
        self.landed = 0

    def objects_of(self, hour: Hour) -> list[str]:
        """Return the keys of an hour's objects, in order."""
        return self._keys[hour]

    def land(self, keys: Sequence[str]) -> None:
        """Land objects, one every few seconds."""
        for key in keys:
            self._write(key, (self._staging / key).read_bytes())
            time.sleep(self._every)

    def double(self, key: str) -> None:
        """Land an object a second time, two minutes later in the same hour."""
        hour = Hour.of_raw_key(key)
        assert hour
        again = hour.raw_key(hour.start + timedelta(minutes=int(key.split("minute=")[1][:2]) + 2))
        self._write(again, (self._staging / key).read_bytes())

    def replace(self, key: str, by: str) -> None:
        """Replace an object's content with that of another."""
        self._write(key, (self._staging / by).read_bytes())

    def _write(self, key: str, content: bytes) -> None:
        path = self._root / "raw" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._root / "raw" / ".landing"
        partial.write_bytes(content)
        now = self._clock()
        os.utime(partial, (now, now))
        os.replace(partial, path)
        self.landed += 1

    def _keys_of(self, hour: Hour) -> Iterator[str]:
        for path in (self._staging / hour.raw_prefix).rglob("*.gz"):
            yield str(path.relative_to(self._staging))


def rehearse(
    folder: Path, hours_fed: int, every_seconds: float, run_kills: int = 0, chance: random.Random | None = None
) -> Rehearsed:
    """Feed some past hours to a running pipeline, kill it again and again, and prove what it published.

    At the end runs are killed `run_kills` times more.

    Raises:
        AssertionError: an hour is missing or wrong, a limit did not hold, or a process survived.
    """
    started = time.monotonic()
    root, now = folder / "data", datetime.now(UTC)
    first = Hour.containing(now).plus(-HOURS_BEFORE_NOW - hours_fed)
    hours, earlier = HourRange(first, first.plus(hours_fed)), HourRange(first.plus(-HOURS_BACKFILLED), first)
    every_hour = HourRange(earlier.first, hours.end)
    # The schedule ticks once while this goes on: late enough to be switched on before, however busy the machine is.
    minute = (now + timedelta(seconds=180)).minute
    environment = {
        "EVENT_PIPELINE_FIRST_PARTITION": str(earlier.first),
        "EVENT_PIPELINE_QUIET_SECONDS": "2",
        "EVENT_PIPELINE_SENSOR_INTERVAL_SECONDS": "5",
        "EVENT_PIPELINE_RETRY_AFTER_MINUTES": "1",
        "EVENT_PIPELINE_SCHEDULE_MINUTE": str(minute),
        "EVENT_PIPELINE_WORKERS": "1",
    }
    settings = load_settings(root=root, first_partition=earlier.first, workers=1)
    feed = Feed(root, folder / "staging", hours, every_seconds)
    with dev_running(root, environment, folder / "dev.log") as dev, dev.memory_noted():
        generate(root / "raw", earlier, replace(OPTIONS, broken_objects=0))
        asked = dev.command("backfill", "--from", str(earlier.first), "--to", str(earlier.end), "--yes")
        assert asked.returncode == 0, asked.stdout + asked.stderr
        dev.switch_on(NEW_RAW_OBJECTS, HOURLY_SCHEDULE)
        chance = chance or random.Random(0)
        kills = _feed_and_kill(feed, list(hours), dev, settings, chance)
        for _ in range(run_kills):
            kills += _kill_runs(dev, chance)
        try:
            wait_for("every hour to be published", lambda: _is_settled(settings, every_hour), SETTLE_SECONDS)
        except TimedOutError as error:
            raise TimedOutError(f"{error}\n{_situation(settings, every_hour)}\n{dev.log.read_text()[-8000:]}") from None
        scheduled = _wait_for_schedule(settings, dev)
        peaks = dict(dev.peaks_mb)
        verified = dev.command("verify")
        examined = dev.command("doctor")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert examined.returncode == 0, examined.stdout + examined.stderr
    engine = LocalEngine(settings)
    assert {*every_hour, scheduled} <= set(engine.registered_builds())
    accounts = [commit.account for commit in engine.hour_commits(hours).values()]
    assert sum(len(account.objects) for account in accounts) == 12 * hours_fed + 1
    assert sum(len(account.unreadable) for account in accounts) == 1
    assert all(account.duplicates >= OPTIONS.events_per_file * 0.9 for account in accounts[1:3])
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for table in load_gold_tables():
            published = instance.get_materialized_partitions(dg.AssetKey(table.name))
            assert {hour.partition_key for hour in every_hour} <= published, table.name
        at_once = most_at_once(instance)
        runs = len(instance.get_runs())
    limits = {"silver": 1, "runs": 3, **{f"gold_{table.name}": 1 for table in load_gold_tables()}}
    assert all(most <= limits[name] for name, most in at_once.items()), at_once
    return Rehearsed(hours_fed, feed.landed, runs, kills, time.monotonic() - started, peaks, at_once)


def _kill_runs(dev: Dev, chance: random.Random) -> int:
    """Kill the runs that go on at a random time after there is one; return how many there were, at least one."""
    killed = 0
    while not killed:
        wait_for("a run to be killed", lambda: bool(dev.runs()), SETTLE_SECONDS)
        time.sleep(chance.uniform(0, _LATEST_KILL_SECONDS))
        killed = dev.kill_runs()
    return killed


def _feed_and_kill(feed: Feed, hours: Sequence[Hour], dev: Dev, settings: Settings, chance: random.Random) -> int:
    """Feed the hours; kill a run of the backfill and the daemon, then everything; return how often that was."""
    kills = _kill_runs(dev, chance)
    engine, late = LocalEngine(settings), feed.objects_of(hours[0])[-1]
    feed.land(feed.objects_of(hours[0])[:-1])
    second = feed.objects_of(hours[1])
    feed.land(second[:6])
    dev.kill_daemon()
    feed.land(second[6:9])
    dev.start()
    wait_for("the first hour to be published", lambda: hours[0] in engine.registered_builds(), SETTLE_SECONDS)
    feed.land(second[9:])
    for hour in hours[2:]:
        feed.land(feed.objects_of(hour))
    wait_for("a run to be in progress", lambda: _is_running(settings), SETTLE_SECONDS)
    dev.kill_everything()
    feed.land([late])
    feed.double(second[3])
    feed.replace(feed.objects_of(hours[2])[4], by=feed.objects_of(hours[2])[5])
    dev.start()
    return kills + 2


def _is_running(settings: Settings) -> bool:
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return bool(instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]), limit=1))


def _is_settled(settings: Settings, hours: HourRange) -> bool:
    """Return whether every hour is published through to Gold and nothing is queued or running."""
    states = open_pipeline(settings).states(datetime.now(UTC), hours)
    if set(states.values()) != {HourState.READY}:
        return False
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return not instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED), limit=1)


def _situation(settings: Settings, hours: HourRange) -> str:
    """Return what is still pending: the state of every hour and of every run, with its tags."""
    states = open_pipeline(settings).states(datetime.now(UTC), hours)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        runs = [f"{run.run_id} {run.status.value} {dict(run.tags)}" for run in instance.get_runs()]
    return "\n".join([*(f"{hour}: {state.value}" for hour, state in states.items()), *runs])


def _wait_for_schedule(settings: Settings, dev: Dev) -> Hour:
    """Return the hour that the schedule built, an empty one."""

    def scheduled() -> list[Hour]:
        return [hour for hour, commit in LocalEngine(settings).hour_commits().items() if not commit.account.objects]

    def is_through() -> bool:
        return bool(scheduled()) and _is_settled(settings, HourRange.of(scheduled()))

    wait_for("the schedule to build the hour that closed last", is_through, SETTLE_SECONDS)
    return scheduled()[-1]


def most_at_once(instance: dg.DagsterInstance) -> dict[str, int]:
    """Return, from the event log, how many steps held each pool at the same time at most, and how many runs ran."""
    held = defaultdict[str, list[tuple[float, int]]](list)
    pools = {name.removeprefix("gold_"): name for name in (f"gold_{table.name}" for table in load_gold_tables())}
    pools |= {"silver_events": "silver", "silver_partitions": "silver"}
    for record in instance.get_run_records():
        if record.start_time and record.end_time:
            held["runs"] += [(record.start_time, 1), (record.end_time, -1)]
        starts: dict[str, float] = {}
        ends = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
        for entry in instance.all_logs(record.dagster_run.run_id, of_type={dg.DagsterEventType.STEP_START, *ends}):
            event = entry.get_dagster_event()
            step = event.step_key or ""
            if event.event_type is dg.DagsterEventType.STEP_START:
                starts[step] = entry.timestamp
            elif step in starts and step in pools:
                held[pools[step]] += [(starts[step], 1), (entry.timestamp, -1)]
    # Ends sort before starts of the same instant.
    return {name: max(itertools.accumulate(change for _, change in sorted(changes))) for name, changes in held.items()}


def cleared(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
