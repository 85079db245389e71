"""Control totals add up exactly, however large they are."""

from __future__ import annotations

from decimal import Decimal

import pytest

from event_pipeline.rules.accounting import DayTotals, add_days, decoded_name, dollars_of, fingerprint
from event_pipeline.rules.hour import Hour

WIDEST = "999999999999999999999999999999999999.99"
"""The largest sum of a decimal(38,2)."""


def test_sums_of_money_are_exact_to_38_digits() -> None:
    almost = DayTotals({"purchase": 1}, revenue=Decimal("999999999999999999999999999999999999.98"))
    assert str((almost + DayTotals({"purchase": 2}, revenue=Decimal("0.01"))).revenue) == WIDEST
    assert (almost + DayTotals({"purchase": 2})).by_type == {"purchase": 3}
    assert str(dollars_of(int(WIDEST.replace(".", "")))) == WIDEST
    assert str(dollars_of(0)) == "0.00"


def test_a_sum_that_no_table_could_hold_is_an_error_and_not_rounded() -> None:
    with pytest.raises(ArithmeticError):
        DayTotals(revenue=Decimal(WIDEST)) + DayTotals(revenue=Decimal("0.01"))


def test_every_part_of_an_objects_identity_changes_digests() -> None:
    hour = Hour.parse("2025-12-07T22")
    names = {
        decoded_name(hour, "r", "", "k", "e", 1),
        decoded_name(hour.plus(1), "r", "", "k", "e", 1),
        decoded_name(hour, "s", "", "k", "e", 1),
        decoded_name(hour, "r", "1", "k", "e", 1),
        decoded_name(hour, "r", "", "l", "e", 1),
        decoded_name(hour, "r", "", "k", "f", 1),
        decoded_name(hour, "r", "", "k", "e", 2),
    }
    assert len(names) == 7
    objects = [("k", "e", 1), ("l", "e", 1), ("k", "f", 1), ("k", "e", 2)]
    assert len({fingerprint([each]) for each in objects}) == len(objects)
    assert fingerprint(objects) == fingerprint(reversed(objects)) != fingerprint(objects[1:])


def test_totals_of_a_day_in_several_objects_are_added() -> None:
    days = {"2025-12-06": DayTotals({"search": 1}), "2025-12-07": DayTotals({"purchase": 1}, 2, Decimal("0.10"))}
    add_days(days, {"2025-12-07": DayTotals({"purchase": 3}, 4, Decimal("0.20")), "2025-12-08": DayTotals()})
    assert days == {
        "2025-12-06": DayTotals({"search": 1}),
        "2025-12-07": DayTotals({"purchase": 4}, 6, Decimal("0.30")),
        "2025-12-08": DayTotals(),
    }
