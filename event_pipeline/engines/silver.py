"""Builds and publishes landing hours: one commit record per hour.

The builder (`engines/builder.py`) writes files and publishes nothing. This module checks its result against the plan
and the conservation law, writes the ledger, and replaces the commit record by compare and swap.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from event_pipeline.engines import layout
from event_pipeline.engines.base import Cost, Progress, SilverBuild, SilverOutcome
from event_pipeline.engines.builder import Builder, Built, HourInput
from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.engines.commits import CommitStore, Published
from event_pipeline.engines.digests import RawDigests
from event_pipeline.engines.erasures import ErasureList
from event_pipeline.engines.isolation import failure_of, raise_failures
from event_pipeline.engines.names import commit_time, new_build_id
from event_pipeline.engines.raw import RawListings
from event_pipeline.engines.state import HourState, as_built, input_state, lost_objects
from event_pipeline.engines.store import Store
from event_pipeline.errors import (
    BrokenLawError,
    LostObjectsError,
    OvertakenError,
    PipelineError,
    StorageError,
    TransientError,
)
from event_pipeline.rules.accounting import HourAccount, RawListing, and_erased
from event_pipeline.rules.contract import HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.erasure import Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.silver_files import write_ledger
from event_pipeline.settings import Settings

_BUILD_REASONS = {
    HourState.NO_RAW: "no raw objects: built as an empty hour",
    HourState.NEW: "first build",
    HourState.CHANGED: "input changed",
    HourState.LOST_OBJECTS: "rebuilt without the lost objects on request",
    HourState.OUTDATED: "rules changed",
    HourState.PROVISIONAL: "the hour is over: built whole",
    HourState.READY: "committed files were gone",
}


def why_kept(listing: RawListing, state: HourState) -> str | None:
    """Return why a published hour with all its files is left unchanged; None if it must be built."""
    if state is HourState.READY:
        return "same input, same rules"
    if state is HourState.RETIRED:
        return "past its retention: Silver was removed on purpose"
    if state is HourState.LOST_OBJECTS and not listing.objects:
        return "its raw objects are lost, the published build stays"
    return None


def build_reason(state: HourState, force: bool) -> str:
    """Return as readable text why an hour is built."""
    return "forced" if force and state in (HourState.READY, HourState.RETIRED) else _BUILD_REASONS[state]


def lost_objects_refusal(listing: RawListing, present: HourCommit) -> LostObjectsError:
    """Return the error that refuses to build an hour from fewer raw objects than its published build."""
    lost, hour = lost_objects(listing, present), listing.hour
    return LostObjectsError(
        f"{hour}: {len(lost)} raw objects of the published build are lost (first: {lost[0]}); a rebuild "
        "would lose their records, so the published build stays. Restore them, or rebuild without "
        f"them: event-pipeline run --from {hour} --to {hour.plus(1)} --allow-lost-objects"
    )


def check_law(hour: Hour, account: HourAccount, silver_rows: int, quarantine_rows: int) -> None:
    """Check that every record has exactly one verdict, and that the written rows match the account.

    Raises:
        BrokenLawError: records in and out do not add up.
    """
    broken = [each for each in account.objects if each.unaccounted]
    if broken or (silver_rows, quarantine_rows) != (account.silver_rows, account.quarantined):
        raise BrokenLawError(
            f"{hour}: {account.records:,} records, but {account.silver_rows:,} Silver rows + {account.quarantined:,} "
            f"quarantined + {account.duplicates:,} duplicates{and_erased(account.erased)} "
            f"(written: {silver_rows:,} and {quarantine_rows:,}); "
            f"objects that do not add up: {[each.key for each in broken]}; nothing was published"
        )


SILVER_STEP = "silver"


class Spending(Protocol):
    """Measures what a step uses of services that bill by use, from its creation on."""

    def glue_run(self, dpu_seconds: Decimal) -> None:
        """Count one Glue run."""

    def cost(self) -> Cost | None:
        """Return the cost so far; None where nothing is billed."""

    def shared(self, step: str, hours: Sequence[Hour], build_id: str) -> Cost | None:
        """Record each hour's share of the cost, and return one share; None where nothing is billed."""


class Accounts(Protocol):
    """Bookkeeping of steps: costs and monitoring. Nothing that is published depends on it."""

    def spending(self) -> Spending:
        """Start measuring one step."""

    def tell(self, builds: Sequence[SilverBuild], progress: Progress) -> None:
        """Report hours that were published or left unchanged to the place's monitoring."""


class NoAccounts:
    """The bookkeeping of a place without billing and monitoring."""

    def spending(self) -> NoAccounts:
        """Measure nothing."""
        return self

    def glue_run(self, dpu_seconds: Decimal) -> None:
        """Count nothing."""

    def cost(self) -> None:
        """Return nothing."""

    def shared(self, step: str, hours: Sequence[Hour], build_id: str) -> None:
        """Record nothing."""

    def tell(self, builds: Sequence[SilverBuild], progress: Progress) -> None:
        """Report nothing."""


