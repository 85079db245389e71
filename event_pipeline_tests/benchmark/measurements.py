"""The table of measurements: groups of named functions that run in alternating rounds, and the goals of each group.

A function takes the bench, prepares, and measures one command or step. The first line of its docstring, without the
full stop, is its name on the page.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import dagster as dg

from event_pipeline.dagster_instance.run_hours import UNFINISHED
from event_pipeline.engines.open import open_pipeline
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.operations.backfills import backfill_statuses
from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import load_settings
from event_pipeline_tests.benchmark.bench import BEFORE, DAY, ONE_HOUR, Bench, Size
from event_pipeline_tests.benchmark.inputs import BAD_SHARE, CHANGES, FIRST_HOUR, fresh_root
from event_pipeline_tests.benchmark.measuring import (
    BenchmarkError,
    Measured,
    Watch,
    cpu_seconds_of,
    measure,
    measure_command,
    measure_step,
    own_memory_mb,
)
from event_pipeline_tests.benchmark.spark_jobs import run_plain_job
from event_pipeline_tests.dev_process import dev_running, wait_for

Take = Callable[[Bench], Measured]

_BACKFILL_SECONDS = 3_600
_LOOK_SECONDS = 2
_LEAST = 1e-3
"""Seconds: CPU time of very short steps is counted in hundredths."""


# -- the hour, and its rulers


def inflate(bench: Bench) -> Measured:
    """Inflate only, one core."""
    return measure_step("inflate", bench.hour, ONE_HOUR)


def bare_read(bench: Bench) -> Measured:
    """Bare DuckDB read, typed, to Parquet."""
    return _on_fresh_root("bare_read", bench.hour, ONE_HOUR)


def plain_spark(bench: Bench) -> Measured:
    """Plain PySpark job to Parquet, without its start."""
    with fresh_root(bench.hour) as root:
        return run_plain_job(root)


def silver(bench: Bench) -> Measured:
    """Silver, published."""
    return _built_completely(bench.hour, bench.size.objects * bench.size.events)


def run_hour(bench: Bench) -> Measured:
    """`run` of the hour, the whole command."""
    with fresh_root(bench.hour) as root:
        return _run(root, ONE_HOUR)


def glue_job(bench: Bench) -> Measured:
    """Glue job's script, without the start of Spark."""
    return bench.glue.run_job()


def verify(bench: Bench) -> Measured:
    """`verify` of the hour."""
    return measure_command(bench.built_hour, "verify")


# -- what producers change


def clean(bench: Bench) -> Measured:
    """Silver of fewer objects, as generated."""
    return _built_completely(bench.fewer_objects, bench.size.changed_objects * bench.size.events)


def bad_events(bench: Bench) -> Measured:
    """Bad events, one in a hundred."""
    measured = _on_fresh_root("silver", bench.bad, ONE_HOUR)
    if not 0.005 < measured.facts["quarantined"] / measured.facts["records"] < 0.02:
        raise BenchmarkError(f"not about {BAD_SHARE:.0%} of the events are bad: {measured.facts}")
    return measured


def _changed(name: str) -> Take:
    def take(bench: Bench) -> Measured:
        return _built_completely(bench.changed[name], bench.size.changed_objects * bench.size.events)

    take.__doc__ = f"{name[0].upper()}{name[1:]}."
    return take


def _built_completely(source: Path, events: int) -> Measured:
    measured = _on_fresh_root("silver", source, ONE_HOUR)
    if measured.facts["records"] != events or measured.facts["quarantined"]:
        raise BenchmarkError(f"{source}: not all of {events:,} events are good: {measured.facts}")
    return measured


def _on_fresh_root(step: str, source: Path, hours: HourRange) -> Measured:
    with fresh_root(source) as root:
        return measure_step(step, root, hours)


# -- what Dagster and the start of a process add


