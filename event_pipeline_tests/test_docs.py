"""The documents say what the code does: tables, settings, commands and targets are read from both and compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer

from event_pipeline.alerts.conditions import ALERT_RULES, AlertKind
from event_pipeline.cli import app
from event_pipeline.rules.contract import BRONZE_EVENTS, HOUR_TABLES, QUARANTINE_REASONS, UNREADABLE_REASONS, Table
from event_pipeline.rules.query import load_gold_tables
from event_pipeline_tests.browser.pictures import IMAGES, KEPT, MOST_BYTES, digest
from event_pipeline_tests.generated import generated

PROJECT = Path(__file__).parents[1]
CONTRACT = (PROJECT / "docs" / "contract.md").read_text(encoding="utf-8")
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])


def table_after(text: str, marker: str) -> list[list[str]]:
    """Return the cells of the first Markdown table after a marker, without its header."""
    lines = text.split(marker, 1)[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))])
    return rows


def names(cell: str) -> list[str]:
    """Return the names in backticks of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def test_the_contract_lists_every_quarantine_reason_in_order() -> None:
    assert tuple(names(row[0])[0] for row in table_after(CONTRACT, "**Quarantine.**")) == QUARANTINE_REASONS


def test_the_contract_lists_every_unreadable_reason() -> None:
    assert tuple(names(row[0])[0] for row in table_after(CONTRACT, "**Unreadable objects**")) == UNREADABLE_REASONS


@pytest.mark.parametrize(
    "table", [*HOUR_TABLES, *(gold.table for gold in load_gold_tables())], ids=lambda t: t.full_name
)
def test_the_contract_lists_every_column_with_its_type(table: Table) -> None:
    documented = [(names(row[0])[0], row[1]) for row in table_after(CONTRACT, f"\n`{table.full_name}`")]
    assert documented == [(column.name, column.type) for column in table.columns]


def test_every_picture_is_from_make_screenshots_and_small_and_on_a_page() -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    pictures = {path.stem: path for path in IMAGES.glob("*.png")}
    assert {name: digest(path) for name, path in pictures.items()} == {
        name: each["sha256"] for name, each in kept.items()
    }
    assert all(path.stat().st_size < MOST_BYTES for path in pictures.values())
    shown = {
        name for page in PAGES for name in re.findall(r"!\[.*?\]\(\S*images/(\S+?)\.png\)", page.read_text("utf-8"))
    }
    assert shown == pictures.keys()
    of_readme = {name for name in pictures if f"docs/images/{name}.png" in README}
    assert of_readme >= {"report", "gold-table"}


def test_the_site_has_what_a_search_from_the_disk_needs() -> None:
    site = (PROJECT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    (shim,) = re.findall(r"^  polyfills:\n    - (\S+)", site, re.MULTILINE)
    assert "\n  - offline\n" in site
    assert "IFrameWorker" in (PROJECT / "docs" / shim).read_text(encoding="utf-8")


def test_pages_and_template_follow_the_declarations() -> None:
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, f"`make fix` writes {path.relative_to(PROJECT)} again"
    assert ALERT_RULES.keys() == set(AlertKind)


def test_every_column_has_an_example_of_its_type_and_a_trap() -> None:
    for table in (BRONZE_EVENTS, *HOUR_TABLES, *(gold.table for gold in load_gold_tables())):
        for column in (*table.columns, *table.partition_columns):
            assert column.example, f"{table.full_name}.{column.name}"
            assert column.trap, f"{table.full_name}.{column.name}"
            duckdb_type = {"string": "VARCHAR", "map<string,bigint>": "MAP(VARCHAR, BIGINT)"}.get(
                column.type, column.type
            )
            duckdb.execute(f"SELECT CAST(? AS {duckdb_type})", [column.example])


def test_the_tests_that_prove_reliability_exist() -> None:
    page = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
    proofs = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(proofs) > 10
    for path, name in proofs:
        assert f"def {name}(" in (PROJECT / "event_pipeline_tests" / path).read_text(encoding="utf-8"), name


def test_the_readme_lists_every_gold_table() -> None:
    assert {names(row[0])[0] for row in table_after(README, "## The five tables")} == {
        table.table.full_name for table in load_gold_tables()
    }


COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
"""Every command, as the command line knows it."""


def commands_in(page: Path) -> list[str]:
    """Return the `event-pipeline ...` and `make ...` lines of a page's code blocks."""
    blocks = re.findall(r"```(?:bash|console|sh)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if re.match(r"(event-pipeline|make|\.venv/bin/event-pipeline)\b", line)]


def test_every_command_in_the_documents_exists() -> None:
    used = {tuple(line.split()[:2]) for page in PAGES for line in commands_in(page)}
    assert ("make", "run") in used
    targets = set(re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert {target for tool, target in used if tool == "make"} <= targets
    assert {command for tool, command in used if tool != "make"} <= set(COMMANDS)


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
