"""What is built and answered through Trino is what the embedded engine builds and answers: rows and types."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from event_pipeline.engines.base import Engine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import generate
from event_pipeline.reporting.answers import named_query
from event_pipeline.rules.contract import HOUR_TABLES
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import load_settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.conftest import AWS, AWS_BY_HOST
from event_pipeline_tests.engines.aws.pipeline import AROUND_MIDNIGHT, DIRTY, World
from event_pipeline_tests.hostile import HOSTILE_LINES, LANDING_HOUR
from event_pipeline_tests.pipeline import in_order, purchase, write_object
from event_pipeline_tests.trino.server import MOST_STAGES, TrinoServer
from event_pipeline_tests.trino.statements import TrinoStatements

pytestmark = pytest.mark.trino

whoever_writes = pytest.mark.parametrize("world", [AWS, AWS_BY_HOST], indirect=True)


@whoever_writes
def test_dirty_hours(world: World) -> None:
    generate(world.root / "raw", AROUND_MIDNIGHT, DIRTY)
    hours = list(AROUND_MIDNIGHT)
    world.build(hours)
    world.assert_agrees_with_oracle()
    local = LocalEngine(load_settings(root=world.root, workers=1))
    World(local, world.root, None).build(hours)
    assert_same(world.engine, local)
    assert_checks_pass(world.engine, hours)


def test_the_real_sample_files(world: World, real_samples: list[Path]) -> None:
    hour = Hour.parse("2025-11-19T17")
    for sample in real_samples:
        target = world.root / "raw" / hour.raw_prefix / f"minute={sample.name[18:20]}" / sample.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(sample, target)
    world.build([hour])
    assert len(world.assert_agrees_with_oracle().silver) == 200
    local = LocalEngine(load_settings(root=world.root, workers=1))
    World(local, world.root, None).build([hour])
    assert_same(world.engine, local)
    assert_checks_pass(world.engine, [hour])


@whoever_writes
def test_hostile_lines(world: World) -> None:
    hour = Hour.parse(LANDING_HOUR)
    lines = [each.line for each in HOSTILE_LINES]
    write_object(world.root, hour, 0, lines[::2])
    write_object(world.root, hour, 5, lines[1::2])
    world.build([hour])
    assert len(world.assert_agrees_with_oracle().silver) > 50
    local = LocalEngine(load_settings(root=world.root, workers=1))
    World(local, world.root, None).build([hour])
    assert_same(world.engine, local)


def test_the_measures_of_many_days_are_planned_in_few_stages(
    world: World, aws: EmulatedAws, trino: TrinoServer
) -> None:
    hour = Hour.parse("2025-12-08T10")
    write_object(world.root, hour, 0, [purchase(hour, -86_400 * day) for day in range(7)])
    world.build([hour])
    days = [date(2025, 12, 8) - timedelta(days=day) for day in range(9)]
    for table in load_gold_tables():
        measures = world.engine.reconcile(table, days)
        assert [each for each in measures if each.gold != each.silver] == []
        assert world.engine.grain_faults(table, days) == []
    assert isinstance(aws.statements, TrinoStatements)
    for sql, database in aws.statements.read:
        assert trino.stages(sql, database) < MOST_STAGES, sql


def assert_same(engine: Engine, local: LocalEngine) -> None:
    own = ("fingerprint", "run_id", "committed_at")
    for table in HOUR_TABLES:
        columns = ", ".join(column.name for column in table.columns if column.name not in own)
        on_aws, here = (each.query(f"SELECT {columns} FROM {table.full_name}") for each in (engine, local))
        assert on_aws.schema == here.schema
        assert in_order(on_aws.to_pylist()) == in_order(here.to_pylist())
    for gold in load_gold_tables():
        answers = [each.query(named_query(gold.name, load_gold_tables())) for each in (engine, local)]
        assert answers[0] == answers[1], gold.name
        assert answers[0].num_rows


def assert_checks_pass(engine: Engine, hours: list[Hour]) -> None:
    for hour in hours:
        commit = engine.hour_commits(HourRange.of([hour]))[hour]
        counted, account = engine.count_rows(commit), commit.account
        assert (counted.silver_rows, counted.quarantined) == (account.silver_rows, account.quarantined)
        assert counted.quarantined_by_reason == account.quarantined_by_reason
        assert engine.partition_faults(hour) == []
        for table in load_gold_tables():
            days = engine.touched_days(table, hour)
            measures = engine.reconcile(table, days)
            assert {measure.day for measure in measures} == set(days)
            assert [each for each in measures if each.gold != each.silver] == []
            assert engine.grain_faults(table, days) == []
            assert engine.hours_behind(table) == []