def imports_of_run(bench: Bench) -> Measured:
    """Imports of `run` alone."""
    # Also of the modules that it imports where it first needs them.
    modules = (
        "event_pipeline.cli, event_pipeline.definitions, event_pipeline.dagster_instance.prepare, "
        "event_pipeline.operations.runs, event_pipeline.engines.local, event_pipeline.reporting.build_summary"
    )
    return measure([sys.executable, "-c", f"import {modules}"], {})


def run_tiny_hour(bench: Bench) -> Measured:
    """`run` of a tiny hour."""
    return _run_again(bench.tiny_day, ONE_HOUR)


def engine_tiny_day(bench: Bench) -> Measured:
    """A day of tiny hours by the engine, without Dagster."""
    return _on_fresh_root("hour_to_gold", bench.tiny_day, DAY)


def run_tiny_day(bench: Bench) -> Measured:
    """`run` of a day of tiny hours."""
    return _run_again(bench.tiny_day, DAY)


def _run_again(source: Path, hours: HourRange) -> Measured:
    """Measure a `run` that is not the first one over its data folder, which creates Dagster's storage."""
    with fresh_root(source) as root:
        _run(root, BEFORE)
        return _run(root, hours)


def _run(root: Path, hours: HourRange) -> Measured:
    return measure_command(root, "run", "--from", str(hours.first), "--to", str(hours.end))


def dev_answers(bench: Bench) -> Measured:
    """`make dev`, until it answers."""
    answered = list[float]()

    def start_and_stop() -> None:
        with dev_running(bench.folder / "dev", {}, bench.folder / "dev.log"):
            answered.append(time.monotonic())

    started = time.monotonic()
    measured = _measured_here(start_and_stop)
    return replace(measured, wall=answered[0] - started)


def backfill(bench: Bench) -> Measured:
    """Backfill of tiny hours by the daemon, until all are published."""
    root, hours = bench.folder / "backfill", HourRange(FIRST_HOUR, FIRST_HOUR.plus(bench.size.backfilled_hours))
    settings = load_settings(root=root)
    generate(root / "raw", hours, GeneratorOptions(events_per_file=bench.size.tiny_events))

    def are_published() -> bool:
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            # The states of all hours cost more than this count, on a machine that is busy with what is measured.
            if instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)):
                return False
            (status,) = backfill_statuses(instance, open_pipeline(settings), datetime.now(UTC))
        if status.failed:
            raise BenchmarkError(f"{status.failed} runs of the backfill failed")
        return status.published == len(hours)

    def build_all() -> None:
        asked = dev.command("backfill", "--from", str(hours.first), "--to", str(hours.end), "--yes")
        if asked.returncode:
            raise BenchmarkError(asked.stderr)
        wait_for(f"{len(hours)} hours", are_published, _BACKFILL_SECONDS, _LOOK_SECONDS)

    with dev_running(root, {}, bench.folder / "backfill.log") as dev:
        return _measured_here(build_all)


def _measured_here(work: Callable[[], None]) -> Measured:
    """Measure this process and all below it, without the memory that earlier measurements left in this one."""
    before = own_memory_mb()
    with Watch(os.getpid()) as watch:
        used, started = cpu_seconds_of(os.getpid()), time.monotonic()
        work()
        wall = time.monotonic() - started
        return Measured(wall, cpu_seconds_of(os.getpid()) - used, watch.peak_mb - before)


# -- Gold


def partials_apart(bench: Bench) -> Measured:
    """SQL of an hour's five partials, a scan for each."""
    return measure_step("partials_apart", bench.built_hour, ONE_HOUR)


def partials_together(bench: Bench) -> Measured:
    """SQL of an hour's five partials, over rows that are read once."""
    return measure_step("partials_together", bench.built_hour, ONE_HOUR)


def gold_hour_1(bench: Bench) -> Measured:
    """All tables after the first hour of a day."""
    return measure_step("gold", bench.gold_hours[1], ONE_HOUR)


