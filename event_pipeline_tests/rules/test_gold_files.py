"""The `.sql` file that is all there is to a Gold table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from event_pipeline.rules.contract import Column
from event_pipeline.rules.query import GoldFileError, GoldTable, load_gold_table, load_gold_tables

SOUND = """-- description: What people searched for.
-- grain: search_query
-- columns:
--   search_query   string   What was searched for
--   searches       bigint   How often

-- section: partial
SELECT 1
-- section: fold
SELECT 2
-- section: reconcile
SELECT 3
"""


def load(tmp_path: Path, text: str) -> GoldTable:
    """Load a table from a text."""
    path = tmp_path / "search_terms.sql"
    path.write_text(text)
    return load_gold_table(path)


def test_a_sound_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "search_terms.sql"
    path.write_text(SOUND)
    table = load_gold_table(path)
    assert (table.name, table.description, table.grain) == (
        "search_terms",
        "What people searched for.",
        ("search_query",),
    )
    assert table.columns == (
        Column("search_query", "string", "What was searched for"),
        Column("searches", "bigint", "How often"),
    )
    assert (table.partial, table.fold, table.reconcile) == ("SELECT 1", "SELECT 2", "SELECT 3")
    assert table.table.full_name == "gold.search_terms"


def test_a_section_may_end_with_a_semicolon(tmp_path: Path) -> None:
    plain = load(tmp_path, SOUND)
    assert load(tmp_path, re.sub(r"(SELECT \d)", r"\1;", SOUND)) == plain


def test_the_version_follows_the_sql_that_makes_rows_and_not_the_words_around_it(tmp_path: Path) -> None:
    first = load(tmp_path, SOUND)
    assert load(tmp_path, SOUND.replace("How often", "How many times")).version == first.version
    trapped = load(tmp_path, SOUND.replace("How often\n", "How often\n-- traps:\n--   searches   3   As typed\n"))
    assert trapped.columns[1] == Column("searches", "bigint", "How often", "3", "As typed")
    assert trapped.version == first.version
    assert load(tmp_path, SOUND.replace("SELECT 3", "SELECT 4")).version == first.version
    for change in (("SELECT 1", "SELECT 7"), ("SELECT 2", "SELECT 7"), ("bigint", "int")):
        assert load(tmp_path, SOUND.replace(*change)).version != first.version


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-- section: fold", "-- section: folds", "sections are"),
        ("-- section: reconcile\nSELECT 3\n", "", "expected exactly"),
        ("-- description: What people searched for.", "", "one line `-- description: ...`, found 0"),
        ("-- grain: search_query", "-- grain: query", "grain names \\['query'\\]"),
        ("bigint", "integer", "column searches has type 'integer'; allowed"),
        ("bigint", "decimal(39,2)", "column searches has type 'decimal\\(39,2\\)'; allowed"),
        ("--   searches ", "--   event_date ", "do not list it"),
        ("--   searches ", "--   search_query ", "listed twice"),
        ("-- columns:", "-- column:", "lists no columns"),
        ("often\n", "often\n-- traps:\n--   search   a   Not one\n", "traps are given for \\['search'\\]"),
        ("-- columns:", "-- lineage:\n--   people: user_id\n-- columns:", "lineage names people"),
        ("-- columns:", "-- lineage:\n--   searches: user\n-- columns:", "lineage of searches names \\['user'\\]"),
    ],
)
def test_a_file_with_a_fault_is_named_with_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SOUND
    with pytest.raises(GoldFileError, match=f"search_terms.sql: .*{message}"):
        load(tmp_path, SOUND.replace(old, new))


def test_the_five_tables_of_the_contract_are_there() -> None:
    assert [table.name for table in load_gold_tables()] == [
        "category_performance",
        "conversion_funnel",
        "hourly_revenue",
        "top_products",
        "user_activity",
    ]
