"""Alert messages, and how they are formatted for terminals, Slack and e-mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime

from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Report, Severity
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.printable import printable
from event_pipeline.settings import Settings

SUBJECTS_SHOWN = 6
"""Hours whose details a message shows; the title names the ranges of all."""
RUNBOOK = "docs/runbook.md"

_SLACK_HEADER_CHARACTERS = 150
_SLACK_TEXT_CHARACTERS = 3_000
_SYMBOLS = {
    Severity.CRITICAL: ":red_circle:",
    Severity.WARNING: ":large_yellow_circle:",
    Severity.INFO: ":information_source:",
}


class AlertEvent(StrEnum):
    """The event in an alert's life that a message reports."""

    RAISED = "raised"
    GROWN = "still open"
    RESOLVED = "resolved"
    REPORT = "report"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """One message, the same on every channel and at every attempt."""

    message_id: str
    """Stable, so that a receiver can recognise a duplicate."""
    kind: AlertKind
    event: AlertEvent
    severity: Severity
    title: str
    lines: tuple[str, ...]
    advice: str
    links: Mapping[str, str]
    """Target -> address, or the place in the documentation."""
    at: AwareDatetime


def alert_message(
    message_id: str, event: AlertEvent, finding: AlertFinding, notes: tuple[str, ...], settings: Settings, at: datetime
) -> Message:
    """Compose the message about an alert; `notes` follow the details.

    A subject and its details may contain untrusted text, so each becomes one line of visible characters.
    """
    shown = list(finding.subjects.items())[-SUBJECTS_SHOWN:]
    more = len(finding.subjects) - len(shown)
    lines = [f"{subject}: {detail}" for subject, detail in shown]
    lines += [f"and {more:,} more" if more > 0 else ""]
    return Message(
        message_id,
        finding.kind,
        event,
        Severity.INFO if event is AlertEvent.RESOLVED else finding.severity,
        printable(finding.title),
        tuple(printable(line) for line in (*lines, *notes) if line),
        "" if event is AlertEvent.RESOLVED else finding.advice,
        _links(settings, finding.section, finding.hour, finding.run_id),
        at,
    )


def report_message(report: Report, settings: Settings, at: datetime) -> Message:
    """Compose the message of a report."""
    links = _links(settings, report.kind, None, None)
    if report.kind is AlertKind.BACKFILL_FINISHED and settings.dagster_url:
        links["backfill"] = f"{settings.dagster_url.rstrip('/')}/runs/b/{report.report_id}"
    return Message(
        report.report_id,
        report.kind,
        AlertEvent.REPORT,
        report.severity,
        printable(report.title),
        tuple(map(printable, report.lines)),
        "",
        links,
        at,
    )


def trial_message(settings: Settings, at: datetime) -> Message:
    """Compose the test message for the channels."""
    return Message(
        f"test-{at:%Y%m%dT%H%M%S%fZ}",
        AlertKind.DAILY_DIGEST,
        AlertEvent.TEST,
        Severity.INFO,
        "This is a test: alerts of the event pipeline arrive here",
        ("Nothing is wrong.",),
        "",
        _links(settings, "", None, None),
        at,
    )


def as_text(message: Message) -> str:
    """Format a message as plain text whose first line is the summary."""
    head = f"[{message.severity}, {message.event}] {message.title}"
    lines = [head, *(f"  {line}" for line in message.lines)]
    lines += [f"  Do first: {message.advice}"] if message.advice else []
    lines += [f"  {name}: {address}" for name, address in message.links.items()]
    return "\n".join(lines)


def as_slack(message: Message) -> dict[str, Any]:
    """Format a message for Slack's incoming webhooks; other receivers can use `text`, which has the same content."""
    symbol = ":white_check_mark:" if message.event is AlertEvent.RESOLVED else _SYMBOLS[message.severity]
    headline = f"{message.event.capitalize()}: {message.title}"
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": f"{symbol} {headline}"[:_SLACK_HEADER_CHARACTERS], "emoji": True},
        }
    ]
    body = "\n".join(f"• {_escaped(line)}" for line in message.lines)
    if message.advice:
        body += f"\n*Do first:* {_escaped(message.advice)}"
    if body:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": body[:_SLACK_TEXT_CHARACTERS]}})
    links = [
        f"<{_escaped(address)}|{name}>" if address.startswith("http") else f"{name}: {_escaped(address)}"
        for name, address in message.links.items()
    ]
    context = "  ·  ".join([*links, f"{message.at:%Y-%m-%d %H:%M} UTC", f"id {message.message_id}"])
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": context[:_SLACK_TEXT_CHARACTERS]}]})
    return {"text": _escaped(as_text(message)), "blocks": blocks}


def _links(settings: Settings, section: str, hour: str | None, run_id: str | None) -> dict[str, str]:
    runbook = settings.runbook_url or RUNBOOK
    links = {"runbook": f"{runbook}#{section}" if section else runbook}
    if settings.dagster_url:
        dagster = settings.dagster_url.rstrip("/")
        if run_id:
            links["run"] = f"{dagster}/runs/{run_id}"
        if hour:
            key = Hour.parse(hour).partition_key
            links["hour"] = f"{dagster}/assets/silver_events?view=partitions&partition={key}"
        if not run_id and not hour:
            links["Dagster"] = dagster
    return links


def _escaped(text: str) -> str:
    """Escape the three characters that Slack reads as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
