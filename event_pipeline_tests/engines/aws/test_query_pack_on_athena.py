"""Athena, as emulated, gives the answers of DuckDB to every shipped question."""

from __future__ import annotations

import pytest

from event_pipeline.generator import generate
from event_pipeline_tests import query_pack
from event_pipeline_tests.engines.aws.conftest import AWS_BY_HOST
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.test_query_pack import QUESTIONS, assert_same_answers


@pytest.mark.long
@pytest.mark.parametrize("world", [AWS_BY_HOST], indirect=True)
def test_questions_are_answered_on_athena_as_by_duckdb(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    generate(world.root / "raw", query_pack.HOURS, query_pack.OPTIONS)
    world.build(query_pack.HOURS)
    local = query_pack.sample_lake(tmp_path_factory.mktemp("local"))
    for question in QUESTIONS:
        assert_same_answers(world.engine.query(question.sql), local.query(question.sql), question.name)
