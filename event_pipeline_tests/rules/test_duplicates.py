"""The cheap proof that an hour has no duplicates: it may say no in doubt, never yes in error."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.rules.duplicates import instant_order, proves_no_duplicates, repeated_instants

OBJECTS = st.lists(st.lists(st.integers(-20, 20), max_size=6), max_size=4)


def arrays(objects: list[list[int]]) -> list[pa.ChunkedArray]:
    """Instants of objects as the validation gives them."""
    return [pa.chunked_array([pa.array(each, pa.timestamp("us"))]) for each in objects]


@given(OBJECTS)
def test_a_proof_is_only_given_when_no_instant_repeats(objects: list[list[int]]) -> None:
    orders = [order for order in map(instant_order, arrays(objects)) if order]
    if proves_no_duplicates(orders):
        together = [instant for each in objects for instant in each]
        assert len(set(together)) == len(together)


@given(OBJECTS)
def test_repeated_instants_are_exactly_those_that_stand_twice(objects: list[list[int]]) -> None:
    together = [instant for each in objects for instant in each]
    expected = sorted({instant for instant in together if together.count(instant) > 1})
    assert repeated_instants(arrays(objects)).cast(pa.int64()).to_pylist() == expected


def test_rising_objects_that_follow_each_other_prove_it() -> None:
    orders = [instant_order(each) for each in arrays([[1, 2, 3], [10, 11], [5]])]
    assert proves_no_duplicates([order for order in orders if order])


def test_objects_that_touch_or_stand_still_do_not_prove_it() -> None:
    for objects in ([[1, 2], [2, 3]], [[1, 1]], [[2, 1]], [[1, 9], [3]]):
        assert not proves_no_duplicates([order for order in map(instant_order, arrays(objects)) if order])
