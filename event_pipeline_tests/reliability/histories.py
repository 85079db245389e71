"""Random histories: what happens to a lake in months, in an order that nobody would think of, and a model that watches.

A history is a list of steps: objects land, are replaced, expire; hours are built, forced, repaired, retired; people are
erased; rules and SQL change; two workers take turns at port calls; processes end at any of them. The model
(`published.py`) looks after every change and judges all that is published and all that readers see. A history that
breaks a promise is cut down and printed as a script that repeats it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as hypothesis_seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from event_pipeline_tests.reliability.happenings import RETENTIONS, AnyStep, histories_of, script
from event_pipeline_tests.reliability.trial import Promise, Say, Trial
from event_pipeline_tests.reliability.world import DISK, MEMORY, MEMORY_WITH_DUCKDB, World, in_one_order


def replay(history: Sequence[AnyStep], assembly: str = MEMORY, retention: int = 0, *, query: bool = True) -> str | None:
    """Run a history in a new lake; return what broke and at which step, or None."""
    folder = Path(tempfile.mkdtemp(prefix="history-", dir=_quick_folder()))
    where = "the beginning"
    try:
        world = World(folder, assembly, retention)
        with in_one_order(world.clock, assembly):
            for number, step in enumerate(history, 1):
                where = f"step {number}, {step!r}"
                world.do(step)
            where = "the end, when everything was built again"
            world.settle(query=query)
    except Exception as fault:
        return f"{where}: {type(fault).__name__}: {fault}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None


def _quick_folder() -> str | None:
    in_memory = "/dev/shm"  # noqa: S108 - only where it is quicker; the folder in it has a name of its own
    return in_memory if os.access(in_memory, os.W_OK) else None


def cut_down(history: Sequence[AnyStep], assembly: str, retention: int, query: bool = True) -> list[AnyStep]:
    """Return a shorter history that still breaks a promise, after a limited number of attempts."""
    kept, part, left = list(history), max(1, len(history) // 2), _MOST_ATTEMPTS
    while part and left:
        start = 0
        while start < len(kept) and left:
            left -= 1
            shorter = kept[:start] + kept[start + part :]
            if replay(shorter, assembly, retention, query=query):
                kept = shorter
            else:
                start += part
        part //= 2
    return kept


def run_histories(number: int, steps: int, seed: int, assembly: str, say: Say = lambda _: None) -> list[str]:
    """Run random histories; return what broke, each with the script that repeats it."""
    violations, ran = list[str](), 0

    @hypothesis_seed(seed)
    @hypothesis_settings(
        max_examples=number,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(history=histories_of(steps), retention=st.sampled_from(range(len(RETENTIONS))))
    def run(history: list[AnyStep], retention: int) -> None:
        nonlocal ran
        ran += 1
        if len(violations) >= _MOST_VIOLATIONS:
            return
        query = ran % _QUERIED == 0 or assembly != MEMORY
        broken = replay(history, assembly, retention, query=query)
        if broken:
            short = cut_down(history, assembly, retention, query)
            again = replay(short, assembly, retention) or broken
            violations.append(
                f"{assembly}, seed {seed}, history {ran}: {again}\n"
                f"This repeats it:\n{script(short, assembly, retention)}"
            )
        if ran % 10 == 0:
            say(f"histories {assembly}: {ran} of {number}")

    run()
    return violations


_MOST_VIOLATIONS = 2
_MOST_ATTEMPTS = 40
"""Runs that shorten a history."""
_QUERIED = 20
"""In memory, one in so many histories ends with queries."""

STEPS_OF_A_HISTORY = 30
SHARES = {MEMORY: 384, MEMORY_WITH_DUCKDB: 6, DISK: 10}
"""Assembly -> histories at scale 1."""


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Run the histories of every assembly."""
    for assembly, share in SHARES.items():
        yield trial_of(assembly, share * scale, seed, say)


def trial_of(assembly: str, number: int, seed: int, say: Say = lambda _: None) -> Trial:
    """Run some histories of one assembly."""
    started = time.monotonic()
    violations = run_histories(number, STEPS_OF_A_HISTORY, seed, assembly, say)
    tried = (
        f"random histories {assembly}: objects land, change and expire, rules and SQL change, hours are built, "
        "repaired, retired and collected, people are erased, workers interleave, processes end"
    )
    return Trial(Promise.HEALS, tried, number, seed, tuple(violations), time.monotonic() - started)
