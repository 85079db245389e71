"""A day and a month in compressed time: objects land live, everything goes wrong at random, and nothing may grow.

Dagster's own daemons look at sensor, schedules, runs and queue in this process, on the clock of the soak. Each run, and
each look that is to be killed, is a process of its own. At the end `verify` recounts every hour, and the oracle does;
memory, descriptors and storage are looked at all the while.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import dagster as dg
import psutil
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher

from event_pipeline.assets import faults as step_faults
from event_pipeline.automation.housekeeping_job import HOUSEKEEPING_SCHEDULE
from event_pipeline.automation.schedules import HOURLY_SCHEDULE
from event_pipeline.automation.sensors import NEW_RAW_OBJECTS
from event_pipeline.dagster_instance.prepare import prepare_instance
from event_pipeline.dagster_instance.run_hours import PROCESS_TAG, UNFINISHED, close_abandoned_runs
from event_pipeline.definitions import build_definitions
from event_pipeline.engines.leftovers import is_retired_day
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.open import open_pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.generator import GeneratorOptions
from event_pipeline.generator.raw_folder import landing_instants
from event_pipeline.inspection.verification import verify
from event_pipeline.operations.housekeeping import find_housework, remove_housework
from event_pipeline.reporting.answers import named_query
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GOLD_FOLDER, GoldTable, load_gold_tables
from event_pipeline.settings import PREFIX, load_settings
from event_pipeline_tests import oracle
from event_pipeline_tests.assemblies import variables
from event_pipeline_tests.dagster_daemon import (
    Looked,
    look_at_queue,
    look_at_runs,
    look_at_schedules,
    look_at_sensors,
    storage,
    switch_on,
    workspace,
)
from event_pipeline_tests.pipeline import ALL_GOLD, in_order, rows
from event_pipeline_tests.rehearsal import Feed, rehearse
from event_pipeline_tests.reliability.clocks import reading
from event_pipeline_tests.reliability.lakes import LakeOnDisk, needed_and_stored
from event_pipeline_tests.reliability.steps import Fault, Step, Steps, numbered
from event_pipeline_tests.reliability.trial import Promise, Say, Trial

LONG_SCALE = 10
"""From this scale on there is a month, a day with real processes, and a disk that is really full."""
_FIRST = Hour.parse("2025-12-07T10")
"""So that a day has a midnight in its middle."""
_OPTIONS = GeneratorOptions(
    events_per_file=20, seed=17, bad_share=0.02, duplicate_share=0.02, late_share=0.004, broken_objects=1
)
_STRUCK, _FAILED = 3, 4
"""Exit codes of a process: its fault came, or it ended with an error that nobody expects."""
_DAEMON, _RUN = "the daemons", "a run"
Work = Callable[[], object]
_IMPORTS = ("duckdb", "pandas", "pyarrow.dataset", "pyarrow.parquet")
"""What runs import as they go along, if it is installed: a fork has it."""


# -- time


class Clock:
    """The true time, by which producers write, and the time that this machine shows."""

    def __init__(self, begins: datetime) -> None:
        self.true = begins
        self.wrong_by = timedelta(0)
        self._looks = itertools.count()

    def now(self, zone: Any = None) -> datetime:
        """Return what this machine shows, a little later at every look."""
        return self.true + self.wrong_by + timedelta(microseconds=next(self._looks))

    def timestamp(self) -> float:
        """Return the same as seconds since 1970."""
        return self.now().timestamp()


_READ_THE_CLOCK = (
    "assets.raw",
    "automation.housekeeping_job",
    "automation.sensors",
    "engines.engine",
    "engines.housekeeping",
    "engines.names",
    "engines.open",
)
"""Modules of the package that ask for the time while it runs by itself."""


@contextmanager
def machine_with(clock: Clock) -> Iterator[None]:
    """Let the pipeline and Dagster read a clock, and let a step that tries again not wait."""
    with ExitStack() as patches:
        patches.enter_context(reading(clock, [import_module(f"event_pipeline.{name}") for name in _READ_THE_CLOCK]))
        patches.enter_context(mock.patch("dagster._time._mockable_get_current_datetime", clock.now))
        patches.enter_context(mock.patch("dagster._time._mockable_get_current_timestamp", clock.timestamp))
        # Dagster takes the times of events, and of runs with them, from the log.
        made = logging.getLogRecordFactory()

        def stamped(*arguments: Any, **named: Any) -> logging.LogRecord:
            record = made(*arguments, **named)
            record.created = clock.timestamp()
            return record

        logging.setLogRecordFactory(stamped)
        patches.callback(logging.setLogRecordFactory, made)
        at_once = dg.RetryPolicy(max_retries=step_faults.BACKOFF.max_retries, delay=0)
        patches.enter_context(mock.patch.object(step_faults, "BACKOFF", at_once))
        yield


# -- processes


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    """Negative for a signal."""
    peak_mb: float


def forked(work: Work, said: Path, killed_after: float = 0) -> Ended:
    """Do work in a process of its own and wait for it; its output, and why it failed, are appended to a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of this process sleep
        child = os.fork()
    if child == 0:
        try:
            output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            logging.disable(logging.NOTSET)
            if killed_after:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, killed_after)
            work()
            os._exit(0)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(_FAILED)
    _, status, used = os.wait4(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), used.ru_maxrss / 1024)


