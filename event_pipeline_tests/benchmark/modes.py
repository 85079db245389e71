"""One hour in both build modes, object by object: how fresh the tables are, and what that costs (`--modes`).

The hour lands on a clock of its own, with the real time of every build.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from event_pipeline.automation.due import why_waiting
from event_pipeline.engines.local import LocalEngine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import AUTOMATIC_STATES
from event_pipeline.generator import GeneratorOptions, generate
from event_pipeline.rules.hour import HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import BuildMode, load_settings
from event_pipeline_tests.benchmark.inputs import FIRST_HOUR
from event_pipeline_tests.benchmark.measuring import cpu_seconds_of
from event_pipeline_tests.pipeline import silent

EVENTS_PER_OBJECT = 200_000


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
            started, used = time.monotonic(), cpu_seconds_of(os.getpid())
            list(engine.build_silver([hour], progress=note))
            engine.register_hours([hour])
            for table in tables:
                engine.refresh_gold(table, [hour], progress=silent)
            seconds = time.monotonic() - started
            measured.builds += 1
            measured.decoded += len(listing.objects)
            measured.seconds += seconds
            measured.cpu_seconds += cpu_seconds_of(os.getpid()) - used
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