@dataclass(frozen=True, slots=True)
class _Due:
    """One hour to build."""

    input: HourInput
    published: Published[HourCommit]
    reason: str

    @property
    def listing(self) -> RawListing:
        return self.input.listing

    @property
    def hour(self) -> Hour:
        return self.listing.hour

    @property
    def closes(self) -> bool:
        """Whether the hour is over now, but the published build was made before its end."""
        present = self.published.commit
        return not self.input.open_at and present is not None and not self.hour.is_closed(present.committed_at)


class SilverSteps:
    """Decides which hours to build, has them built and publishes the result.

    Each hour is decided, built and published under its lock if the lake has locks. Without locks two processes may
    build one hour at the same time: one publishes, and the other detects that.
    """

    def __init__(
        self,
        settings: Settings,
        raw: RawListings,
        digests: RawDigests,
        lake: Store,
        commits: CommitStore,
        builder: Builder,
        accounts: Accounts,
        clock: Callable[[], datetime],
        erase: Callable[[Hour, Erasures], HourCommit | None],
    ) -> None:
        """`erase` publishes an hour without erased people, and returns None if it holds none of them."""
        self._settings = settings
        self._raw = raw
        self._digests = digests
        self._lake = lake
        self._commits = commits
        self._erasures = ErasureList(lake)
        self._builder = builder
        self._accounts = accounts
        self._clock = clock
        self._erase = erase

    def build(
        self, hours: Sequence[Hour], force: bool, allow_lost_objects: bool, progress: Progress
    ) -> Iterator[SilverBuild]:
        """Build and commit the hours that need it, in batches of the builder's size; leave the others unchanged.

        An hour that fails, is refused or cannot be published does not block the others.

        Raises:
            PipelineError: the only hour failed.
            HoursFailedError: some of several hours failed; all the others were yielded before.
        """
        failures: dict[Hour, PipelineError] = {}
        at_once = self._builder.hours_at_once or max(1, len(hours))
        with closing(self._builder):
            for start in range(0, len(hours), at_once):
                batch = hours[start : start + at_once]
                yield from self._build(batch, force, allow_lost_objects, failures, progress)
                if len(hours) > 1:
                    for hour in (each for each in batch if each in failures):
                        progress(f"{hour}: failed, the other hours go on: {failures[hour]}")
        if failures and len(hours) == 1:
            raise next(iter(failures.values()))
        raise_failures(failures)

    def _build(
        self,
        hours: Sequence[Hour],
        force: bool,
        allow_lost_objects: bool,
        failures: dict[Hour, PipelineError],
        progress: Progress,
    ) -> Iterator[SilverBuild]:
        started, spending = time.monotonic(), self._accounts.spending()
        kept, due = list[SilverBuild](), list[_Due]()
        erasures = self._erasures.read()
        with ExitStack() as locks:
            for hour in hours:
                try:
                    locks.enter_context(self._lake.exclusive(f"hours/{hour}"))
                    decided = self._decide(hour, erasures, force, allow_lost_objects)
                except Exception as error:
                    failures[hour] = failure_of(error)
                    continue
                if isinstance(decided, SilverBuild):
                    kept.append(decided)
                else:
                    due.append(decided)
            yield from kept
            self._accounts.tell(kept, progress)
            built = Built({}, {}, new_build_id())
            if with_objects := [each.input for each in due if each.listing.objects]:
                built = self._builder.build(with_objects, force=force, progress=progress)
                failures |= built.failures
                spending.glue_run(built.dpu_seconds)
            builds = []
            for each in due:
                if each.hour in failures:
                    continue
                # An hour that cannot be published does not block the others; its cost is still recorded.
                try:
                    commit = built.commits.get(each.hour) or self._empty(each.input)
                    builds.append(self._publish(each, commit, progress))
                    if each.closes or (self._settings.builds_open_hours and not each.input.open_at):
                        self._builder.published(each.hour)
                    if each.published.commit is not None and each.published.commit.fingerprint != commit.fingerprint:
                        self._digests.forget(each.hour)
                except Exception as error:
                    failures[each.hour] = failure_of(error)
        builds = self._without_erased_meanwhile(builds, erasures, failures)
        self._accounts.tell(builds, progress)
        cost = spending.shared(SILVER_STEP, [each.hour for each in due], built.build_id)
        seconds = (time.monotonic() - started) / max(1, len(due))
        yield from (replace(build, seconds=seconds, cost=cost, details=built.details) for build in builds)

    def _without_erased_meanwhile(
        self, builds: Sequence[SilverBuild], erasures: Erasures, failures: dict[Hour, PipelineError]
    ) -> list[SilverBuild]:
        """Take out of published builds who was erased after the list was compared, just before they were published.

        The erasure may have looked through these hours before, and found nobody.
        """
        now = self._erasures.read()
        if now.version == erasures.version:
            return list(builds)
        kept = list[SilverBuild]()
        for build in builds:
            try:
                kept.append(replace(build, commit=self._erase(build.commit.hour, now) or build.commit))
            except Exception as error:
                failures[build.commit.hour] = failure_of(error)
        return kept

    def _decide(self, hour: Hour, erasures: Erasures, force: bool, allow_lost_objects: bool) -> SilverBuild | _Due:
        started, now = time.monotonic(), self._clock()
        # Read the record first: an object that lands between the two reads causes a rebuild and is never missed.
        published = self._commits.hour(hour)
        listing, present = self._raw.list_hour(hour), published.commit
        rules_version = self._settings.event_time_limits.rules_version
        state = input_state(as_built(self._digests, listing, present), present, rules_version, now)
        reason = None
        if present and not force and (present.retired_at or not self._commits.missing_files(present)):
            reason = why_kept(listing, state)
        if present and reason:
            return SilverBuild(SilverOutcome.UNCHANGED, reason, present, time.monotonic() - started)
        if present and lost_objects(listing, present) and not allow_lost_objects:
            raise lost_objects_refusal(listing, present)
        open_at = None if hour.is_closed(now) else commit_time(now)
        return _Due(HourInput(listing, open_at, erasures), published, build_reason(state, force))

    def _empty(self, empty: HourInput) -> HourCommit:
        """Return the build of an hour without raw objects, which needs no builder."""
        rules_version = self._settings.event_time_limits.rules_version
        committed_at = empty.open_at or commit_time()
        return HourCommit(empty.listing.hour, new_build_id(), committed_at, rules_version, HourAccount((), {}), ())

    def _publish(self, due: _Due, manifest: HourCommit, progress: Progress) -> SilverBuild:
        """Check a manifest against the plan and the conservation law, write the ledger, and publish the hour.

        Raises:
            BrokenLawError: records in and out do not add up.
            StorageError: the files do not match the manifest, or the manifest has other input.
            TransientError: someone was erased meanwhile.
            OvertakenError: another process published a build of other input meanwhile.
        """
        hour, rules_version = due.hour, self._settings.event_time_limits.rules_version
        if (manifest.fingerprint, manifest.rules_version) != (due.listing.fingerprint, rules_version):
            raise StorageError(
                f"{hour}: other input was built, or by other rules (fingerprint {manifest.fingerprint}, rules "
                f"{manifest.rules_version}) than was planned ({due.listing.fingerprint}, {rules_version}): deploy the "
                "Glue job's packages of this version; nothing was published"
            )
        if self._erasures.read().version != due.input.erasures.version:
            raise TransientError(f"{hour}: someone was erased while it was built, so it may hold them: run again")
        silver, quarantine = (manifest.files_of(table.full_name) for table in (SILVER_EVENTS, SILVER_QUARANTINE))
        check_law(hour, manifest.account, _rows(silver), _rows(quarantine))
        # Keep the job's own time: two processes that publish one manifest then write the same ledger and record.
        commit = replace(manifest, files=(*manifest.files, put_ledger(self._lake, manifest)))
        if strays := self._commits.stray_files(commit):
            raise StorageError(
                f"{hour}: {len(strays)} files are among those of the build but not part of it (first: {strays[0]}): "
                "queries would read them; nothing was published"
            )
        try:
            self._commits.publish(commit, due.published.version)
        except OvertakenError:
            other = self._commits.hour(hour)
            if other.version == due.published.version:
                raise TransientError(f"{hour}: the commit record changed meanwhile: run again") from None
            if other.commit and (other.commit.fingerprint, other.commit.rules_version) == (
                commit.fingerprint,
                rules_version,
            ):
                reason = "another process built it from the same input meanwhile"
                return SilverBuild(SilverOutcome.UNCHANGED, reason, other.commit, 0)
            raise
        progress(f"{hour}: committed {commit.account.silver_rows:,} Silver rows ({due.reason})")
        return SilverBuild(SilverOutcome.BUILT, due.reason, commit, 0)


def put_ledger(lake: Store, commit: HourCommit) -> DataFile:
    """Write the ledger of a build of an hour and return its entry for the commit record."""
    content = io.BytesIO()
    write_ledger(
        content,
        commit.account,
        rules_version=commit.rules_version,
        run_id=commit.build_id,
        committed_at=commit.committed_at,
    )
    table = HOUR_LEDGER.full_name
    key = f"{layout.build_prefix(commit)}{layout.HOUR_FOLDERS[table]}ledger.parquet"
    lake.write(key, content.getvalue())
    return DataFile(table, key, 1, content.tell(), hashlib.sha256(content.getvalue()).hexdigest())


def _rows(files: Sequence[DataFile]) -> int:
    return sum(file.rows for file in files)
