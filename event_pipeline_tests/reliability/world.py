"""A lake with its raw objects and its clock, in which a history happens, step by step."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb

from event_pipeline.engines import commits, digests, gold, housekeeping, names, repair
from event_pipeline.engines import engine as engine_module
from event_pipeline.engines.catalog import Partition
from event_pipeline.engines.commit import DayCommit, HourCommit, PartialCommit
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.host import pool_builder
from event_pipeline.engines.host.decoded import ObjectReport, ObjectTask
from event_pipeline.engines.layout import COMMITS
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.names import gold_table, partial_table
from event_pipeline.engines.silver import Spending
from event_pipeline.errors import (
    HoursFailedError,
    LostObjectsError,
    NotPublishedError,
    PipelineError,
    StorageError,
    TransientError,
)
from event_pipeline.operations.erasing import erase_person
from event_pipeline.rules.contract import HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests import oracle
from event_pipeline_tests.engines import memory_store
from event_pipeline_tests.engines.memory_catalog import MemoryCatalog, MemoryEntry
from event_pipeline_tests.engines.memory_engine import MemoryEngine
from event_pipeline_tests.engines.memory_store import MemoryStore
from event_pipeline_tests.pipeline import in_order, rows, silent
from event_pipeline_tests.reliability.clocks import reading
from event_pipeline_tests.reliability.happenings import (
    HOURS,
    LIMITS,
    RETENTIONS,
    USERS,
    AnyStep,
    Ask,
    Break,
    Build,
    Clean,
    Copy,
    Erase,
    Expire,
    Land,
    Line,
    Repair,
    Rules,
    Sql,
    Swap,
    Together,
    Wait,
    Work,
)
from event_pipeline_tests.reliability.plain_sql import TABLE_NAMES, PlainSql, chosen_by, tables_of, write_versions
from event_pipeline_tests.reliability.published import Broken, Published
from event_pipeline_tests.reliability.steps import Fault, Killed, Step, Steps, numbered

MEMORY, MEMORY_WITH_DUCKDB, DISK = "in memory", "in memory, Gold by DuckDB", "on disk"
BEGINS = datetime(2025, 12, 8, 0, 30, tzinfo=UTC)
_FOR_EVER = 1 << 30
_WAIT_SECONDS = 120


class Clock:
    """The time of a history; every look at it takes a moment."""

    def __init__(self) -> None:
        self.time = BEGINS

    def now(self, zone: Any = None) -> datetime:
        """Return the time, a millisecond after the last look."""
        self.time += timedelta(milliseconds=1)
        return self.time


class _Serial:
    """Instead of a pool of threads, so that port calls come in one order."""

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> _Serial:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, work: Callable[..., Any], *items: Any) -> Iterator[Any]:
        return map(work, *items)

    def shutdown(self, **_: Any) -> None: ...


class _NotingStore(MemoryStore):
    """Notes whether anything changed that the model judges: all but a new data file, which nothing names yet."""

    changed = True

    def _put(self, key: str, body: bytes) -> None:
        self.changed = self.changed or key in self._objects or key.startswith(COMMITS)
        super()._put(key, body)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects."""
        self.changed = True
        super().delete(keys)


class _NotingCatalog(MemoryCatalog):
    """Notes whether anything changed."""

    changed = True

    def change(self, show: Iterable[MemoryEntry], drop: Collection[Partition]) -> None:
        """Change entries."""
        self.changed = True
        super().change(show, drop)


class _PlainEngine(MemoryEngine):
    """In memory, without a query engine for Gold."""

    chosen: Any = None

    def sql(self, spending: Spending) -> Any:
        @contextmanager
        def opened() -> Iterator[PlainSql]:
            yield PlainSql(self._lake, self._shown_keys, self.chosen)

        return opened()


class Turns:
    """Lets one of two workers go on at a time."""

    def __init__(self, turns: Sequence[int]) -> None:
        self._turns = [*turns, _FOR_EVER]
        self._whose = 0
        self._ended = [False, False]
        self._changed = threading.Condition()

    def wait(self, worker: int) -> None:
        """Wait for a worker's turn."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._whose == worker, _WAIT_SECONDS):
                raise TimeoutError("the other worker does not give way")

    def take(self, worker: int) -> None:
        """Take one call, after the other's turn if this one is over."""
        with self._changed:
            if not self._turns[0] and not self._ended[1 - worker]:
                self._turns.pop(0)
                self._whose = 1 - worker
                self._changed.notify_all()
        self.wait(worker)
        with self._changed:
            self._turns[0] = max(0, self._turns[0] - 1)

    def end(self, worker: int) -> None:
        """Leave all further turns to the other."""
        with self._changed:
            self._ended[worker], self._whose = True, 1 - worker
            self._changed.notify_all()


