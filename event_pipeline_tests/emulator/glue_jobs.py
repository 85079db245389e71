"""Glue job runs that really run: states over time, concurrency, queuing, timeouts, stops, logs; a thread for each."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from event_pipeline_tests.emulator import job_process
from event_pipeline_tests.emulator.event_bridge import announce
from event_pipeline_tests.emulator.faults import Held
from event_pipeline_tests.emulator.glue_runtime import GlueRuntime
from event_pipeline_tests.emulator.inside import Inside, as_far_as_permitted
from event_pipeline_tests.emulator.job_process import CannotStartError, JobProcess
from event_pipeline_tests.emulator.permissions import Session
from event_pipeline_tests.emulator.warm_python import WarmPython
from event_pipeline_tests.emulator.wire import AwsError, Call

LOG_GROUP = "/aws-glue/jobs"
ACTIVE = ("STARTING", "RUNNING", "STOPPING")
STOPPABLE = ("STARTING", "RUNNING", "WAITING")
DEFAULT_TIMEOUT_MINUTES = 480
_DPU_OF_WORKER = {"G.025X": 0.25, "G.1X": 1, "G.2X": 2, "G.4X": 4, "G.8X": 8}
_POLL_SECONDS = 0.02
_WAIT_SECONDS = 300


@dataclass
class PlannedEnd:
    """A run that ends badly by itself, before its script starts."""

    state: str
    message: str


@dataclass
class JobRun:
    """One run of a job, as GetJobRun describes it."""

    id: str
    job: dict[str, Any]
    """The job's definition when the run was started."""
    request: dict[str, Any]
    """What StartJobRun was asked for."""
    state: str
    started_on: datetime
    access_key: str
    """The fake credentials that the run's script gets; they tell its requests from others."""
    changed_on: datetime
    seen_from: float
    """Before this reading of the monotonic clock Glue does not know the run where it is asked."""
    session: Session | None = None
    """The session of the job's role, if that role is judged."""
    completed_on: datetime | None = None
    running_since: float | None = None
    execution_seconds: float = 0
    error_message: str = ""
    process: JobProcess | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    """Set once the process is known here and the state shows it; what its script asks for waits for that."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def arguments(self) -> dict[str, str]:
        """The job's default arguments, the run's over them, and over those what no run may replace."""
        return {
            **self.job.get("DefaultArguments", {}),
            **self.request.get("Arguments", {}),
            **self.job.get("NonOverridableArguments", {}),
        }

    def setting(self, name: str, default: Any = None) -> Any:
        """Return what the run, or else its job, says of worker type, timeout and the like."""
        return self.request.get(name) or self.job.get(name) or default

    def described(self) -> dict[str, Any]:
        """Return the JobRun structure of Glue's API."""
        workers = self.setting("NumberOfWorkers", 0)
        capacity = workers * _DPU_OF_WORKER.get(self.setting("WorkerType", "G.1X"), 1)
        seconds = self.execution_seconds or (monotonic() - self.running_since if self.running_since else 0)
        found = {
            "Id": self.id,
            "Attempt": 0,
            "JobName": self.job["Name"],
            "StartedOn": self.started_on,
            "LastModifiedOn": self.changed_on,
            "JobRunState": self.state,
            # As Glue answers: the run's own arguments, without the job's defaults.
            "Arguments": self.request.get("Arguments", {}),
            "PredecessorRuns": [],
            "ExecutionTime": math.ceil(seconds),
            "Timeout": self.setting("Timeout", DEFAULT_TIMEOUT_MINUTES),
            "MaxCapacity": capacity,
            "WorkerType": self.setting("WorkerType", "G.1X"),
            "NumberOfWorkers": workers,
            "LogGroupName": LOG_GROUP,
            "GlueVersion": self.job.get("GlueVersion") or "6.0",
            "ExecutionClass": self.setting("ExecutionClass", "STANDARD"),
        }
        if self.completed_on:
            found["CompletedOn"] = self.completed_on
            if found["ExecutionClass"] == "FLEX" or self.arguments.get("--enable-auto-scaling") == "true":
                # Glue gives it for these two only; others are billed ExecutionTime x capacity.
                found["DPUSeconds"] = round(seconds * capacity, 1)
        if self.error_message:
            found["ErrorMessage"] = self.error_message
        return found


