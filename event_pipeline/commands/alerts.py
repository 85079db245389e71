"""The commands about alerts: what is wrong now, telling it, and trying the channels."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from event_pipeline.commands.options import ExitCode
from event_pipeline.errors import PipelineError
from event_pipeline.reporting.terminal import PrintableFormatter, messages, output
from event_pipeline.settings import Settings, load_settings

commands = typer.Typer(name="alerts", invoke_without_command=True)


@commands.callback()
def alerts(
    context: typer.Context,
    send: Annotated[
        bool, typer.Option("--send", help="Raise, resolve and send as the sensor does; without it nothing is told.")
    ] = False,
) -> None:
    """Show what is wrong now: fresh data, volume, quarantine, failed runs. Ends with 1 when anything is.

    The sensor `alerts` does the same by itself once it is switched on; `--send` is for a machine that has cron only.
    """
    if context.invoked_subcommand is not None:
        return
    from event_pipeline.alerts.channels import channels_of
    from event_pipeline.alerts.delivery import ALERTS_DOCUMENT, load_state, tell
    from event_pipeline.alerts.look import look
    from event_pipeline.dagster_instance.storage import instance_if_there
    from event_pipeline.engines.open import open_document, open_pipeline
    from event_pipeline.reporting.alerts import print_delivered, print_findings

    loaded = load_settings()
    document = open_document(loaded, ALERTS_DOCUMENT)
    # Who asks here has perhaps just moved a key: all of them are listed again.
    state, now = replace(load_state(document), keys_looked_at=None), datetime.now(UTC)
    found = look(open_pipeline(loaded), lambda: instance_if_there(loaded.dagster_home), state, now)
    if send:
        told = tell(document, found.learn, found.seen, loaded, channels_of(loaded, _log()))
        state = told.state
        print_delivered(told.delivered, messages())
    print_findings(found.seen.findings, state, loaded, output())
    if found.seen.findings:
        raise typer.Exit(ExitCode.NOT_HELD)


@commands.command()
def test() -> None:
    """Send a test message through every channel that is set, and say which took it. Ends with 1 when one did not."""
    from event_pipeline.alerts.channels import channels_of
    from event_pipeline.alerts.delivery import Delivered
    from event_pipeline.alerts.messages import trial_message
    from event_pipeline.reporting.alerts import print_delivered

    loaded = load_settings()
    message = trial_message(loaded, datetime.now(UTC))
    sent, failed = [], []
    for channel in channels_of(loaded, _log()):
        try:
            channel.send(message)
        except PipelineError as error:
            failed.append((channel.name, str(error)))
        else:
            sent.append((channel.name, message.message_id))
    print_delivered(Delivered(tuple(sent), tuple(failed)), output())
    if not _reaches_people(loaded):
        messages().print("Only the log is set: EVENT_PIPELINE_ALERT_WEBHOOK_URL or _ALERT_TOPIC_ARN reach people.")
    if failed:
        raise typer.Exit(ExitCode.NOT_HELD)


def _reaches_people(loaded: Settings) -> bool:
    return bool(loaded.alert_webhook_url.get_secret_value() or loaded.alert_topic_arn)


def _log() -> logging.Logger:
    """Return the log of the command line: stderr, visible characters only."""
    log = logging.getLogger("event_pipeline.alerts.told")
    log.setLevel(logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter())
        log.addHandler(handler)
        log.propagate = False
    return log
