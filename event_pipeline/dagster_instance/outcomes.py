"""Extracts from a run's events how it ended: the checks that did not pass, and why it failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from event_pipeline.rules.hour import Hour


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """One asset check that did not pass in one hour."""

    check: str
    asset: str
    hour: Hour
    severity: str
    """`WARN` or `ERROR`."""
    description: str


def failed_checks_of(evaluations: Iterable[dg.AssetCheckEvaluation]) -> Iterable[FailedCheck]:
    """Yield the checks of single hours that did not pass."""
    for each in evaluations:
        if not each.passed and each.partition:
            yield FailedCheck(
                each.check_name,
                each.asset_key.to_user_string(),
                Hour.parse(each.partition),
                each.severity.value,
                each.description or "",
            )


def explanation(events: Iterable[dg.DagsterEvent], failed_checks: Iterable[FailedCheck]) -> str:
    """Return one message: from the blocking checks if they stopped the run, else from the first step that failed."""
    for event in events:
        if event.is_step_failure:
            described = event.step_failure_data.user_failure_data
            if described and described.description:
                return f"{event.step_key}: {described.description}"
            error_class, message = root_cause(event.step_failure_data.error)
            if error_class == "DagsterAssetCheckFailedError":
                stopping = [each for each in failed_checks if each.asset == event.step_key and each.severity == "ERROR"]
                return "; ".join(f"{each.asset} {each.hour}: {each.check}: {each.description}" for each in stopping)
            return f"{event.step_key}: {message}"
        if event.is_failure:
            return root_cause(event.job_failure_data.error)[1]
    return "the run did not finish, and Dagster recorded no reason"


def root_cause(error: Any) -> tuple[str, str]:
    """Return class name and message of the error that started a chain (Dagster's SerializableErrorInfo)."""
    if error is None:
        return "", "no error was recorded"
    while error.cause:
        error = error.cause
    return error.cls_name or "", str(error.message).strip()
