"""A fault at every step of every operation: what readers see, and what a plain rerun makes of it.

An operation is done on a copy of a small lake, and at one step of it (`steps.py`) the port fails, loses its reply, does
a part of its work, or the process ends. Before every later step readers must see what the lake held before or what the
operation makes of it, of each hour, partial and day. Then a plain rerun must publish what the operation publishes
without a fault, which is held to the oracle once; the catalog must agree with the records, and housekeeping must find
everything that the fault left, and nothing that is needed.

A rerun reads nothing but what is stored. So where a fault leaves the lake as another one did, it is not repeated.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

from event_pipeline.engines.base import LeftoverKind
from event_pipeline.engines.engine import PortEngine
from event_pipeline.engines.erasures import ErasureList
from event_pipeline.engines.layout import hour_build, hour_commit
from event_pipeline.engines.names import day_partition, gold_table, partial_table
from event_pipeline.errors import HoursFailedError, PipelineError
from event_pipeline.operations.erasing import erase_person
from event_pipeline.rules.contract import SILVER_EVENTS, SILVER_QUARANTINE, Limits
from event_pipeline.rules.hour import Hour
from event_pipeline_tests import oracle
from event_pipeline_tests.assemblies import variables
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.materializing import one_gold_table
from event_pipeline_tests.pipeline import (
    assert_agrees_with_oracle,
    event,
    in_order,
    purchase,
    rows,
    silent,
    write_object,
)
from event_pipeline_tests.reliability.lakes import (
    GOLD,
    TABLES,
    Lake,
    LakeInMemory,
    LakeOnAws,
    LakeOnDisk,
    View,
    needed_and_stored,
)
from event_pipeline_tests.reliability.steps import Asked, Fault, Killed, Step, Steps, numbered
from event_pipeline_tests.reliability.trial import Promise, Say, Trial

HOUR = Hour.parse("2025-12-08T00")
"""Its events are of two days: some come late."""
BEFORE = HOUR.plus(-1)
BYSTANDER = HOUR.plus(-2)
"""An hour that is published before, and shares its day with the others."""
SINGLE, RANGE = (HOUR,), (BEFORE, HOUR)
PERSON, ANOTHER = "u_gone", "u_forgotten"

RANGE_SHARE = 6
"""CI breaks one of so many steps of an operation on a range of hours, chosen by the seed."""
FAULTS_ON_AWS = 4
PAIRS = 20
"""Random pairs of faults of each operation, for one hour and for a range, for each scale above 1."""
_LONGEST_SECONDS = 300
"""After which a process that was to end at a step, and hangs, is ended."""
_KILLED = 9
_FAILED = 1
Hours = Sequence[Hour]
Run = Callable[[PortEngine[Any], Hours], None]


@dataclass(frozen=True)
class Operation:
    """Something that people or schedules do to a lake."""

    name: str
    prepare: Callable[[Lake, Hours], None]
    """Makes an empty lake what it is before."""
    run: Run
    heal: Run
    """The plain rerun, which also completes what the operation alone does not."""
    check: Callable[[Lake], None]
    """Holds the lake after the rerun to the oracle."""
    settings: Mapping[str, int] = field(default_factory=dict)
    part: Run | None = None
    """Does it to some of its hours, where a failed hour does not keep the others back."""
    is_of_all: bool = False
    """Whether it is done to the hour beside the given ones as well."""
    has_own_reads: bool = True
    """Whether it reads anything that the rebuild of changed objects does not read."""
    forgets: bool = False
    """Whether no file may hold the person afterwards, shown or not."""


# -- what lands


def land(lake: Lake, hours: Hours) -> None:
    """Let the objects of some hours land: good, bad and repeated records, of a person as well."""
    for hour in hours:
        mine = f"u_{hour.start:%H}"
        late = [purchase(hour, -3600 * 3, user_id=mine, session_id="s_late")] if hour == HOUR else []
        theirs = purchase(hour, 7, user_id=PERSON, session_id="s_gone")
        first = [event(hour, 1, user_id=mine), purchase(hour, 2, user_id=mine), b"no json", theirs, *late]
        write_object(lake.root, hour, 0, first)
        write_object(lake.root, hour, 5, [purchase(hour, 2, user_id=mine), event(hour, 300, user_id="u_all")])
    lake.landed()


def land_more(lake: Lake, hours: Hours) -> None:
    """Replace an object of each hour by one with other records, and let another one land, with late events."""
    for hour in hours:
        mine = f"u_{hour.start:%H}"
        changed = [
            event(hour, 301, user_id="u_changed"),
            event(hour, 302, user_id=mine),
            event(hour, 303, quantity="?"),
        ]
        write_object(lake.root, hour, 5, changed)
        late = purchase(hour, -3600 * 2, user_id="u_late", session_id="s_late")
        write_object(lake.root, hour, 10, [event(hour, 600, user_id="u_more"), late])
    lake.landed()


# -- what is done


def build(engine: PortEngine[Any], hours: Hours, *, force: bool = False) -> None:
    """Take hours the whole way; one that fails is left behind, as in a run of a range.

    Raises:
        PipelineError: an hour failed.
    """
    failures = dict[Hour, PipelineError]()
    try:
        list(engine.build_silver(hours, force=force, progress=silent))
    except HoursFailedError as error:
        failures |= error.failures
    if left := [hour for hour in hours if hour not in failures]:
        engine.register_hours(left)
        for table in TABLES:
            failures |= engine.refresh_gold(table, left, force=force, progress=silent).failures
    if failures:
        raise HoursFailedError(failures)


def build_anyway(engine: PortEngine[Any], hours: Hours) -> None:
    """Build hours that are up to date."""
    build(engine, hours, force=True)


def built(lake: Lake, hours: Hours) -> None:
    """Publish some hours, and the one beside them."""
    land(lake, (BYSTANDER, *hours))
    build(lake.engine(), (BYSTANDER, *hours))


def landed(lake: Lake, hours: Hours) -> None:
    """Publish the hour beside some hours, which have only landed."""
    land(lake, (BYSTANDER, *hours))
    build(lake.engine(), [BYSTANDER])


def changed(lake: Lake, hours: Hours) -> None:
    """Publish some hours, whose objects have changed since."""
    built(lake, hours)
    land_more(lake, hours)


def littered(lake: Lake, hours: Hours) -> None:
    """Publish some hours twice, so that there are old builds, beside one that was never published."""
    changed(lake, hours)
    engine = lake.engine()
    build(engine, hours)
    for hour in (hours[-1], HOUR.plus(1)):
        for name in ("events/events-0.parquet", "ledger/ledger.parquet"):
            engine._lake.write(f"{hour_build(hour, '20251208T000000Z-0123456789ab')}{name}", b"half")


def keep_house(engine: PortEngine[Any], now: datetime) -> None:
    """Remove what may be removed."""
    for leftover in engine.leftovers(now):
        engine.remove(leftover)


def after_the_grace() -> datetime:
    """Return a time at which what was replaced a moment ago may be removed."""
    return datetime.now(UTC) + timedelta(days=8)


def damaged(lake: Lake, hours: Hours) -> None:
    """Publish some hours twice, and then lose what the catalog has of them, each in another way."""
    lost = BYSTANDER.plus(-1)
    land(lake, [lost])
    build(lake.engine(), [lost])
    changed(lake, hours)
    engine = lake.engine()
    old = [engine.hour_commit(hour) for hour in hours]
    build(engine, hours)
    # An older build is shown, entries are missing, and of one hour the record is lost.
    engine._catalog.change([entry for commit in old if commit for entry in engine._catalog.entries_of(commit)], ())
    missing = [
        (SILVER_QUARANTINE.full_name, BYSTANDER.hive_path),
        (partial_table(GOLD), hours[-1].hive_path),
        *((gold_table(GOLD), day_partition(hour.start.date())) for hour in (BEFORE, HOUR)),
    ]
    engine._catalog.change((), missing)
    engine._lake.delete([hour_commit(lost)])


def repair_and_build(engine: PortEngine[Any], hours: Hours) -> None:
    """Repair, then build what has no record."""
    engine.repair()
    build(engine, (BYSTANDER.plus(-1), BYSTANDER, *hours))


def retire(engine: PortEngine[Any], hours: Hours) -> None:
    """Retire hours, then the days that were made of them, then remove the files."""
    for now in (datetime.now(UTC), datetime.now(UTC), after_the_grace()):
        keep_house(engine, now)


def known(lake: Lake, hours: Hours) -> None:
    """Publish some hours of a lake from which somebody else was erased."""
    ErasureList(lake.engine()._lake).enter(ANOTHER)
    built(lake, hours)


def retired_with_a_person(lake: Lake, hours: Hours) -> None:
    """Retire some hours, whose partials hold a person."""
    known(lake, hours)
    engine = replace_settings(lake, silver_retention_days=1)
    keep_house(engine, datetime.now(UTC))


def replace_settings(lake: Lake, **settings: int) -> PortEngine[Any]:
    """Return an engine over a lake with other settings."""
    engine = lake.engine()
    engine._settings = engine._settings.model_copy(update=settings)
    return engine


def erase(engine: PortEngine[Any], hours: Hours) -> None:
    """Erase a person, from raw as well."""
    erase_person(engine, TABLES, Limits(), PERSON, datetime.now(UTC), lambda *_: None, rewrite_raw=True)


def erase_from(engine: PortEngine[Any], hours: Hours) -> None:
    """Erase a person from some hours."""
    eraser = engine.eraser()
    eraser.list.enter(PERSON)
    for hour in hours:
        eraser.erase(hour, engine.erasures())
    engine.register_hours(hours)
    for table in TABLES:
        engine.refresh_gold(table, hours, progress=silent)


# -- what must come of it


def as_the_oracle(lake: Lake) -> None:
    """All tables are what the oracle makes of raw."""
    assert_agrees_with_oracle(lake.engine(), lake.root, tables=TABLES)


def without_the_person(lake: Lake) -> None:
    """Silver and Gold are what the oracle makes of raw, which has been rewritten without the person's records."""
    lake.fetch_raw()
    engine, expected = lake.engine(), oracle.read_root(lake.root)
    assert in_order(rows(engine, "FROM silver.events")) == in_order(expected.silver)
    assert rows(engine, f"FROM gold.{GOLD} ORDER BY event_date") == expected.gold[GOLD]
    assert PERSON not in repr(expected.silver)
    assert_forgotten(lake)