class GlueJobs:
    """All job runs of one emulator. Thread-safe."""

    def __init__(
        self,
        inside: Inside,
        environment: dict[str, str],
        folder: Path,
        start_seconds: float,
        minute_seconds: float,
        unseen_seconds: float,
        runtime: GlueRuntime | None = None,
        warm: WarmPython | None = None,
    ) -> None:
        self._inside = inside
        self._environment = environment
        self._folder = folder
        self._start_seconds = start_seconds
        self._minute_seconds = minute_seconds
        self.unseen_seconds = unseen_seconds
        self._runtime = runtime
        self._warm = warm
        self._lock = threading.RLock()
        self._runs: list[JobRun] = []
        self._planned: list[PlannedEnd | Held] = []
        self._closed = threading.Event()

    # -- operations

    def start_job_run(self, call: Call) -> dict[str, Any]:
        """Start a run, or queue it."""
        request = call.parameters
        job = self._job(request["JobName"])
        refuse_flex_with_queuing(
            request.get("ExecutionClass") or job.get("ExecutionClass"), bool(request.get("JobRunQueuingEnabled"))
        )
        now = datetime.now(UTC)
        run_id = "jr_" + secrets.token_hex(32)
        run = JobRun(
            run_id,
            job,
            request,
            "STARTING",
            now,
            f"ASIAJOBRUN{secrets.token_hex(5).upper()}",
            now,
            monotonic() + self.unseen_seconds,
        )
        with self._lock:
            most = job.get("ExecutionProperty", {}).get("MaxConcurrentRuns", 1)
            if len(self._active(job["Name"])) >= most:
                # StartJobRun's model: "if false or not populated, the job runs will not be considered for queueing".
                if not request.get("JobRunQueuingEnabled", False):
                    raise AwsError("ConcurrentRunsExceededException", f"Concurrent runs exceeded for {job['Name']}")
                run.state = "WAITING"
            self._runs.append(run)
            if run.state == "STARTING":
                self._begin(run)
        return {"JobRunId": run.id}

    def get_job_run(self, call: Call) -> dict[str, Any]:
        """Describe one run."""
        parameters = call.parameters
        self._job(parameters["JobName"])
        run = self._run(parameters["JobName"], parameters["RunId"])
        if monotonic() < run.seen_from:
            raise AwsError("EntityNotFoundException", f"Job Run not found for {run.job['Name']} {run.id}")
        return {"JobRun": run.described()}

    def get_job_runs(self, call: Call) -> dict[str, Any]:
        """Describe a job's runs, newest first, in pages."""
        parameters = call.parameters
        self._job(parameters["JobName"])
        with self._lock:
            now = monotonic()
            runs = [
                run for run in reversed(self._runs) if run.job["Name"] == parameters["JobName"] and now >= run.seen_from
            ]
        start = int(parameters.get("NextToken") or 0)
        end = start + min(parameters.get("MaxResults") or 200, 200)
        answer: dict[str, Any] = {"JobRuns": [run.described() for run in runs[start:end]]}
        if end < len(runs):
            answer["NextToken"] = str(end)
        return answer

    def batch_stop_job_run(self, call: Call) -> dict[str, Any]:
        """Stop runs; those that have ended already come back as errors."""
        parameters = call.parameters
        name = parameters["JobName"]
        self._job(name)
        stopped, errors = [], []
        for run_id in parameters["JobRunIds"]:
            fault = self._stop(name, run_id)
            if fault:
                errors.append(
                    {
                        "JobName": name,
                        "JobRunId": run_id,
                        "ErrorDetail": {"ErrorCode": fault.code, "ErrorMessage": fault.message},
                    }
                )
            else:
                stopped.append({"JobName": name, "JobRunId": run_id})
        return {"SuccessfulSubmissions": stopped, "Errors": errors}

    # -- what the emulator and its tests ask for

    def plan(self, planned: PlannedEnd | Held) -> None:
        """Let the next run that starts end badly, or wait."""
        with self._lock:
            self._planned.append(planned)

    def job_of_key(self, access_key: str) -> str | None:
        """Return the run whose script has this access key, as soon as the run can be seen RUNNING and be killed."""
        with self._lock:
            run = next((run for run in self._runs if run.access_key == access_key), None)
        if run is None:
            return None
        run.begun.wait(_WAIT_SECONDS)
        return run.id

    def kill(self, run_id: str) -> None:
        """Kill a run's processes, as when its machine dies."""
        with self._lock:
            run = next(run for run in self._runs if run.id == run_id)
        if run.process:
            run.process.kill()

    def kill_all(self) -> None:
        """Kill the processes of all runs that go on."""
        with self._lock:
            processes = [run.process for run in self._runs if run.process and run.state in ACTIVE]
        for process in processes:
            process.kill()

    def wait_for_end(self, run_id: str) -> JobRun:
        """Wait until a run has ended.

        Raises:
            TimeoutError: it did not end for five minutes.
        """
        with self._lock:
            run = next(run for run in self._runs if run.id == run_id)
        if not run.ended.wait(_WAIT_SECONDS):
            raise TimeoutError(f"run {run_id} is still {run.state} after {_WAIT_SECONDS} s")
        return run

    def left_loopback(self) -> list[str]:
        """Return the hosts that Python code of job runs tried to reach outside this machine."""
        reports = sorted(self._folder.glob(f"jr_*/{job_process.REPORT}"))
        return [host for report in reports for host in report.read_text(encoding="utf-8").split()]

    def close(self) -> None:
        """Kill running jobs and wait until they have ended."""
        self._closed.set()
        with self._lock:
            runs = [run for run in self._runs if run.state in ACTIVE]
            for planned in self._planned:
                if isinstance(planned, Held):
                    planned.release()
        for run in runs:
            if run.process:
                run.process.kill()
            run.ended.wait(_WAIT_SECONDS)

    # -- inside

    def _job(self, name: str) -> dict[str, Any]:
        try:
            job: dict[str, Any] = self._inside.glue.get_job(JobName=name)["Job"]
        except self._inside.glue.exceptions.EntityNotFoundException as error:
            raise AwsError(
                "EntityNotFoundException", f"Failed to start job run due to missing metadata: {name}"
            ) from error
        return job

    def _run(self, name: str, run_id: str) -> JobRun:
        with self._lock:
            for run in self._runs:
                if run.id == run_id and run.job["Name"] == name:
                    return run
        raise AwsError("EntityNotFoundException", f"Job Run not found for {name} {run_id}")

    def _active(self, name: str) -> list[JobRun]:
        return [run for run in self._runs if run.job["Name"] == name and run.state in ACTIVE]

    def _stop(self, name: str, run_id: str) -> AwsError | None:
        try:
            run = self._run(name, run_id)
        except AwsError as error:
            return error
        with self._lock:
            if run.state not in STOPPABLE:
                return AwsError(
                    "InvalidJobRunStateTransitionException", f"Job run {run_id} is {run.state}: it cannot be stopped"
                )
            if run.state == "WAITING":
                self._end(run, "STOPPED", "")
                return None
            self._change(run, "STOPPING")
        if run.process:
            run.process.kill()
        return None

    def _begin(self, run: JobRun) -> None:
        threading.Thread(target=self._work, args=(run,), name=run.id, daemon=True).start()

    def _change(self, run: JobRun, state: str) -> None:
        run.state = state
        run.changed_on = datetime.now(UTC)

    def _end(self, run: JobRun, state: str, message: str) -> None:
        with self._lock:
            if run.running_since:
                run.execution_seconds = monotonic() - run.running_since
            run.completed_on = datetime.now(UTC)
            run.error_message = message
            self._change(run, state)
            if not self._closed.is_set():
                self._begin_next(run.job["Name"])
        try:
            if not self._closed.is_set():
                detail = {"jobName": run.job["Name"], "jobRunId": run.id, "state": state, "message": message}
                announce(self._inside, "aws.glue", "Glue Job State Change", detail)
        finally:
            run.ended.set()

    def _begin_next(self, name: str) -> None:
        waiting = [run for run in self._runs if run.job["Name"] == name and run.state == "WAITING"]
        if waiting:
            self._change(waiting[0], "STARTING")
            self._begin(waiting[0])

    def _work(self, run: JobRun) -> None:
        folder = self._folder / run.id
        folder.mkdir(parents=True)
        try:
            self._end(run, *self._through(run, folder))
        except CannotStartError as error:
            self._end(run, "FAILED", str(error))
        except Exception as error:
            # A fault of the emulator: the client must see it, and the thread has no other way to report it.
            self._end(run, "ERROR", f"the emulator failed: {type(error).__name__}: {error}")
        finally:
            shutil.rmtree(folder / "spark", ignore_errors=True)

    def _through(self, run: JobRun, folder: Path) -> tuple[str, str]:
        """Take a run from STARTING to its end; return the last state and its error message."""
        with self._lock:
            planned = self._planned.pop(0) if self._planned else None
        if isinstance(planned, Held):
            planned.reached.set()
        begun = monotonic()
        while monotonic() < begun + self._start_seconds or isinstance(planned, Held):
            if run.state == "STOPPING" or self._closed.is_set():
                return "STOPPED", ""
            if isinstance(planned, Held) and planned.released:
                break
            self._closed.wait(_POLL_SECONDS)
        if isinstance(planned, PlannedEnd):
            return planned.state, planned.message
        self._take_role(run)
        for group, stream in sorted({_log_of(run, stream) for stream in ("output", "error")}):
            self._make_log(group, stream, run)
        environment = {**self._environment, "AWS_ACCESS_KEY_ID": run.access_key}
        with self._inside.acting_for(run.session):
            process = job_process.start(
                self._inside,
                run.job,
                run.id,
                run.arguments,
                environment,
                folder,
                self._logger(run),
                self._runtime,
                self._warm,
            )
        with self._lock:
            run.process = process
            run.running_since = monotonic()
            if run.state == "STARTING":
                self._change(run, "RUNNING")
        run.begun.set()
        if run.state == "STOPPING":
            process.kill()
        code = process.wait(run.setting("Timeout", DEFAULT_TIMEOUT_MINUTES) * self._minute_seconds)
        if code is None:
            process.kill()
            process.wait(_WAIT_SECONDS)
            return "TIMEOUT", "Job run exceeded its timeout and was stopped"
        with self._lock:
            if run.state == "STOPPING" or self._closed.is_set():
                return "STOPPED", ""
        return ("SUCCEEDED", "") if code == 0 else ("FAILED", process.error_message(code))

    def _take_role(self, run: JobRun) -> None:
        try:
            run.session = self._inside.judge.hand_out(
                run.job["Role"], "glue.amazonaws.com", "GlueJobRunnerSession", run.access_key
            )
        except AwsError as error:
            raise CannotStartError(
                f"Role {run.job['Role']} should be given assume role permissions: {error}"
            ) from error

    def _make_log(self, group: str, stream: str, run: JobRun) -> None:
        logs = self._inside.logs
        with self._lock, self._inside.acting_for(run.session), as_far_as_permitted():
            if "--enable-metrics" in run.arguments:
                self._inside.require("cloudwatch", "PutMetricData", Namespace="Glue")
            try:
                logs.create_log_stream(logGroupName=group, logStreamName=stream)
            except logs.exceptions.ResourceNotFoundException:
                logs.create_log_group(logGroupName=group)
                logs.create_log_stream(logGroupName=group, logStreamName=stream)

    def _logger(self, run: JobRun) -> job_process.LogLines:
        def log(stream: str, lines: list[str]) -> None:
            now = int(datetime.now(UTC).timestamp() * 1000)
            group, name = _log_of(run, stream)
            with self._inside.acting_for(run.session), as_far_as_permitted():
                self._inside.logs.put_log_events(
                    logGroupName=group,
                    logStreamName=name,
                    logEvents=[{"timestamp": now, "message": line} for line in lines],
                )

        return log


def _log_of(run: JobRun, stream: str) -> tuple[str, str]:
    """Return log group and stream of what a run's driver prints to `output` or `error`.

    Glue 5 puts both into the group `<prefix>/output`, stream `<run>-driver`; earlier versions had a group for each.
    """
    prefix = run.arguments.get("--custom-logGroup-prefix", LOG_GROUP)
    if str(run.job.get("GlueVersion", "")).startswith("5."):
        return f"{prefix}/output", f"{run.id}-driver"
    return f"{prefix}/{stream}", run.id


def refuse_flex_with_queuing(execution_class: str | None, is_queued: bool) -> None:
    """Refuse what Glue refuses: runs on spare capacity wait for it, and cannot be queued besides.

    Raises:
        AwsError: both are asked for.
    """
    if execution_class == "FLEX" and is_queued:
        raise AwsError("InvalidInputException", "Job run queuing is not supported for the FLEX execution class")


def outside_environment() -> dict[str, str]:
    """Return this process's environment without what would tell a job of the machine it really runs on."""
    hidden = ("AWS_", "EVENT_PIPELINE_", "PYTHON", "SPARK_", "PYSPARK_", "DAGSTER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
