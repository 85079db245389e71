"""The sensor that raises, sends and resolves alerts."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime

import dagster as dg

from event_pipeline.alerts.channels import channels_of
from event_pipeline.alerts.look import look_and_tell
from event_pipeline.engines.base import Engine
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.rules.printable import printable
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

ALERTS = "alerts"


def alerts_sensor(
    gold_tables: tuple[GoldTable, ...],
    settings: Settings,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dg.SensorDefinition:
    """Return the sensor that evaluates and sends alerts; it starts no runs, and is off until switched on."""

    @dg.sensor(
        name=ALERTS,
        minimum_interval_seconds=settings.alert_interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Evaluates the last {settings.alert_hours} hours and failed runs, and reports to log, webhook and SNS "
            "topic once what is wrong and when it is over. Starts no runs. docs/alerts.md lists the alerts."
        ),
    )
    def alerts(context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]) -> dg.SkipReason:
        log: logging.Logger = context.log
        channels, pipeline = channels_of(settings, log), Pipeline(engine, gold_tables, settings)
        told = look_and_tell(pipeline, lambda: nullcontext(context.instance), channels, clock)
        for channel, why in told.delivered.failed:
            log.error(printable(f"{channel}: {why}; it will be retried"))
        open_alerts = ", ".join(sorted(told.state.alerts)) or "none"
        sent = len(told.delivered.sent)
        return dg.SkipReason(f"Open alerts: {open_alerts}; {sent} messages sent, {len(told.state.outbox)} waiting")

    return alerts
