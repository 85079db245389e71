"""Faults below Python; what is planted must be found."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

import pytest

from event_pipeline_tests.reliability import system_calls
from event_pipeline_tests.reliability.system_calls import Refusing
from event_pipeline_tests.reliability.trial import Promise, Say, Trial
from event_pipeline_tests.reliability.watched import NoCompilerError, library

SEED = 14

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _calls_can_be_watched() -> None:
    try:
        library()
    except NoCompilerError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(
    "part",
    [
        system_calls.killed_or_without_power,
        system_calls.other_operations,
        system_calls.refused,
        system_calls.stopped,
    ],
    ids=lambda part: part.__name__,
)
def test_a_fault_at_a_system_call_loses_doubles_and_halves_nothing(
    part: Callable[[int, int, Say], Iterator[Trial]],
) -> None:
    tried = list(part(1, SEED, print))
    assert min(each.times for each in tried) > 0
    assert [text for each in tried for text in each.violations] == []


DATA_FILES_NOT_SYNCED = """
from event_pipeline.engines import durability
from event_pipeline.engines.local import files
files.sync_file = lambda path: durability.sync_folder(path.parent)
"""
RECORDS_IN_PLACE = """
from event_pipeline.engines.local import files
files.publish = lambda path, content, **_: (path.parent.mkdir(parents=True, exist_ok=True), path.write_bytes(content))
"""
WITHOUT_LOCK_AND_SWAP = """
import time
from contextlib import nullcontext
from event_pipeline.engines.host.layout import Layout
from event_pipeline.engines.local.files import FileStore
Layout.lock = lambda *_: nullcontext()
FileStore.replace = lambda self, key, body, version: (self._put(key, body, time.time_ns()), True)[1]
"""
WITHOUT_REMEDY = """
from event_pipeline.engines.host import layout
layout._REMEDIES.clear()
"""


def test_a_data_file_that_is_not_synced_is_found() -> None:
    with system_calls.scenario() as (case, folder):
        moments = system_calls.recorded(case, folder, SEED, 1, DATA_FILES_NOT_SYNCED)
        readers, rerun = system_calls.without_power(case, folder, moments[-20:], SEED, print)
    assert readers.promise is rerun.promise is Promise.DURABLE
    assert any("power cut" in text and "cannot read" in text for text in readers.violations)


def test_a_commit_record_that_is_written_in_place_is_found() -> None:
    with system_calls.scenario() as (case, folder):
        moments = system_calls.recorded(case, folder, SEED, 1, RECORDS_IN_PLACE)
        writing = [each for each in moments if each.before and each.before.name == "write"]
        halves = [each for each in writing if each.before and each.before.path.startswith("lake/commits/hours")]
        whole, heals = system_calls.killed(case, folder, halves, print)
    assert whole.violations + heals.violations != ()


def test_a_fault_without_its_cause_is_found() -> None:
    with system_calls.scenario() as (case, folder):
        found = system_calls.refused_at(
            case, folder / "refused", Refusing(errno.ENOSPC, 40), system_calls.RUNS, WITHOUT_REMEDY
        )
    assert found != []


def test_a_stopped_process_that_overwrites_what_was_published_meanwhile_is_found() -> None:
    planted, work = WITHOUT_LOCK_AND_SWAP, system_calls.build_beside
    with system_calls.scenario() as (case, folder):
        calls = system_calls.calls_of(case, folder / "counted", system_calls.RUNS, reads=False, planted=planted)
        publishing = next(each.number for each in calls if each.other.startswith("lake/commits/hours/"))
        newest = system_calls.newest_of(case, folder)
        found = system_calls.stopped_at(case, newest, folder / "stopped", publishing, work, planted)
    assert any("went back from what the other process had published" in each for each in found), found
