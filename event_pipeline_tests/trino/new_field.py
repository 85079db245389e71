"""A real Trino reads a new field: like `engines/aws/new_field.py`, run in a copy of the project that declares it."""

from __future__ import annotations

import pytest

from event_pipeline_tests.engines.aws.new_field import EXPECTED, LINES, SHOWN
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.pipeline import HOUR, rows, write_object

pytestmark = pytest.mark.trino


def test_trino_reads_the_new_field(world: World) -> None:
    write_object(world.root, HOUR, 0, LINES)
    world.build([HOUR])
    assert rows(world.engine, SHOWN) == EXPECTED
