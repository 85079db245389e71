"""The state of each landing hour, derived by comparing listings, commit records and the catalog.

No stored bookmark can drift: `run`, `status` and the sensor use the same comparison.
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
    """The state of a landing hour."""

    NO_RAW = "no raw objects"
    """Nothing landed and nothing was built."""
    OPEN = "open"
    """The hour is not over yet, and nothing in it needs a build now."""
    NEW = "new"
    """Raw objects, never built."""
    CHANGED = "changed"
    """Objects were added or replaced since it was built."""
    LOST_OBJECTS = "lost objects"
    """Objects that it was built from are lost: never rebuilt without explicit permission."""
    OUTDATED = "outdated"
    """Built with other rules."""
    PROVISIONAL = "provisional"
    """Built while it was open; over since, but not rebuilt yet."""
    UNREGISTERED = "unregistered"
    """Committed, but the catalog does not show that build, or files of it are gone."""
    GOLD_BEHIND = "gold behind"
    """Silver is published, but a Gold table does not show it yet."""
    DAMAGED = "damaged record"
    """Its commit record cannot be read: what is published stays, and someone must move the record away."""
    READY = "ready"
    """Published up to Gold."""
    RETIRED = "retired"
    """Past its retention: Silver and quarantine were deleted on purpose, ledger and Gold stay. Never due."""

    @property
    def after_a_number(self) -> str:
        """The words after a number of such hours: `1 with lost objects`."""
        match self:
            case HourState.NO_RAW:
                return "without raw objects"
            case HourState.LOST_OBJECTS | HourState.DAMAGED:
                return f"with {'a ' if self is HourState.DAMAGED else ''}{self.value}"
            case _:
                return self.value


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
"""What sensor and schedule request: new and changed input, and hours whose run stopped after Silver was committed.

DAMAGED is requested so that the hour fails visibly on its own, without affecting others.

LOST_OBJECTS needs explicit permission, and OUTDATED hours are rebuilt by new rules only on request.
"""

DUE_STATES = AUTOMATIC_STATES | {HourState.OUTDATED}
"""What `event-pipeline run` without a range brings up to date."""


_OPEN_AND_SHOWN = DUE_STATES | {HourState.LOST_OBJECTS}
"""States in which an open hour is reported where open hours are built."""


class DigestSource(Protocol):
    """Provides digests of raw objects: an engine, or a part of it."""

    def raw_digests(self, hour: Hour, objects: Sequence[RawObject]) -> Mapping[str, str]:
        """Return key -> SHA-256 of the stored bytes of raw objects of an hour, like `Engine.raw_digests`."""


def lost_objects(listing: RawListing, commit: HourCommit) -> list[str]:
    """Return the keys from which a published hour was built and that are no longer listed.

    Objects that could not be read contributed nothing, so they do not count.
    """
    listed = {each.key for each in listing.objects}
    return [each.key for each in commit.account.objects if not each.unreadable and each.key not in listed]


def as_built(digests: DigestSource, listing: RawListing, commit: HourCommit | None) -> RawListing:
    """Return a listing with the etags of its hour's build if every object still has the same bytes.

    A copied or restored data folder has other modification times, a copied bucket may have other ETags. Objects are
    read, each only once, if keys and sizes match the build and the build kept their digests. A listing that differs in
    anything else is returned unchanged.
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
        return listing  # an unreadable object may differ; the build of the hour reports why
    if any(found.get(each.key) != built[each.key].sha256 for each in moved):
        return listing
    return replace(listing, objects=tuple(replace(each, etag=built[each.key].etag) for each in listing.objects))


def input_state(
    listing: RawListing, commit: HourCommit | None, rules_version: str, now: datetime | None = None
) -> HourState:
    """Compare the listing with the build: NO_RAW, NEW, CHANGED, LOST_OBJECTS, OUTDATED, READY or RETIRED.

    If the current time is given, an hour that is over but was built before its end is PROVISIONAL instead of READY.
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
    """The state of one landing hour, and what it was derived from."""

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

    `listings` avoids listing the hours again. `open_hours` says that hours are built before they are over. `thorough`
    also checks for missing committed files, and compares everything that the catalog shows of an hour.
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
