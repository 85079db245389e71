"""Runs of the Glue job that builds Silver: one run for many hours, and never two for the same work.

A run is identified by a token in its arguments, derived from what it builds. If an orchestrator dies, the next one
finds the run by this token and waits for it, or uses its results.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import quote

from event_pipeline.engines import layout
from event_pipeline.engines.aws.clients import Aws, ExpectedError
from event_pipeline.engines.aws.costs import LEAST_SECONDS_PER_GLUE_RUN
from event_pipeline.engines.aws.storage import Bucket, split_url
from event_pipeline.engines.base import Progress
from event_pipeline.engines.builder import HourInput
from event_pipeline.engines.names import new_build_id
from event_pipeline.errors import PipelineError, TransientError
from event_pipeline.rules.accounting import RawListing, fingerprint
from event_pipeline.rules.contract import Limits
from event_pipeline.rules.erasure import NOBODY, Erasures
from event_pipeline.rules.hour import Hour
from event_pipeline.rules.stored_json import read_json, read_value
from event_pipeline.settings import PREFIX, Settings

_LOG = logging.getLogger(__name__)

PLAN_FORMAT = 5
PLANS = "plans/"

ACTIVE = frozenset(("STARTING", "RUNNING", "WAITING", "STOPPING"))
_NO_ROOM = ("ConcurrentRunsExceededException", "ResourceNumberLimitExceededException")
_REMEMBERED = timedelta(days=2)
"""How far back to look for a run with the same token."""
_LOG_GROUP = "/aws-glue/jobs"
_UNKNOWN = "EntityNotFoundException"
_FIRST_LOOK_SECONDS = 0.1
_FIRST_POLL_SECONDS = 0.5
_LONGEST_POLL_SECONDS = 15.0
_POLL_GROWTH = 1.3
_START_ATTEMPTS = 4
UNSEEN_SECONDS = 30.0
"""How long Glue's API may not know yet a run that was just started."""
LOST_START_SECONDS = 10.0
"""How long to look for a run whose start was not answered, before starting it again."""
_STOP_SECONDS = 60.0

_PASSING_MESSAGES = (
    "was replaced or removed while it was read",
    "Resource unavailable",
    "Rate exceeded",
    "Throttling",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "Connection reset",
    "ConnectionClosedError",
    "ReadTimeoutError",
    "lost worker",
)
"""Messages of a failed run that a second one may fix."""


@dataclass(frozen=True, slots=True)
class JobHooks:
    """Callbacks of a follower of runs, so that the engine does not depend on Dagster."""

    arguments: Callable[[], Mapping[str, str]] = dict
    """Called once before a run is started, but not for one that exists: further arguments, `--name` -> value."""
    started: Callable[[str, str], None] = lambda run_id, logs: None
    """Called with the id of the awaited run and the link to its logs."""


