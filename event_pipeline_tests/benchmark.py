"""Measures the embedded engine at full size: `python -m event_pipeline_tests.benchmark` (`make bench`).

One hour is 12 objects of 625,000 events. Everything is measured in one run on the same files and reported as a
ratio to a bare DuckDB `read_json` of them to Parquet with the same threads, because seconds depend on the
machine. The lower bound is the time to inflate the bytes. Hours 2 to 24 of the day are the same objects under other
landing hours (hard links): late events, which cost what any others cost.

With `--modes` one hour lands object by object in each build mode instead, on a clock of its own with the real time
of every build: how fresh the tables are, and what that costs.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

import duckdb
from isal import igzip
from rich.console import Console
from rich.table import Table

from event_pipeline.automation.due import why_waiting
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import AUTOMATIC_STATES
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import BuildMode, load_settings

FIRST_HOUR = Hour.parse("2025-12-07T01")
LIMITS = {"Silver, published": 3.0, "Gold, one more hour": 1.0}
COLUMNS = (
    "{timestamp: 'TIMESTAMP', user_id: 'VARCHAR', session_id: 'VARCHAR', event_type: 'VARCHAR', product_id: 'VARCHAR',"
    " quantity: 'INTEGER', price: 'DECIMAL(10,2)', category: 'VARCHAR', search_query: 'VARCHAR'}"
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One step: wall seconds and peak memory of this process with its children, in MB."""

    name: str
    seconds: float
    peak_mb: float


