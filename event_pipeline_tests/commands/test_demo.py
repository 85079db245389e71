"""The demo holds what it says, leaves everything else alone, and says so when something does not hold."""

from __future__ import annotations

import io
import os
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from event_pipeline.commands.options import ExitCode
from event_pipeline.operations.demo import AnswersSeen, Killed
from event_pipeline.reporting.demo import Narrator
from event_pipeline_tests.command import Run


@pytest.mark.long
def test_the_demo_kills_a_build_and_proves_every_record(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of the user's settings counts.
    monkeypatch.setenv("EVENT_PIPELINE_EVENT_MAX_AGE_DAYS", "0")
    before = dict(os.environ)
    ended = run("demo", "--folder", str(tmp_path / "demo"))
    assert ended.code == 0, ended.out + ended.err
    held = [line.split()[1] for line in ended.out.splitlines() if line.startswith("   holds")]
    assert held[1:-1] == ["it", "queries", "late:", "broken:", "duplicate:"]
    assert "FAILS" not in ended.out
    assert f"export EVENT_PIPELINE_ROOT={tmp_path / 'demo'}" in ended.out
    assert dict(os.environ) == before
    assert not root.exists()
    again = run("demo", "--folder", str(tmp_path / "demo"))
    assert (again.code, "is not empty" in again.err) == (ExitCode.USAGE, True)


def test_what_does_not_hold_is_said() -> None:
    seen = AnswersSeen(10, Decimal(5), {})
    text = io.StringIO()
    tell = Narrator(Console(file=text, width=200), Path("/demo"))
    tell.killed(Killed(1, "built", -9), seen, seen)
    assert tell.all_held
    tell.killed(Killed(1, "built", -9), seen, AnswersSeen(11, Decimal(5), {}))
    tell.end()
    assert not tell.all_held
    assert "FAILS queries see what they saw before" in text.getvalue()
    assert "Not everything held" in text.getvalue()
