"""What is left to do for each landing hour, decided by comparing listings, commit records and the catalog.

There is no bookmark that could drift: the same comparison serves `run`, `status` and the sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit
from event_pipeline.rules.accounting import RawListing
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable


class HourState(StrEnum):
    """How far a landing hour has come."""

    NO_RAW = "no raw objects"
    """Nothing landed and nothing was built."""
    OPEN = "open"
    """The hour is not over yet."""
    NEW = "new"
    """Raw objects, never built."""
    CHANGED = "changed"
    """Objects came or were replaced since it was built."""
    SHRUNK = "shrunk"
    """Objects that it was built from are gone: never rebuilt without a person's word."""
    OUTDATED = "outdated"
    """Built by other rules."""
    UNREGISTERED = "unregistered"
    """Committed, but the catalog does not show that build."""
    GOLD_BEHIND = "gold behind"
    """Silver is published, but a Gold table does not show it yet."""
    READY = "ready"
    """Published through to Gold."""
    RETIRED = "retired"
    """Past its retention: Silver and quarantine are gone on purpose, ledger and Gold stay. Never due."""


DUE_STATES = frozenset(
    (HourState.NEW, HourState.CHANGED, HourState.OUTDATED, HourState.UNREGISTERED, HourState.GOLD_BEHIND)
)
"""What `event-pipeline run` without a range brings up to date."""


def lost_objects(listing: RawListing, commit: HourCommit) -> list[str]:
    """Return the keys that a published hour was built from and that are no longer listed.

    Objects that could not be read gave it nothing, so they are not missed.
    """
    listed = {each.key for each in listing.objects}
    return [each.key for each in commit.account.objects if not each.unreadable and each.key not in listed]


def input_state(listing: RawListing, commit: HourCommit | None, rules_version: str) -> HourState:
    """Compare what is listed with what was built: NO_RAW, NEW, CHANGED, SHRUNK, OUTDATED, READY or RETIRED."""
    if commit is None:
        return HourState.NEW if listing.objects else HourState.NO_RAW
    if commit.retired_at is not None:
        return HourState.RETIRED
    if lost_objects(listing, commit):
        return HourState.SHRUNK
    if listing.fingerprint != commit.fingerprint:
        return HourState.CHANGED
    return HourState.READY if commit.rules_version == rules_version else HourState.OUTDATED


def hour_states(
    engine: Engine,
    gold_tables: Sequence[GoldTable],
    rules_version: str,
    now: datetime,
    hours: HourRange | None = None,
) -> dict[Hour, HourState]:
    """Return the state of every hour of a range, or of every hour that has raw objects or a commit record."""
    listings = engine.list_raw_hours(hours)
    commits = engine.hour_commits(hours)
    registered = engine.registered_runs(hours)
    behind = {hour for table in gold_tables for hour in engine.hours_behind(table, hours)}
    states = {}
    for hour in hours or sorted(listings.keys() | commits.keys()):
        commit = commits.get(hour)
        state = input_state(listings.get(hour, RawListing(hour, ())), commit, rules_version)
        if not hour.is_closed(now):
            state = HourState.OPEN
        elif state is HourState.READY and commit and registered.get(hour) != commit.run_id:
            state = HourState.UNREGISTERED
        elif state is HourState.READY and hour in behind:
            state = HourState.GOLD_BEHIND
        states[hour] = state
    return states
