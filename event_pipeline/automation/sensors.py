"""The sensor: finds landing hours whose raw objects are not built as they lie there, and requests runs for them.

What is due follows from listings, commit records and the catalog. Each look takes the recent days, the days of which
a queue told, and some older days in turn. A day in which nothing was to be done and whose listing has not changed
since costs its listing alone; once a day everything is compared again.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from event_pipeline.automation.due import warn_of_abandoned_runs, why_waiting
from event_pipeline.automation.sensor_cursor import Cursor, Request
from event_pipeline.dagster_instance.attempts import Attempts, attempts, ranges_of, retry_wait
from event_pipeline.dagster_instance.run_hours import hours_under_way, range_request
from event_pipeline.engines.base import Engine, RawNotices
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import AUTOMATIC_STATES, HourSituation
from event_pipeline.errors import PipelineError
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.printable import printable
from event_pipeline.rules.query import GoldTable
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NEW_RAW_OBJECTS = "new_raw_objects"
NOTICED_DAYS_AT_ONCE = 4
"""Days of which a queue told that one look takes besides; the others follow with the next ones."""

ONE_DAY = timedelta(days=1)
_DIGITS = 16
_UNDER_WAY = "under way"
_ASKED_FOR = "asked for already"


@dataclass(frozen=True, slots=True)
class _DayLook:
    """What a look at one day found."""

    hours: HourRange
    digest: str
    """Of all that the conclusion was drawn from."""
    due: Mapping[Hour, HourSituation]
    """Hours to which something is to be done."""


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
            f"Compares the raw objects of the last {settings.sensor_recent_hours} hours, and of older days in turn, "
            "with what is built, and requests hours that are new or changed or whose run broke off: late and "
            "replaced objects included, many hours in one run, an hour that failed by itself, never one that lost "
            "objects."
        ),
    )
    def requests(context: dg.SensorEvaluationContext, engine: dg.ResourceParam[Engine]) -> dg.SensorResult:
        now, pipeline = clock(), Pipeline(engine, gold_tables, settings)
        warn_of_abandoned_runs(context)
        versions = _versions(gold_tables, settings)
        cursor = Cursor.from_json(context.cursor)
        notices = _take_notices(context, engine, cursor.receipts)
        days = _Days.of(cursor, notices, settings, now)
        looks = {
            day: _look(pipeline, hours, now, versions, cursor.settled.get(day))
            for day in days.looked_at
            if (hours := _hours_of(day, settings, now))
        }
        due = {hour: each for look in looks.values() for hour, each in look.due.items()}
        under_way = hours_under_way(context.instance) if due else set()
        history = attempts(context.instance, due)
        asked: dict[Hour, Request] = {}
        waiting: dict[Hour, str] = {}
        for hour, each in due.items():
            if hour in under_way:
                waiting[hour] = _UNDER_WAY
            elif reason := why_waiting(each.state, each.listing, settings, now):
                waiting[hour] = reason
            elif request := _next_request(cursor.requests.get(hour), _wanted(each, versions), settings, now):
                asked[hour] = request
            else:
                waiting[hour] = _ASKED_FOR
        recent_first = days.recent[0] if days.recent else now.date()
        # An hour that failed is asked for by itself: it may be one that kills its whole run.
        alone = {hour for hour, each in asked.items() if each.attempt or (hour in history and history[hour].failed)}
        ranges = [
            *_newest_first([hour for hour in asked if hour.start.date() >= recent_first], alone, settings),
            *_newest_first([hour for hour in asked if hour.start.date() < recent_first], alone, settings),
        ]
        counts = Counter(waiting.values())
        summary = f"{sum(len(look.hours) for look in looks.values())} hours looked at, {len(due)} due" + "".join(
            f", {number} {reason}" for reason, number in sorted(counts.items())
        )
        if ranges:
            context.log.info(f"{summary}, {len(asked)} requested now in {len(ranges)} runs")
        held = {hour.start.date() for hour, reason in waiting.items() if reason not in (_UNDER_WAY, _ASKED_FOR)}
        remembered = {
            hour: request
            for hour, request in cursor.requests.items()
            if (hour in due or hour.start.date() not in looks) and hour >= settings.first_partition
        }
        following = Cursor(
            days.sweep_before,
            {**remembered, **asked},
            {
                **{day: digest for day, digest in cursor.settled.items() if day not in looks},
                **{day: look.digest for day, look in looks.items() if not look.due},
            },
            frozenset(day for day in days.noticed if day not in looks or day in held),
            notices.receipts,
        )
        return dg.SensorResult(
            run_requests=[
                _run_request(hours, asked, history, late=hours.first.start.date() < recent_first) for hours in ranges
            ],
            skip_reason=None if ranges else summary,
            cursor=following.to_json(),
        )

    return requests


def _take_notices(context: dg.SensorEvaluationContext, engine: Engine, done_with: Sequence[str]) -> RawNotices:
    """Take what the queue tells; a queue that fails delays late objects until the sweep, and stops nothing."""
    try:
        return engine.take_notices(done_with)
    except PipelineError as error:
        context.log.warning(
            printable(f"notices of new raw objects cannot be read, the listing goes on without them: {error}")
        )
        return RawNotices(frozenset(), ())


# -- which days


@dataclass(frozen=True, slots=True)
class _Days:
    """The days that one look takes."""

    recent: tuple[date, ...]
    """In order; every look takes them."""
    noticed: frozenset[date]
    """Older days of which the queue told, also those that must wait for the next look."""
    swept: tuple[date, ...]
    sweep_before: date | None
    """Where the next sweep goes on."""

    @property
    def looked_at(self) -> list[date]:
        """The days of this look, each once, newest first."""
        noticed = sorted(self.noticed, reverse=True)[:NOTICED_DAYS_AT_ONCE]
        return sorted({*self.recent, *noticed, *self.swept}, reverse=True)

    @classmethod
    def of(cls, cursor: Cursor, notices: RawNotices, settings: Settings, now: datetime) -> "_Days":
        """Choose them: recent days, then what the queue told, then the older days whose turn it is."""
        first, today = settings.first_partition.start.date(), now.date()
        recent_first = max(first, (now - timedelta(hours=settings.sensor_recent_hours)).date())
        recent = tuple(_days(recent_first, today + ONE_DAY))
        told = cursor.noticed | {hour.start.date() for hour in notices.hours}
        noticed = frozenset(day for day in told if first <= day < recent_first)
        begin = cursor.sweep_before
        if begin is None or not first < begin <= recent_first:
            begin = recent_first
        end = max(first, begin - timedelta(days=-(-settings.sensor_sweep_hours // 24)))
        return cls(recent, noticed, tuple(_days(end, begin)), end if end > first else None)


def _days(first: date, end: date) -> Iterable[date]:
    return (first + ONE_DAY * number for number in range((end - first).days))


def _hours_of(day: date, settings: Settings, now: datetime) -> HourRange | None:
    """Return the hours of a day that may be built at an instant; None when there are none yet."""
    midnight = Hour(datetime.combine(day, time(), UTC))
    first = max(settings.first_partition, midnight)
    end = min(midnight.plus(24), Hour.containing(now).plus(1 if settings.builds_open_hours else 0))
    return HourRange(first, end) if first < end else None


# -- one day


def _look(pipeline: Pipeline, hours: HourRange, now: datetime, versions: str, settled: str | None) -> _DayLook:
    """Find what is to be done in the hours of one day: by listing alone when that is all that could have changed."""
    listings = pipeline.engine.list_raw_hours(hours)
    listed = (f"{hour} {listing.fingerprint}" for hour, listing in listings.items())
    conclusion = _digest(str(now.date()), str(hours), versions, *listed)
    if conclusion == settled:
        return _DayLook(hours, conclusion, {})
    situations = pipeline.situations(now, hours, listings=listings)
    due = {hour: each for hour, each in situations.items() if each.state in AUTOMATIC_STATES}
    return _DayLook(hours, conclusion, due)


# -- requests


def _versions(gold_tables: Sequence[GoldTable], settings: Settings) -> str:
    """Name the rules and the SQL by which hours are built."""
    return _digest(
        settings.event_time_limits.rules_version, *(f"{table.name} {table.version}" for table in gold_tables)
    )


def _wanted(due: HourSituation, versions: str) -> str:
    """Name what is asked for: this input, by these rules and SQL, in place of the build that stands now.

    Dagster takes a run key once for all time. So what was asked for before and is due again, an object that was
    replaced and put back or an hour that is over now, must not be called the same.
    """
    published = due.commit.build_id if due.commit else ""
    return _digest(due.listing.fingerprint, due.state, published, versions)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGITS]


def _next_request(last: Request | None, wanted: str, settings: Settings, now: datetime) -> Request | None:
    """Return the request to make for a due hour, or None while the last one has time left to show its effect."""
    if last is None or last.wanted != wanted:
        return Request(wanted, 0, now)
    wait = retry_wait(last.attempt + 1, settings)
    return Request(wanted, last.attempt + 1, now) if now >= last.requested_at + wait else None


def _newest_first(hours: Sequence[Hour], alone: Collection[Hour], settings: Settings) -> list[HourRange]:
    return sorted(ranges_of(hours, alone, settings.hours_per_run), key=lambda each: each.first, reverse=True)


def _run_request(
    hours: HourRange, asked: Mapping[Hour, Request], history: Mapping[Hour, Attempts], *, late: bool
) -> dg.RunRequest:
    """Return the request for a range, under a key that tells it from all earlier ones for the same hours.

    Attempts are counted in the cursor, and from 0 again when that is reset. So the key names the last run of each
    hour as well; two looks at the same state and cursor still ask under the same key.
    """
    parts = (
        f"{hour} {asked[hour].wanted} {asked[hour].attempt} {history[hour].newest_run if hour in history else ''}"
        for hour in hours
    )
    return range_request(f"{hours.first}/{len(hours)}h/{_digest(*parts)}", hours, late=late)
