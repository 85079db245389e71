"""The state of every landing hour, read from raw listing, commit records, catalog and Dagster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from event_pipeline.dagster_instance.storage import RunState
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.errors import StorageError
from event_pipeline.rules.accounting import UnmatchedKey
from event_pipeline.rules.drift import UnknownField, drift_of
from event_pipeline.rules.framing import wrongly_framed
from event_pipeline.rules.hour import Hour, HourRange, implausible, plausible_part


@dataclass(frozen=True, slots=True)
class HourStatus:
    """One landing hour."""

    hour: Hour
    state: HourState
    gap: bool
    """No raw objects, although there are some before and after."""
    objects: int
    """Raw objects that are listed now."""
    records: int | None
    """Records of the published build; None, as the next three, when nothing is published."""
    quarantined: int | None
    duplicates: int | None
    erased: int | None
    """Records of erased people, which raw objects still have."""
    run: RunState | None
    unknown_fields: int = 0
    """Distinct fields outside the contract in the published build (schema drift)."""
    wrongly_framed: int = 0
    """Objects of the published build that are not framed as one JSON object per line, so their records are lost."""


@dataclass(frozen=True, slots=True)
class Status:
    """Every landing hour from the first known one to the last, or of a range."""

    hours: tuple[HourStatus, ...]
    unmatched: tuple[UnmatchedKey, ...]
    """Keys under `events/` that do not match the raw layout."""
    drift: tuple[UnknownField, ...] = ()
    """Fields outside the contract in the published builds of the hours, most frequent first."""

    def of_state(self, *states: HourState) -> list[Hour]:
        """Return the hours in any of the given states."""
        return [each.hour for each in self.hours if each.state in states]


def read_status(pipeline: Pipeline, now: datetime, hours: HourRange | None, runs: Mapping[Hour, RunState]) -> Status:
    """Read the state of every hour of a range, or of every hour from the first known one to the last.

    Raises:
        StorageError: the data folder cannot be read or is damaged.
    """
    engine = pipeline.engine
    listings = engine.list_raw_hours(hours)
    damaged: dict[Hour, StorageError] = {}  # not used: the hour's state is DAMAGED
    commits = engine.hour_commits(hours, damaged)
    # Stay within the hours that can exist, whatever an older version published or the user typed.
    first = pipeline.settings.first_partition
    found = [hour for hour in {*listings, *commits, *damaged} if not implausible(hour, first, now)]
    known = HourRange.of(found) if found else None
    if hours is not None:
        known = plausible_part(hours, first, now)
    states = {}
    if known:
        states = pipeline.states(now, known, listings=listings, thorough=True)
    landed = HourRange.of(sorted(listings)) if listings else None
    statuses = []
    for hour, state in states.items():
        listing, commit = listings.get(hour), commits.get(hour)
        account = commit.account if commit else None
        statuses.append(
            HourStatus(
                hour,
                state,
                gap=listing is None and not (account and account.objects) and landed is not None and hour in landed,
                objects=len(listing.objects) if listing else 0,
                records=account.records if account else None,
                quarantined=account.quarantined if account else None,
                duplicates=account.duplicates if account else None,
                erased=account.erased if account else None,
                run=runs.get(hour),
                unknown_fields=len(drift_of([account])) if account else 0,
                wrongly_framed=_wrongly_framed(hour, commits),
            )
        )
    drift = drift_of(commits[hour].account for hour in states if hour in commits)
    return Status(tuple(statuses), tuple(engine.unmatched_raw_keys()), drift)


def _wrongly_framed(hour: Hour, commits: Mapping[Hour, HourCommit]) -> int:
    commit, before = commits.get(hour), commits.get(hour.plus(-1))
    return len(wrongly_framed(commit.account, before.account if before else None)) if commit else 0
