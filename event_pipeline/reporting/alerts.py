"""Prints what is wrong now and which alerts were sent."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from event_pipeline.alerts.conditions import AlertFinding, Severity
from event_pipeline.alerts.delivery import Delivered
from event_pipeline.alerts.messages import RUNBOOK, SUBJECTS_SHOWN
from event_pipeline.alerts.state import AlertState
from event_pipeline.reporting.terminal import FAULT, GOOD, NOTE, QUIET, WARNING
from event_pipeline.settings import Settings

_STYLES = {Severity.CRITICAL: FAULT, Severity.WARNING: WARNING, Severity.INFO: NOTE}


def print_findings(findings: Sequence[AlertFinding], state: AlertState, settings: Settings, console: Console) -> None:
    """Print the current findings, when each was alerted, and what the channels have not accepted yet."""
    for finding in findings:
        alert = state.alerts.get(finding.kind)
        since = f"sent {alert.raised_at:%Y-%m-%d %H:%M} UTC" if alert else "not sent yet"
        style = _STYLES[finding.severity]
        parts = (f"{finding.severity:<8}  ", style), (finding.title, "bold"), (f"  ({since})", QUIET)
        console.print(Text.assemble(*parts))
        shown = list(finding.subjects.items())[-SUBJECTS_SHOWN:]
        for subject, detail in shown:
            console.print(f"          {subject}: {detail}")
        if len(finding.subjects) > len(shown):
            console.print(f"          and {len(finding.subjects) - len(shown):,} more")
        console.print(f"          Do first: {finding.advice}")
        console.print(f"          {settings.runbook_url or RUNBOOK}#{finding.section}", style=QUIET)
    if not findings:
        console.print(f"Nothing is wrong in the last {settings.alert_hours} hours.", style=GOOD)
    holding = {finding.kind for finding in findings}
    for kind in state.alerts:
        if kind not in holding:
            console.print(f"{kind}: recovered, and resolved once it stays so", style=QUIET)
    for waiting in state.outbox:
        console.print(f"Waiting for {', '.join(waiting.pending)}: {waiting.message.title}", style=WARNING)
    for channel, trouble in state.trouble.items():
        next_attempt = f"{trouble.next_attempt:%Y-%m-%d %H:%M:%S} UTC"
        console.print(f"{channel} failed {trouble.failures} times, next attempt {next_attempt}: {trouble.error}")


def print_delivered(delivered: Delivered, console: Console) -> None:
    """Print what the channels accepted and what they refused."""
    for channel, message_id in delivered.sent:
        console.print(Text.assemble(("sent    ", GOOD), f"{channel}: {message_id}"))
    for channel, why in delivered.failed:
        console.print(Text.assemble(("failed  ", FAULT), f"{channel}: {why}"))
