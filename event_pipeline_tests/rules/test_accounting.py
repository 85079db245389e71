"""Control totals add up exactly, however large they are."""

from __future__ import annotations

from decimal import Decimal

import pytest

from event_pipeline.rules.accounting import DayTotals, dollars_of

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
