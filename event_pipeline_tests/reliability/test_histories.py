"""Random histories break no promise; a defect that is planted in the product does, and is printed as a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from event_pipeline.engines import gold
from event_pipeline.engines.commit import DayCommit, HourCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.rules.accounting import RawListing
from event_pipeline_tests.reliability import histories
from event_pipeline_tests.reliability.happenings import AnyStep, Build, Clean, Land, Swap, Together, Wait, script
from event_pipeline_tests.reliability.histories import SHARES, replay, run_histories, trial_of
from event_pipeline_tests.reliability.world import DISK, MEMORY, MEMORY_WITH_DUCKDB

FIRST = Land(0, 0, (("buy", 1, 0, 0), ("view", 2, 1, 0)))
LATER = Land(1, 0, (("buy", 2, 1, 1), ("search", 0, 2, 0)))


CHUNK = 48
CHUNKS = [(MEMORY, CHUNK, 101 + number) for number in range(SHARES[MEMORY] // CHUNK)]
"""The share of each assembly at scale 1, in parts that processes share."""


@pytest.mark.parametrize(
    ("assembly", "number", "seed"),
    [
        CHUNKS[0],
        *(pytest.param(*chunk, marks=pytest.mark.long) for chunk in CHUNKS[1:]),
        *(pytest.param(each, SHARES[each], 9, marks=pytest.mark.long) for each in (MEMORY_WITH_DUCKDB, DISK)),
    ],
)
def test_random_histories_break_no_promise(assembly: str, number: int, seed: int) -> None:
    assert trial_of(assembly, number, seed).violations == ()


def ignores_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is replaced by one of the same size counts as unchanged."""
    plain = property(lambda self: ",".join(f"{each.key} {each.size}" for each in self.objects))
    monkeypatch.setattr(RawListing, "fingerprint", plain)
    monkeypatch.setattr(
        HourCommit,
        "fingerprint",
        property(lambda self: ",".join(f"{each.key} {each.size}" for each in self.account.objects)),
    )


def folds_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that was folded counts as up to date."""
    monkeypatch.setattr(gold, "is_folded", lambda commit, partials, version: bool(commit.partials))


def publishes_whatever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loser of a race overwrites the winner's Gold day."""
    publish = CommitStore.publish

    def forced(self: CommitStore, commit: Any, replaces: str | None) -> str:
        return publish(
            self, commit, self.day(commit.table, commit.day).version if isinstance(commit, DayCommit) else replaces
        )

    monkeypatch.setattr(CommitStore, "publish", forced)


def collects_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Housekeeping takes what is in the catalog for a leftover."""
    monkeypatch.setattr("event_pipeline.engines.housekeeping._needed_prefix", lambda commit: "nothing/")
    monkeypatch.setattr("event_pipeline_tests.engines.memory_catalog.MemoryCatalog.needed", lambda self, entry: [])


@pytest.mark.parametrize(
    ("plant", "history", "says"),
    [
        (ignores_the_time, [FIRST, Build((0,)), Swap(0, 0), Build((0,))], "was built from"),
        (folds_once, [FIRST, LATER, Build((0,)), Build((1,))], "is folded from"),
        (
            publishes_whatever_is_there,
            [
                FIRST,
                LATER,
                *(Together(Build((0,), force=True), Build((1,), force=True), (turns,)) for turns in range(48, 57)),
            ],
            "is folded from",
        ),
        (collects_at_once, [FIRST, Build((0,)), Wait(24 * 8), Clean()], "which is gone"),
    ],
)
def test_a_planted_defect_is_found_and_printed_as_a_script(
    plant: Callable[[pytest.MonkeyPatch], None],
    history: list[AnyStep],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert replay(history, query=False) is None
    plant(monkeypatch)
    assert says in (replay(history, query=False) or "")
    exec(script(history, MEMORY, 0), {})  # noqa: S102 - it is what a person runs
    assert says in capsys.readouterr().out


def test_random_histories_find_a_planted_defect_and_cut_it_down(monkeypatch: pytest.MonkeyPatch) -> None:
    folds_once(monkeypatch)
    monkeypatch.setattr(histories, "_MOST_VIOLATIONS", 1)
    (violation,) = run_histories(5, 30, seed=1, assembly=MEMORY)
    steps = violation.partition("history = [")[2].partition("\n]")[0].splitlines()[1:]
    assert 1 < len(steps) < 30
