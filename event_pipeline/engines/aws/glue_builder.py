"""Builds landing hours with one run of the Glue job, which writes a manifest next to the files of each hour."""

from __future__ import annotations

from collections.abc import Sequence

from event_pipeline.engines import layout
from event_pipeline.engines.aws.glue_job import GlueJob, JobHooks, JobRun
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.base import Progress
from event_pipeline.engines.builder import Built, HourInput
from event_pipeline.engines.commit import CommitRecordError, HourCommit
from event_pipeline.engines.commits import CommitStore
from event_pipeline.engines.names import new_build_id
from event_pipeline.errors import PipelineError, StorageError
from event_pipeline.rules.hour import Hour
from event_pipeline.settings import Settings


class GlueBuilder:
    """Implements `engines.builder.Builder` with the Glue job of the settings: one run for all hours."""

    hours_at_once = None

    def __init__(self, settings: Settings, lake: Bucket, commits: CommitStore, job: GlueJob, hooks: JobHooks) -> None:
        self._settings = settings
        self._lake = lake
        self._commits = commits
        self._job = job
        self._hooks = hooks

    def build(self, inputs: Sequence[HourInput], *, force: bool, progress: Progress) -> Built:
        """Build hours in one run, or wait for the run that another orchestrator started for the same input."""
        commits, run, failures = self._run_job(inputs, force, progress)
        if run is None:
            return Built(commits, failures, new_build_id())
        return Built(commits, failures, run.id, run.dpu_seconds, {"glue_run": run.id, "glue_logs": run.logs})

    def published(self, hour: Hour) -> None:
        """Remove the decoded objects of an hour from the time it was open."""
        self._lake.delete(each.key for each in self._lake.list(layout.decoded(hour)))

    def close(self) -> None:
        """Do nothing: a run ends by itself."""

    def _run_job(
        self, inputs: Sequence[HourInput], force: bool, progress: Progress
    ) -> tuple[dict[Hour, HourCommit], JobRun | None, dict[Hour, PipelineError]]:
        """Return the existing manifests by hour, the awaited run, and why each other hour has no manifest."""
        token = self._job.token(inputs)
        run = self._job.find(token)
        left: dict[Hour, HourCommit] = {}
        faults: dict[Hour, PipelineError] = {}
        if run is not None and not run.is_active and not force:
            # An orchestrator died between the run's end and the commit: use the run's results. Its failures are
            # ignored: those hours are retried.
            left = self._manifests(run, inputs, {})
            inputs = [each for each in inputs if each.listing.hour not in left]
            if left:
                progress(f"{run.id}: took over {len(left)} hours that an earlier run had built")
            if not inputs:
                return left, run, {}
        if run is None or not run.is_active:
            run = self._job.start(self._job.token(inputs), inputs, self._hooks, progress)
        else:
            progress(f"run {run.id} already works on these hours: waiting for it")
        run = self._job.wait(run, self._hooks, progress)
        found = left | self._manifests(run, inputs, faults)
        lost = [
            each.listing.hour for each in inputs if each.listing.hour not in found and each.listing.hour not in faults
        ]
        if lost and run.state != "SUCCEEDED":
            said = self._job.hour_failures(run)
            faults |= {hour: said.get(hour) or self._job.failure(run) for hour in lost}
        elif lost:
            fault = StorageError(
                f"run {run.id} of {self._settings.glue_job} succeeded but left no manifest for "
                f"{', '.join(map(str, lost))}; nothing of them was published; logs: {run.logs}"
            )
            faults |= dict.fromkeys(lost, fault)
        return found, run, faults

    def _manifests(
        self, run: JobRun, inputs: Sequence[HourInput], faults: dict[Hour, PipelineError]
    ) -> dict[Hour, HourCommit]:
        """Read the manifests of a run, for hours whose files all exist and whose input matches the listing.

        Errors of manifests that cannot be read are added to `faults`.
        """
        planned = self._job.planned(run)
        found = {}
        for listing in (each.listing for each in inputs):
            build_id, fingerprint = planned.get(listing.hour, ("", ""))
            if fingerprint != listing.fingerprint:
                continue
            try:
                manifest = self._manifest(listing.hour, build_id)
                if manifest is not None and not self._commits.missing_files(manifest):
                    found[listing.hour] = manifest
            except PipelineError as fault:
                faults[listing.hour] = fault
        return found

    def _manifest(self, hour: Hour, build_id: str) -> HourCommit | None:
        key = f"{layout.hour_build(hour, build_id)}{layout.MANIFEST}"
        stored = self._lake.read(key)
        if stored is None:
            return None
        try:
            manifest = HourCommit.from_json(stored[0].decode("utf-8", "replace"))
        except CommitRecordError as error:
            raise StorageError(f"{self._lake.url(key)}: {error}; nothing was published") from error
        if (manifest.hour, manifest.build_id) != (hour, build_id):
            raise StorageError(
                f"{self._lake.url(key)}: is of {manifest.hour}, run {manifest.build_id}; nothing was published"
            )
        return manifest
