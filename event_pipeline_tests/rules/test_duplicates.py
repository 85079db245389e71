"""The cheap proof that an hour has no duplicates may say no in doubt, never yes in error; and what they are else."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.rules.arrow import EVENTS_SCHEMA
from event_pipeline.rules.duplicates import (
    doubtful_objects,
    instant_order,
    joined_order,
    later_equals,
    proves_no_duplicates,
    repeated_instants,
    without_lines,
)

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


@given(OBJECTS)
def test_an_object_is_in_doubt_when_it_stands_still_or_its_span_touches_another(objects: list[list[int]]) -> None:
    orders = [instant_order(each) for each in arrays(objects)]

    def touches(one: list[int], other: list[int]) -> bool:
        return bool(one and other) and min(one) <= max(other) and min(other) <= max(one)

    assert doubtful_objects(orders) == [
        number
        for number, each in enumerate(objects)
        if any(later <= earlier for earlier, later in pairwise(each))
        or any(touches(each, other) for position, other in enumerate(objects) if position != number)
    ]


@given(st.lists(st.integers(-2, 3), max_size=5), st.integers(0, 5))
def test_the_parts_of_an_object_are_ordered_as_the_whole_is(instants: list[int], cut: int) -> None:
    before, after, whole = map(instant_order, arrays([instants[:cut], instants[cut:], instants]))
    assert joined_order(before, after) == whole


FEW_VALUES = st.tuples(
    st.integers(0, 3), st.sampled_from("ab"), st.sampled_from([None, 1, 2]), st.sampled_from([None, ""])
)


@given(st.lists(FEW_VALUES, max_size=12))
def test_later_equals_are_the_positions_that_python_finds(rows: list[tuple[int, str, int | None, str | None]]) -> None:
    events = EVENTS_SCHEMA.empty_table().to_pydict() | {
        "timestamp": [row[0] for row in rows],
        "user_id": [row[1] for row in rows],
        "quantity": [row[2] for row in rows],
        "search_query": [row[3] for row in rows],
        "line_number": list(range(1, len(rows) + 1)),
    }
    columns = {name: values or [None] * len(rows) for name, values in events.items()}
    table = pa.table(columns, schema=EVENTS_SCHEMA)
    expected = [position for position, row in enumerate(rows) if row in rows[:position]]
    repeated = later_equals(table)
    assert repeated.to_pylist() == expected
    lines = table.column("line_number").combine_chunks().take(repeated)
    kept = without_lines(table, lines).column("line_number").to_pylist()
    assert kept == [number + 1 for number in range(len(rows)) if number not in expected]
