"""The state of alerts and its transitions: raise, still open, resolve. Pure functions; the time is an argument.

At most one alert of a kind is open, and it covers all hours that share the cause. A message is sent when it is raised,
when it has grown (with exponential backoff), and when it is resolved. An alert whose cause comes and goes stays open:
it is resolved only after the cause has been gone for some time, which doubles with each return within a day.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from event_pipeline.alerts.conditions import AlertFinding, AlertKind, Report
from event_pipeline.alerts.messages import AlertEvent, Message, alert_message, report_message
from event_pipeline.rules.hour import Hour, InvalidHourError
from event_pipeline.settings import Settings

STATE_FORMAT = 1
LONGEST_WAIT = timedelta(hours=24)
"""An alert that grows for days is sent again at least once a day."""
LONGEST_SETTLING = timedelta(hours=4)
FLAPPING_REMEMBERED = timedelta(hours=24)
REPORTS_REMEMBERED = timedelta(days=30)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that was raised and is not resolved."""

    alert_id: str
    finding: AlertFinding
    """The latest finding."""
    raised_at: AwareDatetime
    told: tuple[str, ...]
    """Subjects that were in a message."""
    messages: int
    told_at: AwareDatetime
    clear_since: AwareDatetime | None = None
    """When the cause disappeared; None while it holds."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that not all channels have accepted yet."""

    message: Message
    about: str
    """A newer message about the same subject replaces this one where it was not delivered yet."""
    pending: tuple[str, ...]
    """Channels that have not acknowledged it."""


@dataclass(frozen=True, slots=True)
class ChannelTrouble:
    """A channel that failed last time."""

    failures: int
    """Consecutive failures."""
    error: str
    next_attempt: AwareDatetime


@dataclass(frozen=True, slots=True)
class AlertState:
    """Everything that must survive a restart. If it is lost, open alerts are sent once more."""

    format: int = STATE_FORMAT
    looked_at: AwareDatetime | None = None
    """The last evaluation in which everything could be read."""
    alerts: Mapping[AlertKind, OpenAlert] = field(default_factory=dict)
    resolved: Mapping[AlertKind, tuple[AwareDatetime, ...]] = field(default_factory=dict)
    """When alerts of a kind were resolved within the last day."""
    reported: Mapping[str, AwareDatetime] = field(default_factory=dict)
    """Id of a report -> when it was created."""
    records: Mapping[str, int] = field(default_factory=dict)
    """Published hour -> its records, from which the normal volume is learned."""
    newest_published: str | None = None
    keys_looked_at: str | None = None
    """The hour of the last full listing that found no unread key; a full listing costs as much as all of raw."""
    outbox: tuple[Outgoing, ...] = ()
    trouble: Mapping[str, ChannelTrouble] = field(default_factory=dict)
    """Channel -> its failures."""
    delivering_until: AwareDatetime | None = None
    """The lease of the delivering process, which is presumed dead after this instant."""

    def to_json(self) -> bytes:
        """Serialize the document."""
        return _DOCUMENT.dump_json(self)

    @classmethod
    def from_json(cls, text: bytes | None) -> AlertState:
        """Parse the document; one that is damaged or of another format is discarded with a log message."""
        if text is None:
            return cls()
        try:
            state = _DOCUMENT.validate_json(text)
        except ValidationError as error:
            _LOG.warning("the state of alerts cannot be read and starts afresh: %.300s", error)
            return cls()
        if state.format != STATE_FORMAT:
            _LOG.warning("the state of alerts has format %s, this version reads %s: it starts afresh", state.format, 1)
            return cls()
        return state


