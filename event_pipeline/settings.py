"""One validated settings object, read from `EVENT_PIPELINE_*` environment variables and nowhere else."""

from __future__ import annotations

import os
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from event_pipeline.rules.contract import EventTimeLimits
from event_pipeline.rules.hour import Hour

PREFIX = "EVENT_PIPELINE_"


class SettingsError(ValueError):
    """An environment variable is unknown or has a value that is not allowed; the message lists each."""


def _hour(value: Any) -> Any:
    return Hour.parse(value) if isinstance(value, str) else value


HourSetting = Annotated[Hour, NoDecode, BeforeValidator(_hour), PlainSerializer(str)]


class Settings(BaseSettings):
    """Everything that can be set, with its default. One field is one variable: `root` is EVENT_PIPELINE_ROOT."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", arbitrary_types_allowed=True, env_ignore_empty=True
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
    event_max_age_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default=7, description="An event may be this much older than the start of its landing hour, in days"
    )
    event_max_lead_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        default=5, description="An event may be this much later than the end of its landing hour, in minutes"
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
        default=1, description="Gold refreshes that run side by side (Dagster pool `gold`)"
    )
    lock_timeout_seconds: Annotated[float, Field(ge=0)] = Field(
        default=600, description="How long a step waits for another process that builds the same hour or day"
    )
    sensor_interval_seconds: Annotated[int, Field(ge=5)] = Field(
        default=30, description="Seconds between two looks of the sensor at the raw objects"
    )
    sensor_recent_hours: Annotated[int, Field(ge=1)] = Field(
        default=48, description="Hours before now that the sensor lists at every look"
    )
    sensor_sweep_hours: Annotated[int, Field(ge=0)] = Field(
        default=24, description="Older hours that it lists besides, in turn, at every look"
    )
    quiet_seconds: Annotated[int, Field(ge=0)] = Field(
        default=60, description="An hour is left alone until its newest object is this old, in seconds"
    )
    retry_after_minutes: Annotated[int, Field(ge=1)] = Field(
        default=30,
        description="The sensor asks again for an hour that stayed unbuilt this long, then twice as long",
    )
    schedule_minute: Annotated[int, Field(ge=0, le=59)] = Field(
        default=10, description="Minute of the hour at which the schedule builds the hour that just closed"
    )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Settings:
        if self.quarantine_warn_share > self.quarantine_error_share:
            raise ValueError(
                f"{PREFIX}QUARANTINE_WARN_SHARE={self.quarantine_warn_share} is above "
                f"{PREFIX}QUARANTINE_ERROR_SHARE={self.quarantine_error_share}: a warning must come first"
            )
        return self

    @property
    def event_time_limits(self) -> EventTimeLimits:
        """How far an event's timestamp may lie from its landing hour."""
        return EventTimeLimits(timedelta(days=self.event_max_age_days), timedelta(minutes=self.event_max_lead_minutes))

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps its runs, events and schedules."""
        return self.root.absolute() / "dagster"


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
            name = f"{PREFIX}{str(place).upper()}={fault['input']!r}: " if place else ""
            faults.append(name + fault["msg"].removeprefix("Value error, "))
    if faults:
        raise SettingsError("\n".join(faults))
    return settings
