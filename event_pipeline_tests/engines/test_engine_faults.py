"""Faults of DuckDB, of a file or of somebody's SQL reach people as the pipeline's own errors, with their place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from event_pipeline.assets.checks import partition_verdicts, silver_verdicts
from event_pipeline.engines.base import Engine
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import PipelineError, QueryError, StorageError
from event_pipeline.rules.query import GoldFileError, load_gold_table, load_gold_tables
from event_pipeline.settings import Settings
from event_pipeline_tests.pipeline import HOUR, build, purchase, rows, silent, write_object

_TABLE = """-- description: A table that a person wrote.
-- grain: -
-- columns:
--   number   int   A number

-- section: partial
{partial}

-- section: fold
{fold}

-- section: reconcile
{reconcile}
"""
_PARTIAL = "SELECT event_date, MAX(quantity) AS number, MAX(user_id) AS user_id FROM silver_events GROUP BY event_date"
_FOLD = "SELECT CAST(MAX(number) AS INTEGER) AS number FROM partials"
_RECONCILE = "SELECT 'number' AS measure, 1 AS gold, 1 AS silver"


@pytest.mark.parametrize(
    ("section", "sql", "said"),
    [
        ("partial", _PARTIAL.replace("MAX(quantity)", "MAX(quantity) // 0"), "ivision by zero"),
        ("partial", _PARTIAL.replace("MAX(quantity)", "CAST(MAX(quantity) * 3000000000 AS INTEGER)"), "INT32"),
        ("partial", _PARTIAL.replace("MAX(quantity)", "CAST(MAX(user_id) AS INTEGER)"), "Could not convert"),
        ("partial", _PARTIAL.replace("MAX(quantity)", "MAX(nothing)"), "nothing"),
        ("fold", _FOLD.replace("MAX(number)", "MAX(number) * 9000000000000000000"), "Overflow"),
        ("fold", _FOLD.replace("MAX(number)", "error('told so')"), "told so"),
    ],
)
def test_a_gold_table_that_cannot_be_computed_names_table_section_and_place(
    settings: Settings, root: Path, tmp_path: Path, section: str, sql: str, said: str
) -> None:
    sections = {"partial": _PARTIAL, "fold": _FOLD, "reconcile": _RECONCILE} | {section: sql}
    path = tmp_path / "gold" / "numbers.sql"
    path.parent.mkdir()
    path.write_text(_TABLE.format_map(sections), encoding="utf-8")
    engine = LocalEngine(settings, gold_folder=path.parent)
    write_object(root, HOUR, 0, [purchase()])
    list(engine.build_silver([HOUR], progress=silent))
    engine.register_hours([HOUR])
    place = f"gold.numbers, section partial, landing hour {HOUR}" if section == "partial" else (
        "gold.numbers, section fold, event day 2025-12-07"
    )  # fmt: skip
    with pytest.raises(QueryError, match=said) as raised:
        engine.refresh_gold(load_gold_table(path), [HOUR], progress=silent)
    assert str(raised.value).startswith(place)


@pytest.fixture
def damaged(engine: LocalEngine, root: Path, request: pytest.FixtureRequest) -> Path:
    """A published Silver file whose bytes are damaged in the way that the parameter says."""
    write_object(root, HOUR, 0, [purchase(second=number, user_id=f"u_{number}") for number in range(2_000)])
    (built,) = build(engine, [HOUR])
    path = root / "lake" / built.commit.files_of("silver.events")[0].path
    content = path.read_bytes()
    if request.param == "a folder":
        path.unlink()
        path.mkdir()
    elif request.param == "missing":
        path.unlink()
    else:
        changed = {
            "empty": b"",
            "half": content[: len(content) // 2],
            "text": b"this is no Parquet at all",
            "zeros inside": content[:8] + bytes(len(content) // 2) + content[8 + len(content) // 2 :],
        }
        path.write_bytes(changed[request.param])
    return path


@pytest.mark.parametrize("damaged", ["a folder", "missing", "empty", "half", "text", "zeros inside"], indirect=True)
def test_a_data_file_that_cannot_be_read_is_named_by_every_reader(engine: LocalEngine, damaged: Path) -> None:
    commit = engine.hour_commit(HOUR)
    assert commit is not None
    with pytest.raises(StorageError) as raised:
        # Not what the footers of files can answer alone.
        rows(engine, "SELECT sum(hash(events)), sum(hash(user_id)), sum(hash(event_ts)) FROM silver.events")
    assert str(damaged) in str(raised.value)
    assert "event-pipeline repair" in str(raised.value)
    assert "Traceback" not in str(raised.value)
    with pytest.raises(PipelineError, match=damaged.name):
        engine.count_rows(commit)
    with pytest.raises(PipelineError, match=damaged.name):
        engine.refresh_gold(load_gold_tables()[0], [HOUR], force=True, progress=silent)


class _Failing:
    """An engine whose evidence cannot be had."""

    def __init__(self, engine: Engine, fault: Exception) -> None:
        self._engine, self._fault = engine, fault

    def count_rows(self, _: object) -> object:
        raise self._fault

    def partition_faults(self, _: object) -> object:
        raise self._fault


@pytest.mark.parametrize("fault", [QueryError("no evidence"), StorageError("no evidence"), OSError(5, "no evidence")])
def test_a_check_that_cannot_be_evaluated_fails_and_says_why(
    engine: LocalEngine, root: Path, settings: Settings, fault: Exception
) -> None:
    from event_pipeline.assets.checks import Neighbours

    write_object(root, HOUR, 0, [purchase()])
    (built,) = build(engine, [HOUR])
    failing = _Failing(engine, fault)
    verdicts = silver_verdicts(failing, built.commit, settings, Neighbours.of(engine, []))  # type: ignore[arg-type]
    verdicts |= partition_verdicts(failing, HOUR)  # type: ignore[arg-type]
    for name in ("conservation_law", "partition_readable"):
        assert not verdicts[name].passed
        assert "no evidence" in verdicts[name].description


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT " + " + ".join(["1"] * 5_000),
        "SELECT " + "NOT " * 5_000 + "true",
        "SELECT * FROM " + "(SELECT * FROM " * 1_500 + "silver.events" + ")" * 1_500,
        "SELECT '\udcff'",
        "SELECT 'a\0b'",
        "SELECT 2147483647::INTEGER + 1::INTEGER",
        "SELECT CAST('x' AS DATE)",
        "SELECT 1 // 0",
        "SELECT CAST(1e30 AS DECIMAL(18, 2))",
    ],
    ids=str.__len__,
)
def test_sql_that_cannot_be_computed_is_a_query_error(engine: LocalEngine, sql: str) -> None:
    with pytest.raises(QueryError) as raised:
        engine.query(sql)
    assert "Traceback" not in str(raised.value)


def test_bytes_that_are_not_utf_8_end_a_query_with_2_and_one_line(root: Path) -> None:
    command = [sys.executable.encode(), b"-m", b"event_pipeline.cli", b"query", b"SELECT '\xff' AS a"]
    ended = subprocess.run(
        command,
        env={"EVENT_PIPELINE_ROOT": str(root), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"is not UTF-8" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_gold_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sql"
    path.write_bytes(b"-- description: caf\xe9\n")
    with pytest.raises(GoldFileError, match=r"numbers\.sql: byte 20 is not UTF-8"):
        load_gold_table(path)
