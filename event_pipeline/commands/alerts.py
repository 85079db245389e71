"""The `alerts` commands: show what is wrong now, send alerts, and test the channels."""

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
        bool, typer.Option("--send", help="Raise, resolve and send as the sensor does; nothing is sent without it.")
    ] = False,
) -> None:
    """Show what is wrong now: freshness, volume, quarantine, failed runs. Exits with 1 when anything is.

    The `alerts` sensor does the same on its own once it is switched on; `--send` is for a machine that only has cron.

    Examples:
      event-pipeline alerts

      event-pipeline alerts --send
    """
    if context.invoked_subcommand is not None:
        return
    from event_pipeline.alerts.channels import channels_of
    from event_pipeline.alerts.delivery import ALERTS_DOCUMENT, load_state, tell
    from event_pipeline.alerts.look import look
    from event_pipeline.dagster_instance.storage import instance_if_there
    from event_pipeline.engines.open import open_document, open_pipeline, with_first_partition
    from event_pipeline.reporting.alerts import print_delivered, print_findings

    loaded = with_first_partition(load_settings())
    document = open_document(loaded, ALERTS_DOCUMENT)
    # The user may just have moved a key: list all of them again.
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
    """Send a test message through each configured channel and report which accepted it. Exits with 1 if one did not.

    Examples:
      event-pipeline alerts test
    """
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
        messages().print(
            "Only the log is configured: set EVENT_PIPELINE_ALERT_WEBHOOK_URL or _ALERT_TOPIC_ARN to reach people."
        )
    if failed:
        raise typer.Exit(ExitCode.NOT_HELD)


def _reaches_people(loaded: Settings) -> bool:
    return bool(loaded.alert_webhook_url.get_secret_value() or loaded.alert_topic_arn)


def _log() -> logging.Logger:
    """Return the command line's logger: stderr, printable characters only."""
    log = logging.getLogger("event_pipeline.alerts.told")
    log.setLevel(logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter())
        log.addHandler(handler)
        log.propagate = False
    return log
