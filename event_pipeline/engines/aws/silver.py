"""Has landing hours built and publishes them: one piece of work for all hours, one commit record for each.

The builder (`engines/builder.py`) writes files and publishes nothing. Here what it built is held to the plan and the
conservation law, the ledger is written beside the files, and the commit record is replaced by compare-and-swap.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from event_pipeline.engines.aws import layout
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.commits import CommitStore, Published
from event_pipeline.engines.aws.costs import CostStore, Meter, shared
from event_pipeline.engines.aws.metrics import put_quarantined_shares
from event_pipeline.engines.aws.raw import RawStore
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Engine, Progress, SilverBuild, SilverOutcome, StepCost
from event_pipeline.engines.builder import Builder, Built, HourInput
from event_pipeline.engines.commit import DataFile, HourCommit
from event_pipeline.engines.decisions import (
    build_reason,
    check_law,
    commit_time,
    failure_of,
    fewer_objects,
    isolated,
    new_run_id,
    raise_failures,
    why_kept,
)
from event_pipeline.engines.state import as_built, input_state, lost_objects
from event_pipeline.errors import OvertakenError, PipelineError, StorageError, TransientError
from event_pipeline.rules.accounting import HourAccount, RawListing
from event_pipeline.rules.contract import HOUR_LEDGER, SILVER_EVENTS, SILVER_QUARANTINE
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.silver_files import write_ledger
from event_pipeline.settings import Settings

SILVER_STEP = "silver"


@dataclass(frozen=True, slots=True)
class _Due:
    """One hour that is to be built."""

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
        """Whether the hour is over now and the published build was made before it was."""
        present = self.published.commit
        return not self.input.open_at and present is not None and not self.hour.is_closed(present.committed_at)


class SilverBuilder:
    """Decides which hours to build, has them built and publishes what was built."""

    def __init__(
        self,
        engine: Engine,
        aws: Aws,
        settings: Settings,
        raw: RawStore,
        lake: Bucket,
        commits: CommitStore,
        costs: CostStore,
        builder: Builder,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._aws = aws
        self._settings = settings
        self._raw = raw
        self._lake = lake
        self._commits = commits
        self._costs = costs
        self._builder = builder
        self._clock = clock

    def build(
        self, hours: Sequence[Hour], force: bool, allow_fewer_objects: bool, progress: Progress
    ) -> Iterator[SilverBuild]:
        """Build and commit the hours that need it in one go; leave the others as they are.

        An hour that fails, is refused or cannot be published keeps no other one back.

        Raises:
            PipelineError: the only hour failed.
            HoursFailedError: of several hours some failed; all the others were yielded before.
        """
        started = time.monotonic()
        meter = Meter(self._aws, self._settings)
        failures: dict[Hour, PipelineError] = {}
        kept, due = self._decide(hours, force, allow_fewer_objects, failures)
        yield from kept
        put_quarantined_shares(self._aws, self._settings, kept, self._clock(), progress)
        built = Built({}, {}, new_run_id())
        if with_objects := [each.input for each in due if each.listing.objects]:
            built = self._builder.build(with_objects, force=force, progress=progress)
            failures |= built.failures
            meter.glue_run(built.dpu_seconds)
        builds = []
        for each in due:
            if each.hour in failures:
                continue
            # One hour that cannot be published keeps no other one back; of a single one the cost is kept, too.
            try:
                builds.append(self._publish(each, built.commits.get(each.hour) or self._empty(each.input), progress))
                if each.closes or (self._settings.builds_open_hours and not each.input.open_at):
                    self._builder.published(each.hour)
            except Exception as error:
                failures[each.hour] = failure_of(error)
        put_quarantined_shares(self._aws, self._settings, builds, self._clock(), progress)
        cost = shared(meter.cost(), len(due))
        for each in due:
            self._costs.write(StepCost(each.hour, SILVER_STEP, built.build_id, cost))
        seconds = (time.monotonic() - started) / max(1, len(due))
        yield from (replace(build, seconds=seconds, cost=cost, details=built.details) for build in builds)
        if failures and len(hours) == 1:
            raise next(iter(failures.values()))
        raise_failures(failures)

    def _decide(
        self, hours: Sequence[Hour], force: bool, allow_fewer_objects: bool, failures: dict[Hour, PipelineError]
    ) -> tuple[list[SilverBuild], list[_Due]]:
        kept, due = list[SilverBuild](), list[_Due]()
        for hour in hours:
            with isolated(hours, hour, failures):
                decided = self._decide_hour(hour, force, allow_fewer_objects)
                if isinstance(decided, SilverBuild):
                    kept.append(decided)
                else:
                    due.append(decided)
        return kept, due

    def _decide_hour(self, hour: Hour, force: bool, allow_fewer_objects: bool) -> SilverBuild | _Due:
        started, now = time.monotonic(), self._clock()
        # The record first: what lands between the two reads makes a rebuild, never a missed object.
        published = self._commits.hour(hour)
        listing, present = self._raw.list_hour(hour), published.commit
        rules_version = self._settings.event_time_limits.rules_version
        state = input_state(as_built(self._engine, listing, present), present, rules_version, now)
        reason = None
        if present and not force and (present.retired_at or not self._commits.missing_files(present)):
            reason = why_kept(listing, state)
        if present and reason:
            return SilverBuild(SilverOutcome.UNCHANGED, reason, present, time.monotonic() - started)
        if present and lost_objects(listing, present) and not allow_fewer_objects:
            raise fewer_objects(listing, present)
        open_at = None if hour.is_closed(now) else commit_time(now)
        return _Due(HourInput(listing, open_at), published, build_reason(state, force))

    def _empty(self, empty: HourInput) -> HourCommit:
        """Return the build of an hour without raw objects, which needs no job."""
        rules_version = self._settings.event_time_limits.rules_version
        committed_at = empty.open_at or commit_time()
        return HourCommit(empty.listing.hour, new_run_id(), committed_at, rules_version, HourAccount((), {}), ())

    def _publish(self, due: _Due, manifest: HourCommit, progress: Progress) -> SilverBuild:
        """Hold a manifest to its plan and the law, write the ledger, and publish the hour.

        Raises:
            BrokenLawError: records in and out do not add up.
            StorageError: the files are not those of the manifest, or the manifest is of other input.
            OvertakenError: another process published a build of other input meanwhile.
        """
        hour, rules_version = due.hour, self._settings.event_time_limits.rules_version
        if (manifest.fingerprint, manifest.rules_version) != (due.listing.fingerprint, rules_version):
            raise StorageError(
                f"{hour}: other input was built, or by other rules (fingerprint {manifest.fingerprint}, rules "
                f"{manifest.rules_version}) than was planned ({due.listing.fingerprint}, {rules_version}): deploy the "
                "Glue job's packages of this version; nothing was published"
            )
        silver, quarantine = (manifest.files_of(table.full_name) for table in (SILVER_EVENTS, SILVER_QUARANTINE))
        check_law(hour, manifest.account, _rows(silver), _rows(quarantine))
        # The job's own time stays: two processes that publish one manifest then write the same ledger and record.
        commit = replace(manifest, files=(*manifest.files, self._write_ledger(manifest)))
        if strays := self._commits.stray_files(commit):
            raise StorageError(
                f"{hour}: {len(strays)} files lie among those of the build and belong to nobody (first: {strays[0]}): "
                "queries would read them; nothing was published"
            )
        try:
            self._commits.publish(commit, due.published.etag)
        except OvertakenError:
            other = self._commits.hour(hour)
            if other.etag == due.published.etag:
                raise TransientError(f"{hour}: S3 took no commit record just now: run again") from None
            if other.commit and (other.commit.fingerprint, other.commit.rules_version) == (
                commit.fingerprint,
                rules_version,
            ):
                reason = "another process built it from the same input meanwhile"
                return SilverBuild(SilverOutcome.UNCHANGED, reason, other.commit, 0)
            raise
        progress(f"{hour}: committed {commit.account.silver_rows:,} Silver rows ({due.reason})")
        return SilverBuild(SilverOutcome.BUILT, due.reason, commit, 0)

    def _write_ledger(self, commit: HourCommit) -> DataFile:
        content = io.BytesIO()
        write_ledger(
            content,
            commit.account,
            rules_version=commit.rules_version,
            run_id=commit.run_id,
            committed_at=commit.committed_at,
        )
        table = HOUR_LEDGER.full_name
        key = f"{layout.run_prefix(commit)}{layout.HOUR_FOLDERS[table]}ledger.parquet"
        self._lake.write(key, content.getvalue())
        return DataFile(table, key, 1, content.tell(), hashlib.sha256(content.getvalue()).hexdigest())


def _rows(files: Sequence[DataFile]) -> int:
    return sum(file.rows for file in files)
