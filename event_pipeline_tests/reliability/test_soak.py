"""A compressed day loses, doubles and grows nothing; what is planted is seen by each of its promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from event_pipeline.automation import schedules, sensors
from event_pipeline.engines.local.passing import PassingFolders
from event_pipeline.engines.state import AUTOMATIC_STATES, HourState
from event_pipeline_tests.reliability.soak import DAY, Sample, Soak, growth, soaked
from event_pipeline_tests.reliability.trial import Promise

# Dagster's daemon uses its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::dagster.BetaWarning")

SEED = 14
CALM = Sample(10, {"the daemons": 400, "a run": 450}, 20, 3, 10_000_000, 400)


@pytest.mark.long
def test_a_compressed_day_loses_doubles_and_grows_nothing() -> None:
    tried = list(soaked(DAY, SEED))
    assert [text for each in tried for text in each.violations] == []
    assert {each.promise: each.times for each in tried}[Promise.HEALS] >= 15


@pytest.mark.long
def test_hours_whose_late_objects_are_ignored_and_files_that_stay_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sensors, schedules):
        monkeypatch.setattr(module, "AUTOMATIC_STATES", AUTOMATIC_STATES - {HourState.CHANGED})
    monkeypatch.setattr(PassingFolders, "_leftovers", lambda self, until: iter(()))
    for name in ("_daemon_is_down", "_clock_jumps", "_disk_is_full"):
        monkeypatch.setattr(Soak, name, Soak._object_comes_twice)  # when its hour has been built
    short = replace(DAY, hours=4, objects=4, minutes=30, gold=["user_activity"], patience=2)
    found = {each.promise: "\n".join(each.violations) for each in soaked(short, SEED)}
    assert "hours after the last fault these hours are not published" in found[Promise.HEALS]
    assert "which are not the" in found[Promise.COMPLETE]
    assert "housekeeping leaves" in found[Promise.BOUNDED]


def test_what_stays_level_has_not_grown() -> None:
    assert (
        growth(
            [replace(CALM, hours=number, kept_bytes=1_000_000 * number, files=40 * number) for number in range(1, 25)]
        )
        == []
    )


@pytest.mark.parametrize(
    ("late", "says"),
    [
        ({"memory_mb": {"the daemons": 430, "a run": 450}}, "the memory of the daemons grew from 400 to 430 MB"),
        ({"memory_mb": {"the daemons": 400, "a run": 480}}, "the memory of a run grew from 450 to 480 MB"),
        ({"descriptors": 21}, "open descriptors of the daemons grew from 20 to 21"),
        ({"threads": 4}, "open threads of the daemons grew from 3 to 4"),
        ({"kept_bytes": 16_000_000}, "kept_bytes of each hour grew from 1,000,000 to 1,600,000"),
        ({"files": 640}, "files of each hour grew from 40 to 64"),
    ],
)
def test_what_grows_is_found(late: dict[str, Any], says: str) -> None:
    assert growth([CALM] * 12 + [replace(CALM, **late)] * 12) == [says]


def test_a_soak_that_publishes_nothing_proves_nothing() -> None:
    assert growth([replace(CALM, hours=0)] * 8) == ["8 samples of 0 hours prove nothing"]
