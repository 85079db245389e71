"""The costs of docs/deploy.md: what a day of 180 million events costs on AWS, line by line, by the settings' prices.

    python -m event_pipeline_tests.infra.daily_costs

Glue, Athena and the requests of builds are what `event-pipeline cost --dry-run` estimates. A test holds the page to
this table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from event_pipeline.engines.aws.costs import estimate, glue_usd
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.query import load_gold_tables
from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.infra.template import TEMPLATE, Template

EVENTS_PER_FILE, FILES_PER_DAY = 625_000, 288
RAW_BYTES_PER_EVENT = Decimal("19.8")
"""14,850,131 bytes for 750,000 events of the generator."""
SILVER_BYTES_PER_EVENT = Decimal("9.9")
SCRATCH_BYTES_PER_EVENT = Decimal("28.7")
"""Deleted by the job itself, and kept as replaced versions for some days."""
GENERATOR_GB_SECONDS = Decimal("0.5") * Decimal("2.8") / Decimal("0.29")
"""512 MB for 2.8 s of a whole CPU, of which 512 MB has 0.29."""
SHOWN_DAYS = 90

STORAGE_GB_MONTH = Decimal("0.023")
LAMBDA_GB_SECOND, LAMBDA_MILLION = Decimal("0.0000133334"), Decimal("0.20")
MESSAGES_MILLION = Decimal("0.40")
LOGS_GB, LOG_BYTES_PER_RUN = Decimal("0.50"), Decimal(3_000_000)
ALARM_MONTH, METRIC_MONTH = Decimal("0.10"), Decimal("0.30")
DAYS_PER_MONTH = Decimal(30)
HOURS_PER_MONTH = Decimal(720)
METRICS_OF_A_RUN = 75
"""Job and observability metrics of a run of three workers: assumed, until somebody counts them."""
HOST_VCPU, HOST_GB = Decimal("0.5"), Decimal(1)
VCPU_HOUR, GB_HOUR = Decimal("0.04048"), Decimal("0.004445")
"""Fargate on Linux, which stands for whatever runs Dagster."""
METRICS_OF_ANOMALY_DETECTION = 3


class Line(NamedTuple):
    """One line of the bill of a day."""

    what: str
    calculation: str
    usd: Decimal


def lines(settings: Settings) -> list[Line]:
    """Return the lines, with the stack's defaults."""
    events = Decimal(EVENTS_PER_FILE * FILES_PER_DAY)
    raw = events * RAW_BYTES_PER_EVENT
    day = Hour.parse("2025-12-07T00")
    tables = len(load_gold_tables())
    # Each hour is built by a run of its own, as it closes.
    hourly = settings.model_copy(update={"hours_per_run": 1})
    built = estimate({hour: _listing(hour) for hour in map(day.plus, range(24))}, tables, hourly)
    glue = glue_usd(settings, built.cost.dpu_seconds)
    writes = Decimal(built.cost.requests) / 1000 * settings.price_s3_1000_writes
    athena = built.cost.usd - glue - writes
    ticks = 86_400 // settings.sensor_interval_seconds
    days = math.ceil(settings.sensor_recent_hours / 24) + 1 + math.ceil(settings.sensor_sweep_hours / 24)
    retention = int(str(_default("RawRetentionDays")))
    replaced = int(str(_default("ReplacedRetentionDays")))
    alarms = len(_template().of_type("AWS::CloudWatch::Alarm"))
    log_gb = built.glue_runs * LOG_BYTES_PER_RUN / 10**9
    return [
        Line(
            "Glue, Silver",
            f"{built.glue_runs} runs x {built.cost.dpu_seconds / built.glue_runs:,.0f} DPU-seconds x "
            f"{settings.price_glue_dpu_hour} a DPU-hour",
            glue,
        ),
        Line(
            "Athena, Gold and checks",
            f"{built.queries:,} queries, most of them billed for 10 MB, x {settings.price_athena_tb} a TB",
            athena,
        ),
        Line(
            "S3 requests of builds",
            f"{built.cost.requests:,} writes and lists x {settings.price_s3_1000_writes} a thousand",
            writes,
        ),
        Line(
            "S3 requests of the sensor",
            f"{ticks:,} ticks x {days} days listed x {settings.price_s3_1000_writes} a thousand",
            Decimal(ticks * days) / 1000 * settings.price_s3_1000_writes,
        ),
        _storage("Storage of raw", raw * retention, f"{raw / 10**9:.2f} GB a day x {retention} days"),
        _storage(
            f"Storage of Silver, after {SHOWN_DAYS} days",
            events * SILVER_BYTES_PER_EVENT * SHOWN_DAYS,
            f"{events * SILVER_BYTES_PER_EVENT / 10**9:.2f} GB a day x {SHOWN_DAYS} days",
        ),
        _storage(
            "Storage of replaced versions",
            events * SCRATCH_BYTES_PER_EVENT * replaced,
            f"{events * SCRATCH_BYTES_PER_EVENT / 10**9:.2f} GB of scratch a day x {replaced} days",
        ),
        Line("Logs", f"{log_gb:.3f} GB (assumed) x {LOGS_GB} a GB", log_gb * LOGS_GB),
        Line(
            "Alarms and the metric",
            f"({alarms - 1} + {METRICS_OF_ANOMALY_DETECTION}) alarm metrics x {ALARM_MONTH} + {METRIC_MONTH} a month",
            ((alarms - 1 + METRICS_OF_ANOMALY_DETECTION) * ALARM_MONTH + METRIC_MONTH) / DAYS_PER_MONTH,
        ),
        Line(
            "Queue",
            f"{ticks:,} ticks and {FILES_PER_DAY} messages x 2 x {MESSAGES_MILLION} a million",
            Decimal(ticks + FILES_PER_DAY) * 2 / 10**6 * MESSAGES_MILLION,
        ),
    ]


