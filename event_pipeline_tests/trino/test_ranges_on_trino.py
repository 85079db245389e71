"""A real Trino gives one answer for a range of days as the oracle computes it."""

from __future__ import annotations

from datetime import date

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.settings import SqlKind
from event_pipeline_tests.engines.aws.conftest import AWS_BY_HOST
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.engines.aws.test_ranges import TABLES, answered, expected, write_days

pytestmark = pytest.mark.trino


@pytest.mark.parametrize("world", [AWS_BY_HOST], indirect=True)
def test_a_range_of_every_table_is_what_the_oracle_computes(world: World) -> None:
    world.build(write_days(world, seed=1))
    silver = world.assert_agrees_with_oracle().silver
    assert isinstance(world.engine, AwsEngine)
    settings = world.engine._settings.model_copy(update={"sql": SqlKind.ATHENA})
    asking = World(AwsEngine(settings), world.root, None)
    for name, table in TABLES.items():
        assert answered(asking, table, date.min, date.max) == expected(silver, name, date.min, date.max), name
