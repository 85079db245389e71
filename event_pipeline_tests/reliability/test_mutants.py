"""Planted defects of the product: their lists are sound, and a choice of them is killed; `make mutants` tries all."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from event_pipeline_tests.reliability.mutants import possible, rooms, run, sample, trials
from event_pipeline_tests.reliability.mutants.kinds import KINDS
from event_pipeline_tests.reliability.mutants.mutant import Mutant
from event_pipeline_tests.reliability.mutants.run import PROJECT, Outcome, Result, run_mutants
from event_pipeline_tests.test_rooms import FLOORS, PACKAGE

SEED = 14
LEAST = 350
"""Mutants that there must be at least."""
SIBLINGS = 2
"""Mutants that each kind must have at least."""
JOB = "glue_scripts"

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


def test_every_kind_that_once_survived_has_mutants_with_siblings() -> None:
    known = {each.defect for each in EVERY}
    kinds = {f"{theme}: {kind}": defects for theme, of_theme in KINDS.items() for kind, defects in of_theme.items()}
    assert {kind for kind, defects in kinds.items() if len(set(defects)) < SIBLINGS} == set()
    assert {kind: lost for kind, defects in kinds.items() if (lost := set(defects) - known)} == {}


def rooms_without(mutants: list[Mutant]) -> set[str]:
    """Return the rooms of the package, and the folder of the job, in which none of these mutants is planted."""
    planted = set()
    for each in mutants:
        folder, _, rest = each.path.partition("/")
        planted.add(rest.partition("/")[0].removesuffix(".py") if folder == PACKAGE else folder)
    return {*(room for floor in FLOORS for rooms in floor for room in rooms), JOB} - planted


def test_every_room_has_mutants() -> None:
    assert rooms_without(EVERY) == set()
    for room, path in {"alerts": f"{PACKAGE}/alerts/", "cli": f"{PACKAGE}/cli.py", JOB: f"{JOB}/"}.items():
        assert rooms_without([each for each in EVERY if not each.path.startswith(path)]) == {room}


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


def test_mutants_of_the_page_are_left_out_where_there_is_no_browser_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_page = [each for each in EVERY if each.path.endswith(".js")]
    assert len(of_page) > 20
    monkeypatch.setenv("PATH", "")
    said: list[str] = []
    left = [each for mutants in possible(said.append).values() for each in mutants]
    assert [each for each in EVERY if each not in left] == of_page
    assert said[0].startswith(f"{len(of_page)} mutants of the report's page are left out: none of chromium, ")


class SlowCopy:
    """Stands in for a copy of the checkout, in which each try of a mutant takes as long as its text says."""

    def __init__(self, _: Path, seconds: float) -> None:
        self.left: dict[Mutant, list[float]] = {}

    def sound(self, tests: Sequence[str]) -> set[str]:
        """Return all tests."""
        return set(tests)

    def tried(self, mutant: Mutant) -> Result:
        """Return that the mutant is killed."""
        left = self.left.setdefault(mutant, list(map(float, mutant.new.split())))
        return Result(mutant, Outcome.KILLED, left.pop(0))

    def close(self) -> None:
        """Do nothing."""


def test_who_is_killed_only_after_a_minute_is_tried_alone_and_then_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Copy", SlowCopy)
    quick, busy, slow = (replace(EVERY[0], new=seconds) for seconds in ("59", "61 9", "90 61"))
    results = run_mutants([quick, busy, slow], 1, print)
    assert [(each.seconds, each.is_late) for each in results.values()] == [(59, False), (9, False), (61, True)]
    assert str(results[slow]).startswith("killed only after 61 s: ")


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