def assert_forgotten(lake: Lake) -> None:
    """Nothing in the catalog's files names the person."""
    assert PERSON not in repr(lake.view({}))


def only_ledgers(lake: Lake) -> None:
    """Of retired hours the ledger is left."""
    engine = lake.engine()
    assert len(rows(engine, "FROM ops.hour_ledger")) == len(engine.hour_commits())
    for table in (SILVER_EVENTS.full_name, SILVER_QUARANTINE.full_name, f"gold.{GOLD}"):
        assert rows(engine, f"FROM {table}") == []


OPERATIONS = (
    Operation("first build", landed, build, build, as_the_oracle, part=build, has_own_reads=False),
    Operation("rebuild of changed objects", changed, build, build, as_the_oracle, part=build),
    Operation("forced rebuild", built, build_anyway, build, as_the_oracle, part=build_anyway, has_own_reads=False),
    Operation(
        "housekeeping",
        littered,
        lambda engine, _: keep_house(engine, after_the_grace()),
        lambda engine, _: keep_house(engine, after_the_grace()),
        as_the_oracle,
    ),
    Operation("repair", damaged, lambda engine, _: (engine.repair(), None)[1], repair_and_build, as_the_oracle),
    Operation(
        "retirement",
        built,
        retire,
        retire,
        only_ledgers,
        {"silver_retention_days": 1, "gold_retention_days": 1},
    ),
    Operation("erasure", known, erase, erase, without_the_person, part=erase_from, is_of_all=True, forgets=True),
    Operation(
        "erasure from retired hours",
        retired_with_a_person,
        erase,
        erase,
        assert_forgotten,
        forgets=True,
    ),
)
"""What of an hour can be broken off. Registration is a part of a build."""