def tree_memory_mb() -> float:
    """Return the proportional set size of this process and all below it, in MB."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    total = 0
    for pid in mine:
        try:
            lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Watch the memory of the process tree, ten times a second."""
    peak, done = [tree_memory_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak.append(tree_memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(peak)
    finally:
        done.set()
        watcher.join()


def measure(name: str, step: Callable[[], object]) -> Measurement:
    """Run a step once."""
    with peak_memory() as peak:
        started = time.monotonic()
        step()
        seconds = time.monotonic() - started
        return Measurement(name, seconds, peak())


def inflate(objects: list[Path]) -> None:
    """Inflate every object and throw the bytes away."""
    for path in objects:
        with igzip.open(path) as stream:  # type: ignore[no-untyped-call]  # this module of isal has no annotations
            while stream.read(1 << 20):
                pass


def bare_read(objects: list[Path], target: Path, threads: int) -> None:
    """Read the objects with DuckDB's own typed JSON reader straight into Parquet: no verdicts, no checks."""
    with closing(duckdb.connect(config={"threads": threads})) as connection:
        paths = ", ".join(f"'{path}'" for path in objects)
        reader = f"read_json([{paths}], format = 'newline_delimited', columns = {COLUMNS})"
        connection.execute(f"COPY (FROM {reader}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def silent(_: str) -> None:
    """Ignore progress messages."""


def build_silver(engine: LocalEngine, hour: Hour) -> None:
    """Build and register one hour."""
    list(engine.build_silver([hour], progress=silent))
    engine.register_hours([hour])


def refresh_gold(engine: LocalEngine, hour: Hour) -> None:
    """Refresh every Gold table for one hour."""
    for table in load_gold_tables():
        engine.refresh_gold(table, [hour], progress=silent)


def link_hour(raw: Path, source: Hour, target: Hour) -> None:
    """Link the objects of an hour into another landing hour as well."""
    for number, path in enumerate(sorted((raw / source.raw_prefix).rglob("*.gz"))):
        copy = raw / target.raw_key(target.start + timedelta(minutes=5 * number))
        copy.parent.mkdir(parents=True)
        os.link(path, copy)


def load_seconds() -> float:
    """Return the seconds a fresh process takes to load the code location, the best of three."""
    command = [sys.executable, "-c", "import event_pipeline.definitions"]
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run(command, check=True)
        seconds.append(time.monotonic() - started)
    return min(seconds)


def run(events_per_file: int, hours: int, folder: Path, console: Console) -> bool:
    """Measure and print; return whether every limit holds."""
    settings = load_settings(root=folder)
    engine = LocalEngine(settings)
    console.print(f"Generating 12 objects of {events_per_file:,} events ...")
    generate(folder / "raw", [FIRST_HOUR], GeneratorOptions(events_per_file=events_per_file, files_per_hour=12))
    objects = sorted((folder / "raw").rglob("*.gz"))
    inflated = sum(int.from_bytes(path.read_bytes()[-4:], "little") for path in objects)
    assert gzip.open(objects[0]).read(1) == b"{"
    measured = [
        measure("gunzip only, one core", lambda: inflate(objects)),
        bare := measure("bare DuckDB read_json", lambda: bare_read(objects, folder / "bare.parquet", settings.workers)),
        silver := measure("Silver, published", lambda: build_silver(engine, FIRST_HOUR)),
        gold := measure("Gold, one more hour", lambda: refresh_gold(engine, FIRST_HOUR)),
    ]
    day = HourRange(FIRST_HOUR.plus(1), FIRST_HOUR.plus(hours))
    for hour in day:
        link_hour(folder / "raw", FIRST_HOUR, hour)
        build_silver(engine, hour)
        last = measure(f"Gold, hour {len(day) + 1} of the day", lambda: refresh_gold(engine, hour))  # noqa: B023 - run at once
        console.print(f"hour {hour} built, Gold in {last.seconds:.1f} s", highlight=False)
    measured.append(last)
    load = load_seconds()

    table = Table(title=f"{len(objects)} objects, {12 * events_per_file:,} events, {inflated / 1e9:.2f} GB inflated")
    for heading in ("step", "wall s", "x bare read", "limit", "peak MB"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for each in measured:
        limit = LIMITS.get(each.name)
        table.add_row(
            each.name,
            f"{each.seconds:.1f}",
            f"{each.seconds / bare.seconds:.2f}",
            f"{limit:.1f}" if limit else "",
            f"{each.peak_mb:,.0f}",
        )
    console.print(table)
    growth = last.seconds / gold.seconds
    held = {
        "Silver at most 3.0 x the bare read": silver.seconds <= 3.0 * bare.seconds,
        "Gold at most 1.0 x the bare read": gold.seconds <= bare.seconds,
        f"Gold at hour {len(day) + 1} at most 1.5 x hour 1 (is {growth:.2f})": growth <= 1.5,
        f"peak memory under 2 GB (is {silver.peak_mb:,.0f} MB)": silver.peak_mb < 2000,
        f"code location loads in under 2 s (is {load:.2f} s)": load < 2,
    }
    for statement, holds in held.items():
        console.print(
            f"[{'green' if holds else 'red'}]{'holds' if holds else 'FAILS'}[/]  {statement}", highlight=False
        )
    return all(held.values())


@dataclass(slots=True)
class ModeMeasurement:
    """One hour, object by object, in one build mode."""

    delays: list[float] = field(default_factory=list)
    """Minutes from the landing of each object until Silver and Gold show it."""
    builds: int = 0
    decoded: int = 0
    """Objects that were decoded, repeats included."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def cpu_seconds() -> float:
    """Return the CPU time of this process and its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure_mode(mode: BuildMode, staged: list[Path], folder: Path) -> ModeMeasurement:
    """Land the objects of an hour every five minutes on a simulated clock, with the sensor's own looks and waits."""
    settings = load_settings(root=folder / mode, build_mode=mode)
    hour, measured = FIRST_HOUR, ModeMeasurement()
    now = hour.start
    engine = LocalEngine(settings, clock=lambda: now)
    tables = load_gold_tables()
    waiting = {hour.start + timedelta(minutes=5 * number): path for number, path in enumerate(staged)}
    shown_at: dict[datetime, datetime] = {}
    unseen: list[datetime] = []

    def note(line: str) -> None:
        if found := re.search(r"(\d+) of (\d+) objects are already decoded", line):
            measured.decoded -= int(found[1])

    while now < hour.end + timedelta(minutes=settings.grace_minutes):
        for landed in [landed for landed in waiting if landed <= now]:
            target = settings.root / "raw" / hour.raw_key(landed)
            target.parent.mkdir(parents=True)
            shutil.copyfile(waiting.pop(landed), target)
            os.utime(target, (landed.timestamp(),) * 2)
            unseen.append(landed)
        one = HourRange(hour, hour.plus(1))
        listing = engine.list_raw(hour)
        state = Pipeline(engine, tables, settings).states(now, one)[hour]
        if state in AUTOMATIC_STATES and why_waiting(state, listing, settings, now) is None:
            started, used = time.monotonic(), cpu_seconds()
            list(engine.build_silver([hour], progress=note))
            engine.register_hours([hour])
            refresh_gold(engine, hour)
            seconds = time.monotonic() - started
            measured.builds += 1
            measured.decoded += len(listing.objects)
            measured.seconds += seconds
            measured.cpu_seconds += cpu_seconds() - used
            now += timedelta(seconds=seconds)
            shown_at |= dict.fromkeys(unseen, now)
            unseen.clear()
        now += timedelta(seconds=settings.sensor_interval_seconds)
    measured.delays = [(shown_at[landed] - landed).total_seconds() / 60 for landed in sorted(shown_at)]
    assert len(measured.delays) == len(staged)
    return measured


def run_modes(events_per_file: int, folder: Path, console: Console) -> bool:
    """Measure freshness and work of both build modes on the same objects; return whether each decoded as promised."""
    generate(folder / "staged", [FIRST_HOUR], GeneratorOptions(events_per_file=events_per_file, files_per_hour=12))
    staged = sorted((folder / "staged").rglob("*.gz"))
    measured = {mode: measure_mode(mode, staged, folder) for mode in BuildMode}
    complete = measured[BuildMode.COMPLETE]
    table = Table(title=f"One hour, {len(staged)} objects of {events_per_file:,} events, one every five minutes")
    for heading in ("mode", "median min", "longest min", "builds", "decoded", "wall s", "CPU s", "x CPU"):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for mode, each in measured.items():
        table.add_row(
            mode,
            f"{median(each.delays):.1f}",
            f"{max(each.delays):.1f}",
            str(each.builds),
            str(each.decoded),
            f"{each.seconds:.1f}",
            f"{each.cpu_seconds:.1f}",
            f"{each.cpu_seconds / complete.cpu_seconds:.1f}",
        )
    console.print(table)
    every = measured[BuildMode.EVERY_OBJECT]
    return (complete.decoded, every.decoded) == (len(staged), 2 * len(staged))


def main() -> int:
    """Run the benchmark in a folder of its own, which is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events-per-file", type=int, default=625_000)
    parser.add_argument("--hours", type=int, default=24, help="hours of the day that are built, at least 2")
    parser.add_argument("--modes", action="store_true", help="measure freshness and work of both build modes instead")
    parser.add_argument("--folder", type=Path, default=None, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="event-pipeline-bench-", dir=arguments.folder))
    try:
        if arguments.modes:
            return 0 if run_modes(arguments.events_per_file, folder, Console()) else 1
        return 0 if run(arguments.events_per_file, arguments.hours, folder, Console()) else 1
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
