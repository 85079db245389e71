"""The normal number of records of an hour: a band learned from the same hour of the last days.

The band is robust, so that one outage or one sale does not move it, and multiplicative, because traffic grows and falls
by ratios. In logarithms: the trend is the median of all slopes between two days (Theil-Sen; from seven days on), the
level is the median of the detrended days, the deviation is 1.4826 x the median absolute deviation from it. Identical
days have no deviation, so a tolerance keeps the band open. A quiet weekend is not a fault: the band is widened to
include the same weekday one or two weeks before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from statistics import median

from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings

_NORMAL = 1.4826
"""Factor from median absolute deviation to standard deviation for a normal distribution."""
_DAYS_FOR_A_TREND = 7
_WEEKS = (7, 14)


@dataclass(frozen=True, slots=True)
class Band:
    """The normal range of one hour."""

    low: float
    expected: float
    high: float
    days: int
    """Number of days that it was learned from."""

    def __contains__(self, records: int) -> bool:
        return self.low <= records <= self.high


def volume_band(hour: Hour, records: Mapping[Hour, int], settings: Settings) -> Band | None:
    """Return the band of an hour, or None while too few of the days before it are published.

    `records` maps published hours to their number of records.
    """
    days = range(1, settings.alert_volume_days + 1)
    known = {day: records[hour.plus(-24 * day)] for day in days if hour.plus(-24 * day) in records}
    if len(known) < settings.alert_volume_min_days:
        return None
        # Plus one, so that an hour without records has a logarithm.
    logs = {day: log(count + 1) for day, count in known.items()}
    slope = 0.0
    if len(logs) >= _DAYS_FOR_A_TREND:
        slope = median((logs[late] - logs[early]) / (early - late) for late, early in combinations(sorted(logs), 2))
    today = {day: value + slope * day for day, value in logs.items()}
    level = median(today.values())
    deviation = _NORMAL * median(abs(value - level) for value in today.values())
    tolerance = log(1 + settings.alert_volume_tolerance)
    width = max(settings.alert_volume_deviations * deviation, tolerance)
    low, high = level - width, level + width
    weekdays = [today[day] for day in _WEEKS if day in today]
    if weekdays:
        # The better of the two weeks on each side: an outage a week ago does not excuse one today.
        low = min(low, max(weekdays) - tolerance)
        high = max(high, min(weekdays) + tolerance)
    return Band(max(exp(low) - 1, 0.0), exp(level) - 1, exp(high) - 1, len(known))