def generator_line() -> Line:
    """Return what the generator costs a day where it is on."""
    seconds = GENERATOR_GB_SECONDS * FILES_PER_DAY
    return Line(
        "Generator, if it is on",
        f"{FILES_PER_DAY} x {GENERATOR_GB_SECONDS:.1f} GB-seconds x {LAMBDA_GB_SECOND}",
        seconds * LAMBDA_GB_SECOND + Decimal(FILES_PER_DAY) / 10**6 * LAMBDA_MILLION,
    )


def host_line() -> Line:
    """Return what a small machine for Dagster's webserver and daemon costs a day."""
    return Line(
        "Dagster host",
        f"24 hours x ({HOST_VCPU} vCPU x {VCPU_HOUR} + {HOST_GB} GB x {GB_HOUR})",
        24 * (HOST_VCPU * VCPU_HOUR + HOST_GB * GB_HOUR),
    )


def metrics_line() -> Line:
    """Return what Glue's job metrics cost a day where they are on: each run has new ones, for the hour it is in."""
    return Line(
        "Glue's job metrics, with `GlueMetrics=true`",
        f"24 runs x {METRICS_OF_A_RUN} metrics (assumed) x {METRIC_MONTH} a month, an hour of it",
        24 * METRICS_OF_A_RUN * METRIC_MONTH / HOURS_PER_MONTH,
    )


def table(settings: Settings) -> str:
    """Return the lines as a Markdown table, their sum last."""
    found = [*lines(settings), host_line()]
    together = Line("**Together**", "", sum((line.usd for line in found), Decimal(0)))
    rows = [*found, together, metrics_line(), generator_line()]
    cells = [f"| {row.what} | {row.calculation} | {row.usd:.3f} |" for row in rows]
    return "\n".join(["| line | calculation | USD a day |", "|---|---|---|", *cells])


def _storage(what: str, size: Decimal, text: str) -> Line:
    usd = size / 10**9 * STORAGE_GB_MONTH / DAYS_PER_MONTH
    return Line(what, f"{text} x {STORAGE_GB_MONTH} a GB and month", usd)


def _listing(hour: Hour) -> RawListing:
    size = int(RAW_BYTES_PER_EVENT * EVENTS_PER_FILE)
    ticks: Sequence[datetime] = [hour.start + timedelta(minutes=5 * tick) for tick in range(12)]
    return RawListing(hour, tuple(RawObject(hour.raw_key(tick), "etag", size, tick.astimezone(UTC)) for tick in ticks))


def _template() -> Template:
    return Template(TEMPLATE.read_text(encoding="utf-8"))


def _default(parameter: str) -> object:
    return _template().parameters[parameter]["Default"]


if __name__ == "__main__":
    print(table(load_settings()))
