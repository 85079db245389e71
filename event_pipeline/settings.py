"""The validated settings, read only from `EVENT_PIPELINE_*` environment variables."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from event_pipeline.rules.contract import Limits
from event_pipeline.rules.hour import DEFAULT_FIRST_PARTITION, Hour

PREFIX = "EVENT_PIPELINE_"

_LOGIN = re.compile(r"//[^/?#]*@")
"""User and password in a URL."""
RAW_PREFIX_FORM = re.compile(r"(?=.{0,200}$)([A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*/)*", re.ASCII)
"""The same pattern as for the template's parameter RawPrefix."""
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")


class SettingsError(ValueError):
    """Environment variables are unknown or have invalid values; the message lists all of them."""


def _hour(value: Any) -> Any:
    return Hour.parse(value) if isinstance(value, str) else value


EARLIEST_FIRST_PARTITION = Hour.parse("2000-01-01T00")
"""Hours in years such as 1970 come from clocks that were never set."""

HourSetting = Annotated[Hour, NoDecode, BeforeValidator(_hour), PlainSerializer(str)]


class Environment(StrEnum):
    """Where the pipeline runs."""

    LOCAL = "local"
    AWS = "aws"


class BuildMode(StrEnum):
    """When a landing hour is built."""

    COMPLETE = "complete"
    EVERY_OBJECT = "every_object"


class SilverBuilderKind(StrEnum):
    """What builds Silver on AWS."""

    GLUE = "glue"
    POOL = "pool"


class SqlKind(StrEnum):
    """What runs the SQL of Gold on AWS."""

    ATHENA = "athena"
    DUCKDB = "duckdb"


class WorkerType(StrEnum):
    """Size of a Glue worker: G.1X is one DPU (4 vCPU, 16 GB), G.2X two, and so on."""

    G_1X = "G.1X"
    G_2X = "G.2X"
    G_4X = "G.4X"
    G_8X = "G.8X"

    @property
    def dpus(self) -> int:
        """Data processing units, Glue's unit of billing."""
        return int(self.value[2])


_NEEDED_ON_AWS = ("aws_region", "raw_bucket", "lake_bucket", "artifacts_bucket")

_METRIC_NAMESPACE = r"^[A-Za-z0-9_./#-]{0,255}$"

_ROLE_ARN = r"^(arn:aws[a-z-]*:iam::\d{12}:role/.+)?$"