class ForkingRunLauncher(SyncInMemoryRunLauncher):
    """Executes each run in a process, and waits for it."""

    execute: Callable[[Work], None]
    jobs: Callable[[str], dg.JobDefinition]
    """Set by the soak: the jobs by name, which are loaded once."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Execute it."""
        run = context.dagster_run
        self.execute(lambda: execute_run(InMemoryJob(self.jobs(run.job_name)), run, self._instance))
        left = self._instance.get_run_by_id(run.run_id)
        if left and not left.is_finished and PROCESS_TAG not in left.tags:
            # As the code server does that started a process, if it dies before it has said which one it is.
            self._instance.report_run_failed(left)


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# -- what is looked at


@dataclass(frozen=True, slots=True)
class Sample:
    """What the pipeline occupies at one moment."""

    hours: int
    """Published, or retired since: of these a record stays, their part of Gold, and the run that built them."""
    memory_mb: Mapping[str, float]
    """Kind of process -> resident memory of the daemons, largest one of the runs since the last sample."""
    descriptors: int
    threads: int
    kept_bytes: int
    """In the data folder, without raw objects."""
    files: int


_MORE_MB = 24.0
"""So much more memory may a process need late than after its first quarter; allocators and caches are not exact."""
_MORE_STORAGE = 1.5
"""So many times its early storage may an hour have late: replaced builds have a grace."""


