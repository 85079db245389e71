"""What the recount found, as people read it."""

from __future__ import annotations

import pytest

from event_pipeline.inspection.verification import Difference, HourVerdict, Verification
from event_pipeline.reporting.terminal import output
from event_pipeline.reporting.verification_table import print_verification
from event_pipeline_tests.pipeline import HOUR

DIFFERENCE = Difference(str(HOUR), f"silver.events rows from {HOUR.raw_key(HOUR.start)}", "577", "576")


def printed(verification: Verification, width: int, capsys: pytest.CaptureFixture[str]) -> str:
    console = output()
    console.width = width
    print_verification(verification, (), 12, console)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 200])
def test_differences_are_whole_at_every_width(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = HourVerdict(HOUR, 1, 0, 577, 577, 0, 0, (DIFFERENCE,))
    text = printed(Verification((verdict,), (), (), {}, ()), width, capsys)
    assert "".join(DIFFERENCE.what.split()) in "".join(text.split())
    assert "differs" in text
    assert "Not proven: 1 difference between raw and what is published" in text
    assert all(len(line) <= width for line in text.splitlines())


def test_hours_that_were_not_recounted_are_named_together(capsys: pytest.CaptureFixture[str]) -> None:
    left = {HOUR.plus(number): "0 of 12 raw objects are left" for number in range(3)}
    text = printed(Verification((), (), (), left, (HOUR.plus(5),)), 200, capsys)
    assert "Not recounted: 3 hours (2025-12-07T22 to 2025-12-08T01): 0 of 12 raw objects are left" in text
    assert "Not built yet, so not verified: 1 hour (2025-12-08T03)" in text
    assert "nothing to recount" not in text