class World:
    """A lake with its raw objects, its clock and the model that watches it."""

    def __init__(self, folder: Path, assembly: str, retention: int) -> None:
        self.assembly = assembly
        self.clock = Clock()
        self._folder = folder
        self._gold = _gold_versions()
        self._sql = self._limits = 0
        self._silver_days, self._gold_days = RETENTIONS[retention]
        self._store, self._catalog = _NotingStore(), _NotingCatalog()
        self._landed = 0
        self._erasing = False
        """Whether someone is being erased beside other work."""
        self._contents: dict[tuple[int, int], Land] = {}
        for name in ("raw", "first", "second"):
            (folder / name).mkdir(parents=True)
        if assembly != DISK:
            for name in ("first", "second"):
                # Two machines: in memory there are no locks, and none of this machine must take their place.
                (folder / name / "raw").symlink_to(folder / "raw")
        else:
            (folder / "first" / "raw").symlink_to(folder / "raw")
        limits = {
            changed_limits(_settings(), which).event_time_limits.rules_version: oracle.Limits(
                timedelta(days=LIMITS[which][0]), timedelta(minutes=LIMITS[which][1])
            )
            for which in range(len(LIMITS))
        }
        self.published = Published(folder / "raw", limits, chosen_by(self._gold))
        self._onlooker = self._engine("first")
        self._onlooker.prepare()

    @property
    def settings(self) -> Settings:
        """The settings of this moment."""
        settings = changed_limits(_settings(), self._limits)
        return settings.model_copy(
            update={"silver_retention_days": self._silver_days, "gold_retention_days": self._gold_days}
        )

    @property
    def tables(self) -> Any:
        """The Gold tables of this moment."""
        return tables_of(self._gold[self._sql])

    def _engine(self, name: str) -> PortEngine[Any]:
        settings, folder = self.settings.model_copy(update={"root": self._folder / name}), self._gold[self._sql]
        engine: PortEngine[Any]
        if self.assembly == DISK:
            settings = settings.model_copy(update={"root": self._folder / "first"})
            return LocalEngine(settings, folder, self.clock.now)
        if self.assembly == MEMORY:
            engine = _PlainEngine(settings, folder, self._store, self._catalog)
            engine.chosen = self.published.chosen
        else:
            engine = MemoryEngine(settings, folder, self._store, self._catalog)
        engine._clock = engine._raw._clock = self.clock.now
        return engine

    def do(self, step: AnyStep) -> None:
        """Take a step, and judge what came of it.

        Raises:
            Broken: a promise is broken.
        """
        match step:
            case Land():
                self._land(step)
            case Swap(hour=hour, minute=minute):
                if land := self._contents.get((hour, minute)):
                    swapped = tuple(
                        (kind, second, (user + 1) % len(USERS), back) for kind, second, user, back in land.lines
                    )
                    self._land(changed(land, lines=swapped), same_second=True)
            case Expire(hour=hour, minute=minute):
                for place in [each for each in self._contents if each[0] == hour and minute in (None, each[1])]:
                    self._path(*place).unlink(missing_ok=True)
                    del self._contents[place]
            case Copy():
                for path in (self._folder / "raw").rglob("*.gz"):
                    self._write(path, path.read_bytes())
            case Rules(which=which):
                self._limits = which
                self._onlooker = self._engine("first")
            case Sql(which=which):
                self._sql = which
                self._onlooker = self._engine("first")
            case Wait(hours=hours):
                self.clock.time += timedelta(hours=hours)
            case Break(work=work, at=at, fault=fault):
                self._broken(work, at, fault)
            case Together():
                self._together(step)
            case Ask(table=number, first=first, days=days):
                since = (HOURS[2].start + timedelta(days=first)).date()
                table = self.tables[number % len(self.tables)]
                self.published.check_answer(self._onlooker, table, since, since + timedelta(days=days - 1))
            case _:
                self._alone(step)
        self._age()
        self._look()

    def settle(self, *, query: bool) -> None:
        """Bring everything up to date as a plain run does, collect what is left, and compare the whole.

        Raises:
            Broken: it is not what the oracle makes of raw.
        """
        self._alone(Build(tuple(range(len(HOURS))), allow_lost=True))
        self._alone(Repair())
        self._look()
        self.published.check_everything(self._onlooker, self.tables)
        for table in self.tables:
            self.published.check_answer(
                self._onlooker, table, HOURS[0].start.date() - timedelta(9), HOURS[-1].end.date()
            )
        if query:
            self._query()
        for _ in range(3):
            self.clock.time += timedelta(days=8)
            self._age()
            self._alone(Clean())
        self._look()
        self.published.check_collected(self._onlooker)

    # -- raw

    def _path(self, hour: int, minute: int) -> Path:
        return self._folder / "raw" / HOURS[hour].raw_key(HOURS[hour].start + timedelta(minutes=minute))

    def _land(self, land: Land, *, same_second: bool = False) -> None:
        hour = HOURS[land.hour]
        content = gzip.compress(b"\n".join(line_of(hour, line) for line in land.lines), 0, mtime=0)
        path = self._path(land.hour, land.minute)
        second = path.stat().st_mtime_ns // 10**9 if same_second else None
        self._write(path, content[:-3] if land.broken else content, second)
        self._contents[land.hour, land.minute] = land

    def _write(self, path: Path, content: bytes, second: int | None = None) -> None:
        """Put an object there as producers do, at a moment of its own."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._landed += 1
        self.published.landed(content)
        draft = path.with_name(f".{path.name}")
        draft.write_bytes(content)
        since = second if second is not None else int(self.clock.now().timestamp())
        os.utime(draft, ns=(0, since * 10**9 + self._landed))
        draft.replace(path)

    # -- work

    def _alone(self, work: Work) -> None:
        """Do work without faults: it must succeed, and must have done what it says."""
        held = self.published.holding(USERS[work.user]) if isinstance(work, Erase) else []
        failed = self._work(work, self._worker("first", Steps(self._asked())))
        self._age()
        self._look()
        match work:
            case Build(hours=hours, only_silver=only_silver):
                done = [HOURS[number] for number in hours if HOURS[number] not in failed]
                if not only_silver:
                    self._check_built(done)
            case Repair():
                self.published.check_repaired(self._onlooker, self.tables)
            case Erase(user=user):
                self.published.check_forgotten(self._onlooker, USERS[user], held)

    def _broken(self, work: Work, at: int, fault: Fault) -> None:
        """Do work until a fault."""
        steps = Steps(self._asked(lambda step: fault if step.number == at else None))
        try:
            self._work(work, self._worker("first", steps))
        except (PipelineError, Killed):
            pass
        steps.ended = True

    def _together(self, step: Together) -> None:
        """Let two workers do their work; on disk, where one waits for the other's locks, one after the other."""
        if self.assembly == DISK:
            for work in (step.first, step.second):
                self._broken(work, step.ends_at or _FOR_EVER, Fault.ENDS_BEFORE)
            return
        self._erasing = Erase in (type(step.first), type(step.second))
        turns, faults, refused = Turns(step.turns), list[BaseException](), dict[int, list[Hour]]()

        def worker(number: int, work: Work) -> None:
            def asked(each: Step) -> Fault | None:
                turns.take(number)
                return Fault.ENDS_BEFORE if number == 0 and each.number == step.ends_at else None

            steps = Steps(self._asked(asked))
            try:
                turns.wait(number)
                refused[number] = self._work(work, self._worker(("first", "second")[number], steps))
            except (TransientError, NotPublishedError, Killed):
                pass
            except StorageError as fault:
                # What it reads may have been removed, without grace.
                if not self._erasing:
                    faults.append(fault)
            except BaseException as fault:
                faults.append(fault)
            finally:
                turns.end(number)

        threads = [threading.Thread(target=worker, args=each) for each in enumerate((step.first, step.second))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_WAIT_SECONDS)
        self._look()
        self._erasing = False
        for fault in faults:
            raise fault
        if len(refused) == 2 and isinstance(step.first, Build) and isinstance(step.second, Build):
            works = (step.first, step.second)
            done = {HOURS[number] for work in works if not work.only_silver for number in work.hours}
            done -= {HOURS[number] for work in works if work.only_silver for number in work.hours}
            self._look()
            self._check_built(sorted(done - {*refused[0], *refused[1]}))

    def _check_built(self, hours: Sequence[Hour]) -> None:
        rules_version = self.settings.event_time_limits.rules_version
        self.published.check_built(self._onlooker, hours, self.tables, rules_version)

    def _asked(self, asked: Callable[[Step], Fault | None] = lambda _: None) -> Callable[[Step], Fault | None]:
        """Let the model look after every call that changed something; on disk only at each commit record."""
        has_published = False

        def look(step: Step) -> Fault | None:
            nonlocal has_published
            fault = asked(step)
            if self.assembly != DISK:
                self._look()
            elif has_published:
                self.published.read_records(self._onlooker)
            has_published = step.name == "Store.replace"
            return fault

        return look

    def _worker(self, name: str, steps: Steps) -> PortEngine[Any]:
        with _numbering, numbered(steps):
            return self._engine(name)

    def _work(self, work: Work, engine: PortEngine[Any]) -> list[Hour]:
        """Do work, and return the hours that were refused."""
        match work:
            case Build():
                return self._build(work, engine)
            case Repair(lost=lost):
                self._lose(lost)
                engine.repair()
            case Clean():
                for leftover in engine.leftovers(self.clock.now()):
                    engine.remove(leftover)
            case Erase(user=user, rewrite_raw=rewrite_raw):
                if USERS[user] not in self.published.erased:
                    self.published.erased.append(USERS[user])
                limits = self.settings.event_time_limits
                now = self.clock.now()
                erase_person(engine, self.tables, limits, USERS[user], now, lambda *_: None, rewrite_raw=rewrite_raw)
        return []

    def _build(self, build: Build, engine: PortEngine[Any]) -> list[Hour]:
        """Do what a run does; hours that lost objects are refused."""
        hours = [HOURS[number] for number in build.hours]
        failures: dict[Hour, PipelineError] = {}
        options = {"force": build.force, "allow_lost_objects": build.allow_lost}
        try:
            list(engine.build_silver(hours, progress=silent, **options))
        except HoursFailedError as fault:
            failures = fault.failures
        except LostObjectsError as fault:
            failures = {hours[0]: fault}
        for failure in failures.values():
            if not isinstance(failure, LostObjectsError):
                raise failure
        rest = [hour for hour in hours if hour not in failures]
        if rest and not build.only_silver:
            engine.register_hours(rest)
            for table in self.tables:
                for failure in engine.refresh_gold(table, rest, progress=silent).failures.values():
                    raise failure
        return list(failures)

    def _lose(self, lost: Sequence[str]) -> None:
        """Let the catalog lose its entries of some tables."""
        tables = {
            "silver": [SILVER_EVENTS.full_name],
            "ledger": [HOUR_LEDGER.full_name],
            "quarantine": [SILVER_QUARANTINE.full_name],
            "partials": [partial_table(name) for name in TABLE_NAMES],
            "gold": [gold_table(name) for name in TABLE_NAMES],
        }
        named = [table for name in lost for table in tables[name]]
        if named:
            self._onlooker.prepare()
            gone = [each for each in self._onlooker._catalog.everything(named, None) if each[0] in named]
            self._onlooker._catalog.change((), gone)
            self.published.lost_from_catalog(gone)

    # -- looking

    def _look(self) -> None:
        """Let the model look at all that is published, unless it is what it saw last."""
        stored, shown = self._store.changed, self._catalog.changed
        self._store.changed = self._catalog.changed = False
        if self.assembly == DISK or stored or shown:
            self.published.look(
                self._onlooker, only_catalog=self.assembly != DISK and not stored, beside_erasure=self._erasing
            )

    def _age(self) -> None:
        """On disk, where the kernel stamps files, give new ones the time of the history."""
        if self.assembly != DISK:
            return
        now = self.clock.now().timestamp()
        for path in (self._folder / "first").rglob("*"):
            if path.is_file() and "raw" not in path.parts and path.lstat().st_mtime > _STARTED:
                os.utime(path, (now, now))

    def _query(self) -> None:
        """Compare what queries find with the model."""
        hours = self.published.hours().values()
        wanted = [
            row | dict(zip(("year", "month", "day", "hour"), each.hour.partition_values, strict=True))
            for each in hours
            if not each.retired_at
            for row in self.published.rows[each.build_id]
        ]
        if in_order(rows(self._onlooker, "FROM silver.events")) != in_order(wanted):
            raise Broken("a query of silver.events finds other rows than were published")
        for table in self.tables:
            found = rows(self._onlooker, f"FROM gold.{table.name}")
            days = self.published.days(table.name).values()
            wanted = [{"event_date": each.day, **row} for each in days for row in self.published.expected_day(each)]
            if in_order(found) != in_order(wanted):
                raise Broken(f"a query of gold.{table.name} finds {found}, not {wanted}")


