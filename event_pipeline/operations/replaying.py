"""Replays of quarantine: which hours are rebuilt, and where their records went.

A record can leave quarantine only when the rules that judged it or the object that held it have changed. Both are
in the commit record of its hour, so a replay touches exactly the hours whose result can differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from event_pipeline.engines.base import Engine
from event_pipeline.engines.commit import HourCommit
from event_pipeline.engines.state import HourState, as_built, input_state
from event_pipeline.errors import StorageError
from event_pipeline.operations.building import BuildPlan, build
from event_pipeline.rules.accounting import HourAccount, RawListing
from event_pipeline.rules.hour import Hour, HourRange
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from event_pipeline.operations.runs import RangeOutcome


class ReplayReason(StrEnum):
    """Why records of an hour may leave quarantine."""

    RULES = "other rules"
    OBJECTS = "other objects"
    FORCED = "forced"


@dataclass(frozen=True, slots=True)
class ReplayHour:
    """One hour to rebuild."""

    hour: Hour
    reason: ReplayReason
    quarantined: int
    """Quarantined records of the requested reason, or of any."""
    rules_version: str
    """Rules of the published build."""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay rebuilds, and which hours with quarantined records it skips."""

    hours: tuple[ReplayHour, ...]
    rules_version: str
    """The rules now in force."""
    unchanged: tuple[Hour, ...]
    """Same rules, same objects: the result cannot differ."""
    lost: tuple[Hour, ...]
    """Raw objects are lost: a rebuild would lose records."""
    retired: tuple[Hour, ...]
    """Past their retention: their records were deleted on purpose."""
    damaged: Mapping[Hour, StorageError]
    """Hour whose commit record cannot be read -> why; what it quarantined is unknown."""


def plan_replay(
    engine: Engine, settings: Settings, hours: HourRange | None, reason: str | None, *, force: bool
) -> ReplayPlan:
    """Find the published hours of a range (everything when None) that hold quarantined records of a reason."""
    rules_version = settings.event_time_limits.rules_version
    listings = engine.list_raw_hours(hours)
    chosen: list[ReplayHour] = []
    left: dict[HourState, list[Hour]] = {}
    damaged = dict[Hour, StorageError]()
    for hour, commit in engine.hour_commits(hours, damaged).items():
        quarantined = count_quarantined(commit, reason)
        if not quarantined:
            continue
        listing = as_built(engine, listings.get(hour, RawListing(hour, ())), commit)
        state = input_state(listing, commit, rules_version)
        if state in (HourState.RETIRED, HourState.LOST_OBJECTS) or (state is HourState.READY and not force):
            left.setdefault(state, []).append(hour)
        else:
            chosen.append(ReplayHour(hour, _why(state), quarantined, commit.rules_version))
    return ReplayPlan(
        tuple(chosen),
        rules_version,
        unchanged=tuple(left.get(HourState.READY, ())),
        lost=tuple(left.get(HourState.LOST_OBJECTS, ())),
        retired=tuple(left.get(HourState.RETIRED, ())),
        damaged=damaged,
    )


def _why(state: HourState) -> ReplayReason:
    if state is HourState.READY:
        return ReplayReason.FORCED
    return ReplayReason.RULES if state is HourState.OUTDATED else ReplayReason.OBJECTS


def count_quarantined(commit: HourCommit, reason: str | None) -> int:
    """Return the number of quarantined records of a build, for one reason or for all."""
    account = commit.account
    return account.quarantined if reason is None else account.quarantined_by_reason.get(reason, 0)


def replay(
    plan: ReplayPlan, settings: Settings, *, force: bool, progress: Callable[[str, Hour | None], None]
) -> Iterator[RangeOutcome]:
    """Rebuild the hours of a plan through Dagster, range after range; a failed one does not stop the others.

    Raises:
        StorageError: Dagster's storage is damaged or cannot be written.
    """
    hours = BuildPlan(tuple(each.hour for each in plan.hours), lost=(), lost_all=(), too_early=())
    yield from build(hours, settings, force=force, allow_lost_objects=False, progress=progress)


@dataclass(slots=True)
class Verdicts:
    """Number of records of some hours by verdict."""

    records: int = 0
    silver_rows: int = 0
    duplicates: int = 0
    erased: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    """Reason -> records."""

    @property
    def adds_up(self) -> bool:
        """Return whether every record has exactly one verdict."""
        return self.records == self.silver_rows + self.duplicates + self.erased + self.quarantined.total()


def sum_verdicts(accounts: Sequence[HourAccount]) -> Verdicts:
    """Sum the verdicts of some hours."""
    total = Verdicts()
    for account in accounts:
        total.records += account.records
        total.silver_rows += account.silver_rows
        total.duplicates += account.duplicates
        total.erased += account.erased
        total.quarantined.update(account.quarantined_by_reason)
    return total


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The verdicts of the replayed hours before and after."""

    before: Verdicts
    after: Verdicts
    rebuilt: tuple[Hour, ...]
    """Hours whose published build changed."""

    @property
    def left_quarantine(self) -> dict[str, int]:
        """Reason -> decrease of its records; reasons without a decrease are left out."""
        return _decrease(self.before.quarantined, self.after.quarantined)

    @property
    def entered_quarantine(self) -> dict[str, int]:
        """Reason -> increase of its records."""
        return _decrease(self.after.quarantined, self.before.quarantined)


def _decrease(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {reason: count - after.get(reason, 0) for reason, count in before.items() if count > after.get(reason, 0)}


def compare_builds(before: Mapping[Hour, HourCommit], after: Mapping[Hour, HourCommit]) -> ReplayResult:
    """Compare the published builds of the same hours before and after a replay."""
    return ReplayResult(
        sum_verdicts([commit.account for commit in before.values()]),
        sum_verdicts([after[hour].account for hour in before]),
        tuple(hour for hour, commit in before.items() if after[hour].build_id != commit.build_id),
    )