def growth(samples: Sequence[Sample]) -> list[str]:
    """Return what grew with time: the last quarter of the samples is compared with the second one."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    if not quarter or not early[0].hours:
        return [f"{len(samples)} samples of {samples[-1].hours if samples else 0} hours prove nothing"]
    found = []
    for kind in (_DAEMON, _RUN):
        before, after = (median(each.memory_mb[kind] for each in some) for some in (early, late))
        if after > before + _MORE_MB:
            found.append(f"the memory of {kind} grew from {before:.0f} to {after:.0f} MB")
    for name in ("descriptors", "threads"):
        before, after = (min(getattr(each, name) for each in some) for some in (early, late))
        if after > before:
            found.append(f"open {name} of the daemons grew from {before} to {after}")
    for name in ("kept_bytes", "files"):
        before, after = (median(getattr(each, name) / each.hours for each in some) for some in (early, late))
        if after > before * _MORE_STORAGE:
            found.append(f"{name} of each hour grew from {before:,.0f} to {after:,.0f}")
    return found


# -- what happens


@dataclass(frozen=True, slots=True)
class Span:
    """How long a soak is, and how dense."""

    name: str
    hours: int
    objects: int
    """In each hour."""
    minutes: int
    """From one look of the daemons to the next."""
    rounds: int
    """Times that each happening comes."""
    gold: Sequence[str]
    """Names of the Gold tables."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """Settings other than the defaults, by name."""
    patience: int = 40
    """Hours at the end within which everything must be published: a request that failed may wait for a day."""


DAY = Span("a compressed day", 24, 12, 20, 2, [table.name for table in ALL_GOLD], {"RUN_HISTORY_DAYS": "5"})
MONTH = Span(
    "a compressed month",
    720,
    2,
    180,
    24,
    ["user_activity"],
    {
        "EXPECTED_OBJECTS": "2",
        "BUILD_GRACE_DAYS": "3",
        "RUN_HISTORY_DAYS": "5",
        "SILVER_RETENTION_DAYS": "10",
        "GOLD_RETENTION_DAYS": "18",
    },
)
"""With retention that a month gets to feel, and with the Gold table whose partials hold people."""

_JUMPS = tuple(timedelta(minutes=minutes) for minutes in (-200, -90, -7, 7, 45, 130, 26 * 60))


class Soak:
    """One span over one data folder."""

    def __init__(self, span: Span, folder: Path, seed: int, *, small_disk: bool = False) -> None:
        self.span, self.folder, self.seed = span, folder, seed
        self.hours = HourRange(_FIRST, _FIRST.plus(span.hours))
        self.clock = Clock(_FIRST.start)
        self.root = folder / "data"
        self.settings = load_settings(root=self.root, workers=1, first_partition=_FIRST, lock_timeout_seconds=5)
        self.happened = Counter[str]()
        self.unhealed: list[str] = []
        self.grown: list[str] = []
        self.lost: list[str] = []
        self.samples: list[Sample] = []
        self.objects = self.runs = 0
        self._chance = random.Random(f"{seed} {span.name}")
        self._small_disk = small_disk
        self._trouble: list[Callable[[Work], Ended]] = []
        self._upset = self._is_full = False
        self._down = 0
        self._peaks = [0.0]
        self._looked = Looked()
        self._agenda: list[tuple[datetime, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._temporary = folder / "tmp"
        for name in ("data", "raw", "tmp", "gold"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._gold = folder / "gold"
        for name in span.gold:
            shutil.copy(GOLD_FOLDER / f"{name}.sql", self._gold)
        self._tables = load_gold_tables(self._gold)
        (self.root / "raw").symlink_to(folder / "raw")
        self._feed = Feed(
            folder,
            folder / "staging",
            self.hours,
            0,
            replace(_OPTIONS, files_per_hour=span.objects),
            clock=lambda: self.clock.true.timestamp(),
        )

    # -- the whole

    def run(self, say: Say) -> None:
        """Let everything happen, let it heal, and look at what came of it."""
        with ExitStack() as opened:
            opened.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.CRITICAL)  # of the daemons, which report what is due at every look
            opened.enter_context(machine_with(self.clock))
            opened.enter_context(mock.patch.object(tempfile, "tempdir", str(self._temporary)))
            prepare_instance(self.settings).dispose()
            instance = opened.enter_context(storage(self.settings.dagster_home, ForkingRunLauncher))
            self._context = opened.enter_context(workspace(instance, self.settings, self.folder, self._gold))
            launcher = instance.run_launcher
            assert isinstance(launcher, ForkingRunLauncher)
            launcher.execute = self._execute
            launcher.jobs = build_definitions(self.settings, self._gold).resolve_job_def
            switch_on(self._context, (NEW_RAW_OBJECTS,), (HOURLY_SCHEDULE, HOUSEKEEPING_SCHEDULE))
            for name in _IMPORTS:
                if find_spec(name.partition(".")[0]):
                    import_module(name)
            self._plan()
            while self._agenda:
                at, _, happens = heapq.heappop(self._agenda)
                self.clock.true = max(self.clock.true, at)
                happens()
                if happens == self._sample and len(self.samples) % 24 == 0:
                    say(f"{self.span.name}: {len(self.samples)} of {self.span.hours} hours, {self.runs} runs")
            self._settle()
            self._recount()
            self._keep_house()

    def _plan(self) -> None:
        for number, hour in enumerate(self.hours):
            for at, key in zip(landing_instants(hour, self.span.objects), self._feed.objects_of(hour), strict=True):
                self._at(at, partial(self._land, key))
            self._at(hour.start + timedelta(minutes=59), self._sample)
            if number % 24 == 16:
                self._at(hour.start + timedelta(minutes=1), self._age)
        for minute in range(2, 60 * self.span.hours, self.span.minutes):
            self._at(_FIRST.start + timedelta(minutes=minute), self.look)
        kinds = (
            self._run_fails,
            self._run_is_killed,
            self._daemon_is_killed,
            self._daemon_is_down,
            self._clock_jumps,
            self._disk_is_full,
            self._sensor_fails,
            self._object_is_replaced,
            self._object_comes_twice,
            self._object_is_late,
        )
        for kind in [kind for kind in kinds for _ in range(self.span.rounds)]:
            # Not in the last two hours, and not before there is anything to break.
            minute = self._chance.randrange(90, 60 * (self.span.hours - 2))
            self._at(_FIRST.start + timedelta(minutes=minute), kind)

    def _at(self, instant: datetime, happens: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (instant, next(self._numbers), happens))

    def _later(self, minutes: int, happens: Callable[[], object]) -> None:
        self._at(self.clock.true + timedelta(minutes=minutes), happens)

    # -- producers

    def _land(self, key: str) -> None:
        self._feed.land([key])
        self.objects += 1

    def _landed(self) -> str:
        """Return the key of an object that has landed, a recent one."""
        closed = [hour for hour in self.hours if hour.end <= self.clock.true]
        return self._chance.choice(self._feed.objects_of(self._chance.choice(closed[-6:])))

    def _object_is_replaced(self) -> None:
        key, by = self._landed(), self._landed()
        if key != by:
            self._feed.replace(key, by)
            self.happened["an object is replaced"] += 1

    def _object_comes_twice(self) -> None:
        self._feed.double(self._landed())
        self.happened["an object comes twice"] += 1

    def _object_is_late(self) -> None:
        """Take one that has not landed yet off the agenda, and let it come hours later."""
        landings = [each for each in self._agenda if isinstance(each[2], partial) and each[2].func == self._land]
        if landings:
            chosen = self._chance.choice(sorted(landings)[: 4 * self.span.objects])
            self._agenda.remove(chosen)
            heapq.heapify(self._agenda)
            self._at(chosen[0] + timedelta(minutes=self._chance.randrange(80, 400)), chosen[2])
            self.happened["an object is late"] += 1

    # -- what goes wrong

    def _run_fails(self) -> None:
        fault = self._chance.choice((Fault.FAILS, Fault.HALF_DONE, Fault.REPLY_LOST))
        self._trouble.append(partial(self._with_fault, self._chance.randrange(1, 120), fault))

    def _run_is_killed(self) -> None:
        if self._chance.random() < 0.5:
            fault = self._chance.choice((Fault.ENDS_BEFORE, Fault.ENDS_AFTER))
            self._trouble.append(partial(self._with_fault, self._chance.randrange(1, 120), fault))
        else:
            seconds = self._chance.uniform(0.01, 1)
            self._trouble.append(lambda execute: self._counted(forked(execute, self._said, seconds)))

    def _with_fault(self, number: int, fault: Fault, execute: Work) -> Ended:
        """Let one call of a port have a fault, and count it if the run comes that far."""

        def work() -> None:
            struck = False

            def asked(step: Step) -> Fault | None:
                nonlocal struck
                struck = struck or step.number == number
                return fault if step.number == number else None

            with numbered(Steps(asked, _end)):
                execute()
            os._exit(_STRUCK if struck else 0)

        ended = forked(work, self._said)
        if ended.code == _STRUCK:
            self.happened["a call of a port fails in a run"] += 1
        return self._counted(ended)

    def _counted(self, ended: Ended) -> Ended:
        if ended.code in (-signal.SIGKILL, -signal.SIGALRM):
            self.happened["a run is killed"] += 1
        return ended

    def _daemon_is_killed(self) -> None:
        """Kill the daemons in the middle of a look; those that start again remember what is stored."""
        seconds = self._chance.uniform(0.001, 0.3)
        self.clock.true += timedelta(minutes=1)
        ended = forked(lambda: [self._look_at_sensors(), self._look_at_schedules()], self._said, seconds)
        self.happened["the daemons are killed"] += ended.code == -signal.SIGALRM
        self._looked = Looked()

    def _daemon_is_down(self) -> None:
        self._down += 1
        self.happened["the daemons are down for hours"] += 1
        self._later(self._chance.randrange(60, 300), self._daemon_is_up)

    def _daemon_is_up(self) -> None:
        self._down -= 1
        self._looked = Looked()

    def _clock_jumps(self) -> None:
        self.clock.wrong_by = self._chance.choice(_JUMPS)
        self.happened["the clock jumps"] += 1
        self._later(self._chance.randrange(10, 150), self._clock_is_right)

    def _clock_is_right(self) -> None:
        self.clock.wrong_by = timedelta(0)

    def _sensor_fails(self) -> None:
        if self._down:
            return
        number = self._chance.randrange(1, 8)
        with numbered(Steps(lambda step: Fault.FAILS if step.number == number else None)):
            self._look_at_sensors()
        self.happened["a call of a port fails in the sensor"] += 1

    def _disk_is_full(self) -> None:
        self._is_full = True
        self.happened["the disk is full"] += 1
        if self._small_disk:
            _resize(self.root, _used(self.root) + self._chance.randrange(400_000))
        self._later(self._chance.randrange(20, 100), self._disk_has_room)

    def _disk_has_room(self) -> None:
        self._is_full = False
        if self._small_disk:
            _resize(self.root, _DISK_BYTES)

    def _without_room(self, execute: Work) -> Ended:
        """Execute a run on a full disk; without a small disk of its own, no call that writes succeeds any more."""
        if self._small_disk:
            return forked(execute, self._said)
        since = self._chance.randrange(1, 120)

        def work() -> None:
            full = Steps(
                lambda step: Fault.FAILS if step.number >= since and step.acts and step.call != "delete" else None
            )
            with numbered(full):
                execute()

        return forked(work, self._said)

    # -- the daemons

    @property
    def _said(self) -> Path:
        return self.folder / "said.log"

    def look(self) -> None:
        """Let the daemons look once."""
        if self._down:
            return
        calm = not self._is_full and not self.clock.wrong_by
        wrong = list[str]()
        for daemon in (self._look_at_sensors, self._look_at_schedules, self._look_at_runs, self._look_at_queue):
            try:
                wrong += daemon() or []
            except Exception:
                wrong.append(traceback.format_exc()[-1500:])
        if wrong and calm:
            self.unhealed.append(f"{self._when()}: the daemons fail although nothing is wrong: {wrong[0][:1500]}")

    def _when(self) -> str:
        return f"{self.span.name}, seed {self.seed}, at {self.clock.true:%Y-%m-%dT%H:%M} (as {PREFIX}ROOT on disk)"

    def _look_at_sensors(self) -> list[str]:
        return look_at_sensors(self._context)

    def _look_at_schedules(self) -> list[str]:
        return look_at_schedules(self._context, self._looked)

    def _look_at_runs(self) -> list[str]:
        return look_at_runs(self._context)

    def _look_at_queue(self) -> None:
        look_at_queue(self._context)

    def _execute(self, execute: Work) -> None:
        self.runs += 1
        # A run holds the daemons up here, so no look of theirs could free the pools of one that was killed before it.
        close_abandoned_runs(self._context.instance)
        if self._is_full:
            ended = self._without_room(execute)
        elif self._trouble:
            ended = self._trouble.pop(0)(execute)
        else:
            ended = forked(execute, self._said)
            if ended.code and not self.clock.wrong_by:
                said = self._said.read_text(errors="replace")[-1500:]
                self.unhealed.append(f"{self._when()}: a run ended with {ended.code}: {said}")
        self._peaks.append(ended.peak_mb)

    # -- looking

    def _sample(self) -> None:
        sizes, process = list(_sizes(self.root)), psutil.Process()
        self.samples.append(
            Sample(
                len(LocalEngine(self.settings, self._gold).hour_commits()),
                {_DAEMON: process.memory_info().rss / (1 << 20), _RUN: max(self._peaks)},
                process.num_fds(),
                threading.active_count(),
                sum(sizes),
                len(sizes),
            )
        )
        self._peaks = self._peaks[-1:]

    def _age(self) -> None:
        """Give the files that are new, which the kernel stamps, the time of the soak."""
        now = self.clock.now().timestamp()
        for path in self.root.rglob("*"):
            with suppress(FileNotFoundError):  # SQLite removes its log when the last session ends
                if "dagster" not in path.parts and not path.is_symlink() and path.lstat().st_mtime > _STARTED:
                    os.utime(path, (now, now))

    # -- the end

    def _settle(self) -> None:
        """Let the daemons look until everything is published."""
        self._trouble.clear()
        began, states = self.clock.true, dict[Hour, HourState]()
        while self.clock.true < began + timedelta(hours=self.span.patience):
            self.clock.true += timedelta(minutes=10)
            self.look()
            states = open_pipeline(self.settings, self._gold).states(self.clock.now(), self.hours)
            unfinished = self._context.instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED), limit=1)
            if set(states.values()) <= {HourState.READY, HourState.RETIRED} and not unfinished:
                return
        left = {str(hour): state.value for hour, state in states.items() if state is not HourState.READY}
        self.unhealed.append(
            f"{self._when()}: {self.span.patience} hours after the last fault these hours are not published: {left}"
        )

    def _recount(self) -> None:
        """Compare everything that is published with raw, by `verify` and by the oracle."""
        engine, limits = LocalEngine(self.settings, self._gold), self.settings.event_time_limits
        found = verify(engine, self._tables, limits, None, self.clock.now(), lambda *_: None)
        self.lost += [f"{self._when()}: verify: {each}" for each in (*found.differences, *found.wrongly_framed.items())]
        recounted = {*(each.hour for each in found.hours), *found.retired}
        if missing := [str(hour) for hour in self.hours if hour not in recounted]:
            self.lost.append(f"{self._when()}: these hours are not published: {missing}")
        self.lost += [f"{self._when()}: {each}" for each in unlike_the_oracle(engine, self.root, self._tables)]

    def _keep_house(self) -> None:
        """Remove what nobody needs, once its grace is over: nothing else may be left."""
        engine, instance = LocalEngine(self.settings, self._gold), self._context.instance
        for _ in range(3):
            self._age()
            self.clock.true += timedelta(days=10)
            work = find_housework(engine, instance, self.settings, self.clock.now())
            _, kept = remove_housework(work, engine, instance, self.settings, lambda *_: None)
            self.grown += [f"{self._when()}: housekeeping leaves {each}" for each in kept]
        needed, stored = needed_and_stored(engine)
        surplus = [*sorted(stored - needed), *LakeOnDisk(self.root, self._gold).unknown_files()]
        surplus += [str(path.relative_to(self.folder)) for path in self._temporary.rglob("*")]
        surplus += [path.name for path in (self.root / "locks").rglob("*.lock")]
        if surplus:
            self.grown.append(f"{self._when()}: housekeeping leaves {len(surplus)} files, first {surplus[:5]}")
        if gone := needed - stored:
            self.lost.append(f"{self._when()}: housekeeping removed {sorted(gone)[:5]}, which are published")
        if many := {str(each.hour): len(each.files) for each in engine._commits.hours(None) if len(each.files) > 3}:
            self.grown.append(f"{self._when()}: hours have more than a file for each of their tables: {many}")
        kept_runs = instance.get_runs_count()
        databases = list((self.settings.dagster_home / "history/runs").glob("*.db"))
        if kept_runs > (built := len(engine.hour_commits())):
            self.grown.append(f"{self._when()}: {kept_runs} runs are kept for {built} hours")
        if len(databases) > kept_runs + 1:
            self.grown.append(f"{self._when()}: {len(databases)} databases of {kept_runs} runs")
        self.grown += [f"{self._when()}: {each}" for each in growth(self.samples)]


_STARTED = time.time() - 3600


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the bytes of each file below a folder, without those that go while this looks, as SQLite's logs do."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size


def unlike_the_oracle(engine: LocalEngine, root: Path, tables: Sequence[GoldTable]) -> list[str]:
    """Return how what is published differs from what the oracle makes of raw; what is retired is left out."""
    expected, found = oracle.read_root(root), list[str]()
    retired = {str(hour) for hour, commit in engine.hour_commits().items() if commit.retired_at}
    hours = [each for name, each in expected.hours.items() if name not in retired]
    for table, wanted in (
        ("silver.events", [row for each in hours for row in each.silver]),
        ("silver.quarantine", [row for each in hours for row in each.quarantine]),
    ):
        shown = rows(engine, f"FROM {table}")
        if in_order(shown) != in_order(wanted):
            found.append(f"{table} has {len(shown)} rows, which are not the {len(wanted)} of the oracle")
    gold = expected.gold
    for name in (table.name for table in tables):
        gone = {each.day for each in engine._commits.days() if each.table == name and is_retired_day(each)}
        answer = rows(engine, named_query(name, tables))
        if answer != [row for row in gold[name] if row["event_date"] not in gone]:
            found.append(f"gold.{name} has {len(answer)} rows, which are not those of the oracle")
    return found


# -- a small disk

_DISK_BYTES = 4 << 30


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a file system of its own below a folder, if this process may; its size can be changed."""
    folder.mkdir(parents=True)
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "soak", str(folder)], check=False, capture_output=True
    )
    try:
        yield mounting.returncode == 0
    finally:
        if mounting.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def _used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


