"""Planted defects of the product: their lists are sound, and a choice of them is killed; `make mutants` tries all."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from event_pipeline_tests.reliability.mutants import rooms, sample, trials
from event_pipeline_tests.reliability.mutants.mutant import Mutant
from event_pipeline_tests.reliability.mutants.run import PROJECT, Outcome, run_mutants

SEED = 14
LEAST = 250
"""Mutants that there must be at least."""

EVERY = [each for mutants in rooms().values() for each in mutants]


@cache
def named_tests(path: Path) -> frozenset[str]:
    """Return the tests of a file, as node ids name them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [(f"{each.name}::", each.body) for each in tree.body if isinstance(each, ast.ClassDef)]
    return frozenset(
        f"{prefix}{each.name}"
        for prefix, body in [("", tree.body), *classes]
        for each in body
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    )


def faults_of(mutants: list[Mutant]) -> list[str]:
    """Return what is wrong with a list of mutants, without running any."""
    faults = [f"{defect!r} is listed {n} times" for defect, n in Counter(e.defect for e in mutants).items() if n > 1]
    for each in mutants:
        try:
            text = each.applied((PROJECT / each.path).read_text(encoding="utf-8"))
            if each.path.endswith(".py"):
                compile(text, each.path, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError) as error:
            faults.append(f"{each.defect}: {error}")
        path, _, test = each.killed_by.partition("::")
        if not (PROJECT / path).is_file() or test.partition("[")[0] not in named_tests(PROJECT / path):
            faults.append(f"{each.defect}: there is no test {each.killed_by}")
    return faults


def test_every_mutant_changes_one_place_and_names_a_test_that_exists() -> None:
    assert faults_of(EVERY) == []
    assert len(EVERY) >= LEAST


def test_a_mutant_that_fits_nothing_is_found() -> None:
    sound = EVERY[0]
    wrong = {
        "occurs 0 times": replace(sound, old="no such text"),
        "nothing is changed": replace(sound, new=sound.old),
        "there is no test": replace(sound, killed_by=f"{sound.killed_by}_x"),
        "No such file": replace(sound, path="event_pipeline/no_such.py"),
        "invalid syntax": replace(sound, new="= ="),
        "is listed 2 times": sound,
    }
    for fault, mutant in wrong.items():
        found = faults_of([mutant, sound] if mutant is sound else [mutant])
        assert [fault in each for each in found] == [True], fault


@pytest.mark.long
def test_a_choice_of_the_mutants_is_killed_by_their_tests() -> None:
    violations = [each for trial in trials(1, SEED, print) for each in trial.violations]
    assert violations == []


@pytest.mark.long
def test_a_defect_that_no_test_notices_is_reported() -> None:
    ((sound, *_),) = sample(rooms(), 1, SEED).values()
    comment = replace(sound, path="event_pipeline/errors.py", old='"""', new='"""')
    path = PROJECT / "event_pipeline" / "errors.py"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    harmless = replace(sound, path="event_pipeline/errors.py", old=first, new=f"{first}  # changes nothing")
    nowhere = replace(sound, defect="a test that is nowhere", killed_by=f"{sound.killed_by}_x")
    results = run_mutants([harmless, nowhere, comment], 1, print)
    assert results[harmless].outcome is Outcome.SURVIVED
    assert {results[each].outcome for each in (nowhere, comment)} == {Outcome.INVALID}
