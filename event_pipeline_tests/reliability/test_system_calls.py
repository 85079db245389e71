"""Faults below Python; what is planted must be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from event_pipeline_tests.reliability import system_calls
from event_pipeline_tests.reliability.trial import Say, Trial
from event_pipeline_tests.reliability.watched import NoCompilerError, library

SEED = 14

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def _calls_can_be_watched() -> None:
    try:
        library()
    except NoCompilerError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(
    "part",
    [system_calls.killed_or_without_power, system_calls.refused, system_calls.stopped],
    ids=lambda part: part.__name__,
)
def test_a_fault_at_a_system_call_loses_doubles_and_halves_nothing(
    part: Callable[[int, int, Say], Iterator[Trial]],
) -> None:
    tried = list(part(1, SEED, print))
    assert min(each.times for each in tried) > 0
    assert [text for each in tried for text in each.violations] == []


WITHOUT_SYNC = "import os; os.fsync = lambda handle: None"
IN_PLACE = """
from event_pipeline.engines.local import files
files.publish = lambda path, content, **_: (path.parent.mkdir(parents=True, exist_ok=True), path.write_bytes(content))
"""
SILENT = """
from event_pipeline.engines.host import layout
layout._REMEDIES.clear()
"""


def test_files_that_are_not_synced_and_records_written_in_place_are_found() -> None:
    with system_calls.scenario() as (case, folder):
        moments = system_calls.recorded(case, folder, SEED, 1, WITHOUT_SYNC + IN_PLACE)
        lost = system_calls.without_power(case, folder, moments[-20:], SEED, print, 0)
        assert any("cannot read" in text and "power cut" in text for text in lost.violations)
        writing = [each for each in moments if each.before and each.before.name == "write"]
        halves = [each for each in writing if each.before and each.before.path.startswith("lake/commits/hours")]
        whole, heals = system_calls.killed(case, folder, halves, print)
        assert whole.violations + heals.violations != ()
