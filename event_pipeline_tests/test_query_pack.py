"""The shipped questions: well-formed, answered alike by every engine, and shown on their page."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pytest

from event_pipeline.cli import main
from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.dialect import parse_query, render
from event_pipeline.engines.local import LocalEngine
from event_pipeline.generator import generate
from event_pipeline.reporting.results import plain_rows
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import COSTS, QUERIES, Question, load_questions
from event_pipeline.settings import load_settings
from event_pipeline_tests import oracle, query_pack, query_pack_oracle
from event_pipeline_tests.command import Run
from event_pipeline_tests.engines.aws.pipeline import World
from event_pipeline_tests.hostile_shop import write_shop
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

QUESTIONS = load_questions()
each_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    """The sample hours, built once."""
    return query_pack.sample_lake(tmp_path_factory.mktemp("pack"))


class Counted(NamedTuple):
    """A lake, and what its raw folder must become."""

    engine: LocalEngine
    facts: query_pack_oracle.Facts


@pytest.fixture(scope="module", params=["sample", "hostile", "bare"])
def counted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """The sample hours, the hostile shop, and days of which one has only a search and no one earned anything."""
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "sample":
        engine = query_pack.sample_lake(root)
    else:
        hours = write_shop(root) if request.param == "hostile" else _write_bare_days(root)
        engine = LocalEngine(load_settings(root=root, workers=1, first_partition=hours[0]))
        build(engine, hours)
    return Counted(engine, oracle.read_root(root))


def _write_bare_days(root: Path) -> list[Hour]:
    days = [Hour.parse("2025-12-07T22"), Hour.parse("2025-12-08T22")]
    write_object(root, days[0], 0, [event(days[0]), event(days[0], 1, product_id="p_2"), purchase(days[0], price=0)])
    search = event(days[1], event_type="search", search_query="books", product_id=None, category=None)
    write_object(root, days[1], 0, [search])
    return days


def test_every_question_of_the_file_is_loaded_and_named_once() -> None:
    names = [question.name for question in QUESTIONS]
    assert len(names) >= 30
    assert len(set(names)) == len(names) == QUERIES.read_text(encoding="utf-8").count("-- name:")
    assert not set(names) & {table.name for table in load_gold_tables()}
    assert {question.cost for question in QUESTIONS} == set(COSTS)


@each_question
def test_a_question_has_rows_of_its_grain_in_a_total_order(lake: LocalEngine, question: Question) -> None:
    found = lake.query(question.sql)
    assert found.num_rows, "the sample data has nothing to answer"
    grain = question.grain.split(", ")
    assert set(grain) <= set(found.column_names)
    values = [tuple(row[name] for name in grain) for row in found.to_pylist()]
    assert len(set(values)) == len(values)
    assert lake.query(question.sql) == found
    reads = {f"{table.db}.{table.name}" for table in parse_query(question.sql).find_all(_table()) if table.db}
    cost = "large" if "silver.events" in reads else "medium" if "silver.quarantine" in reads else "small"
    assert question.cost == cost
    assert render(question.sql, "athena")


def _table() -> Any:
    from sqlglot import exp

    return exp.Table


def test_the_page_shows_what_the_questions_answer(lake: LocalEngine) -> None:
    assert query_pack.PAGE.read_text(encoding="utf-8") == query_pack.page(lake), "`make fix` writes it again"


def test_the_oracle_answers_every_question() -> None:
    assert list(query_pack_oracle.ANSWERS) == [question.name for question in QUESTIONS]


@each_question
def test_a_question_is_answered_as_the_oracle_counts(counted: Counted, question: Question) -> None:
    expected = query_pack_oracle.ANSWERS[question.name](counted.facts)
    assert counted.engine.query(question.sql).to_pylist() == [
        {name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for name, value in row.items()}
        for row in expected
    ]


def test_questions_are_listed_and_answered_by_name(run: Run, root: Path) -> None:
    listed = json.loads(run("queries", "--format", "json").out)
    names = [table.name for table in load_gold_tables()] + [question.name for question in QUESTIONS]
    assert [row["name"] for row in listed] == names
    assert run("queries", "top_products").out.startswith("SELECT * FROM gold.top_products ORDER BY event_date, ")
    shown = run("queries", "weekly_active_users")
    assert (shown.code, shown.out.rstrip().endswith(";"), "DATE_TRUNC('week'" in shown.out) == (0, True, True)
    write_object(root, HOUR, 0, [event(), event(second=1, user_id="u_2")])
    build(LocalEngine(load_settings(root=root, workers=1)), [HOUR])
    answer = run("query", "--name", "weekly_active_users", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(answer.out, newline="")))
    assert rows == [{"week": "2025-12-01", "active_users": "2", "buyers": "0"}]
    for arguments, said in (
        (["query", "--name", "weekly_active_users", "--all"], "go with a Gold table, not with weekly_active_users"),
        (["query", "--name", "nothing"], "or a question that `event-pipeline queries` lists"),
        (["queries", "nothing"], "no Gold table is named 'nothing': choose from "),
    ):
        ended = run(*arguments)
        assert (ended.code, ended.out) == (ExitCode.USAGE, "")
        assert said in ended.err


def test_an_hour_with_few_records_says_why() -> None:
    (question,) = (each for each in QUESTIONS if each.name == "hours_with_few_records")
    # Hour, objects, unreadable ones, records.
    ledger = "('00', 12, 0, 900), ('01', 12, 1, 800), ('02', 11, 1, 700), ('03', 12, 1, 600), ('04', 12, 1, 700)"
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA ops")
        connection.execute(
            "CREATE TABLE ops.hour_ledger AS SELECT '2025' AS year, '12' AS month, '07' AS day, * "
            f"FROM (VALUES {ledger}) AS hours (hour, objects, unreadable_objects, records)"
        )
        found = connection.execute(question.sql).fetchall()
    assert [(hour, records, why) for _, _, _, hour, records, *_, why in found] == [
        ("03", 600, "fewer records in each object"),
        ("02", 700, "fewer objects"),
        ("01", 800, "unreadable objects"),
    ]


def test_a_shell_completes_the_names_of_tables_and_questions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_EVENT_PIPELINE_COMPLETE", "complete_bash")
    for words, found in (("query --name top", ["top_products"]), ("queries weekly", ["weekly_active_users"])):
        monkeypatch.setenv("COMP_WORDS", f"event-pipeline {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
        with pytest.raises(SystemExit):
            main([])
        assert capsys.readouterr().out.split() == found


def assert_same_answers(one: pa.Table, other: pa.Table, name: str) -> None:
    """Hold two answers to the same names and values; engines have other widths of whole numbers."""
    assert one.schema.names == other.schema.names
    for left, right in zip(plain_rows(one), plain_rows(other), strict=True):
        for here, there in zip(left, right, strict=True):
            same = math.isclose(here, there, rel_tol=1e-12) if isinstance(here, float) else here == there
            assert same, (name, left, right)


def assert_answered_as_by_duckdb(world: World, folder: Path) -> None:
    """Build the sample hours there and in a data folder, and hold the answers to all questions together."""
    generate(world.root / "raw", query_pack.HOURS, query_pack.OPTIONS)
    world.build(query_pack.HOURS)
    local = query_pack.sample_lake(folder)
    for question in QUESTIONS:
        assert_same_answers(world.engine.query(question.sql), local.query(question.sql), question.name)
