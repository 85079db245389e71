"""Runs one command and measures it: wall seconds, CPU seconds and peak memory of all its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from event_pipeline.rules.hour import HourRange
from event_pipeline.settings import PREFIX

SAMPLE_SECONDS = 0.1
_SHARE_OF_TIME = 0.03
"""At most so much of a core goes into samples: the more processes there are, the less often they are looked at."""
_SHOWN_CHARACTERS = 3_000


class BenchmarkError(Exception):
    """A measured command failed, or did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a measurement."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all processes."""
    peak_mb: float
    """Largest sum of the proportional set sizes of all processes, interpreter and imports included."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """What the step counted, by name."""


def processes_of(pid: int) -> list[psutil.Process]:
    """Return a process and all below it; none if it has ended."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time of a process and all below it, with those that have ended and were waited for."""
    total = 0.0
    for process in processes_of(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb_of(pid: int) -> float:
    """Return the proportional set size of a process and all below it, in MB."""
    total = 0
    for process in processes_of(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


def own_memory_mb() -> float:
    """Return the proportional set size of this process alone, in MB."""
    return float(psutil.Process().memory_full_info().pss) / 1e6


class Watch:
    """Samples a process tree in a thread of its own until the block ends."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = self.cpu = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Watch:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.is_set():
            began = time.thread_time()
            self.peak_mb = max(self.peak_mb, memory_mb_of(self._pid))
            self.cpu = max(self.cpu, cpu_seconds_of(self._pid))
            self._over.wait(max(SAMPLE_SECONDS, (time.thread_time() - began) / _SHARE_OF_TIME))


def measure(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    begins: Callable[[str], bool] | None = None,
    is_step: bool = False,
) -> Measured:
    """Run a command to its end and measure it.

    With `begins`, wall seconds count from the first line of output for which it is true. A step reports wall and CPU
    seconds itself, in its last line, without those of its imports.

    Raises:
        BenchmarkError: it fails.
    """
    with tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            command, env=outside_environment() | dict(environment), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdout
        lines, began = [], None
        with process.stdout, Watch(process.pid) as watch:
            for line in process.stdout:
                if begins and began is None and begins(line):
                    began = time.monotonic()
                lines.append(line)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - (began or started)
        errors.seek(0)
        if process.returncode or (begins and began is None):
            shown = "".join((*lines, errors.read()))[-_SHOWN_CHARACTERS:]
            raise BenchmarkError(f"{' '.join(command)} ended with {process.returncode}:\n{shown}")
    if is_step:
        reported = json.loads(lines[-1])
        return Measured(reported["wall"], reported["cpu"], watch.peak_mb, reported["facts"])
    # A JVM is not waited for by the Python that started it: only the samples have its time.
    return Measured(wall, max(usage.ru_utime + usage.ru_stime, watch.cpu), watch.peak_mb)


def measure_step(name: str, root: Path, hours: HourRange) -> Measured:
    """Measure a step of `steps.py` in a process of its own."""
    command = [sys.executable, "-m", "event_pipeline_tests.benchmark.steps", name, str(root), str(hours.first)]
    return measure([*command, str(hours.end)], {}, is_step=True)


def measure_command(root: Path, *arguments: str) -> Measured:
    """Measure a whole `event-pipeline` command over a data folder, imports included."""
    return measure([sys.executable, "-m", "event_pipeline.cli", *arguments], {f"{PREFIX}ROOT": str(root)})


def outside_environment() -> dict[str, str]:
    """Return the environment of this process without settings, so that defaults are measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_", "AWS_"))}