# -- looking


class Onlooker:
    """Looks at a lake before every step after one that may have changed it."""

    def __init__(self, lake: Lake, rows_of: dict[str, list[str]], then: Asked) -> None:
        self._lake = lake
        self._rows_of = rows_of
        self._then = then
        self._stale = True
        self.looking = lake.is_quick
        """Not before a fault: until then an operation does what it does without one."""
        self.seen: list[tuple[str, View]] = []
        """When, and what."""

    def __call__(self, step: Step) -> Fault | None:
        """Look, then let the step have its fault."""
        if self._stale and self.looking:
            self.look(f"before {step}")
        self._stale = self._stale or step.acts
        return self._then(step)

    def look(self, when: str) -> None:
        """Look now."""
        self.seen.append((when, self._lake.view(self._rows_of)))
        self._stale = False


Allowed = Mapping[str, set[tuple[str, ...] | None]]


def allowed(views: Sequence[View]) -> Allowed:
    """Return what each unit may show: what it shows in one of these views."""
    units = {unit for view in views for unit in view}
    return {unit: {view.get(unit) for view in views} for unit in units}


def anomalies(seen: Sequence[tuple[str, View]], may: Allowed) -> Iterator[str]:
    """Name what readers saw and may not see."""
    for when, view in seen:
        for unit in sorted({*may, *view}):
            if view.get(unit) not in may.get(unit, {None}):
                yield f"readers saw {unit} as {list(view.get(unit, ()))} {when}"