_STARTED = time.time() - 3600
_numbering = threading.Lock()
"""Engines are created one at a time: the numbering patches their class."""


def line_of(hour: Hour, line: Line) -> bytes:
    """Return one line of an object."""
    kind, second, user, back = line
    if kind == "garbage":
        return b"not a record %d" % second
    # Two minutes into another hour, so that the first two minutes after a landing hour are tried as well.
    instant = hour.start - timedelta(hours=back) + timedelta(seconds=60 + second)
    record = {
        "timestamp": instant.isoformat(),
        "user_id": USERS[user],
        "session_id": None if kind == "bad" else f"s_{second}",
        "event_type": {"buy": "purchase", "search": "search"}.get(kind, "page_view"),
        "product_id": "p_1",
        "category": "books",
        "quantity": 1 + second,
        "price": 9.99,
        "search_query": "tea",
    }
    return json.dumps(record).encode()


@cache
def _settings() -> Settings:
    return load_settings(workers=1, lock_timeout_seconds=20)


def changed_limits(settings: Settings, which: int) -> Settings:
    """Return settings with other limits of event times."""
    days, minutes = LIMITS[which]
    return settings.model_copy(update={"event_max_age_days": days, "event_max_lead_minutes": minutes})


@cache
def _gold_versions() -> tuple[Path, Path]:
    return write_versions(Path(tempfile.mkdtemp(prefix="gold-")))


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


