"""Row groups, files and the division of an hour's objects into files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.rules.arrow import SILVER_SCHEMA
from event_pipeline.rules.silver_files import EventsFile, groups_by_size


def rows(number: int) -> pa.Table:
    """That many rows of nulls."""
    return pa.Table.from_pylist([{}] * number, SILVER_SCHEMA)


def test_rows_wait_until_they_fill_a_row_group(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    with EventsFile(str(path), row_group_rows=10) as file:
        for number in (4, 4, 4, 0, 25, 3):
            file.write(rows(number))
        assert file.rows == 40
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert groups == [12, 25, 3]


def test_a_file_that_nobody_keeps_ends_without_the_rows_that_waited(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    file = EventsFile(str(path), row_group_rows=10)
    file.write(rows(4))
    file.close(keep=False)
    assert pq.read_metadata(path).num_rows == 0


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 100))
def test_neighbours_share_a_file_until_it_is_full(sizes: list[int], most: int) -> None:
    groups = groups_by_size(sizes, most)
    assert [position for group in groups for position in group] == list(range(len(sizes)))
    assert all(len(group) for group in groups)
    for group in groups[:-1]:
        gathered = [sizes[position] for position in group]
        assert sum(gathered[:-1]) < most <= sum(gathered)
