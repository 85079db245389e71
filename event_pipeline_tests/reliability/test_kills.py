"""Kills at random times; what is planted must be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from event_pipeline_tests.reliability import kills
from event_pipeline_tests.reliability.kills import Killed
from event_pipeline_tests.reliability.scenario import prepared
from event_pipeline_tests.reliability.trial import Say, Trial
from event_pipeline_tests.reliability.watched import Command

SEED = 14

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("part", "kills_at_least"),
    [(kills.commands, 90), (kills.glue_jobs, 8), pytest.param(kills.daemons, 3, marks=pytest.mark.slow)],
    ids=["commands", "Glue runs", "daemon"],
)
def test_a_process_that_is_killed_loses_doubles_and_halves_nothing(
    part: Callable[[int, int, Say], Iterator[Trial]], kills_at_least: int
) -> None:
    tried = list(part(1, SEED, print))
    assert sum(each.times for each in tried) >= kills_at_least
    assert [text for each in tried for text in each.violations] == []


def test_a_process_that_never_gets_to_its_end_is_found(tmp_path: Path) -> None:
    case = prepared()

    def builds_nothing(root: Path) -> Command:
        return Command(root, "status")

    kind = Killed("status", 4, case.copy, builds_nothing, case.reader_anomalies, case.end_anomalies)
    found = kills.chains(kind, tmp_path / "killed", 1, SEED, print)
    assert found.times == 4
    assert any("none of the whole builds has exactly these" in text for text in found.violations)