# -- the sweep


@dataclass
class Sweep:
    """All faults of one operation on one lake."""

    lake: Lake
    operation: Operation
    hours: Hours
    violations: dict[Promise, list[str]] = field(default_factory=lambda: defaultdict(list))
    faults: int = 0
    looks: int = 0
    _rows_of: dict[str, list[str]] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _copies: int = 0

    def __post_init__(self) -> None:
        self.operation.prepare(self.lake, self.hours)
        self.lake = self._copy()
        self.before = self.lake.view(self._rows_of)
        self._references()

    def _copy(self) -> Lake:
        self._copies += 1
        copy = self.lake.copied(self.lake.root.with_name(f"{self._copies}"))
        copy.changed = self.operation.settings
        return copy

    def _references(self) -> None:
        """Do the operation without a fault, and learn what is right."""
        parts = list(self._parts())
        whole = self._copy()
        onlooker = Onlooker(whole, self._rows_of, lambda _: None)
        steps = Steps(onlooker)
        with numbered(steps):
            engine = whole.engine()
        self.operation.run(engine, self.hours)
        self.steps = tuple(steps.taken)
        onlooker.look("at the end")
        after = whole.view(self._rows_of)
        self.operation.heal(whole.engine(), self.hours)
        self.final = whole.view(self._rows_of)
        self.operation.check(whole)
        self._wanted = self._state(whole)
        assert self._wanted[0] == []
        self.may = allowed([self.before, after, self.final, *parts])
        self._judge("without a fault", onlooker.seen)
        self._keep_house(whole, "without a fault")
        whole.remove()

    def _parts(self) -> Iterator[View]:
        """Yield what is there if some hours are done and others are not: a day may be folded from both."""
        part, hours = self.operation.part, (BYSTANDER, *self.hours) if self.operation.is_of_all else self.hours
        for size in range(1, len(hours)):
            for some in combinations(hours, size):
                if part is None:
                    return
                lake = self._copy()
                part(lake.engine(), some)
                yield lake.view(self._rows_of)
                lake.remove()

    def run(self, steps: Sequence[Step]) -> None:
        """Let each of some steps have each fault that it can have."""
        for step in steps:
            for fault in faults_of(step, self.lake):
                self.one([(step.number, fault)])

    def pairs(self, chance: random.Random, times: int) -> None:
        """Let a step have a fault, and then one of the rerun."""
        for _ in range(times):
            first, second = (chance.choice(self.steps) for _ in range(2))
            self.one([(each.number, chance.choice(faults_of(each, self.lake))) for each in (first, second)])

    def one(self, faults: Sequence[tuple[int, Fault]]) -> None:
        """Do the operation with a fault, then the rerun with the next one, and at last the rerun without."""
        lake, told = self._copy(), list[str]()
        self.faults += 1
        run = self.operation.run
        for number, fault in faults:
            where, is_reached, onlooker = self._attempt(lake, run, number, fault)
            told.append(where)
            if len(told) == 1 and not is_reached:
                self._violated(Promise.HEALS, f"{where}: it was never reached")
            self._judge(", then ".join(told), onlooker.seen)
            run = self.operation.heal
        stored = lake.stored()
        if stored not in self._known:
            self._known.add(stored)
            self._heal(lake, ", then ".join(told))
        lake.remove()

    def _attempt(self, lake: Lake, run: Run, number: int, fault: Fault) -> tuple[str, bool, Onlooker]:
        """Run with a fault; return where it was, whether it was reached, and what was seen after it."""
        first = run is self.operation.run
        where = f"{self.steps[number - 1]} {fault}" if first else f"step {number} of the rerun {fault}"
        is_reached = False

        def asked(step: Step) -> Fault | None:
            nonlocal where, is_reached
            if step.number != number:
                return None
            where, is_reached, onlooker.looking = f"{step} {fault}", True, lake.is_quick
            return fault

        onlooker = Onlooker(lake, self._rows_of, asked)
        onlooker.looking = False
        if fault in (Fault.ENDS_BEFORE, Fault.ENDS_AFTER) and isinstance(lake, LakeOnDisk):
            is_reached = self._ended(lake, run, asked, where)
        else:
            self._in_process(lake, run, onlooker, where)
        onlooker.look("after it")
        return where, is_reached, onlooker

    def _in_process(self, lake: Lake, run: Run, asked: Asked, where: str) -> None:
        with numbered(Steps(asked)):
            engine = lake.engine()
        try:
            run(engine, self.hours)
        except (PipelineError, Killed):
            return
        except Exception:
            self._violated(Promise.HEALS, f"{where}: no error that a person can act on:\n{traceback.format_exc()}")

    def _ended(self, lake: Lake, run: Run, asked: Asked, where: str) -> bool:
        """Run in another process, which ends at its step, and leaves there what it would have cleaned up."""
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(_LONGEST_SECONDS)
                with numbered(Steps(asked, lambda: os._exit(_KILLED))):
                    engine = lake.engine()
                run(engine, self.hours)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(_FAILED)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status not in (0, _KILLED):
            self._violated(Promise.HEALS, f"{where}: the process failed before it: exit status {status}")
        return status == _KILLED

    def _heal(self, lake: Lake, told: str) -> None:
        """Run once more, without a fault, and hold the lake to what is right."""
        onlooker = Onlooker(lake, self._rows_of, lambda _: None)
        with numbered(Steps(onlooker)):
            engine = lake.engine()
        try:
            self.operation.heal(engine, self.hours)
        except Exception:
            self._violated(Promise.HEALS, f"{told}: the rerun failed:\n{traceback.format_exc()}")
            return
        onlooker.look("after the rerun")
        self._judge(f"{told}, in the rerun", onlooker.seen)
        if difference := unlike(lake.view(self._rows_of), self.final):
            self._violated(Promise.HEALS, f"{told}: after the rerun {difference}")
        if (state := self._state(lake)) != self._wanted:
            self._violated(Promise.HEALS, f"{told}: after the rerun {state} instead of {self._wanted}")
        if self.operation.forgets and (held := lake.holding(PERSON, self._rows_of)):
            self._violated(Promise.HEALS, f"{told}: after the rerun the person is in {held}")
        self._keep_house(lake, told)

    def _state(self, lake: Lake) -> tuple[list[str], list[Hour]]:
        """Return what the catalog shows wrongly, and the hours that Gold does not show."""
        engine = lake.engine()
        wrong = [f"{each.table} {each.partition}: {each.action}, {each.reason}" for each in engine.disagreements()]
        return wrong, engine.hours_behind(TABLES[0])

    def _keep_house(self, lake: Lake, told: str) -> None:
        """Everything that is left goes when its grace is over, and nothing else."""
        engine = lake.engine()
        if early := [each for each in engine.leftovers(datetime.now(UTC)) if each.kind in _OF_BUILDS]:
            self._violated(Promise.HEALS, f"{told}: {early} would be removed at once")
        before = lake.view(self._rows_of)
        for _ in range(2):
            keep_house(engine, after_the_grace())
        needed, stored = needed_and_stored(engine)
        if needed - stored:
            self._violated(Promise.HEALS, f"{told}: housekeeping removed {sorted(needed - stored)}")
        if surplus := [*sorted(stored - needed), *lake.unknown_files()]:
            self._violated(Promise.HEALS, f"{told}: housekeeping left {surplus}")
        if difference := unlike(lake.view(self._rows_of), before):
            self._violated(Promise.WHOLE, f"{told}: after housekeeping {difference}")

    def _judge(self, told: str, seen: Sequence[tuple[str, View]]) -> None:
        self.looks += len(seen)
        for anomaly in anomalies(seen, self.may):
            self._violated(Promise.WHOLE, f"{told}: {anomaly}")

    def _violated(self, promise: Promise, what: str) -> None:
        hours = "a range of hours" if len(self.hours) > 1 else "one hour"
        self.violations[promise].append(f"{self.operation.name} of {hours} {self.lake.name}: {what}")


