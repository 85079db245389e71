"""The landing hour and its conversions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from event_pipeline.rules.hour import Hour, HourRange, InvalidHourError, contiguous, hive_path_of

HOUR = Hour.parse("2025-12-07T22")


@pytest.mark.parametrize("text", ["2025-12-07T22", "2025-12-07-22:00", " 2025-12-07T22 "])
def test_an_hour_is_read_in_its_two_forms(text: str) -> None:
    assert Hour.parse(text) == Hour(datetime(2025, 12, 7, 22, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "", "2025-12-07", "2025-12-07T22:00", "2025-12-07T22:30", "2025-12-07 22", "2025-12-07-22:30", "2025-12-07T24",
        "2025-02-29T00", "2025-13-01T00", "0000-01-01T00",
        "2025-12-7T22", "2025-12-07T22Z", "yesterday", "２025-12-07T22",
    ],
)  # fmt: skip
def test_other_forms_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        InvalidHourError, match=r"is not an hour: write YYYY-MM-DDTHH in UTC, for example 2025-12-07T22"
    ):
        Hour.parse(text)


def test_every_form_of_an_hour() -> None:
    assert str(HOUR) == "2025-12-07T22"
    assert HOUR.partition_key == "2025-12-07-22:00"
    assert HOUR.hive_path == "year=2025/month=12/day=07/hour=22"
    assert HOUR.raw_prefix == "events/year=2025/month=12/day=07/hour=22/"
    assert HOUR.partition_values == ("2025", "12", "07", "22")
    assert HOUR.end == datetime(2025, 12, 7, 23, tzinfo=UTC)
    assert Hour.of_hive_path(HOUR.hive_path) == Hour.parse(HOUR.partition_key) == HOUR


def test_the_key_of_a_raw_object_leads_back_to_its_hour() -> None:
    key = HOUR.raw_key(datetime(2025, 12, 7, 22, 5, 9, tzinfo=UTC))
    assert key == "events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220509.jsonl.gz"
    assert Hour.of_raw_key(key) == HOUR


@pytest.mark.parametrize("year", [1, 25, 999, 9999])
def test_the_keys_of_every_year_lead_back_to_their_hour(year: int) -> None:
    hour = Hour(datetime(year, 11, 19, 17, tzinfo=UTC))
    assert Hour.of_raw_key(hour.raw_key(hour.start)) == Hour.parse(str(hour)) == hour
    assert hour.hive_path == f"{hive_path_of(hour.start.date())}/hour=17"


@pytest.mark.parametrize(
    "key",
    [
        "events/year=2025/month=12/day=07/hour=22/events-20251207-220509.jsonl.gz",
        "events/year=2025/month=12/day=07/hour=24/minute=05/events-20251207-220509.jsonl.gz",
        "events/year=2025/month=02/day=30/hour=22/minute=05/events-20251207-220509.jsonl.gz",
        "events/year=2025/month=12/day=07/hour=22/minute=60/events-20251207-220509.jsonl.gz",
        "events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220509.jsonl",
        "events/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220509.jsonl.gz.tmp",
        "events/year=2025/month=12/day=7/hour=22/minute=05/events-20251207-220509.jsonl.gz",
        "other/year=2025/month=12/day=07/hour=22/minute=05/events-20251207-220509.jsonl.gz",
    ],
)
def test_keys_outside_the_layout_belong_to_no_hour(key: str) -> None:
    assert Hour.of_raw_key(key) is None


def test_only_the_start_of_a_utc_hour_is_an_hour() -> None:
    for instant in (
        datetime(2025, 12, 7, 22, 1, tzinfo=UTC),
        datetime(2025, 12, 7, 22, 0, 0, 1, tzinfo=UTC),
        datetime(2025, 12, 7, 22, tzinfo=timezone(timedelta(hours=1))),
    ):
        with pytest.raises(InvalidHourError):
            Hour(instant)
    assert Hour.containing(datetime(2025, 12, 8, 0, 59, tzinfo=timezone(timedelta(hours=1)))) == HOUR.plus(1)


def test_an_hour_is_closed_from_its_end_on() -> None:
    assert not HOUR.is_closed(HOUR.end - timedelta(microseconds=1))
    assert HOUR.is_closed(HOUR.end)


def test_a_range_excludes_its_end_and_knows_its_days() -> None:
    hours = HourRange(HOUR, HOUR.plus(3))
    assert [str(hour) for hour in hours] == ["2025-12-07T22", "2025-12-07T23", "2025-12-08T00"]
    assert (len(hours), hours.last, hours.days) == (3, HOUR.plus(2), [date(2025, 12, 7), date(2025, 12, 8)])
    assert HOUR.plus(2) in hours
    assert HOUR.plus(3) not in hours
    with pytest.raises(InvalidHourError, match="the end is exclusive"):
        HourRange(HOUR, HOUR)


def test_hours_join_into_bounded_ranges_without_gaps() -> None:
    offsets = [5, 0, 1, 2, 3, 9, 3]
    ranges = contiguous((HOUR.plus(offset) for offset in offsets), most=3)
    assert [(each.first, len(each)) for each in ranges] == [
        (HOUR, 3),
        (HOUR.plus(3), 1),
        (HOUR.plus(5), 1),
        (HOUR.plus(9), 1),
    ]


def test_arithmetic_at_the_ends_of_the_calendar_is_an_error_of_hours_or_stays_inside() -> None:
    first, last = Hour.parse("0001-01-01T00"), Hour.parse("9999-12-31T23")
    assert (str(first), first.partition_key) == ("0001-01-01T00", "0001-01-01-00:00")
    assert first.hive_path == "year=0001/month=01/day=01/hour=00"
    assert last.end == datetime.max.replace(tzinfo=UTC)
    assert not last.is_closed(datetime(2025, 12, 7, tzinfo=UTC))
    for hour, step in ((last, 1), (first, -1), (first, 10**12), (last, -(10**12))):
        with pytest.raises(InvalidHourError, match="calendar"):
            hour.plus(step)
    with pytest.raises(InvalidHourError, match="calendar"):
        Hour.containing(datetime.min.replace(tzinfo=timezone(timedelta(hours=1))))