@contextmanager
def _one_database(*_: Any) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open, instead of a database for each search for duplicates, the one of this process."""
    with _database().cursor() as connection:
        try:
            yield connection
        finally:
            connection.execute("DROP TABLE IF EXISTS hashed")


def _judging_once(validate: Callable[[ObjectTask], ObjectReport]) -> Callable[[ObjectTask], ObjectReport]:
    """Return a validator that repeats what it wrote for the same bytes under the same rules."""
    known: dict[tuple[Any, ...], tuple[ObjectReport, list[bytes | None]]] = {}

    def judge(task: ObjectTask) -> ObjectReport:
        with task.source.reading() as stored:
            seen = (task.listed.key, stored.read(), task.hour, task.limits, task.erasures)
        paths = (task.rows, task.quarantine)
        if seen not in known:
            report = validate(task)
            known[seen] = report, [path.read_bytes() if path.exists() else None for path in paths]
            return report
        report, written = known[seen]
        for path, body in zip(paths, written, strict=True):
            if body is not None:
                path.write_bytes(body)
        return changed(report, task=task, account=changed(report.account, etag=task.listed.etag))

    return judge


@contextmanager
def in_one_order(clock: Clock, assembly: str) -> Iterator[None]:
    """Run engines on the clock of a history, without threads of their own.

    In memory, what depends on bytes alone is done once for the same bytes: judging an object, reading a commit record.
    """
    with ExitStack() as patches:
        patches.enter_context(reading(clock, (names, housekeeping, memory_store)))
        for module in (commits, digests, gold, repair):
            patches.enter_context(mock.patch.object(module, "ThreadPoolExecutor", _Serial))
        patches.enter_context(mock.patch.object(engine_module, "load_gold_tables", tables_of))
        patches.enter_context(mock.patch.object(gold, "_SECONDS_BETWEEN_FOLDS", 0))
        if assembly == MEMORY:
            validate = pool_builder.validate_to_scratch
            patches.enter_context(mock.patch.object(pool_builder, "validate_to_scratch", _judging_once(validate)))
            patches.enter_context(mock.patch.object(pool_builder, "connect", _one_database))
            for kind in (HourCommit, PartialCommit, DayCommit):
                patches.enter_context(mock.patch.object(kind, "from_json", lru_cache(None)(kind.from_json)))
        yield
