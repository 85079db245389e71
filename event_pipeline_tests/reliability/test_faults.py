"""No fault at any step of an operation loses, doubles or hides anything, and a plain rerun completes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.gold import GoldRefresher
from event_pipeline.engines.repair import PartitionRepair
from event_pipeline_tests.reliability.faults import (
    ASSEMBLIES,
    BROKEN_ON_AWS,
    OPERATIONS,
    SINGLE,
    Operation,
    Sweep,
    sweep_of,
    trials_of,
    trials_on_aws,
)
from event_pipeline_tests.reliability.lakes import LakeInMemory
from event_pipeline_tests.reliability.trial import Promise


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("assembly", ASSEMBLIES)
def test_a_fault_at_any_step_shows_old_or_new_and_a_plain_rerun_heals_it(assembly: str, operation: Operation) -> None:
    for trial in trials_of(assembly, operation, 1, 0):
        assert trial.violations == ()
        assert trial.times > 10


@pytest.mark.long
def test_a_fault_on_aws_shows_old_or_new_and_a_plain_rerun_heals_it() -> None:
    for trial in trials_on_aws(BROKEN_ON_AWS, 1, 0):
        assert trial.violations == ()


def broken(folder: Path, record: str) -> Sweep:
    """Break the rebuild of an hour where a commit record is replaced."""
    (rebuild,) = (each for each in OPERATIONS if each.name.startswith("rebuild"))
    sweep = sweep_of(LakeInMemory.name, rebuild, SINGLE, folder)
    sweep.run([step for step in sweep.steps if step.name == "Store.replace" and step.about.startswith(record)])
    assert sweep.faults > 2
    return sweep


def test_a_registration_that_hides_an_hour_for_a_moment_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PartitionRepair._act

    def act(self: Any, subjects: Sequence[Any], published: Any) -> Any:
        self._catalog.change((), [place for subject in subjects for place in subject.places])
        return real(self, subjects, published)

    monkeypatch.setattr(PartitionRepair, "_act", act)
    found = broken(tmp_path, "commits/hours/").violations
    hidden = "silver.events year=2025/month=12/day=08/hour=00 as [] before step"
    assert any(hidden in each for each in found[Promise.WHOLE])
    assert found[Promise.HEALS] == []


def test_a_rerun_that_folds_only_after_it_has_made_a_partial_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = set[GoldRefresher[Any]]()
    make_partial, fold = GoldRefresher._make_partial, GoldRefresher._fold

    def make(self: GoldRefresher[Any], *arguments: Any) -> int | None:
        rows = make_partial(self, *arguments)
        made.update([] if rows is None else [self])
        return rows

    monkeypatch.setattr(GoldRefresher, "_make_partial", make)
    monkeypatch.setattr(GoldRefresher, "_fold", lambda self, *rest: fold(self, *rest) if self in made else None)
    found = broken(tmp_path, "commits/partials/").violations
    stale = "acts, and its reply is lost: after the rerun gold.user_activity event_date=2025-12-07 shows"
    assert any(stale in each for each in found[Promise.HEALS])