class Settings(BaseSettings):
    """All settings with their defaults. One field is one variable: `root` is EVENT_PIPELINE_ROOT."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", arbitrary_types_allowed=True, env_ignore_empty=True
    )

    env: Environment = Field(
        default=Environment.LOCAL, description="Where data is stored and built: on this machine's disk, or on AWS"
    )
    root: Path = Field(
        default=Path("data"),
        description="Folder that holds raw objects, the lake, the catalog and Dagster's storage",
    )
    first_partition: HourSetting = Field(
        default=DEFAULT_FIRST_PARTITION,
        description=(
            "First landing hour that is read, UTC. Without it, Dagster's partitions begin with the data folder's "
            "earliest hour since then"
        ),
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        description=(
            "Number of processes that validate raw objects in parallel, and of DuckDB threads; default: the "
            "number of cores"
        ),
    )
    duckdb_memory_mb: Annotated[int, Field(ge=128)] = Field(
        default=768, description="Memory that DuckDB may use before it spills to disk, in MB"
    )
    query_timeout_seconds: Annotated[int, Field(ge=1)] = Field(
        default=600, description="`query` on one machine is stopped after running this long, in seconds"
    )
    query_result_mb: Annotated[int, Field(ge=1)] = Field(
        default=10_240, description="Largest result of `query`, in MB of memory that all of its rows would take"
    )
    query_spill_mb: Annotated[int, Field(ge=1)] = Field(
        default=10_240, description="Space in the data folder that one `query` may use for sorts and joins, in MB"
    )
    event_max_age_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default=7, description="How much older than the start of its landing hour an event may be, in days"
    )
    event_max_lead_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=5, description="How much later than the end of its landing hour an event may be, in minutes"
    )
    max_line_bytes: Annotated[int, Field(ge=1_000, le=64 << 20)] = Field(
        default=1 << 20, description="A longer line in a raw object is quarantined as `too_long`, in bytes"
    )
    max_object_bytes: Annotated[int, Field(ge=1_000)] = Field(
        default=4 << 30,
        description="A raw object that inflates to more bytes is unreadable (`too_large`)",
    )
    max_object_records: Annotated[int, Field(ge=1)] = Field(
        default=20_000_000, description="A raw object with more records is unreadable as well (`too_large`)"
    )
    expected_objects: Annotated[int, Field(ge=0)] = Field(
        default=12, description="Raw objects that a closed hour should have; any other number is a warning"
    )
    quarantine_warn_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01,
        description="Share of quarantined records in an hour above which the check warns, 0 to 1",
    )
    quarantine_error_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05,
        description="Share of quarantined records in an hour above which the check fails, 0 to 1",
    )
    hours_per_run: Annotated[int, Field(ge=1, le=744)] = Field(
        default=24, description="Maximum number of hours that one Dagster run builds in a range or backfill"
    )
    silver_pool_limit: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Silver builds that run in parallel (Dagster pool `silver`)"
    )
    gold_pool_limit: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Refreshes of one Gold table that run in parallel (Dagster pools `gold_<table>`)"
    )
    lock_timeout_seconds: Annotated[float, Field(ge=0)] = Field(
        default=600,
        description=("How long a step waits for another process that is building the same hour or day, in seconds"),
    )
    build_mode: BuildMode = Field(
        default=BuildMode.COMPLETE,
        description=(
            "complete: an hour is built once, when it is over and has all objects; every_object: the current "
            "hour, too, is built with every object that lands"
        ),
    )
    grace_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=10, description="An hour with fewer objects than expected is built this long after its end, in minutes"
    )
    sensor_interval_seconds: Annotated[int, Field(ge=5)] = Field(
        default=30, description="Seconds between two sensor ticks"
    )
    sensor_recent_hours: Annotated[int, Field(ge=1, le=744)] = Field(
        default=48, description="Hours before now that the sensor lists on every tick, rounded to whole days"
    )
    sensor_sweep_hours: Annotated[int, Field(ge=0, le=744)] = Field(
        default=24, description="Older hours that it also lists on every tick, in rotation, rounded to whole days"
    )
    quiet_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=60,
        description="Mode complete: an hour is left alone until its newest object is this old, in seconds",
    )
    retry_after_minutes: Annotated[int, Field(ge=1)] = Field(
        default=30,
        description=(
            "The sensor requests an hour again when it has stayed unbuilt this long, then twice as long each time"
        ),
    )
    schedule_minute: Annotated[int, Field(ge=0, le=59)] = Field(
        default=10, description="Minute of the hour at which the schedule requests the hours that are not built"
    )
    catch_up_days: Annotated[int, Field(ge=1, le=31)] = Field(
        default=3, description="Days before now for which the schedule requests every hour that is not built"
    )

    build_grace_days: Annotated[int, Field(ge=3)] = Field(
        default=7,
        description=("How long files of replaced, abandoned and retired builds are kept for their readers, in days"),
    )
    silver_retention_days: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Silver and quarantine of hours older than this are removed; 0 keeps them forever"
    )
    gold_retention_days: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Gold of event days older than this is removed; 0 keeps it forever"
    )
    run_history_days: Annotated[int, Field(ge=0)] = Field(
        default=90,
        description=(
            "Dagster runs older than this are deleted once newer runs exist for their hours; 0 keeps them all"
        ),
    )
    housekeeping_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=3, description="Hour of the day, UTC, at which the housekeeping schedule runs"
    )
    alert_interval_seconds: Annotated[int, Field(ge=10)] = Field(
        default=60, description="Seconds between two ticks of the sensor that raises alerts"
    )
    alert_hours: Annotated[int, Field(ge=1, le=744)] = Field(
        default=48, description="Hours before now that alerts cover; older hours are ignored"
    )
    alert_freshness_minutes: Annotated[int, Field(ge=1)] = Field(
        default=150, description="The newest published hour may have ended this long ago, in minutes"
    )
    alert_volume_days: Annotated[int, Field(ge=3, le=60)] = Field(
        default=14, description="Days before an hour whose same hour determines how many records to expect"
    )
    alert_volume_min_days: Annotated[int, Field(ge=3, le=60)] = Field(
        default=5, description="At least this many of these days must be published, or nothing is expected"
    )
    alert_volume_deviations: Annotated[float, Field(ge=1)] = Field(
        default=5, description="Robust deviations from the expected number of records that still count as normal"
    )
    alert_volume_tolerance: Annotated[float, Field(ge=0, le=10)] = Field(
        default=0.3,
        description="Share by which records may always differ from what is expected, however steady days are",
    )
    alert_unreadable_objects: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Unreadable objects in one hour that raise an alert"
    )
    alert_settle_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=10, description="An alert is resolved when its cause has been gone for this long, in minutes"
    )
    alert_update_minutes: Annotated[int, Field(ge=1)] = Field(
        default=60, description="A growing alert is repeated after this long, in minutes, then after twice that"
    )
    alert_digest_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=6, description="UTC hour from which yesterday's digest is sent"
    )
    alert_webhook_url: SecretStr = Field(
        default=SecretStr(""), description="Webhook that receives alerts, for example Slack's; a secret, never shown"
    )
    alert_webhook_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=10, description="The webhook must have answered within this time, in seconds"
    )
    alert_topic_arn: Annotated[str, Field(pattern=r"^(arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+(\.fifo)?)?$")] = (
        Field(default="", description="SNS topic that receives alerts: the output AlertTopicArn of the stack")
    )
    dagster_url: str = Field(
        default="", description="Address of the Dagster UI for the links in alerts, for example https://dagster.example"
    )
    ui_hosts: str = Field(
        default="",
        description=(
            "Further names besides localhost under which the Dagster UI is reached, comma-separated: name or name:port"
        ),
    )
    runbook_url: str = Field(
        default="", description="Address of docs/runbook.md for the links in alerts, without an anchor"
    )

    raw_prefix: str = Field(
        default="",
        description=(
            "What precedes `events/` in the keys of raw objects, with a trailing slash: capstone/raw/; on one "
            "machine, folders below raw/"
        ),
    )
    aws_region: str = Field(default="", description="AWS: region of buckets, Glue and Athena, for example us-east-1")
    aws_account: str = Field(
        default="",
        description=(
            "AWS: account that must own the lake and artifacts buckets, 12 digits; without it, ownership is not checked"
        ),
    )
    raw_bucket: str = Field(default="", description="AWS: bucket that producers write raw objects to")
    lake_bucket: str = Field(default="", description="AWS: bucket for what the pipeline builds")
    artifacts_bucket: str = Field(default="", description="AWS: bucket for the Glue script, its packages and its plans")
    glue_job_role_arn: Annotated[str, Field(pattern=_ROLE_ARN)] = Field(
        default="", description="AWS: role of the Glue job; `doctor` asks IAM which permissions it lacks"
    )
    orchestrator_role_arn: Annotated[str, Field(pattern=_ROLE_ARN)] = Field(
        default="", description="AWS: role of the Dagster process; `doctor` asks IAM which permissions it lacks"
    )
    analyst_role_arn: Annotated[str, Field(pattern=_ROLE_ARN)] = Field(
        default="", description="AWS: role of analysts; `doctor` asks IAM which permissions it lacks"
    )
    metric_namespace: Annotated[str, Field(pattern=_METRIC_NAMESPACE)] = Field(
        default="",
        description=(
            "AWS: CloudWatch namespace for the quarantined share of every built hour; without it, the share is "
            "not published"
        ),
    )
    raw_queue_url: str = Field(
        default="",
        description=(
            "AWS: SQS queue that is notified of new raw objects, so that late ones are found at once; without "
            "it, the sensor's sweep finds them"
        ),
    )
    database_prefix: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,63})?$")] = Field(
        default="", description="AWS: prefix of the database names, so that one account can hold two pipelines"
    )
    builder: SilverBuilderKind = Field(
        default=SilverBuilderKind.GLUE,
        description=("AWS: what builds Silver: glue (a run of the Glue job) or pool (processes on the Dagster host)"),
    )
    sql: SqlKind = Field(
        default=SqlKind.ATHENA,
        description="AWS: what builds and checks Gold: athena, or duckdb on the Dagster host",
    )
    glue_job: str = Field(default="event-pipeline-silver", description="AWS: name of the Glue job that builds Silver")
    glue_worker_type: WorkerType = Field(default=WorkerType.G_1X, description="AWS: size of a worker of the Glue job")
    glue_workers: Annotated[int, Field(ge=2, le=299)] = Field(
        default=3, description="AWS: workers of a Glue run, including the driver"
    )
    glue_flex: bool = Field(
        default=False, description="AWS: run Glue on spare capacity, which is cheaper but may wait (true or false)"
    )
    glue_timeout_minutes: Annotated[int, Field(ge=1, le=2880)] = Field(
        default=60, description="AWS: a Glue run is stopped after this long"
    )
    glue_wait_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=30, description="AWS: how long a build waits until Glue can start its run"
    )
    athena_workgroup: str = Field(default="event-pipeline", description="AWS: Athena workgroup of all queries")
    athena_queries_at_once: Annotated[int, Field(ge=1, le=20)] = Field(
        default=4, description="AWS: Athena queries that one Gold refresh runs in parallel"
    )
    athena_timeout_seconds: Annotated[int, Field(ge=10, le=1800)] = Field(
        default=600, description="AWS: a query is stopped after this long, including its time in the queue"
    )
    prices: str = Field(default="us-east-1, November 2026", description="AWS: region and date of the prices below")
    price_glue_dpu_hour: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("0.44"), description="AWS: USD per DPU-hour of Glue"
    )
    price_glue_flex_dpu_hour: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("0.29"), description="AWS: USD per DPU-hour of Glue on spare capacity"
    )
    price_athena_tb: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("5.00"), description="AWS: USD per TB that Athena scans; a query is billed for at least 10 MB"
    )
    price_s3_1000_writes: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("0.005"), description="AWS: USD per 1,000 LIST, PUT and COPY requests"
    )
    price_s3_1000_reads: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("0.0004"), description="AWS: USD per 1,000 GET and HEAD requests"
    )

    @field_validator("alert_webhook_url", "dagster_url", "runbook_url")
    @classmethod
    def _address(cls, value: SecretStr | str) -> SecretStr | str:
        address = value.get_secret_value() if isinstance(value, SecretStr) else value
        if address and not _is_web_address(address):
            raise ValueError("an address begins with https:// or http://, names a host and holds no spaces")
        return value

    @field_validator("dagster_url", "runbook_url")
    @classmethod
    def _without_password(cls, value: str) -> str:
        # Every recipient of an alert could read it, and every browser that follows the link would send it.
        return _LOGIN.sub("//", value)

    @field_validator("aws_account")
    @classmethod
    def _account(cls, value: str) -> str:
        if value and not re.fullmatch(r"[0-9]{12}", value):
            raise ValueError("an account has 12 digits")
        return value

    @field_validator("raw_prefix")
    @classmethod
    def _key_prefix(cls, value: str) -> str:
        if not RAW_PREFIX_FORM.fullmatch(value):
            raise ValueError(
                "write folder names with a slash after each, for example capstone/raw/: letters, digits, _ and -, dots "
                "only inside a name and one at a time; no slash at the start, no empty name, 200 characters at most"
            )
        return value

    @field_validator("ui_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        for name in filter(None, map(str.strip, value.split(","))):
            if not _HOST.fullmatch(name):
                raise ValueError("names with commas between, each `name` or `name:port`: no address, no pattern")
        return value

    @field_validator("first_partition")
    @classmethod
    def _plausible_first_partition(cls, value: Hour) -> Hour:
        if value < EARLIEST_FIRST_PARTITION:
            raise ValueError(f"the first partition is {EARLIEST_FIRST_PARTITION} or later")
        return value

    @model_validator(mode="after")
    def _complete_for_aws(self) -> Settings:
        missing = [f"{PREFIX}{name.upper()}" for name in _NEEDED_ON_AWS if not getattr(self, name)]
        if self.env is Environment.AWS and missing:
            raise ValueError(f"{PREFIX}ENV=aws needs {', '.join(missing)} as well")
        return self

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Settings:
        if self.quarantine_warn_share > self.quarantine_error_share:
            raise ValueError(
                f"{PREFIX}QUARANTINE_WARN_SHARE={self.quarantine_warn_share} is above "
                f"{PREFIX}QUARANTINE_ERROR_SHARE={self.quarantine_error_share}: a warning must come first"
            )
        return self

    @model_validator(mode="after")
    def _gold_outlives_silver(self) -> Settings:
        # An hour with Silver touches days up to event_max_age_days older, which must not be retired yet.
        needed = self.silver_retention_days + self.event_max_age_days + 1
        if self.gold_retention_days and (not self.silver_retention_days or self.gold_retention_days < needed):
            least = f"{needed} or more" if self.silver_retention_days else "0 while Silver is kept for ever"
            raise ValueError(
                f"{PREFIX}GOLD_RETENTION_DAYS={self.gold_retention_days} must be {least}: hours whose Silver is kept "
                f"({PREFIX}SILVER_RETENTION_DAYS={self.silver_retention_days}) still change days that are "
                f"{PREFIX}EVENT_MAX_AGE_DAYS={self.event_max_age_days} older"
            )
        return self

    @property
    def builds_open_hours(self) -> bool:
        """Whether an hour is built before it is over."""
        return self.build_mode is BuildMode.EVERY_OBJECT

    @property
    def event_time_limits(self) -> Limits:
        """The limits that determine verdicts: of an event's time, a line and an object."""
        return Limits(
            timedelta(days=self.event_max_age_days),
            timedelta(minutes=self.event_max_lead_minutes),
            self.max_line_bytes,
            self.max_object_bytes,
            self.max_object_records,
        )

    @property
    def raw_folder(self) -> Path:
        """The local folder that contains `events/` with the raw objects."""
        return self.root.absolute() / "raw" / self.raw_prefix

    @property
    def dagster_home(self) -> Path:
        """The folder where Dagster keeps its runs, events and schedules."""
        return self.root.absolute() / "dagster"


