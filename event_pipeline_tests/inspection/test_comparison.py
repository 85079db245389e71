"""`compare`: the same questions of raw lines, Silver and Gold, what each takes, and what accounts for a difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from event_pipeline.cli import main
from event_pipeline.commands.options import ExitCode
from event_pipeline.lake import open_lake
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.rules.query_pack import load_bronze_questions
from event_pipeline_tests.pipeline import ALL_GOLD, HOUR, build, event, purchase, write_object

NEXT = HOUR.plus(1)
CLEAN = [
    event(),
    event(second=1, product_id="p_2", user_id="u_2"),
    event(second=2, event_type="add_to_cart", quantity=1, price=3.5),
    event(second=3, event_type="search", search_query="x", product_id=None, category=None),
    purchase(second=4, price=0.05, quantity=1),
    purchase(second=5, price=0.1, quantity=1),
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder; revenue of CLEAN halves a cent."""
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(tmp_path))
    monkeypatch.setenv("EVENT_PIPELINE_WORKERS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def compared(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Run the command; return its exit code, its output, and what it said on stderr."""
    with pytest.raises(SystemExit) as end:
        main(["compare", *arguments])
    said = capfd.readouterr()
    return int(end.value.code or 0), said.out, said.err.splitlines()


def test_on_clean_lines_all_three_layers_answer_every_question_alike(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert set(load_bronze_questions()) == {table.name for table in load_gold_tables()}
    write_object(root, HOUR, 0, CLEAN)
    write_object(root, NEXT, 0, [event(NEXT), purchase(HOUR, 9, category="toys")])
    build(open_lake(root)._pipeline.engine, [HOUR, NEXT])
    code, out, said = compared(capfd, "--day", "2025-12-07", "--format", "json")
    assert code == ExitCode.OK
    assert said == [
        "Of event day 2025-12-07, from 2 hours (2025-12-07T22 to 2025-12-08T00) of landing.",
        "Gold and Silver give the same rows to 5 questions.",
        "So does Bronze, the raw lines, to 5 questions.",
    ]
    rows = json.loads(out)
    assert [row["layer"] for row in rows] == ["bronze", "silver", "gold"] * 5
    assert all(row["same_as_gold"] and row["rows"] and row["bytes_read"] and row["usd"] is None for row in rows)
    # One landing hour has only its own part of the day.
    code, out, said = compared(capfd, "hourly_revenue", "--from", str(NEXT), "--to", str(NEXT.plus(1)))
    assert (code, said[0]) == (ExitCode.OK, "Of event day 2025-12-07, from 1 hour (2025-12-07T23) of landing.")
    assert [line.split()[-8:][0] for line in out.splitlines() if "same rows as gold" in line] == ["1", "1"]


def test_refused_records_duplicates_and_broken_objects_account_for_bronze(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_object(root, HOUR, 0, [*CLEAN, CLEAN[0], purchase(second=7, price=-1), b"no json"])
    broken = write_object(root, HOUR, 5, b"\x1f\x8b broken")
    build(open_lake(root)._pipeline.engine, [HOUR])
    code, out, said = compared(capfd, "--from", "2025-12-01", "--to", "2025-12-31", "--format", "markdown")
    assert code == ExitCode.OK
    assert out.count("| silver | ") == out.count("| gold | ") == 5
    assert said[1:] == [
        "Gold and Silver give the same rows to 5 questions.",
        "Bronze gives other rows to 5 questions: of 9 records, Silver refused 2 (1 invalid_price, 1 not_json) and left "
        "out 1 duplicates; the raw lines still have them, and every value as it was spelled.",
        f"Bronze was asked without the minutes of 1 unreadable raw objects, which fail every query: {broken}",
    ]


def test_gold_that_is_not_what_silver_gives_ends_with_1(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    engine = open_lake(root)._pipeline.engine
    write_object(root, HOUR, 0, CLEAN)
    build(engine, [HOUR])
    write_object(root, HOUR, 5, [purchase(second=300, price=7, quantity=1)])
    build(engine, [HOUR], [table for table in ALL_GOLD if table.name != "hourly_revenue"])
    code, out, said = compared(capfd, "hourly_revenue", "user_activity", "--day", "2025-12-07")
    assert code == ExitCode.NOT_HELD
    assert [line.split()[-2:] for line in out.splitlines() if " silver " in line] == [["other", "rows"], ["as", "gold"]]
    assert said[1].startswith("gold.hourly_revenue is not what its own SQL makes of Silver: `event-pipeline verify`")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "give --day, or --from and --to with event days (inclusive) or landing hours (end exclusive)"),
        (["--day", "2025-12-07", "--to", "2025-12-08"], "--day is one event day: omit it, or --from and --to"),
        (["--from", "2025-12-07T22"], "--from and --to go together"),
        (["--from", "2025-12-08", "--to", "2025-12-07"], "give the earlier day first"),
        (["nothing", "--day", "2025-12-07"], "no Gold table is named 'nothing'"),
    ],
)
def test_wrong_usage_is_named(root: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], fault: str) -> None:
    code, _, said = compared(capfd, *arguments)
    assert (code, fault in " ".join(said)) == (ExitCode.USAGE, True)


def test_nothing_published_is_nothing_to_compare(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compared(capfd, "--day", "2025-12-07") == (
        ExitCode.OK,
        "",
        ["No such event day is published: there is nothing to compare."],
    )