_OF_BUILDS = (LeftoverKind.REPLACED, LeftoverKind.ABANDONED, LeftoverKind.RETIRED_FILES)


def faults_of(step: Step, lake: Lake) -> list[Fault]:
    """Return the faults that a step can have; to lose the reply of a read is to fail, and so is to end in one."""
    if not step.acts or (step.call.startswith("ensure") and not lake.defines_tables):
        return [Fault.FAILS]
    divided = [Fault.HALF_DONE] if step.divisible else []
    return [Fault.FAILS, *divided, Fault.REPLY_LOST, Fault.ENDS_AFTER]


def telling(sweep: Sweep) -> list[Step]:
    """Return the steps that CI breaks: all that act, and of reads the first of each call until one acts.

    What follows in between finds the same lake, and its error takes the same way. The reads are those of the algorithm,
    which are the same everywhere: they are broken where that is quickest.
    """
    with_reads = isinstance(sweep.lake, LakeInMemory) and sweep.operation.has_own_reads
    found, of_now = list[Step](), set[str]()
    for step in sweep.steps:
        if step.acts:
            of_now.clear()
        elif step.name in of_now or not with_reads:
            continue
        of_now.add(step.name)
        found.append(step)
    return found


def unlike(found: View, wanted: View) -> str:
    """Return in words how a view differs from what it should be; nothing if it does not."""
    for unit in sorted({*found, *wanted}):
        if found.get(unit) != wanted.get(unit):
            return f"{unit} shows {list(found.get(unit, ()))} instead of {list(wanted.get(unit, ()))}"
    return ""