def _is_web_address(text: str) -> bool:
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Invalid brackets or ports; the message would show parts of the address, which may be a secret.
        return False


def _shown(given: Any) -> Any:
    """Return an invalid value for an error message: without a password."""
    return _LOGIN.sub("//", given) if isinstance(given, str) else given


def variable_names() -> dict[str, str]:
    """Return environment variable -> field."""
    return {f"{PREFIX}{field.upper()}": field for field in Settings.model_fields}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; keyword arguments (field names) take precedence.

    Raises:
        SettingsError: an EVENT_PIPELINE_* variable is unknown, or a value is invalid. The message lists all faults.
    """
    known = variable_names()
    faults = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            near = get_close_matches(variable, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`event-pipeline settings` lists all settings"
            faults.append(f"{variable} is not a setting: {hint}")
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        for fault in error.errors():
            place = fault["loc"][0] if fault["loc"] else None
            is_secret = place in Settings.model_fields and Settings.model_fields[str(place)].annotation is SecretStr
            shown = "(a secret)" if is_secret else repr(_shown(fault["input"]))
            name = f"{PREFIX}{str(place).upper()}={shown}: " if place else ""
            faults.append(name + fault["msg"].removeprefix("Value error, "))
    if faults:
        raise SettingsError("\n".join(faults))
    return settings
