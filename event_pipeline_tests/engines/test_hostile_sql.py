"""A query can read the published tables and do nothing else, whatever it says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.engines.host.lake_files import LakeFiles, RegisteredFile, address
from event_pipeline.engines.local import LocalEngine
from event_pipeline.errors import QueryError
from event_pipeline_tests.hostile_sql import statements
from event_pipeline_tests.pipeline import HOUR, build, purchase, rows, write_object


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def attacked(engine: LocalEngine, root: Path) -> dict[str, str]:
    """A built data folder with a file beside it, as the placeholders of the statements."""
    write_object(root, HOUR, 0, [purchase()])
    (built,) = build(engine, [HOUR])
    file = root / "lake" / built.commit.files_of("silver.events")[0].path
    (commit,) = (root / "lake" / "commits" / "hours").rglob("*.json")
    outside = root.parent / "outside.csv"
    outside.write_text("secret\n1\n", encoding="utf-8")
    relative = str(file.relative_to(root / "lake"))
    return {
        "root": str(root),
        "file": str(file),
        "commit": str(commit),
        "outside": str(outside),
        "address": relative.encode().hex(),
    }


@pytest.mark.long
def test_no_statement_of_the_hostile_list_changes_a_file_or_is_answered(
    engine: LocalEngine, root: Path, attacked: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before, answered = _digests(root.parent), list[tuple[str, Any]]()
    environment = dict(os.environ)
    assert len(statements()) > 150
    for template in statements():
        sql = template.format_map(attacked).replace("\v", "\n")
        try:
            answered.append((sql, engine.query(sql).to_pylist()))
        except QueryError as error:
            if "Traceback" in str(error):
                answered.append((sql, error))
    assert answered == []
    assert _digests(root.parent) == before
    assert dict(os.environ) == environment
    assert rows(engine, "SELECT count(*) AS n FROM silver.events") == [{"n": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM silver.events",
        "EXPLAIN ANALYZE SELECT count(*) FROM silver.events",
        "/* why */ EXPLAIN -- so\n SELECT 1",
        "DESCRIBE silver.events",
        "SUMMARIZE silver.events",
        "SHOW ALL TABLES",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM duckdb_columns()",
        "VALUES (1)",
        "FROM range(3)",
        "SELECT unnest([1, 2])",
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 3) SELECT * FROM r",
        "FROM silver.events PIVOT (count(*) FOR event_type IN ('purchase'))",
        "SELECT 'COPY (SELECT 1) TO ''x''; DROP TABLE t' AS text",
        'SELECT \'{"type": "COPY_QUERY_NODE", "info_type": "COPY_INFO"}\' AS text',
        "SELECT " + " + ".join(["1"] * 900) + " AS n",
        "SELECT 1 IN (" + ", ".join(map(str, range(20_000))) + ") AS n",
    ],
)
def test_what_only_reads_is_answered(engine: LocalEngine, root: Path, attacked: dict[str, str], sql: str) -> None:
    assert engine.query(sql).num_rows > 0


def test_the_file_system_of_a_query_knows_no_writing_and_no_other_file(root: Path) -> None:
    files = LakeFiles(root / "lake")
    place = address(RegisteredFile("hour=07", "runs/a.parquet"))
    for mode in ("wb", "ab", "r+b", "xb", "w"):
        with pytest.raises(PermissionError, match="read-only"):
            files.open(place, mode)
    for other in ("/etc/hostname", "lake:///etc/hostname", "file:///etc/hostname", "lake://zz.parquet"):
        with pytest.raises(PermissionError, match="not an address"):
            files.open(other)


def test_names_of_python_variables_are_no_tables(engine: LocalEngine) -> None:
    import pyarrow as pa

    hidden = pa.table({"secret": [1]})
    with pytest.raises(QueryError, match="hidden"):
        engine.query("SELECT * FROM hidden")
    assert hidden.num_rows == 1


def test_settings_and_the_environment_stay_unknown(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    for sql in ("SELECT getenv('AWS_SECRET_ACCESS_KEY')", "SELECT * FROM duckdb_secrets()"):
        with pytest.raises(QueryError):
            engine.query(sql)
    shown = json.dumps(engine.query("SELECT * FROM pg_catalog.pg_settings").to_pylist())
    assert "do-not-tell" not in shown
