"""One evaluation of the alerts, from facts through conditions to delivered messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from event_pipeline.alerts.channels import Channel
from event_pipeline.alerts.conditions import (
    DayFacts,
    Facts,
    Report,
    backfill_reports,
    cannot_look,
    digest,
    find,
)
from event_pipeline.alerts.delivery import ALERTS_DOCUMENT, Told, load_state, tell
from event_pipeline.alerts.state import AlertState, Seen
from event_pipeline.dagster_instance.storage import storage_faults
from event_pipeline.engines.base import Engine
from event_pipeline.engines.open import open_document
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.errors import PipelineError, TransientError
from event_pipeline.rules.accounting import DayTotals
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

from event_pipeline.alerts.facts import gather

OpenInstance = Callable[[], AbstractContextManager["DagsterInstance | None"]]
"""Opens Dagster's storage for the length of an evaluation; yields None if there is none yet."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one evaluation found, and what it learned for the next."""

    seen: Seen
    learn: Callable[[AlertState], AlertState]


def look_and_tell(
    pipeline: Pipeline,
    open_instance: OpenInstance,
    channels: Sequence[Channel],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Told:
    """Evaluate once: raise, keep and resolve alerts, and deliver what is due.

    Raises:
        PipelineError: the state of alerts cannot be read or written.
    """
    settings = pipeline.settings
    document = open_document(settings, ALERTS_DOCUMENT)
    found = look(pipeline, open_instance, load_state(document), clock())
    return tell(document, found.learn, found.seen, settings, channels, clock)


def look(
    pipeline: Pipeline,
    open_instance: OpenInstance,
    state: AlertState,
    now: datetime,
) -> Look:
    """Gather the facts and evaluate the conditions; changes nothing.

    Unreadable data is a finding of its own; a transient error becomes one when it lasts too long.
    """
    settings = pipeline.settings
    try:
        with storage_faults(settings.dagster_home), open_instance() as instance:
            facts = gather(pipeline, instance, state, now)
        day_digest = _digest(pipeline.engine, settings, state, facts)
    except (PipelineError, OSError) as error:
        patience = timedelta(minutes=settings.alert_freshness_minutes)
        passing = isinstance(error, TransientError) and state.looked_at and now - state.looked_at < patience
        return Look(Seen(now, [] if passing else [cannot_look(error)], complete=False), lambda present: present)
    reports = [*backfill_reports(facts.backfills), *day_digest]

    def learn(present: AlertState) -> AlertState:
        return replace(
            present,
            records={str(hour): records for hour, records in facts.records.items()},
            newest_published=str(facts.newest_published) if facts.newest_published else None,
            keys_looked_at=None if facts.unmatched else str(Hour.containing(now)),
        )

    return Look(Seen(now, find(facts, settings), reports), learn)


def _digest(engine: Engine, settings: Settings, state: AlertState, facts: Facts) -> Iterable[Report]:
    """Return yesterday's digest once its hour has come, unless it was made before or nothing was ever published."""
    now, day = facts.now, facts.now.date() - timedelta(days=1)
    if now.hour < settings.alert_digest_hour or f"digest-{day}" in state.reported or facts.newest_published is None:
        return []
    first = Hour.containing(now.replace(hour=0) - timedelta(days=1))
    hours = HourRange(first, first.plus(24))
    # An hour with a damaged commit record counts as missing here, and has its own alert.
    accounts = {hour: commit.account for hour, commit in engine.hour_commits(hours, {}).items()}
    landed = sum((each for account in accounts.values() for each in account.days.values()), DayTotals())
    totals = DayFacts(
        published=len(accounts),
        records=sum(each.records for each in accounts.values()),
        silver_rows=sum(each.silver_rows for each in accounts.values()),
        quarantined=sum(each.quarantined for each in accounts.values()),
        duplicates=sum(each.duplicates for each in accounts.values()),
        unreadable=sum(len(each.unreadable) for each in accounts.values()),
        revenue=landed.revenue,
        missing=tuple(hour for hour in hours if hour not in accounts and hour >= settings.first_partition),
        cost=_cost(engine, hours),
    )
    found = {finding.kind.value for finding in find(facts, settings)}
    return [digest(str(day), totals, sorted(found | {kind.value for kind in state.alerts}))]


def _cost(engine: Engine, hours: HourRange) -> Decimal | None:
    steps = engine.costs(hours)
    return None if steps is None else sum((step.cost.usd for step in steps), Decimal(0))
