"""Loads the questions that are shipped with the package, from `queries/queries.sql`, and those asked of raw lines.

Each question begins with a header, followed by one SELECT in DuckDB's dialect that ends with a semicolon:

    -- name: weekly_active_users      (how people call it: not the name of a Gold table)
    -- title: one sentence
    -- grain: week                    (the columns that identify a row)
    -- cost: small                    (what it reads: see COSTS)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

QUERIES = Path(__file__).parents[1] / "queries" / "queries.sql"
BRONZE_QUERIES = QUERIES.with_name("bronze.sql")

COSTS = {
    "small": "Gold or the ledger, kilobytes a day",
    "medium": "the quarantine, only refused records",
    "large": "Silver, every event of all days",
}
"""Cost class -> what a question of it reads."""

_HEADER = re.compile(
    r"^-- name: (?P<name>[a-z][a-z0-9_]*)\n-- title: (?P<title>\S[^\n]*)\n-- grain: (?P<grain>\S[^\n]*)\n"
    r"-- cost: (?P<cost>\w+)\n(?P<sql>.*?);\n",
    re.MULTILINE | re.DOTALL,
)


_BRONZE_HEADER = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\n(?P<sql>.*?);\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """One question that people ask, and its answer in SQL."""

    name: str
    title: str
    grain: str
    """Columns that identify a row."""
    cost: str
    """One of COSTS."""
    sql: str


def load_questions(path: Path = QUERIES) -> tuple[Question, ...]:
    """Load the questions in their order."""
    text = path.read_text(encoding="utf-8")
    return tuple(Question(**match.groupdict()) for match in _HEADER.finditer(text))


def load_bronze_questions(path: Path = BRONZE_QUERIES) -> dict[str, str]:
    """Load the SQL that asks raw lines the question of a Gold table: name of the table -> SELECT from bronze_events."""
    return {match["name"]: match["sql"] for match in _BRONZE_HEADER.finditer(path.read_text(encoding="utf-8"))}
