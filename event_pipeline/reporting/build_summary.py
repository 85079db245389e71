"""Prints what `run` did: range by range while it works, and hour by hour at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.operations.building import BuildPlan
from event_pipeline.reporting.answers import print_newest_answers, print_next_steps, print_places
from event_pipeline.reporting.tables import lay_out
from event_pipeline.reporting.terminal import FAULT, GOOD, QUIET, WARNING, messages, output
from event_pipeline.reporting.unmatched import unmatched_lines
from event_pipeline.rules.drift import DRIFT_ADVICE, drift_of, drift_text
from event_pipeline.rules.hour import Hour, HourRange, hours_text

if TYPE_CHECKING:
    from event_pipeline.dagster_instance.outcomes import FailedCheck
    from event_pipeline.operations.runs import RangeOutcome

HOURS_SHOWN = 48
"""Newest hours shown in the table of counts."""
CHECKS_SHOWN = 30
"""Failed checks shown, errors before warnings."""
ALIKE_SHOWN = 3
"""Hours in which one check failed for different reasons, each of which gets its own line."""


def print_summary(pipeline: Pipeline, plan: BuildPlan, outcomes: Sequence[RangeOutcome]) -> None:
    """Print what was built and the Gold tables on stdout, then what is wrong or skipped on stderr."""
    console, engine, settings = output(), pipeline.engine, pipeline.settings
    try:
        if plan.hours:
            silver = {hour: did for outcome in outcomes for hour, did in outcome.silver.items()}
            commits = engine.hour_commits(HourRange.of(plan.hours), {})
            _print_hour_counts(plan.hours, silver, commits, console)
            _print_drift([commits[hour] for hour in plan.hours if hour in silver and hour in commits], console)
        elif plan.lost or plan.too_early:
            console.print("Nothing to build.")
        else:
            console.print("Nothing to build: every closed hour is up to date.")
        print_newest_answers(engine, pipeline.gold_tables, console)
        print_places(engine.place, console)
    finally:
        # What kept the run from publishing often makes Gold unreadable too: the reason must not be lost.
        _print_left_hours(plan, settings.first_partition, messages())
        print_findings(outcomes, messages())
    if all(is_sound(outcome) for outcome in outcomes):
        print_next_steps(console)


def _print_left_hours(plan: BuildPlan, first_partition: Hour, console: Console) -> None:
    """Print the hours that are skipped on purpose, and what to do about them."""
    if plan.lost:
        console.print(
            f"Skipped, because raw objects that they were built from are lost: {hours_text(plan.lost)}.",
            style=FAULT,
        )
        console.print(
            "  Restore the objects, or give --allow-lost-objects: the rebuilt hour then lacks their records.",
            style=FAULT,
        )
    if plan.lost_all:
        console.print(
            f"Left as published, because all their raw objects are lost: {hours_text(plan.lost_all)}.",
            style=QUIET,
        )
    if plan.too_early:
        console.print(
            f"Left as published, because they are before the first partition {first_partition}: "
            f"{hours_text(plan.too_early)}.",
            style=WARNING,
        )
        console.print("  EVENT_PIPELINE_FIRST_PARTITION sets it.", style=WARNING)
    for line in unmatched_lines(plan.unmatched):
        console.print(line)


def is_sound(outcome: RangeOutcome) -> bool:
    """Return whether a range was built and none of its checks failed (warnings do not count)."""
    return outcome.succeeded and all(check.severity == "WARN" for check in outcome.failed_checks)


def outcome_line(outcome: RangeOutcome) -> Text:
    """Return the outcome of a range as one line."""
    counts = Counter(outcome.silver.values())
    did = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "nothing built"
    if outcome.succeeded:
        return Text(f"{outcome.hours}: {did}", style=GOOD)
    failed = f", {len(outcome.failed_hours):,} failed" if outcome.failed_hours else ""
    return Text(f"{outcome.hours}: failed, {did}{failed}", style=FAULT)


def print_findings(outcomes: Sequence[RangeOutcome], console: Console) -> None:
    """Print failed checks and why ranges failed, failures last."""
    checks = sorted(
        (check for outcome in outcomes for check in outcome.failed_checks),
        key=lambda check: (check.severity == "ERROR", check.hour, check.asset, check.check),
    )
    lines = _folded(checks)
    for severity, line in lines[-CHECKS_SHOWN:]:
        console.print(
            Text.assemble((f"{severity.lower():<5} ", FAULT if severity == "ERROR" else WARNING), line), soft_wrap=True
        )
    if len(lines) > CHECKS_SHOWN:
        console.print(f"and {len(lines) - CHECKS_SHOWN:,} more: event-pipeline dev shows all", style=QUIET)
    failed = [outcome for outcome in outcomes if not outcome.succeeded]
    for outcome in failed:
        # Why single hours failed comes last.
        if not any(reason in (outcome.error or "") for reason in outcome.failed_hours.values()):
            console.print(f"failed {outcome.hours}: {outcome.error}", style=FAULT)
    by_itself = {hour: reason for outcome in failed for hour, reason in outcome.failed_hours.items()}
    alike: dict[str, list[Hour]] = {}
    for hour, reason in sorted(by_itself.items()):
        alike.setdefault(reason, []).append(hour)
    for reason, hours in alike.items():
        console.print(f"failed {hours_text(hours) if len(hours) > 1 else hours[0]}: {reason}", style=FAULT)
    if by_itself:
        console.print(
            f"{hours_text(sorted(by_itself))} failed without affecting other hours of the same runs. Once the cause is "
            "fixed, event-pipeline run builds what is missing.",
            style=FAULT,
        )


def _folded(checks: Sequence[FailedCheck]) -> list[tuple[str, str]]:
    """Return severity and text of each failed check; one that failed alike in several hours, or in many, is one."""
    by_check: dict[tuple[str, str, str], list[FailedCheck]] = {}
    for check in checks:
        by_check.setdefault((check.severity, check.asset, check.check), []).append(check)
    lines = []
    for (severity, asset, name), some in by_check.items():
        hours, said = hours_text([check.hour for check in some]), {check.description for check in some}
        if len(some) > 1 and len(said) == 1:
            lines.append((severity, f"{asset}, {name} in {hours}: {some[0].description}"))
        elif len(some) > ALIKE_SHOWN:
            newest = some[-1]
            lines.append((severity, f"{asset}, {name} in {hours}; in {newest.hour}: {newest.description}"))
        else:
            lines += [(severity, f"{each.hour} {asset}, {name}: {each.description}") for each in some]
    return lines


def _print_hour_counts(
    hours: Sequence[Hour], silver: Mapping[Hour, str], commits: Mapping[Hour, HourCommit], console: Console
) -> None:
    """Print where the records of each hour went; column `silver` has what was done to the hour."""
    shown = hours[-HOURS_SHOWN:]
    erased = any(commit.account.erased for hour, commit in commits.items() if hour in shown)
    rows = [_hour_row(hour, silver.get(hour), commits.get(hour), erased) for hour in shown]
    headings = (
        "hour",
        "silver",
        "objects",
        "broken",
        "records",
        "=rows",
        "+bad",
        "+dup",
        *(["+erased"] if erased else []),
        "bad share",
    )
    console.print(lay_out(headings, rows, left=("hour", "silver"), title="Landing hours"))
    if len(hours) > len(shown):
        console.print(f"and {len(hours) - len(shown):,} earlier hours: event-pipeline status", style=QUIET)


def _print_drift(commits: Sequence[HourCommit], console: Console) -> None:
    """Print which fields outside the contract the built hours hold."""
    if fields := drift_of(commit.account for commit in commits):
        console.print(Text(f"New fields: {drift_text(fields)}", style=WARNING), soft_wrap=True)
        console.print(DRIFT_ADVICE, style=QUIET, soft_wrap=True)


def _hour_row(hour: Hour, silver: str | None, commit: HourCommit | None, erased: bool) -> list[Text | str]:
    if commit is None or silver is None:
        return [str(hour), Text("not built", style=FAULT), *[""] * (8 if erased else 7)]
    account = commit.account
    broken = Text(f"{len(account.unreadable):,}", style=FAULT if account.unreadable else "")
    share = f"{account.quarantined / account.records:.2%}" if account.records else ""
    counts = [account.records, account.silver_rows, account.quarantined, account.duplicates]
    counts += [account.erased] if erased else []
    return [str(hour), silver, f"{len(account.objects):,}", broken, *(f"{count:,}" for count in counts), share]
