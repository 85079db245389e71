"""`explain`: a number walked back, and what it says when a step does not add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_pipeline.cli import main
from event_pipeline.commands.options import ExitCode
from event_pipeline.lake import open_lake
from event_pipeline_tests.pipeline import HOUR, build, event, purchase, write_object

NEXT = HOUR.plus(1)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Revenue of one hour of the day from two landing hours, the second late; one record of it is refused."""
    monkeypatch.setenv("EVENT_PIPELINE_ROOT", str(tmp_path))
    monkeypatch.setenv("EVENT_PIPELINE_WORKERS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    write_object(tmp_path, HOUR, 0, [purchase(price=10, quantity=1), event(second=1), purchase(second=2, price=-1)])
    write_object(tmp_path, NEXT, 5, [purchase(HOUR, 3, price=0.5, quantity=1, category="toys"), event(NEXT)])
    build(open_lake(tmp_path)._pipeline.engine, [HOUR, NEXT])
    return tmp_path


def explained(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Run the command; return its exit code, its lines with single blanks, and what it said on stderr."""
    with pytest.raises(SystemExit) as end:
        main(["explain", *arguments])
    said = capfd.readouterr()
    return int(end.value.code or 0), [" ".join(line.split()) for line in said.out.splitlines()], said.err


def test_every_step_has_counts_that_add_up(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = explained(capfd, "gold.hourly_revenue", "--day", "2025-12-07", "--hour", "22")
    assert code == ExitCode.OK
    assert "22 10.50 2 2 5.25" in lines
    assert "2025-12-07T22 2 1 10.00 1" in lines
    assert "2025-12-07T23 1 1 0.50 1" in lines
    assert "all 3 2 10.50 2" in lines
    (first,) = (line for line in lines if "hour=22" in line)
    assert first.endswith(" 3 2 1 0 2 10.00")
    assert "invalid_price 1" in lines
    assert lines[-1] == (
        "It adds up: 2 raw objects gave 3 Silver rows, from which the table's own SQL gives exactly the published row."
    )


def test_an_hour_without_a_part_in_the_table_need_not_be_folded(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    later = HOUR.plus(2)
    write_object(root, later, 0, [event(HOUR, 9)])
    build(open_lake(root)._pipeline.engine, [later])
    for arguments in (("hourly_revenue",), ("hourly_revenue", "--hour", "22")):
        code, lines, _ = explained(capfd, *arguments, "--day", "2025-12-07")
        assert (code, lines[-1].startswith("It adds up: 3 raw objects gave ")) == (ExitCode.OK, True)
        assert any(line.startswith("Folded from 2 landing hours") for line in lines)


def test_rows_are_chosen_by_the_columns_of_the_grain(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for table in ("category_performance", "gold.top_products", "conversion_funnel"):
        code, lines, _ = explained(capfd, table, "--day", "2025-12-07", "--where", "category=toys")
        assert code == ExitCode.OK
        assert lines[-1].startswith("It adds up: 1 raw object gave 1 Silver row")
    _, lines, _ = explained(capfd, "user_activity", "--day", "2025-12-07")
    assert lines[-1].startswith("It adds up: 2 raw objects gave 4 Silver rows")


def test_a_row_that_nobody_published_is_said_to_be_none(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = explained(capfd, "hourly_revenue", "--day", "2025-12-09", "--hour", "3")
    assert (code, lines[-2:]) == (ExitCode.OK, ["No such row is published.", "No Silver row is behind it either."])


def test_silver_that_the_day_was_not_folded_from_is_a_difference(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    late = HOUR.plus(2)
    write_object(root, late, 0, [purchase(HOUR, 9, price=100, quantity=1)])
    build(open_lake(root)._pipeline.engine, [late], tables=())
    code, lines, _ = explained(capfd, "hourly_revenue", "--day", "2025-12-07", "--hour", "22")
    assert code == ExitCode.NOT_HELD
    assert "It does not add up: the published rows are not those that 4 Silver rows give." in lines
    assert lines[-1] == (
        "It does not add up: landing hours with Silver rows that the published day was not folded from: 2025-12-08T00."
    )


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("hourly_revenue", "--day", "2025-12-07", "--hour", "x"), "event_hour is a whole number, not 'x'"),
        (
            ("hourly_revenue", "--day", "2025-12-07", "--hour", "24"),
            "event_hour is an hour of the day, 0 to 23, not 24",
        ),
        (
            ("hourly_revenue", "--day", "2025-12-07", "--hour", "1", "--where", "event_hour=2"),
            "a column has two values",
        ),
        (("hourly_revenue", "--day", "2025-12-07", "--where", "a"), "--where 'a' is not COLUMN=VALUE"),
        (("hourly_revenue", "--day", "2025-12-07", "--where", "x=1"), "its columns for that are event_hour"),
        (("user_activity", "--day", "2025-12-07", "--hour", "1"), "none: it has one row a day"),
        (("hourly_revenue", "--day", "today"), "--day 'today' is not a day"),
        (("revenue", "--day", "2025-12-07"), "no Gold table is named 'revenue'"),
    ],
)
def test_wrong_usage_says_what_there_is(
    root: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], fault: str
) -> None:
    code, _, said = explained(capfd, *arguments)
    assert code == ExitCode.USAGE
    assert fault in " ".join(said.split())


def test_a_value_with_quotes_is_a_value(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = explained(capfd, "category_performance", "--day", "2025-12-07", "--where", "category=x' OR '1'='1")
    assert (code, lines[-1]) == (ExitCode.OK, "No Silver row is behind it either.")
