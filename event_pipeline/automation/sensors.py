"""The sensor: finds landing hours whose raw objects are not built as they lie there, and requests runs for them.

What is due follows from listings, commit records and the catalog. The cursor remembers only what was asked for and
where the sweep of older hours stands, so losing it costs a repeated look and never an hour.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from event_pipeline.automation.run_hours import LIVE_TAGS, hours_under_way, range_tags
from event_pipeline.engines.base import Engine
from event_pipeline.engines.state import HourState, hour_states
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange, contiguous
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NEW_RAW_OBJECTS = "new_raw_objects"
CURSOR_FORMAT = 1
LONGEST_RETRY = timedelta(hours=24)

REQUESTED_STATES = frozenset((HourState.NEW, HourState.CHANGED, HourState.UNREGISTERED, HourState.GOLD_BEHIND))
"""What the sensor asks for: new and changed input, and hours whose run broke off after Silver was committed.

Not SHRUNK, which needs a person's word, and not OUTDATED: new rules rebuild history when a person says so.
"""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """The last request for one hour."""

    fingerprint: str
    """Digest of the raw objects it was asked for."""
    attempt: int
    """0 for the first request with this fingerprint."""
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the sensor remembers between two looks."""

    sweep_from: Hour | None
    """The older hour at which the next look's sweep begins; None begins at the first partition."""
    requests: Mapping[Hour, Request]

    def to_json(self) -> str:
        """Write the cursor."""
        requests = {
            str(hour): {**asdict(request), "requested_at": request.requested_at.isoformat()}
            for hour, request in sorted(self.requests.items())
        }
        sweep_from = str(self.sweep_from) if self.sweep_from else None
        return json.dumps({"format": CURSOR_FORMAT, "sweep_from": sweep_from, "requests": requests})

    @classmethod
    def from_json(cls, text: str | None) -> "Cursor":
        """Read the cursor; one that is damaged or of another format is dropped with a line in the log."""
        if not text:
            return cls(None, {})
        try:
            fields = json.loads(text)
            if (found := fields["format"]) != CURSOR_FORMAT:
                raise ValueError(f"format {found!r}, this version reads {CURSOR_FORMAT}")
            return cls(
                Hour.parse(fields["sweep_from"]) if fields["sweep_from"] else None,
                {
                    Hour.parse(hour): Request(
                        str(each["fingerprint"]), int(each["attempt"]), datetime.fromisoformat(each["requested_at"])
                    )
                    for hour, each in fields["requests"].items()
                },
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("the cursor cannot be read and starts afresh (%s): %.200s", error, text)
            return cls(None, {})


def new_raw_objects_sensor(
    job: "UnresolvedAssetJobDefinition",
    gold_tables: tuple[GoldTable, ...],
    settings: Settings,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dg.SensorDefinition:
    """Return the sensor that requests runs for hours with new or changed raw objects; off until switched on."""

    @dg.sensor(
        name=NEW_RAW_OBJECTS,
        job=job,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Compares the raw objects of the last {settings.sensor_recent_hours} hours, and of older hours in turn, "
            "with what is built, and requests closed hours that are new or changed or whose run broke off: late and "
            "replaced objects included, many hours in one run, never an hour that lost objects."
        ),
    )
    def requests(context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]) -> dg.SensorResult:
        now = clock()
        cursor = Cursor.from_json(context.cursor)
        recent, swept, sweep_from = _windows(cursor.sweep_from, settings, now)
        looked_at = [hours for hours in (recent, swept) if hours]
        states: dict[Hour, HourState] = {}
        for hours in looked_at:
            states |= hour_states(engine, gold_tables, settings.event_time_limits.rules_version, now, hours)
        due = {hour: engine.list_raw(hour) for hour, state in states.items() if state in REQUESTED_STATES}
        under_way = hours_under_way(context.instance) if due else set()
        asked: dict[Hour, Request] = {}
        waiting = {"under way": 0, "not quiet yet": 0, "asked for already": 0}
        for hour, listing in due.items():
            if hour in under_way:
                waiting["under way"] += 1
            elif not _is_quiet(listing, settings, now):
                waiting["not quiet yet"] += 1
            elif request := _next_request(cursor.requests.get(hour), listing.fingerprint, settings, now):
                asked[hour] = request
            else:
                waiting["asked for already"] += 1
        # Hours that are no longer due are forgotten, so the cursor holds no more than is due or not looked at.
        remembered = {
            hour: request
            for hour, request in cursor.requests.items()
            if (hour in due or hour not in states) and hour >= settings.first_partition
        }
        counts = ", ".join(f"{number} {what}" for what, number in waiting.items())
        summary = f"{len(states)} hours looked at, {len(due)} due: {counts}"
        ranges = sorted(contiguous(asked, settings.hours_per_run), key=lambda each: each.first, reverse=True)
        if ranges:
            context.log.info(f"{summary}, {len(asked)} requested now in {len(ranges)} runs")
        return dg.SensorResult(
            run_requests=[_run_request(hours, asked) for hours in ranges],
            skip_reason=None if ranges else summary,
            cursor=Cursor(sweep_from, {**remembered, **asked}).to_json(),
        )

    return requests


def _windows(
    sweep_from: Hour | None, settings: Settings, now: datetime
) -> tuple[HourRange | None, HourRange | None, Hour | None]:
    """Return the recent hours, the older hours whose turn it is, and where the next sweep begins."""
    first, current = settings.first_partition, Hour.containing(now)
    recent_first = max(first, current.plus(-settings.sensor_recent_hours))
    recent = HourRange(recent_first, current) if recent_first < current else None
    if settings.sensor_sweep_hours == 0 or recent_first <= first:
        return recent, None, None
    begin = sweep_from if sweep_from and first <= sweep_from < recent_first else first
    end = min(begin.plus(settings.sensor_sweep_hours), recent_first)
    return recent, HourRange(begin, end), end if end < recent_first else None


def _is_quiet(listing: RawListing, settings: Settings, now: datetime) -> bool:
    """Tell whether the newest object is old enough that its hour is not being written any more."""
    quiet_since = now - timedelta(seconds=settings.quiet_seconds)
    return all(each.modified <= quiet_since for each in listing.objects)


def _next_request(last: Request | None, fingerprint: str, settings: Settings, now: datetime) -> Request | None:
    """Return the request to make for a due hour, or None while the last one has time left to show its effect."""
    if last is None or last.fingerprint != fingerprint:
        return Request(fingerprint, 0, now)
    wait = min(timedelta(minutes=settings.retry_after_minutes) * 2**last.attempt, LONGEST_RETRY)
    return Request(fingerprint, last.attempt + 1, now) if now >= last.requested_at + wait else None


def _run_request(hours: HourRange, asked: Mapping[Hour, Request]) -> dg.RunRequest:
    digest = hashlib.sha256()
    for hour in hours:
        digest.update(f"{hour} {asked[hour].fingerprint} {asked[hour].attempt}\n".encode())
    run_key = f"{hours.first}/{len(hours)}h/{digest.hexdigest()[:16]}"
    if len(hours) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=hours.first.partition_key, tags=LIVE_TAGS)
    return dg.RunRequest(run_key=run_key, tags={**LIVE_TAGS, **range_tags(hours)})