def gold_hour_24(bench: Bench) -> Measured:
    """All tables after the last hour of a day."""
    return measure_step("gold", bench.gold_hours[24], HourRange(DAY.last, DAY.end))


def wide_day(bench: Bench) -> Measured:
    """Distinct users and sessions of a very wide day, after its last hour."""
    measured = measure_step("user_activity", bench.wide_day, HourRange(DAY.last, DAY.end))
    if measured.facts != {"users": bench.size.users, "sessions": bench.size.sessions}:
        raise BenchmarkError(f"the wide day has {measured.facts}")
    return measured


# -- growth


def _look(hours: int) -> Take:
    def take(bench: Bench) -> Measured:
        history = bench.histories[hours]
        looked = measure_step("sensor_look", history.root, history.first)
        if looked.facts["runs"]:
            raise BenchmarkError(f"the sensor asks for {looked.facts['runs']} runs of what is built")
        return looked

    take.__doc__ = f"A look of the sensor after {hours:,} hours."
    return take


def _query(hours: int) -> Take:
    def take(bench: Bench) -> Measured:
        history = bench.histories[hours]
        queried = measure_step("query", history.root, history.first)
        return replace(queried, facts={**queried.facts, "catalog_mb": history.catalog_mb})

    take.__doc__ = f"A query of one day after {hours:,} hours."
    return take


def _next_hour(hours: int) -> Take:
    def take(bench: Bench) -> Measured:
        history = bench.histories[hours]
        assert history.first
        return measure_step("hour_to_gold", history.root, history.land_next_hour())

    take.__doc__ = f"The next hour, raw to Gold, after {hours:,} hours."
    return take


GROWTH = {"sensor look": _look, "query": _query, "next hour": _next_hour}


# -- where the time goes


def profile(bench: Bench) -> Measured:
    """One raw object on one thread, by stage."""
    return measure_step("profile", bench.one_object, ONE_HOUR)


# -- groups


