"""One validated settings object, read from `EVENT_PIPELINE_*` environment variables and nowhere else."""

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
from event_pipeline.rules.hour import Hour

PREFIX = "EVENT_PIPELINE_"

_LOGIN = re.compile(r"//[^/?#]*@")
"""User and password in an address."""
RAW_PREFIX_FORM = re.compile(r"(?=.{0,200}$)([A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*/)*", re.ASCII)
"""The same as the template's parameter RawPrefix takes."""
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")


class SettingsError(ValueError):
    """An environment variable is unknown or has a value that is not allowed; the message lists each."""


def _hour(value: Any) -> Any:
    return Hour.parse(value) if isinstance(value, str) else value


EARLIEST_FIRST_PARTITION = Hour.parse("2000-01-01T00")
"""Hours of years such as 1970 come from clocks that were never set."""

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
        """Data processing units, by which Glue bills."""
        return int(self.value[2])


_NEEDED_ON_AWS = ("aws_region", "raw_bucket", "lake_bucket", "artifacts_bucket")

_METRIC_NAMESPACE = r"^[A-Za-z0-9_./#-]{0,255}$"

_ROLE_ARN = r"^(arn:aws[a-z-]*:iam::\d{12}:role/.+)?$"


class Settings(BaseSettings):
    """Everything that can be set, with its default. One field is one variable: `root` is EVENT_PIPELINE_ROOT."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", arbitrary_types_allowed=True, env_ignore_empty=True
    )

    env: Environment = Field(
        default=Environment.LOCAL, description="Where data lies and is built: this machine's disk, or AWS"
    )
    root: Path = Field(
        default=Path("data"),
        description="Folder that holds raw objects, the lake, the catalog and Dagster's storage",
    )
    first_partition: HourSetting = Field(
        default=Hour.parse("2025-11-01T00"), description="First landing hour that exists, UTC"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        description="Processes that validate raw objects side by side, and threads of DuckDB; default: the cores",
    )
    duckdb_memory_mb: Annotated[int, Field(ge=128)] = Field(
        default=768, description="Memory that DuckDB may use before it spills to disk, in MB"
    )
    query_timeout_seconds: Annotated[int, Field(ge=1)] = Field(
        default=600, description="`query` on this machine is ended when it has worked this long, in seconds"
    )
    query_result_mb: Annotated[int, Field(ge=1)] = Field(
        default=10_240, description="Largest result of `query`, in MB of memory that all of its rows would take"
    )
    query_spill_mb: Annotated[int, Field(ge=1)] = Field(
        default=10_240, description="Room in the data folder that one `query` may use while it sorts or joins, in MB"
    )
    event_max_age_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default=7, description="An event may be this much older than the start of its landing hour, in days"
    )
    event_max_lead_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=5, description="An event may be this much later than the end of its landing hour, in minutes"
    )
    max_line_bytes: Annotated[int, Field(ge=1_000, le=64 << 20)] = Field(
        default=1 << 20, description="A longer line of a raw object is quarantined as `too_long`, in bytes"
    )
    max_object_bytes: Annotated[int, Field(ge=1_000)] = Field(
        default=4 << 30,
        description="A raw object that inflates to more bytes is unreadable as `too_large`",
    )
    max_object_records: Annotated[int, Field(ge=1)] = Field(
        default=20_000_000, description="So is a raw object with more records"
    )
    expected_objects: Annotated[int, Field(ge=0)] = Field(
        default=12, description="Raw objects that a closed hour should have; another number is a warning"
    )
    quarantine_warn_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.01,
        description="Share of quarantined records in an hour above which its check warns, 0 to 1",
    )
    quarantine_error_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05,
        description="Share of quarantined records in an hour above which its check fails, 0 to 1",
    )
    hours_per_run: Annotated[int, Field(ge=1, le=744)] = Field(
        default=24, description="Most hours that one Dagster run builds in a range or backfill"
    )
    silver_pool_limit: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Silver builds that run side by side (Dagster pool `silver`)"
    )
    gold_pool_limit: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Refreshes of one Gold table that run side by side (Dagster pools `gold_<table>`)"
    )
    lock_timeout_seconds: Annotated[float, Field(ge=0)] = Field(
        default=600, description="How long a step waits for another process that builds the same hour or day"
    )
    build_mode: BuildMode = Field(
        default=BuildMode.COMPLETE,
        description=(
            "complete: an hour is built once, when it is over and has all objects; every_object: the current hour is "
            "built with every object that lands, too"
        ),
    )
    grace_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=10, description="An hour with fewer objects than expected is built this long after its end, in minutes"
    )
    sensor_interval_seconds: Annotated[int, Field(ge=5)] = Field(
        default=30, description="Seconds between two looks of the sensor at the raw objects"
    )
    sensor_recent_hours: Annotated[int, Field(ge=1, le=744)] = Field(
        default=48, description="Hours before now that the sensor lists at every look, whole days"
    )
    sensor_sweep_hours: Annotated[int, Field(ge=0, le=744)] = Field(
        default=24, description="Older hours that it lists besides, in turn, at every look, whole days"
    )
    quiet_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=60,
        description="Mode complete: an hour is left alone until its newest object is this old, in seconds",
    )
    retry_after_minutes: Annotated[int, Field(ge=1)] = Field(
        default=30,
        description="The sensor asks again for an hour that stayed unbuilt this long, then twice as long",
    )
    schedule_minute: Annotated[int, Field(ge=0, le=59)] = Field(
        default=10, description="Minute of the hour at which the schedule asks for the hours that are not built"
    )
    catch_up_days: Annotated[int, Field(ge=1, le=31)] = Field(
        default=3, description="Days before now of which the schedule asks for every hour that is not built"
    )

    build_grace_days: Annotated[int, Field(ge=3)] = Field(
        default=7, description="Files of replaced, abandoned and retired builds are kept this long for their readers"
    )
    silver_retention_days: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Silver and quarantine of hours older than this are removed; 0 keeps them for ever"
    )
    gold_retention_days: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Gold of event days older than this is removed; 0 keeps it for ever"
    )
    run_history_days: Annotated[int, Field(ge=0)] = Field(
        default=90, description="Dagster runs older than this are forgotten once newer ones stand; 0 keeps them all"
    )
    housekeeping_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=3, description="Hour of the day, UTC, at which the housekeeping schedule runs"
    )
    alert_interval_seconds: Annotated[int, Field(ge=10)] = Field(
        default=60, description="Seconds between two looks of the sensor that raises alerts"
    )
    alert_hours: Annotated[int, Field(ge=1, le=744)] = Field(
        default=48, description="Hours before now that alerts are about; what lies further back is left alone"
    )
    alert_freshness_minutes: Annotated[int, Field(ge=1)] = Field(
        default=150, description="The newest published hour may have ended this long ago, in minutes"
    )
    alert_volume_days: Annotated[int, Field(ge=3, le=60)] = Field(
        default=14, description="Days before an hour whose same hour says how many records to expect"
    )
    alert_volume_min_days: Annotated[int, Field(ge=3, le=60)] = Field(
        default=5, description="Of these days, at least this many must be published, or nothing is expected"
    )
    alert_volume_deviations: Annotated[float, Field(ge=1)] = Field(
        default=5, description="Robust deviations from the expected number of records that are still normal"
    )
    alert_volume_tolerance: Annotated[float, Field(ge=0, le=10)] = Field(
        default=0.3, description="Share by which records may always be off what is expected, however steady days are"
    )
    alert_unreadable_objects: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Unreadable objects in one hour that raise an alert"
    )
    alert_settle_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=10, description="An alert is resolved when its cause has been gone for this long, in minutes"
    )
    alert_update_minutes: Annotated[int, Field(ge=1)] = Field(
        default=60, description="An open alert that grows is told again after this long at the soonest, then twice that"
    )
    alert_digest_hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=6, description="UTC hour from which the digest of the day before is sent"
    )
    alert_webhook_url: SecretStr = Field(
        default=SecretStr(""), description="Webhook that takes alerts, for example Slack's; a secret, never shown"
    )
    alert_webhook_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        default=10, description="The webhook must have answered after this long, in seconds"
    )
    alert_topic_arn: Annotated[str, Field(pattern=r"^(arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+(\.fifo)?)?$")] = (
        Field(default="", description="SNS topic that takes alerts: the output AlertTopicArn of the stack")
    )
    dagster_url: str = Field(
        default="", description="Address of the Dagster UI for the links in alerts, for example https://dagster.example"
    )
    ui_hosts: str = Field(
        default="",
        description="Names besides localhost by which the Dagster UI is reached, with commas: name or name:port",
    )
    runbook_url: str = Field(
        default="", description="Address of docs/runbook.md for the links in alerts, without an anchor"
    )

    raw_prefix: str = Field(
        default="",
        description=(
            "What comes before `events/` in the keys of raw objects, with its slash at the end: capstone/raw/; on this "
            "machine folders below raw/"
        ),
    )
    aws_region: str = Field(default="", description="AWS: region of buckets, Glue and Athena, for example us-east-1")
    aws_account: str = Field(
        default="",
        description="AWS: account that must own the lake and artifacts buckets, 12 digits; without it nobody asks",
    )
    raw_bucket: str = Field(default="", description="AWS: bucket that producers write raw objects to")
    lake_bucket: str = Field(default="", description="AWS: bucket for what the pipeline builds")
    artifacts_bucket: str = Field(default="", description="AWS: bucket for the Glue script, its packages and its plans")
    glue_job_role_arn: Annotated[str, Field(pattern=_ROLE_ARN)] = Field(
        default="", description="AWS: role of the Glue job; `doctor` asks IAM what it lacks"
    )
    orchestrator_role_arn: Annotated[str, Field(pattern=_ROLE_ARN)] = Field(
        default="", description="AWS: role of the Dagster process; `doctor` asks IAM what it lacks"
    )
    analyst_role_arn: Annotated[str, Field(pattern=_ROLE_ARN)] = Field(
        default="", description="AWS: role of analysts; `doctor` asks IAM what it lacks"
    )
    metric_namespace: Annotated[str, Field(pattern=_METRIC_NAMESPACE)] = Field(
        default="",
        description=(
            "AWS: CloudWatch namespace that the quarantined share of every built hour is put to; without one nowhere"
        ),
    )
    raw_queue_url: str = Field(
        default="",
        description=(
            "AWS: SQS queue that is told of new raw objects, so that late ones are found at once; without one by the "
            "sensor's sweep"
        ),
    )
    database_prefix: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,63})?$")] = Field(
        default="", description="AWS: put before the names of the databases, so that one account can hold two pipelines"
    )
    builder: SilverBuilderKind = Field(
        default=SilverBuilderKind.GLUE,
        description="AWS: what builds Silver: glue, a run of the Glue job, or pool, processes on the host of Dagster",
    )
    sql: SqlKind = Field(
        default=SqlKind.ATHENA,
        description="AWS: what makes and checks Gold: athena, or duckdb on the host of Dagster",
    )
    glue_job: str = Field(default="event-pipeline-silver", description="AWS: name of the Glue job that builds Silver")
    glue_worker_type: WorkerType = Field(default=WorkerType.G_1X, description="AWS: size of a worker of the Glue job")
    glue_workers: Annotated[int, Field(ge=2, le=299)] = Field(
        default=3, description="AWS: workers of a Glue run, the driver among them"
    )
    glue_flex: bool = Field(
        default=False, description="AWS: run Glue on spare capacity, cheaper and with waits (true or false)"
    )
    glue_timeout_minutes: Annotated[int, Field(ge=1, le=2880)] = Field(
        default=60, description="AWS: a Glue run is ended after this long"
    )
    glue_wait_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=30, description="AWS: how long a build waits until Glue can start its run"
    )
    athena_workgroup: str = Field(default="event-pipeline", description="AWS: Athena workgroup of all queries")
    athena_queries_at_once: Annotated[int, Field(ge=1, le=20)] = Field(
        default=4, description="AWS: Athena queries that one Gold refresh runs side by side"
    )
    athena_timeout_seconds: Annotated[int, Field(ge=10, le=1800)] = Field(
        default=600, description="AWS: a query is stopped after this long, its wait in the queue included"
    )
    prices: str = Field(
        default="us-east-1, November 2026", description="AWS: which region and date the prices below are of"
    )
    price_glue_dpu_hour: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("0.44"), description="AWS: USD per DPU-hour of Glue"
    )
    price_glue_flex_dpu_hour: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("0.29"), description="AWS: USD per DPU-hour of Glue on spare capacity"
    )
    price_athena_tb: Annotated[Decimal, Field(ge=0)] = Field(
        default=Decimal("5.00"), description="AWS: USD per TB that Athena scans; a query scans 10 MB at least"
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
        # Everybody who gets an alert would read it, and every browser that follows the link would send it.
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
        # An hour with Silver touches days that are event_max_age_days older: they must not be retired yet.
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
        """The limits that verdicts follow from: of an event's time, a line and an object."""
        return Limits(
            timedelta(days=self.event_max_age_days),
            timedelta(minutes=self.event_max_lead_minutes),
            self.max_line_bytes,
            self.max_object_bytes,
            self.max_object_records,
        )

    @property
    def raw_folder(self) -> Path:
        """Where `events/` of the raw objects is on this machine."""
        return self.root.absolute() / "raw" / self.raw_prefix

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps its runs, events and schedules."""
        return self.root.absolute() / "dagster"


def _is_web_address(text: str) -> bool:
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Of brackets and ports; its message would show parts of the address, which may be a secret.
        return False


def _shown(given: Any) -> Any:
    """Return a wrong value as an error may quote it: without a password."""
    return _LOGIN.sub("//", given) if isinstance(given, str) else given


def variable_names() -> dict[str, str]:
    """Map each environment variable to the field it sets."""
    return {f"{PREFIX}{field.upper()}": field for field in Settings.model_fields}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; keyword arguments (field names) win over it.

    Raises:
        SettingsError: a variable of ours is unknown, or a value is not allowed. All faults are named at once.
    """
    known = variable_names()
    faults = []
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known:
            near = get_close_matches(variable, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`event-pipeline settings` lists what there is"
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
