"""The volume band: what counts as normal after calm, growing, weekly and broken weeks."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from event_pipeline.alerts.volume import volume_band
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import load_settings
from event_pipeline_tests.pipeline import HOUR

SETTINGS = load_settings()


def days(count: int, records: Callable[[int], float]) -> dict[Hour, int]:
    """Records of the same hour of the last days: 1 is yesterday."""
    return {HOUR.plus(-24 * day): round(records(day)) for day in range(1, count + 1)}


def test_nothing_is_expected_before_five_days_are_published() -> None:
    assert volume_band(HOUR, days(4, lambda _: 1_000), SETTINGS) is None
    assert volume_band(HOUR, days(5, lambda _: 1_000), SETTINGS) is not None


def test_days_that_are_all_alike_leave_the_tolerance() -> None:
    band = volume_band(HOUR, days(14, lambda _: 1_000), SETTINGS)
    assert band
    assert band.expected == pytest.approx(1_000)
    assert (769 in band, 768 in band) == (True, False)
    assert (1_300 in band, 1_301 in band) == (True, False)


def test_hours_that_never_have_records_expect_none() -> None:
    band = volume_band(HOUR, days(14, lambda _: 0), SETTINGS)
    assert band
    assert 0 in band
    assert 5 not in band


def test_one_outage_and_one_sale_among_the_days_move_nothing() -> None:
    broken = days(14, lambda day: {3: 0, 9: 50_000}.get(day, 1_000))
    band = volume_band(HOUR, broken, SETTINGS)
    assert band
    assert band.expected == pytest.approx(1_000)
    assert 300 not in band
    assert 5_000 not in band


def test_an_outage_on_the_same_weekday_a_week_ago_does_not_excuse_one_today() -> None:
    band = volume_band(HOUR, days(14, lambda day: 0 if day == 7 else 1_000), SETTINGS)
    assert band
    assert 0 not in band


def test_steady_growth_is_followed() -> None:
    band = volume_band(HOUR, days(14, lambda day: 1_000 * 1.08**-day), SETTINGS)
    assert band
    assert band.expected == pytest.approx(1_000, rel=0.01)
    assert 1_000 in band
    # The volume of a week ago would be a fall now.
    assert 580 not in band


def test_quiet_weekends_are_no_fault_and_an_outage_at_the_weekend_is() -> None:
    sunday = days(14, lambda day: 400 if day % 7 in (0, 1) else 1_000)
    band = volume_band(HOUR, sunday, SETTINGS)
    assert band
    assert 400 in band
    assert 200 not in band


@pytest.mark.parametrize(("difference", "alarms_at_most"), [(0.03, 0), (0.1, 9)])
def test_days_that_differ_at_random_raise_few_alarms(difference: float, alarms_at_most: int) -> None:
    source = random.Random(7)
    alarms = 0
    for _ in range(1_000):
        band = volume_band(HOUR, days(14, lambda _: 600_000 * source.lognormvariate(0, difference)), SETTINGS)
        assert band
        alarms += round(600_000 * source.lognormvariate(0, difference)) not in band
    assert alarms <= alarms_at_most
