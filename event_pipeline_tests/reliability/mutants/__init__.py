"""Mutants of the product: defects that somebody could make, each with the test that must notice it.

A module of this folder with `MUTANTS` is a list of them, for one room or theme. `make mutants` plants each in a copy of
the checkout and runs its test there: a mutant that survives means that the proof is blind. To add one, find a defect
that would harm somebody's data, name the test that fails because of it, and write that test if there is none. The
module `kinds` has the kinds that once survived.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules

from event_pipeline_tests.browser.chromium import executable
from event_pipeline_tests.reliability.mutants.mutant import Mutant
from event_pipeline_tests.reliability.mutants.run import run_mutants
from event_pipeline_tests.reliability.trial import Promise, Say, Trial

SAMPLED = 12
"""Mutants that are tried at scale 1: each takes some seconds."""


def rooms() -> dict[str, tuple[Mutant, ...]]:
    """Return every list of mutants by the name of its module."""
    names = (each.name for each in iter_modules(__path__) if each.name != "__main__")
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {name: module.MUTANTS for name, module in sorted(modules.items()) if hasattr(module, "MUTANTS")}


def possible(say: Say) -> dict[str, tuple[Mutant, ...]]:
    """Return the lists without the mutants that cannot be tried here: some tests need a browser."""
    lists = rooms()
    try:
        executable()
    except LookupError as missing:
        number = sum(each.needs_a_browser for mutants in lists.values() for each in mutants)
        say(f"{number} mutants of the report's page are left out: {missing}")
        kept = {room: tuple(each for each in mutants if not each.needs_a_browser) for room, mutants in lists.items()}
        return {room: mutants for room, mutants in kept.items() if mutants}
    return lists


def trials(scale: int, seed: int, say: Say) -> Iterator[Trial]:
    """Plant a random choice of the mutants (`scale` 1), or all of them, and see whether their tests fail."""
    lists = possible(say)
    chosen = lists if scale > 1 else sample(lists, SAMPLED, seed)
    jobs = len(os.sched_getaffinity(0)) if scale > 1 else 1
    results = run_mutants([each for of_room in chosen.values() for each in of_room], jobs, say)
    for room, mutants in chosen.items():
        tried = [results[each] for each in mutants]
        yield Trial(
            Promise.GUARDED,
            f"A defect was planted in the product ({room}), and the test that guards it was run",
            times=len(tried),
            seed=seed if scale == 1 else None,
            # Where tests of other kinds run beside them, as in CI, their time says nothing.
            violations=tuple(str(each) for each in tried if not each.is_killed or (scale > 1 and each.is_late)),
            seconds=sum(each.seconds for each in tried),
        )


def sample(lists: Mapping[str, tuple[Mutant, ...]], size: int, seed: int) -> dict[str, tuple[Mutant, ...]]:
    """Return some of the mutants, the same for the same seed, without lists of which none was drawn."""
    every = [(room, each) for room, mutants in sorted(lists.items()) for each in mutants]
    drawn = random.Random(seed).sample(every, min(size, len(every)))
    by_room = {room: tuple(each for of_room, each in drawn if of_room == room) for room in sorted(lists)}
    return {room: mutants for room, mutants in by_room.items() if mutants}
