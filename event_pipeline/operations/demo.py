"""The steps of `event-pipeline demo`: raw objects as producers send them on a bad day, and a build that is killed.

Everything happens in a data folder of its own. Not here: what is printed about it, and the proof (`inspection`).
"""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from event_pipeline.engines.base import Engine
from event_pipeline.errors import PipelineError
from event_pipeline.generator import GeneratorOptions, Shape, write_object
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import PREFIX

OBJECTS_PER_HOUR = 12
_INTERVAL_SECONDS = 280
"""Span of an object's events, less than the time between two objects: none belongs to the hour before."""
_OPTIONS = GeneratorOptions(events_per_file=1500, seed=7, shape=Shape.REALISTIC)
_OTHER_EVENTS = GeneratorOptions(events_per_file=1500, seed=8, shape=Shape.REALISTIC)
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Landed:
    """Raw objects that landed."""

    objects: int
    records: int
    purchases: int


@dataclass(frozen=True, slots=True)
class Killed:
    """A build that was killed."""

    seconds: float
    """From its start to the kill."""
    said: str
    """The last line that it printed."""
    exit_code: int


@dataclass(frozen=True, slots=True)
class AnswersSeen:
    """What queries see."""

    events: int
    revenue: Decimal
    purchases: Mapping[str, int]
    """Hour of the event, `2025-12-07T22` -> purchases, from Gold."""


@contextmanager
def only_settings_of_the_demo(folder: Path) -> Iterator[None]:
    """Leave the user's settings aside for a block, for the processes started in it as well."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX)}
    os.environ[f"{PREFIX}ROOT"] = str(folder)
    try:
        yield
    finally:
        del os.environ[f"{PREFIX}ROOT"]
        os.environ.update(before)


def land_normal_hour(raw_folder: Path, hour: Hour, objects: int = OBJECTS_PER_HOUR) -> Landed:
    """Let the first objects of an hour land, all if not said otherwise."""
    sizes = [_land(raw_folder, hour, number, *_object(hour, number, _OPTIONS)) for number in range(objects)]
    return Landed(objects, sum(each.records for each in sizes), sum(each.purchases for each in sizes))


def land_late_object(raw_folder: Path, hour: Hour, number: int) -> Landed:
    """Let an object with events of the hour before land in an hour."""
    return _land(raw_folder, hour, number, *_object(hour.plus(-1), number, _OTHER_EVENTS))


def land_broken_object(raw_folder: Path, hour: Hour, number: int) -> Landed:
    """Let an object land whose upload broke off halfway: none of its records can be trusted."""
    stored, _ = _object(hour, number, _OPTIONS)
    return _land(raw_folder, hour, number, stored[: len(stored) // 2], Landed(1, 0, 0))


def land_again(raw_folder: Path, hour: Hour, number: int, sent_before: int) -> Landed:
    """Let an object land that the producer has sent before, under another name."""
    return _land(raw_folder, hour, number, *_object(hour, sent_before, _OPTIONS))


def kill_in_the_middle(hour: Hour) -> Killed:
    """Start `event-pipeline run` as a process and kill it and its workers once it has committed Silver of an hour.

    At that moment other hours of its run are not built, and neither the catalog nor Gold knows the committed one.

    Raises:
        PipelineError: the process ended or hung before that.
    """
    command = [sys.executable, "-m", "event_pipeline.cli", "run"]
    started, said = time.monotonic(), ""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                said = line.strip() or said
                if said.startswith(f"{hour}: ") or time.monotonic() > started + _PATIENCE_SECONDS:
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if not said.startswith(f"{hour}: "):
        raise PipelineError(f"the build that was to be killed ended before it built {hour}: {said}")
    return Killed(time.monotonic() - started, said, code)


def published(engine: Engine) -> AnswersSeen:
    """Read what queries see now."""
    (silver,) = engine.query("SELECT COUNT(*) AS events FROM silver.events").to_pylist()
    gold = engine.query("SELECT event_date, event_hour, total_revenue, purchase_count FROM gold.hourly_revenue")
    rows = gold.to_pylist()
    return AnswersSeen(
        silver["events"],
        sum((row["total_revenue"] for row in rows), Decimal(0)),
        {f"{row['event_date']}T{row['event_hour']:02}": row["purchase_count"] for row in rows},
    )


def _object(hour: Hour, number: int, options: GeneratorOptions) -> tuple[bytes, Landed]:
    stream = io.BytesIO()
    counts = write_object(stream, _landing(hour, number), options, interval_seconds=_INTERVAL_SECONDS)
    stored = stream.getvalue()
    return stored, Landed(1, counts.records, gzip.decompress(stored).count(b'"event_type": "purchase"'))


def _land(raw_folder: Path, hour: Hour, number: int, stored: bytes, landed: Landed) -> Landed:
    path = raw_folder / hour.raw_key(_landing(hour, number))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stored)
    return landed


def _landing(hour: Hour, number: int) -> datetime:
    return hour.start + timedelta(minutes=5 * number + 4, seconds=50)
