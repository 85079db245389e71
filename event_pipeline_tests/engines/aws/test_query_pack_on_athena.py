"""Athena, as emulated, gives the answers of DuckDB to every shipped question."""

from __future__ import annotations

import pytest

from event_pipeline_tests.engines.aws.conftest import AWS_BY_HOST
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.test_query_pack import assert_answered_as_by_duckdb


@pytest.mark.long
@pytest.mark.parametrize("world", [AWS_BY_HOST], indirect=True)
def test_questions_are_answered_on_athena_as_by_duckdb(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_answered_as_by_duckdb(world, tmp_path_factory.mktemp("local"))
