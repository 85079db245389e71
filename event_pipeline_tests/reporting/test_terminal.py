"""Progress is a bar for a person and plain lines for a log; tables keep every value whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import ProgressView, output


def test_progress_in_a_log_is_one_line_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(stderr=True)
    with ProgressView(console, 3) as view:
        for done, doing in enumerate(["first", "first", "second"]):
            view.step(doing, done)
        view.note("that is all")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["first", "second", "that is all"]


def test_progress_for_a_person_is_a_bar_that_goes_away_and_notes_that_stay() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with ProgressView(console, 3) as view:
        view.step("counting [1] of 3", 1)
        view.note(Text("a note"))
    shown = screen.getvalue()
    assert "counting [1] of 3" in shown
    assert "1/3" in shown
    assert "a note\n" in shown
    assert shown.rstrip().endswith("\x1b[2K")


def test_text_is_printed_as_it_is_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output().print("[red]SELECT a[1] :smile:")
    assert capsys.readouterr().out == "[red]SELECT a[1] :smile:\n"


def test_a_table_wraps_headings_and_never_values(capsys: pytest.CaptureFixture[str]) -> None:
    table = lay_out(["product id", "cart to purchase rate"], [["p_1001", "0.25"]], left=["product id"])
    console = output()
    console.width = 80
    console.print(table)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == " p_1001       0.25"
    assert [line.split() for line in lines[:3]] == [["cart", "to"], ["product", "purchase"], ["id", "rate"]]