_DOCUMENT = TypeAdapter(AlertState)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one evaluation found."""

    now: datetime
    findings: Sequence[AlertFinding]
    reports: Sequence[Report] = ()
    complete: bool = True
    """False if something could not be read; missing findings are then unknown, and their alerts stay open."""


def advance(state: AlertState, seen: Seen, settings: Settings, channels: Sequence[str]) -> AlertState:
    """Return the state after an evaluation, with the resulting messages in the outbox."""
    found = {finding.kind: finding for finding in seen.findings}
    alerts, resolved = dict(state.alerts), _recent(state.resolved, seen.now)
    told: list[tuple[str, Message]] = []
    for kind in AlertKind:
        alert, finding = alerts.get(kind), found.get(kind)
        if finding and alert is None:
            alerts[kind], message = _raise(finding, settings, seen.now)
            told.append((alerts[kind].alert_id, message))
        elif finding and alert:
            alerts[kind], grown = _keep(alert, finding, settings, seen.now)
            told += [(alert.alert_id, grown)] if grown else []
        elif alert and seen.complete:
            since = alert.clear_since or seen.now
            alerts[kind] = replace(alert, clear_since=since)
            if seen.now - since >= settling(len(resolved.get(kind, ())), settings):
                told.append((alert.alert_id, _resolution(alerts.pop(kind), settings, seen.now)))
                resolved[kind] = (*resolved.get(kind, ()), seen.now)
    reported = {each: at for each, at in state.reported.items() if seen.now - at < REPORTS_REMEMBERED}
    for report in seen.reports:
        if report.report_id not in reported:
            reported[report.report_id] = seen.now
            told.append((report.supersedes or report.report_id, report_message(report, settings, seen.now)))
    return replace(
        state,
        looked_at=seen.now if seen.complete else state.looked_at,
        alerts=alerts,
        resolved=resolved,
        reported=reported,
        outbox=_with(state.outbox, told, channels),
        trouble={name: trouble for name, trouble in state.trouble.items() if name in channels},
    )


def settling(times_resolved: int, settings: Settings) -> timedelta:
    """Return how long a cause must be gone, given how often it was resolved within a day."""
    # The exponent is bounded: a thousand doublings would overflow.
    doubled = int(settings.alert_settle_minutes * 2 ** min(times_resolved, 10))
    return min(timedelta(minutes=doubled), LONGEST_SETTLING)


def _raise(finding: AlertFinding, settings: Settings, now: datetime) -> tuple[OpenAlert, Message]:
    alert_id = f"{finding.kind}-{now:%Y%m%dT%H%M%SZ}"
    message = alert_message(f"{alert_id}/1", AlertEvent.RAISED, finding, (), settings, now)
    return OpenAlert(alert_id, finding, now, tuple(finding.subjects), 1, now), message


def _keep(
    alert: OpenAlert, finding: AlertFinding, settings: Settings, now: datetime
) -> tuple[OpenAlert, Message | None]:
    new = [subject for subject in finding.subjects if subject not in alert.told]
    wait = min(timedelta(minutes=int(settings.alert_update_minutes * 2 ** min(alert.messages - 1, 10))), LONGEST_WAIT)
    if not new or now < alert.told_at + wait:
        return replace(alert, finding=finding, clear_since=None), None
    number = alert.messages + 1
    notes = (f"{len(new)} more since the last message, open since {alert.raised_at:%Y-%m-%d %H:%M} UTC",)
    message = alert_message(f"{alert.alert_id}/{number}", AlertEvent.GROWN, finding, notes, settings, now)
    kept = replace(alert, finding=finding, clear_since=None, told=(*alert.told, *new), messages=number, told_at=now)
    return kept, message


def _resolution(alert: OpenAlert, settings: Settings, now: datetime) -> Message:
    since = alert.clear_since or now
    notes = [f"open from {alert.raised_at:%Y-%m-%d %H:%M} to {since:%Y-%m-%d %H:%M} UTC"]
    oldest = Hour.containing(now).plus(-settings.alert_hours)
    if any(_lies_before(subject, oldest) for subject in alert.finding.subjects):
        notes.append(f"not healed, but older than the {settings.alert_hours} hours that alerts are about")
    elif alert.finding.kind is AlertKind.RUN_FAILED and alert.raised_at < oldest.start:
        notes.append(
            f"or older than the {settings.alert_hours} hours that alerts are about: see `event-pipeline status`"
        )
    number = alert.messages + 1
    return alert_message(f"{alert.alert_id}/{number}", AlertEvent.RESOLVED, alert.finding, tuple(notes), settings, now)


def _lies_before(subject: str, hour: Hour) -> bool:
    try:
        return Hour.parse(subject) < hour
    except InvalidHourError:
        return False


def _recent(resolved: Mapping[AlertKind, tuple[datetime, ...]], now: datetime) -> dict[AlertKind, tuple[datetime, ...]]:
    kept = {kind: tuple(at for at in times if now - at < FLAPPING_REMEMBERED) for kind, times in resolved.items()}
    return {kind: times for kind, times in kept.items() if times}


def _with(
    outbox: Sequence[Outgoing], told: Sequence[tuple[str, Message]], channels: Sequence[str]
) -> tuple[Outgoing, ...]:
    """Add messages; drop removed channels, and messages that a newer one about the same subject replaces."""
    newer = {about for about, _ in told}
    waiting = [
        replace(each, pending=tuple(name for name in each.pending if name in channels))
        for each in outbox
        if each.about not in newer
    ]
    added = [Outgoing(message, about, tuple(channels)) for about, message in told]
    return tuple(each for each in (*waiting, *added) if each.pending)