# -- trials


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Soak for a day; at length for several days, one of them with real processes, and for a month."""
    is_long = scale >= LONG_SCALE
    yield from soaked(DAY, seed, say, is_long=is_long)
    if is_long:
        yield from soaked(MONTH, seed, say, is_long=True)
        yield with_processes(say)


def soaked(span: Span, seed: int, say: Say = lambda _: None, *, is_long: bool = False) -> Iterator[Trial]:
    """Run one span, and judge it by each promise."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    changed = {f"{PREFIX}{name}": value for name, value in span.changed.items()}
    try:
        with ExitStack() as opened:
            opened.enter_context(variables(changed))
            is_small = is_long and opened.enter_context(small_disk(folder / "data"))
            soak = Soak(span, folder, seed, small_disk=is_small)
            soak.run(say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{span.name}: {soak.objects} objects, {soak.runs} runs, {dict(soak.happened)}")
    seconds = time.monotonic() - started
    live = f"{span.name} on disk: objects land one after the other, Dagster's daemons build"
    broken = (
        "runs and daemons fail and are killed, the clock jumps, the disk is full, objects come late, twice and anew"
    )
    yield Trial(
        Promise.COMPLETE,
        f"{live}; {broken}; then `verify` and oracle recount each hour",
        span.hours,
        seed,
        tuple(soak.lost),
        seconds,
    )
    yield Trial(
        Promise.HEALS,
        f"{live}; what went wrong on the way is healed by the daemons alone: {broken}",
        soak.happened.total(),
        seed,
        tuple(soak.unhealed),
        0,
    )
    yield Trial(
        Promise.BOUNDED,
        f"{live}: memory, descriptors and threads of the daemons, memory of runs, files and bytes of each hour "
        "are compared with earlier ones; then housekeeping, which leaves only what is published",
        len(soak.samples),
        seed,
        tuple(soak.grown),
        0,
    )


def with_processes(say: Say) -> Trial:
    """Feed a day to `event-pipeline dev`, kill its daemon, and kill everything; see `rehearsal.py`."""
    started, found = time.monotonic(), list[str]()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            rehearsed = rehearse(Path(folder), hours_fed=DAY.hours, every_seconds=1)
            say(f"{rehearsed.objects} objects, {rehearsed.runs} runs, {rehearsed.peaks_mb}")
        except AssertionError as fault:
            found.append(str(fault)[:4000])
    tried = (
        "a day of objects lands one every second while `event-pipeline dev` runs, its daemon is killed, and all "
        "processes in the middle of a run; then `verify`"
    )
    return Trial(Promise.COMPLETE, tried, DAY.hours, None, tuple(found), time.monotonic() - started)
