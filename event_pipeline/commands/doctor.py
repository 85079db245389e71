"""`event-pipeline doctor`: what is wrong with the installation and its data."""

from __future__ import annotations

import typer

from event_pipeline.commands.options import ExitCode
from event_pipeline.engines.open import open_engine
from event_pipeline.reporting.terminal import output
from event_pipeline.settings import load_settings


def doctor() -> None:
    """Check program, data folder, catalog, commit records and Dagster's storage, and say how to fix what is wrong.

    Examples:
      event-pipeline doctor
    """
    from event_pipeline.engines.finding import Level
    from event_pipeline.inspection.doctor import examine
    from event_pipeline.reporting.findings import print_findings

    loaded = load_settings()
    findings = examine(loaded, open_engine(loaded))
    print_findings(findings, output())
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(ExitCode.NOT_HELD)