@dataclass(frozen=True, slots=True)
class Results:
    """The rounds of a group: measurement -> one run for each round."""

    rounds: Mapping[str, list[Measured]]

    def median(self, name: str, value: str = "wall") -> float:
        """Return the median of a value."""
        return float(median(getattr(each, value) for each in self.rounds[name]))

    def ratio(self, name: str, ruler: str, value: str = "wall") -> float:
        """Return the median of the ratios within each round."""
        pairs = zip(self.rounds[name], self.rounds[ruler], strict=True)
        return float(median(getattr(one, value) / max(getattr(other, value), _LEAST) for one, other in pairs))

    def is_paired(self, name: str, ruler: str | None) -> bool:
        """Tell whether a measurement has a run for each of the ruler's."""
        return ruler is not None and len(self.rounds[name]) == len(self.rounds[ruler])

    def fact(self, name: str, fact: str) -> float:
        """Return the median of what a step counted."""
        return median(each.facts[fact] for each in self.rounds[name])


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a group is to keep."""

    text: str
    value: Callable[[Results], float]
    bound: float
    at_least: bool = False
    unit: str = "x"

    def is_met(self, results: Results) -> bool:
        """Tell whether the measured value is within the bound."""
        value = self.value(results)
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Group:
    """Measurements that are compared with each other."""

    title: str
    measurements: Mapping[str, Take]
    ruler: str | None
    """The measurement that ratios relate to."""
    goals: tuple[Goal, ...] = ()
    is_quick: bool = True
    """Belongs to `make bench-quick`."""


def _named(*takes: Take) -> dict[str, Take]:
    return {take.__name__: take for take in takes}


def groups(size: Size) -> dict[str, Group]:
    """Return the table of measurements, by group."""
    changes = {name: _changed(name) for name in CHANGES}
    growth = {f"{name} {hours}": take(hours) for hours in size.history for name, take in GROWTH.items()}
    first, last = size.history[0], size.history[-1]
    return {
        "hour": Group(
            "One hour",
            _named(inflate, bare_read, plain_spark, silver, run_hour, glue_job, verify),
            "bare_read",
            (
                Goal("Silver, relative to the bare read", lambda found: found.ratio("silver", "bare_read"), 1.3),
                Goal("`run`, relative to the bare read", lambda found: found.ratio("run_hour", "bare_read"), 1.8),
                Goal("Memory of `run`", lambda found: found.median("run_hour", "peak_mb"), 900, unit="MB"),
                Goal(
                    "Plain PySpark, relative to the Glue job",
                    lambda found: found.ratio("plain_spark", "glue_job"),
                    3,
                    at_least=True,
                ),
                Goal("`verify`", lambda found: found.median("verify"), 60, unit="s"),
            ),
        ),
        "changes": Group(
            "What producers change",
            {**_named(clean, bad_events), **changes},
            "clean",
            (
                Goal(
                    "CPU seconds of bad events, relative to clean ones",
                    lambda found: found.ratio("bad_events", "clean", "cpu"),
                    1.5,
                ),
                Goal(
                    "CPU seconds of the costliest harmless change, relative to clean events",
                    lambda found: max(found.ratio(name, "clean", "cpu") for name in changes),
                    1.3,
                ),
            ),
        ),
        "small": Group(
            "What Dagster and the start of a process add",
            _named(imports_of_run, run_tiny_hour, engine_tiny_day, run_tiny_day),
            None,
            (
                Goal("`run` of a tiny hour, over its imports", _over("run_tiny_hour", "imports_of_run"), 2, unit="s"),
                Goal("`run` of a tiny day, over the engine", _over("run_tiny_day", "engine_tiny_day"), 6, unit="s"),
            ),
        ),
        "gold": Group(
            "Gold",
            _named(partials_apart, partials_together, gold_hour_1, gold_hour_24, wide_day),
            None,
            (
                Goal(
                    "Hour 24 of a day, relative to hour 1",
                    lambda found: found.ratio("gold_hour_24", "gold_hour_1"),
                    1.5,
                ),
                Goal("The wide day", lambda found: found.median("wide_day"), 5, unit="s"),
                Goal("Memory of the wide day", lambda found: found.median("wide_day", "peak_mb"), 1_000, unit="MB"),
            ),
        ),
        "growth": Group(
            "Growth",
            growth,
            None,
            (
                Goal(
                    f"The next hour after {last:,} hours, relative to {first:,}",
                    lambda found: found.ratio(f"next hour {last}", f"next hour {first}"),
                    1.5,
                ),
            ),
            is_quick=False,
        ),
        "profile": Group("Where the time goes", _named(profile), None),
        "service": Group(
            "The UI and its daemon",
            _named(dev_answers, backfill),
            None,
            (
                Goal("`make dev` answers", lambda found: found.median("dev_answers"), 12, unit="s"),
                Goal(
                    f"The backfill of {size.backfilled_hours:,} hours",
                    lambda found: found.median("backfill"),
                    300,
                    unit="s",
                ),
            ),
            is_quick=False,
        ),
    }


ONCE = frozenset(("verify", "dev_answers", "backfill"))
"""Measurements that take minutes and have no ruler: the first round is enough."""


def _over(name: str, base: str) -> Callable[[Results], float]:
    return lambda found: found.median(name) - found.median(base)


def run_group(group: Group, bench: Bench, say: Callable[[str], None]) -> Results:
    """Measure a group, every second round in reverse."""
    rounds: dict[str, list[Measured]] = {name: [] for name in group.measurements}
    for number in range(bench.size.rounds):
        order = list(group.measurements.items())
        for name, take in order if number % 2 == 0 else reversed(order):
            if number and name in ONCE:
                continue
            measured = take(bench)
            rounds[name].append(measured)
            say(f"round {number + 1}: {title_of(take)}: {measured.wall:.2f} s")
    return Results(rounds)


def title_of(take: Take) -> str:
    """Return the name of a measurement on the page."""
    return (take.__doc__ or "").splitlines()[0].rstrip(".")
