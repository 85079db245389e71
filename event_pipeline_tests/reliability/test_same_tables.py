"""The same records give the same tables, however they are laid out and built; a planted difference is seen."""

from __future__ import annotations

import random

import pytest

from event_pipeline.engines.host import pool_builder
from event_pipeline.rules.contract import SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline_tests import oracle
from event_pipeline_tests.reliability.same_tables import (
    AWS,
    CASES,
    DISK,
    MEMORY,
    Way,
    differences,
    laid_out,
    published,
    some_records,
    stored,
    trial_of,
)


@pytest.mark.parametrize("assembly", [MEMORY, DISK, AWS])
def test_the_same_records_give_the_same_tables(assembly: str) -> None:
    assert trial_of(assembly, CASES[assembly], seed=1).violations == ()


def test_the_records_have_what_a_layout_could_break() -> None:
    records = some_records(random.Random(1000))
    objects = laid_out(records, Way(), random.Random(0))
    days = set[object]()
    for hour in records:
        of_hour = {str(second): stored(lines, Way()) for (each, second), lines in objects.items() if each == hour}
        judged = oracle.read_hour(str(hour), of_hour)
        assert judged.duplicates
        assert judged.quarantined
        days.update(row["event_date"] for row in judged.silver)
    assert len(days) == 2


def test_a_planted_difference_between_layouts_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    records, one = some_records(random.Random(1000)), Way(objects=1)
    wanted = published(records, Way(), 0, ())
    assert differences(wanted, published(records, one, 0, ())) == []
    # Duplicates are found within an object only.
    monkeypatch.setattr(pool_builder.PoolBuilder, "_duplicates", lambda self, reports, scratch: {})
    (silver, *_) = [each for each in differences(wanted, published(records, one, 0, ())) if "silver.events" in each]
    assert silver.startswith(SILVER_EVENTS.full_name)
    assert SILVER_QUARANTINE.full_name not in silver
