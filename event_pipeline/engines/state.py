"""What is left to do for each landing hour, decided by comparing listings, commit records and the catalog.

There is no bookmark that could drift: the same comparison serves `run`, `status` and the sensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline.rules.accounting import RawListing, RawObject
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.rules.query import GoldTable


class HourState(StrEnum):
    """How far a landing hour has come."""

    NO_RAW = "no raw objects"
    """Nothing landed and nothing was built."""
    OPEN = "open"
    """The hour is not over yet, and what has landed needs no build now."""
    NEW = "new"
    """Raw objects, never built."""
    CHANGED = "changed"
    """Objects came or were replaced since it was built."""
    LOST_OBJECTS = "lost objects"
    """Objects that it was built from are lost: never rebuilt without a person's word."""
    OUTDATED = "outdated"
    """Built by other rules."""
    PROVISIONAL = "provisional"
    """Built while it was open, over since, and not built whole yet."""
    UNREGISTERED = "unregistered"
    """Committed, but the catalog does not show that build, or files of it are gone."""
    GOLD_BEHIND = "gold behind"
    """Silver is published, but a Gold table does not show it yet."""
    DAMAGED = "damaged record"
    """Its commit record cannot be read: what is published stays, and a person must move the record away."""
    READY = "ready"
    """Published through to Gold."""
    RETIRED = "retired"
    """Past its retention: Silver and quarantine are gone on purpose, ledger and Gold stay. Never due."""


AUTOMATIC_STATES = frozenset(
    (
        HourState.NEW,
        HourState.CHANGED,
        HourState.PROVISIONAL,
        HourState.UNREGISTERED,
        HourState.GOLD_BEHIND,
        HourState.DAMAGED,
    )
)
"""What sensor and schedule ask for: new and changed input, and hours whose run broke off after Silver was committed.

DAMAGED is asked for so that it fails by itself and says so, instead of hiding or stopping the hours beside it.

Not LOST_OBJECTS, which needs a person's word, and not OUTDATED: new rules rebuild history when a person says so.
"""

DUE_STATES = AUTOMATIC_STATES | {HourState.OUTDATED}
"""What `event-pipeline run` without a range brings up to date."""


_OPEN_AND_SHOWN = DUE_STATES | {HourState.LOST_OBJECTS}
"""States that an hour which is not over yet is shown in, where such hours are built."""


class DigestSource(Protocol):
    """Whoever knows the stored bytes of raw objects: an engine, or a part of it."""

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> Mapping[str, str]:
        """Return key -> SHA-256 of the stored bytes of some raw objects of an hour, as `Engine.raw_digests` does."""


def lost_objects(listing: RawListing, commit: HourCommit) -> list[str]:
    """Return the keys that a published hour was built from and that are no longer listed.

    Objects that could not be read gave it nothing, so they are not missed.
    """
    listed = {each.key for each in listing.objects}
    return [each.key for each in commit.account.objects if not each.unreadable and each.key not in listed]


def as_built(digests: DigestSource, listing: RawListing, commit: HourCommit | None) -> RawListing:
    """Return a listing under the etags that its hour was built under, where every object still holds the same bytes.

    A data folder that is copied or restored has other modification times, a bucket that is copied may have other
    ETags. Objects are read only when keys and sizes are those of the build and the build kept their digests, each of
    them once. A listing that differs in anything else is returned as it is.
    """
    if commit is None or commit.retired_at is not None or listing.fingerprint == commit.fingerprint:
        return listing
    built = {each.key: each for each in commit.account.objects}
    moved = [each for each in listing.objects if each.key in built and each.etag != built[each.key].etag]
    if [(each.key, each.size) for each in listing.objects] != sorted((each.key, each.size) for each in built.values()):
        return listing
    if any(built[each.key].sha256 is None for each in moved):
        return listing
    try:
        found = digests.raw_digests(listing.hour, moved)
    except (PipelineError, OSError):
        return listing  # one that cannot be read is not known to be the same; the build of the hour says why
    if any(found.get(each.key) != built[each.key].sha256 for each in moved):
        return listing
    return replace(listing, objects=tuple(replace(each, etag=built[each.key].etag) for each in listing.objects))


def input_state(
    listing: RawListing, commit: HourCommit | None, rules_version: str, now: datetime | None = None
) -> HourState:
    """Compare what is listed with what was built: NO_RAW, NEW, CHANGED, LOST_OBJECTS, OUTDATED, READY or RETIRED.

    With the present instant, an hour that is over and was built before it was is PROVISIONAL instead of READY.
    """
    if commit is None:
        return HourState.NEW if listing.objects else HourState.NO_RAW
    if commit.retired_at is not None:
        return HourState.RETIRED
    if lost_objects(listing, commit):
        return HourState.LOST_OBJECTS
    if listing.fingerprint != commit.fingerprint:
        return HourState.CHANGED
    if commit.rules_version != rules_version:
        return HourState.OUTDATED
    if now and commit.hour.is_closed(now) and not commit.hour.is_closed(commit.committed_at):
        return HourState.PROVISIONAL
    return HourState.READY


@dataclass(frozen=True, slots=True)
class HourSituation:
    """One landing hour: how far it has come, and what that was concluded from."""

    state: HourState
    listing: RawListing
    commit: HourCommit | None


def hour_situations(
    engine: Engine,
    gold_tables: Sequence[GoldTable],
    rules_version: str,
    now: datetime,
    hours: HourRange | None = None,
    *,
    listings: Mapping[Hour, RawListing] | None = None,
    open_hours: bool = False,
    thorough: bool = False,
) -> dict[Hour, HourSituation]:
    """Return the situation of every hour of a range, or of every hour that has raw objects or a commit record.

    `listings` saves listing the hours again. `open_hours` says that hours are built before they are over. `thorough`
    looks for committed files that are gone, too, and compares all that the catalog shows of an hour.
    """
    listings = engine.list_raw_hours(hours) if listings is None else listings
    damaged: dict[Hour, StorageError] = {}
    commits = engine.hour_commits(hours, damaged)
    registered = engine.registered_builds(hours)
    misshown = engine.misshown(commits) if thorough else set[Hour]()
    behind = {hour for table in gold_tables for hour in engine.hours_behind(table, hours)}
    situations = {}
    for hour in hours or sorted(listings.keys() | commits.keys() | damaged.keys()):
        commit = commits.get(hour)
        listing = as_built(engine, listings.get(hour, RawListing(hour, ())), commit)
        state = HourState.DAMAGED if hour in damaged else input_state(listing, commit, rules_version, now)
        if state is HourState.READY and commit and (registered.get(hour) != commit.build_id or hour in misshown):
            state = HourState.UNREGISTERED
        elif state is HourState.READY and hour in behind:
            state = HourState.GOLD_BEHIND
        if not hour.is_closed(now) and not (open_hours and hour.start <= now and state in _OPEN_AND_SHOWN):
            state = HourState.OPEN
        situations[hour] = HourSituation(state, listing, commit)
    return situations
