"""Prints what the doctor found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_pipeline.engines.finding import Finding, Level
from event_pipeline.reporting.terminal import FAULT, GOOD, WARNING, printable_text


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print one row per finding."""
    styles = {Level.OK: GOOD, Level.WARN: WARNING, Level.FAIL: FAULT}
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for each in findings:
        found = printable_text(Text(each.found))
        table.add_row(Text(each.level, style=styles[each.level]), Text(each.subject, style="bold"), found)
        if each.remedy:
            table.add_row("", "", printable_text(Text(each.remedy, style=styles[each.level])))
    console.print(table)