# -- the part

BROKEN_ON_AWS = OPERATIONS[1]
"""What CI breaks on AWS: the rebuild of changed objects."""
ASSEMBLIES: Mapping[str, type[Lake]] = {each.name: each for each in (LakeOnDisk, LakeInMemory)}


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Break every operation on every assembly.

    A scale of 1 breaks the `telling` steps of one hour and a share of those of a range; a larger one every step of
    both, and random pairs. In an emulated account there are fewer (`trials_on_aws`).
    """
    for assembly in ASSEMBLIES:
        for operation in OPERATIONS:
            say(f"faults: {operation.name} {assembly}")
            yield from trials_of(assembly, operation, scale, seed)
    for operation in OPERATIONS if scale > 1 else [BROKEN_ON_AWS]:
        say(f"faults: {operation.name} {LakeOnAws.name}")
        yield from trials_on_aws(operation, scale, seed)


def sweep_of(assembly: str, operation: Operation, hours: Hours, folder: Path) -> Sweep:
    """Prepare a lake in an empty folder, and do the operation without a fault."""
    return Sweep(ASSEMBLIES[assembly](folder / "0", one_gold_table(folder / "gold")), operation, hours)


def trials_of(assembly: str, operation: Operation, scale: int, seed: int) -> Iterator[Trial]:
    """Break one operation on one assembly, of one hour and of a range."""
    started, sweeps = time.monotonic(), list[Sweep]()
    for hours in (SINGLE, RANGE):
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            sweep = sweep_of(assembly, operation, hours, Path(folder))
            chance = random.Random(f"{seed} {operation.name} {hours}")
            steps = sweep.steps if scale > 1 else telling(sweep)
            if scale == 1 and hours is RANGE:
                steps = sorted(chance.sample(steps, len(steps) // RANGE_SHARE), key=lambda step: step.number)
            sweep.run(steps)
            sweep.pairs(chance, PAIRS * (scale - 1))
            sweeps.append(sweep)
    pairs = ", one after the other and in random pairs" if scale > 1 else ", one after the other"
    yield from _told(f"{operation.name} {assembly}: a fault at each call of a port{pairs}", sweeps, seed, started)


def trials_on_aws(operation: Operation, scale: int, seed: int) -> Iterator[Trial]:
    """Break one operation in an emulated account, where a fault takes some seconds, at calls that change something.

    A scale of 1 breaks one hour at random; a larger one each call of one hour, random pairs, and a range at random.
    """
    started, sweeps = time.monotonic(), list[Sweep]()
    for hours in (SINGLE,) if scale == 1 else (SINGLE, RANGE):
        chance = random.Random(f"{seed} {operation.name} {hours} on AWS")
        with (
            tempfile.TemporaryDirectory(prefix="faults-") as folder,
            EmulatedAws() as account,
            variables(account.environment()),
        ):
            account.create_resources()
            gold = one_gold_table(Path(folder) / "gold")
            sweep = Sweep(LakeOnAws(Path(folder) / "0", gold, account=account), operation, hours)
            acting = [step for step in sweep.steps if step.acts]
            if scale > 1 and hours is SINGLE:
                sweep.run(acting)
                sweep.pairs(chance, FAULTS_ON_AWS * (scale - 1))
            else:
                for _ in range(FAULTS_ON_AWS * scale):
                    step = chance.choice(acting)
                    sweep.one([(step.number, chance.choice(faults_of(step, sweep.lake)))])
            sweeps.append(sweep)
    calls = "each call of a port that changes something, one after the other and in random pairs"
    chosen = "a random call of a port that changes something" if scale == 1 else calls
    yield from _told(f"{operation.name} {LakeOnAws.name}: a fault at {chosen}", sweeps, seed, started)


def _told(tried: str, sweeps: Sequence[Sweep], seed: int, started: float) -> Iterator[Trial]:
    faults, looks = sum(each.faults for each in sweeps), sum(each.looks for each in sweeps)
    seconds = (time.monotonic() - started) / 2
    for promise, how, times in (
        (Promise.HEALS, "then a plain rerun, and housekeeping", faults),
        (Promise.WHOLE, "while readers look between the calls", looks),
    ):
        violations = tuple(text for each in sweeps for text in each.violations[promise])
        yield Trial(promise, f"{tried}, {how}", times, seed, violations, seconds)
