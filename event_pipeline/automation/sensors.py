"""The sensor: finds landing hours whose current raw objects are not built, and requests runs for them.

What is due follows from listings, commit records and the catalog. Each evaluation takes the recent days, the days
named by queue notices, and some older days in turn. A day with nothing to do and an unchanged listing costs only its
listing; once a day everything is compared again.
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
"""Additional days named by queue notices that one evaluation takes; the others follow in the next ones."""

ONE_DAY = timedelta(days=1)
_DIGITS = 16
_UNDER_WAY = "under way"
_ASKED_FOR = "already requested"


@dataclass(frozen=True, slots=True)
class _DayLook:
    """The result of examining one day."""

    hours: HourRange
    digest: str
    """Digest of everything that the result follows from."""
    due: Mapping[Hour, HourSituation]
    """Hours with something to do."""


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
            "with what is built, and requests hours that are new or changed or whose run was interrupted, including "
            "late and replaced objects. Many hours per run; an hour that failed is requested alone, one that lost "
            "objects never."
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
        # An hour that failed is requested alone: it may kill its whole run.
        alone = {hour for hour, each in asked.items() if each.attempt or (hour in history and history[hour].failed)}
        ranges = [
            *_newest_first([hour for hour in asked if hour.start.date() >= recent_first], alone, settings),
            *_newest_first([hour for hour in asked if hour.start.date() < recent_first], alone, settings),
        ]
        counts = Counter(waiting.values())
        summary = f"{sum(len(look.hours) for look in looks.values())} hours checked, {len(due)} due" + "".join(
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
    """Receive the queue's notices; a failing queue only delays late objects until the sweep."""
    try:
        return engine.take_notices(done_with)
    except PipelineError as error:
        context.log.warning(
            printable(f"notices of new raw objects cannot be read, continuing with listings only: {error}")
        )
        return RawNotices(frozenset(), ())


# -- which days


@dataclass(frozen=True, slots=True)
class _Days:
    """The days that one evaluation takes."""

    recent: tuple[date, ...]
    """Days that every evaluation takes, in order."""
    noticed: frozenset[date]
    """Older days named by the queue, including those that must wait for the next evaluation."""
    swept: tuple[date, ...]
    sweep_before: date | None
    """Where the next sweep continues."""

    @property
    def looked_at(self) -> list[date]:
        """The days of this evaluation, each once, newest first."""
        noticed = sorted(self.noticed, reverse=True)[:NOTICED_DAYS_AT_ONCE]
        return sorted({*self.recent, *noticed, *self.swept}, reverse=True)

    @classmethod
    def of(cls, cursor: Cursor, notices: RawNotices, settings: Settings, now: datetime) -> "_Days":
        """Choose the days: recent ones, then those named by the queue, then the older days whose turn it is."""
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
    """Find what to do in the hours of one day, from the listing alone if nothing else could have changed."""
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
    """Return the versions of rules and SQL with which hours are built."""
    return _digest(
        settings.event_time_limits.rules_version, *(f"{table.name} {table.version}" for table in gold_tables)
    )


def _wanted(due: HourSituation, versions: str) -> str:
    """Return a digest of the request: this input, these rules and SQL, and the build that they replace.

    Dagster accepts a run key only once, ever. So an hour that was requested before and is due again (an object was
    replaced and restored, or the hour is over now) needs another digest.
    """
    published = due.commit.build_id if due.commit else ""
    return _digest(due.listing.fingerprint, due.state, published, versions)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGITS]


def _next_request(last: Request | None, wanted: str, settings: Settings, now: datetime) -> Request | None:
    """Return the request to make for a due hour, or None while the last one still has time to take effect."""
    if last is None or last.wanted != wanted:
        return Request(wanted, 0, now)
    wait = retry_wait(last.attempt + 1, settings)
    return Request(wanted, last.attempt + 1, now) if now >= last.requested_at + wait else None


def _newest_first(hours: Sequence[Hour], alone: Collection[Hour], settings: Settings) -> list[HourRange]:
    return sorted(ranges_of(hours, alone, settings.hours_per_run), key=lambda each: each.first, reverse=True)


def _run_request(
    hours: HourRange, asked: Mapping[Hour, Request], history: Mapping[Hour, Attempts], *, late: bool
) -> dg.RunRequest:
    """Return the run request for a range, with a key that differs from all earlier ones for the same hours.

    Attempts are counted in the cursor, and restart at 0 when it is reset. So the key also contains the last run of each
    hour; two evaluations of the same state and cursor still use the same key.
    """
    parts = (
        f"{hour} {asked[hour].wanted} {asked[hour].attempt} {history[hour].newest_run if hour in history else ''}"
        for hour in hours
    )
    return range_request(f"{hours.first}/{len(hours)}h/{_digest(*parts)}", hours, late=late)
