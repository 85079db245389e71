"""What `run` prints at its end: repeats are folded, what was skipped is named."""

from __future__ import annotations

import pytest

from event_pipeline.dagster_instance.outcomes import FailedCheck
from event_pipeline.operations.runs import RangeOutcome
from event_pipeline.reporting.build_summary import print_findings
from event_pipeline.reporting.terminal import messages
from event_pipeline.rules.hour import HourRange
from event_pipeline_tests.pipeline import HOUR


def test_what_is_wrong_alike_in_many_hours_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    hours = HourRange(HOUR, HOUR.plus(6))

    def check(number: int, name: str, said: str, severity: str = "WARN") -> FailedCheck:
        return FailedCheck(name, "raw_events", HOUR.plus(number), severity, said)

    checks = (
        *(check(number, "expected_objects", "3 objects, 12 expected") for number in range(6)),
        *(check(number, "unreadable_objects", f"{number} objects", "ERROR") for number in range(5)),
        check(0, "schema_drift", "new field a"),
        check(1, "schema_drift", "new field b"),
    )
    failed = {HOUR: "silver_events: the disk is full", HOUR.plus(1): "silver_events: the disk is full"}
    print_findings([RangeOutcome(hours, "run", False, "the disk is full", checks, {}, failed)], messages())
    assert capsys.readouterr().err.splitlines()[:6] == [
        "warn  raw_events, expected_objects in 6 hours (2025-12-07T22 to 2025-12-08T04): 3 objects, 12 expected",
        "warn  2025-12-07T22 raw_events, schema_drift: new field a",
        "warn  2025-12-07T23 raw_events, schema_drift: new field b",
        "error raw_events, unreadable_objects in 5 hours (2025-12-07T22 to 2025-12-08T03); in 2025-12-08T02: 4 objects",
        "failed 2025-12-07T22 to 2025-12-08T04 (6 hours): the disk is full",
        "failed 2 hours (2025-12-07T22 to 2025-12-08T00): silver_events: the disk is full",
    ]