@dataclass(frozen=True, slots=True)
class PlannedHour:
    """One hour of a plan: its input and its target."""

    input: HourInput
    build_id: str


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run of the job, as Glue describes it."""

    id: str
    state: str
    plan: str
    """URL of its plan."""
    dpu_seconds: Decimal
    error: str
    logs: str
    """Link to its logs."""

    @property
    def is_active(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in ACTIVE


class GlueJob:
    """The Glue job of the settings."""

    def __init__(self, aws: Aws, settings: Settings, artifacts: Bucket, lake: Bucket) -> None:
        self._aws = aws
        self._settings = settings
        self._artifacts = artifacts
        self._lake = lake

    def token(self, inputs: Sequence[HourInput]) -> str:
        """Return the token of some work: the same hours with the same input and rules have the same token.

        An hour that is over has another token than before, because a build from while it was open is not enough.
        """
        work = {
            "hours": {str(each.listing.hour): each.listing.fingerprint for each in inputs},
            "open": [str(each.listing.hour) for each in inputs if each.open_at],
            "rules": self._settings.event_time_limits.rules_version,
            "lake": self._settings.lake_bucket,
            "erased": _erasures(inputs).version,
        }
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:40]

    def find(self, token: str) -> JobRun | None:
        """Return the newest run with a token, active or ended, from the last two days."""
        oldest = datetime.now(UTC) - _REMEMBERED
        pages = self._aws.pages("glue", "get_job_runs", self._name, JobName=self._settings.glue_job)
        for page in pages:
            for run in page.get("JobRuns", []):
                if run.get("Arguments", {}).get("--token") == token:
                    return self._described(run)
                if run["StartedOn"] < oldest:
                    return None
        return None

    def start(self, token: str, inputs: Sequence[HourInput], hooks: JobHooks, progress: Progress) -> JobRun:
        """Write a plan and start a run for it, waiting while Glue has no capacity.

        Raises:
            TransientError: Glue had no capacity for too long.
            StorageError: the job is missing, or starting it is not permitted.
        """
        planned = [PlannedHour(each, new_build_id()) for each in inputs]
        plan = self._write_plan(token, planned)
        settings = self._settings
        arguments = {"--plan": plan, "--token": token, **hooks.arguments()}
        deadline = time.monotonic() + settings.glue_wait_minutes * 60
        wait, failed = _FIRST_POLL_SECONDS, 0
        while True:
            try:
                answer = self._aws.call(
                    "glue",
                    "start_job_run",
                    self._name,
                    expected=_NO_ROOM,
                    once=True,
                    JobName=settings.glue_job,
                    Arguments=arguments,
                    WorkerType=settings.glue_worker_type.value,
                    NumberOfWorkers=settings.glue_workers,
                    Timeout=settings.glue_timeout_minutes,
                    ExecutionClass="FLEX" if settings.glue_flex else "STANDARD",
                    # The job's own queuing setting does not apply to a run without one; Flex runs cannot be queued.
                    JobRunQueuingEnabled=not settings.glue_flex,
                )
            except ExpectedError as refusal:
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"glue:StartJobRun on {self._name}: no capacity for {settings.glue_wait_minutes} minutes "
                        f"({refusal}): wait for the other runs, or raise {PREFIX}GLUE_WAIT_MINUTES or the job's "
                        "concurrency"
                    ) from refusal
                progress(f"{self._name}: no capacity for a run now, retrying in {wait:.0f} s ({refusal.code})")
            except TransientError:
                # Whether the call took effect is unknown: StartJobRun has no idempotency token, so look for the run.
                failed += 1
                if run := self._appeared(token, plan):
                    return run
                if failed >= _START_ATTEMPTS:
                    raise
            else:
                return self._seen(answer["JobRunId"])
            # While waiting for capacity, another orchestrator may have started the same work.
            other = self.find(token)
            if other is not None and other.is_active:
                return other
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_POLL_SECONDS)

    def _seen(self, run_id: str) -> JobRun:
        """Return the current state of a run; wait until Glue's API knows one that was just started."""
        deadline, wait = time.monotonic() + UNSEEN_SECONDS, _FIRST_LOOK_SECONDS
        while True:
            try:
                return self.run(run_id, expected=(_UNKNOWN,))
            except ExpectedError as error:
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"glue:GetJobRun on {self._name}: run {run_id} was started but is still unknown after "
                        f"{UNSEEN_SECONDS:g} s ({error}): run again, which finds it by its token"
                    ) from error
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_POLL_SECONDS)

    def _appeared(self, token: str, plan: str) -> JobRun | None:
        """Look for the run of an unanswered start for as long as it may take to appear."""
        deadline, wait = time.monotonic() + LOST_START_SECONDS, _FIRST_LOOK_SECONDS
        while True:
            run = self.find(token)
            if run is not None and run.plan == plan:
                return run
            if time.monotonic() > deadline:
                return None
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_POLL_SECONDS, LOST_START_SECONDS)

    def wait(self, run: JobRun, hooks: JobHooks, progress: Progress) -> JobRun:
        """Wait until a run has ended, successfully or not, and return it; an interrupt stops the run.

        Raises:
            TransientError: the run waited for capacity too long and was stopped.
        """
        try:
            hooks.started(run.id, run.logs)
            progress(f"{self._name}: run {run.id} is {run.state}; logs: {run.logs}")
            return self._wait(run, progress)
        except Exception:
            raise  # the run continues; the next attempt finds it by its token
        except BaseException:
            progress(f"{self._name}: interrupted, stopping run {run.id}")
            self.stop(run.id)
            raise

    def _wait(self, run: JobRun, progress: Progress) -> JobRun:
        settings = self._settings
        # Glue itself ends a run at its timeout; the wait covers the time before it starts, and a minute to end.
        deadline = time.monotonic() + (settings.glue_timeout_minutes + settings.glue_wait_minutes + 1) * 60
        wait, state = _FIRST_POLL_SECONDS, run.state
        while True:
            now = self._seen(run.id)
            if now.state != state:
                progress(f"{self._name}: run {run.id} is {now.state}")
                state = now.state
            if not now.is_active:
                return now
            if time.monotonic() > deadline:
                self.stop(run.id)
                raise TransientError(
                    f"{self._name}: run {run.id} was still {now.state} after {settings.glue_wait_minutes} + "
                    f"{settings.glue_timeout_minutes} minutes and was stopped: raise {PREFIX}GLUE_WAIT_MINUTES or "
                    f"{PREFIX}GLUE_TIMEOUT_MINUTES; logs: {run.logs}"
                )
            time.sleep(wait)
            wait = min(wait * _POLL_GROWTH, _LONGEST_POLL_SECONDS)

    def run(self, run_id: str, *, expected: Collection[str] = ()) -> JobRun:
        """Return the current state of a run.

        Raises:
            ExpectedError: Glue refuses with one of the `expected` codes.
        """
        answer = self._aws.call(
            "glue", "get_job_run", self._name, expected=expected, JobName=self._settings.glue_job, RunId=run_id
        )
        return self._described(answer["JobRun"])

    def stop(self, run_id: str) -> None:
        """Stop a run and wait briefly for its end; one that has already ended is not an error."""
        self._aws.call("glue", "batch_stop_job_run", self._name, JobName=self._settings.glue_job, JobRunIds=[run_id])
        deadline = time.monotonic() + _STOP_SECONDS
        while self.run(run_id).is_active and time.monotonic() < deadline:
            time.sleep(_FIRST_POLL_SECONDS)

    def planned(self, run: JobRun) -> dict[Hour, tuple[str, str]]:
        """Return what a run was supposed to build: hour -> build id and fingerprint of the planned input.

        Empty if its plan is gone or damaged: such a run is like one that has ended without a result.
        """
        bucket, key = split_url(run.plan)
        found = Bucket(self._aws, bucket).read(key)
        if found is None:
            return {}
        try:
            return {
                Hour.parse(each["hour"]): (
                    read_value(str, each["build_id"], "build_id"),
                    fingerprint((listed["key"], listed["etag"], listed["size"]) for listed in each["objects"]),
                )
                for each in read_json(found[0])["hours"]
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOG.warning("the plan %s is damaged, its run counts as one without a result: %.300r", run.plan, error)
            return {}

    def hour_failures(self, run: JobRun) -> dict[Hour, PipelineError]:
        """Return why an ended run could not build hours: each of them has a failure note instead of a manifest.

        Hours that it did not reach, because it was stopped or killed, are not included.
        """
        said = {}
        for hour, (build_id, _) in self.planned(run).items():
            found = self._lake.read(f"{layout.hour_build(hour, build_id)}{layout.FAILURE}")
            if found is not None:
                reason = found[0].decode("utf-8", "replace").strip()
                said[hour] = self.failure(replace(run, error=reason))
        return said

    def failure(self, run: JobRun) -> PipelineError:
        """Return why an ended run did not succeed, as an error whose class tells whether to retry."""
        text = f"{self._name}: run {run.id} ended {run.state}"
        said = f": {run.error}" if run.error else ""
        logs = f"; logs: {run.logs}"
        match run.state:
            case "TIMEOUT":
                return PipelineError(
                    f"{text} after {self._settings.glue_timeout_minutes} minutes{said}: raise {PREFIX}GLUE_WORKERS or "
                    f"{PREFIX}GLUE_TIMEOUT_MINUTES, or build fewer hours in one run ({PREFIX}HOURS_PER_RUN){logs}"
                )
            case "STOPPED":
                return PipelineError(f"{text}{said}: it was stopped from outside; run again to build the hours{logs}")
            case "EXPIRED":
                return TransientError(f"{text}{said}: Glue had no capacity for it in time{logs}")
            case "ERROR":
                return TransientError(f"{text}{said}: Glue itself failed{logs}")
        if any(message in run.error for message in _PASSING_MESSAGES):
            return TransientError(f"{text}{said}{logs}")
        return PipelineError(f"{text}{said}{logs}")

    @property
    def _name(self) -> str:
        return f"Glue job {self._settings.glue_job}"

    def _write_plan(self, token: str, planned: Sequence[PlannedHour]) -> str:
        key = f"{PLANS}{token}/{new_build_id()}.json"
        self._artifacts.write(key, json.dumps(self._plan(token, planned), indent=1).encode())
        return self._artifacts.url(key)

    def _plan(self, token: str, planned: Sequence[PlannedHour]) -> dict[str, Any]:
        return {
            "format": PLAN_FORMAT,
            "token": token,
            "limits": planned_limits(self._settings.event_time_limits),
            "raw_bucket": self._settings.raw_bucket,
            "raw_prefix": self._settings.raw_prefix,
            "erasures": planned_erasures(_erasures([each.input for each in planned])),
            "hours": [self._planned_hour(each.input.listing, each.input.open_at, each.build_id) for each in planned],
        }

    def _planned_hour(self, listing: RawListing, open_at: datetime | None, build_id: str) -> dict[str, Any]:
        return {
            "hour": str(listing.hour),
            "build_id": build_id,
            "target": self._lake.url(layout.hour_build(listing.hour, build_id)),
            # In the target's bucket. An hour that is over keeps nothing, because it is built only once.
            "decoded": layout.decoded(listing.hour) if open_at else None,
            "open_at": open_at.isoformat() if open_at else None,
            "objects": [{"key": listed.key, "etag": listed.etag, "size": listed.size} for listed in listing.objects],
        }

    def _described(self, run: Mapping[str, Any]) -> JobRun:
        seconds = max(int(run.get("ExecutionTime") or 0), LEAST_SECONDS_PER_GLUE_RUN if run.get("ExecutionTime") else 0)
        # Glue reports DPU seconds only if capacity varies; otherwise all workers are billed for the whole time.
        billed = run.get("DPUSeconds") or seconds * Decimal(str(run.get("MaxCapacity") or 0))
        return JobRun(
            id=run["Id"],
            state=run["JobRunState"],
            plan=run.get("Arguments", {}).get("--plan", ""),
            dpu_seconds=Decimal(str(billed)),
            error=(run.get("ErrorMessage") or "").strip(),
            logs=self._logs(run),
        )

    def _logs(self, run: Mapping[str, Any]) -> str:
        """Return a link to all log streams of a run, named by Glue version: `<run>`, or `<run>-driver` etc."""
        region = self._settings.aws_region
        # The console's own escaping of `%`: twice in the group, once in the filter.
        group = quote(f"{self._log_group}/output", safe="").replace("%", "$25")
        return (
            f"https://{region}.{_console(region)}/cloudwatch/home?region={region}"
            f"#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{run['Id']}"
        )

    @cached_property
    def _log_group(self) -> str:
        """Return the prefix of the job's log groups from its definition; a run does not have it."""
        job = self._aws.call("glue", "get_job", self._name, JobName=self._settings.glue_job)["Job"]
        arguments = job.get("DefaultArguments", {}) | job.get("NonOverridableArguments", {})
        return str(arguments.get("--custom-logGroup-prefix", _LOG_GROUP))


def _console(region: str) -> str:
    """Return the console's domain for the AWS partition of a region."""
    if region.startswith("cn-"):
        return "console.amazonaws.cn"
    return "console.amazonaws-us-gov.com" if region.startswith("us-gov-") else "console.aws.amazon.com"


def _erasures(inputs: Sequence[HourInput]) -> Erasures:
    """Return the people whose records are left out: the same for all hours of one run."""
    return inputs[0].erasures if inputs else NOBODY


def planned_erasures(erasures: Erasures) -> dict[str, Any]:
    """Return the erased people as the plan of a run has them."""
    return {"key": erasures.key.hex(), "digests": sorted(each.hex() for each in erasures.digests)}


def planned_limits(limits: Limits) -> dict[str, int]:
    """Return the limits as the plan of a run has them."""
    return {
        "max_age_seconds": int(limits.max_age.total_seconds()),
        "max_lead_seconds": int(limits.max_lead.total_seconds()),
        "max_line_bytes": limits.max_line_bytes,
        "max_object_bytes": limits.max_object_bytes,
        "max_object_records": limits.max_object_records,
    }
