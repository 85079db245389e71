"""One emulated AWS account on a loopback port: moto, with Glue job runs and Athena queries that really run."""

from __future__ import annotations

import functools
import logging
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
from botocore.config import Config
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from event_pipeline.settings import Settings, load_settings
from event_pipeline_tests.emulator import resources
from event_pipeline_tests.emulator.athena import Athena, PlannedFailure
from event_pipeline_tests.emulator.athena_outcome import QueryFailedError
from event_pipeline_tests.emulator.athena_statements import Statements
from event_pipeline_tests.emulator.athena_tables import Tables
from event_pipeline_tests.emulator.bucket_policies import requests_are_secure
from event_pipeline_tests.emulator.catalog import no_column_statistics, paged_partitions
from event_pipeline_tests.emulator.cloudformation import CloudFormation
from event_pipeline_tests.emulator.faults import Caller, Fault, Faults, Held, PlannedFault, RequestLog
from event_pipeline_tests.emulator.front import CLIENT_KEY, Front
from event_pipeline_tests.emulator.functions import Functions
from event_pipeline_tests.emulator.glue_jobs import (
    GlueJobs,
    JobRun,
    PlannedEnd,
    outside_environment,
    refuse_flex_with_queuing,
)
from event_pipeline_tests.emulator.glue_runtime import GlueRuntime
from event_pipeline_tests.emulator.inside import Inside
from event_pipeline_tests.emulator.java_patterns import UntranslatablePatternError
from event_pipeline_tests.emulator.loopback import LeftLoopbackError, only_loopback
from event_pipeline_tests.emulator.moto_gaps import MotoGaps
from event_pipeline_tests.emulator.permissions import Judge
from event_pipeline_tests.emulator.policies import PolicyNotUnderstoodError
from event_pipeline_tests.emulator.query_protocol import query_operation
from event_pipeline_tests.emulator.queues import Queues
from event_pipeline_tests.emulator.warm_python import WarmPython
from event_pipeline_tests.emulator.wire import AwsError, Call

ADDRESS = "127.0.0.1"
REGION = "eu-central-1"
"""Not us-east-1, which S3 treats differently from all others."""

_POLL_SECONDS = 0.02
"""How often a server looks whether it is to stop; werkzeug's half a second would be most of a short test's time."""

_one_at_a_time = threading.Lock()

_moto = DomainDispatcherApplication(create_backend_app)
"""Keeps nothing of an account, only the application of each service it was asked for: tests share what that costs."""
# It lists moto's folders for each request.
_moto.get_backend_for_host = functools.cache(_moto.get_backend_for_host)  # type: ignore[method-assign]


class EmulatedAws:
    """An empty AWS account for the length of a `with` block; moto's state is the process's, so one at a time.

    Args:
        port: of the endpoint; 0 takes a free one.
        job_start_seconds: how long a Glue run is STARTING.
        job_unseen_seconds: how long a Glue run that was started is unknown where it is asked for.
        query_queue_seconds: how long a query is QUEUED.
        minute_seconds: how long a minute of a Glue timeout is.
        page_size: the most keys and partitions that one page of a listing holds; AWS gives up to 1,000.
        job_runtime: what Glue runs have; None gives them the packages of this process.
        warm_python: what scripts of Glue runs are forked from; None starts a Python for each.
        statements: what runs Athena's statements.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        job_start_seconds: float = 0.05,
        job_unseen_seconds: float = 0.02,
        query_queue_seconds: float = 0.01,
        minute_seconds: float = 60,
        page_size: int = 1000,
        job_runtime: GlueRuntime | None = None,
        warm_python: WarmPython | None = None,
        statements: Callable[[Inside, Tables], Statements] = Statements,
    ) -> None:
        self._port = port
        self._make_statements = statements
        self._job_start_seconds = job_start_seconds
        self._job_unseen_seconds = job_unseen_seconds
        self._query_queue_seconds = query_queue_seconds
        self._minute_seconds = minute_seconds
        self._page_size = page_size
        self._job_runtime = job_runtime
        self._warm_python = warm_python
        self.region = REGION
        self.endpoint = ""
        self.judge: Judge
        """Who may do what, and what was asked for."""
        self.faults: Faults
        self.requests: RequestLog
        """Every request that reached the endpoint."""
        self.statements: Statements
        self._session: boto3.Session
        self._clients: dict[str, Any] = {}
        self._making_clients = threading.Lock()

    def __enter__(self) -> EmulatedAws:
        """Start it.

        Raises:
            RuntimeError: this process runs another one.
        """
        if not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("this process emulates AWS already, and moto keeps one state per process")
        try:
            with ExitStack() as opened:
                self._start(opened)
                self._open = opened.pop_all()
        except BaseException:
            _one_at_a_time.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, with all that it runs.

        Raises:
            LeftLoopbackError: something tried to leave this machine meanwhile.
        """
        try:
            self._open.close()
        finally:
            _one_at_a_time.release()

    def _start(self, opened: ExitStack) -> None:
        """Start all parts; `opened` stops them, last one first."""
        # Both servers would print every request.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        opened.enter_context(only_loopback())
        opened.enter_context(requests_are_secure())
        self._folder = Path(
            opened.enter_context(tempfile.TemporaryDirectory("", "emulated-aws-", ignore_cleanup_errors=True))
        )
        moto_endpoint = _serve(_moto, 0, "moto", opened)
        _reset_moto(moto_endpoint)
        self._session = boto3.Session(CLIENT_KEY, "emulated", region_name=self.region)
        self.judge = Judge(self.region)
        self.inside = inside = Inside(moto_endpoint, self.region, self.judge)
        files = self._folder / "files"
        files.mkdir()
        self.statements = self._make_statements(inside, Tables(inside, files))
        self._athena = Athena(inside, self.statements, self._query_queue_seconds)
        self.judge.place.workgroup_of = self._athena.workgroup_of
        # Filled in below: jobs need the endpoint's port, and the endpoint needs the jobs.
        job_environment: dict[str, str] = {}
        self._jobs = GlueJobs(
            inside,
            job_environment,
            self._folder,
            self._job_start_seconds,
            self._minute_seconds,
            self._job_unseen_seconds,
            self._job_runtime,
            self._warm_python,
        )
        self._functions = Functions(self.region, job_environment, inside)
        # Its calls go through the endpoint like everybody's: they can be made to fail, and are in the log.
        self._stacks = CloudFormation(DEFAULT_ACCOUNT_ID, self.region, self.client)
        opened.callback(self._check_jobs_stayed)
        front = Front(
            _moto,
            self.region,
            own=self._operations(inside),
            checks={
                "lambda.CreateFunction": self._functions.note_settings,
                "glue.CreateJob": _flex_is_not_queued,
                "glue.UpdateJob": _flex_is_not_queued,
            },
            job_of_key=self._jobs.job_of_key,
            kill_job=self._jobs.kill,
            page_size=self._page_size,
            judge=self.judge,
        )
        opened.callback(_check_policies_were_understood, self.judge)
        opened.callback(_check_models_were_understood, front)
        self.faults = front.faults
        self.requests = front.log
        self.endpoint = _serve(front, self._port, "emulated-aws", opened)
        job_environment.update(outside_environment() | self.environment())
        opened.callback(self._athena.close)
        opened.callback(self._jobs.close)
        opened.callback(self._stacks.close)
        opened.callback(self.faults.clear)

    def _check_jobs_stayed(self) -> None:
        if left := self._jobs.left_loopback():
            raise LeftLoopbackError(f"a Glue job tried to leave this machine for {', '.join(sorted(set(left)))}")

    def _operations(self, inside: Inside) -> dict[str, Any]:
        """Return the operations that are not moto's."""
        jobs, athena, gaps = self._jobs, self._athena, MotoGaps(inside, self.region)
        return {
            **self._stacks.operations(),
            "iam.SimulatePrincipalPolicy": query_operation("iam", "SimulatePrincipalPolicy", self.judge.simulate),
            "lambda.Invoke": self._functions.invoke,
            "sqs.ReceiveMessage": Queues(inside).receive_message,
            "glue.UpdateJob": gaps.update_job,
            "athena.UpdateWorkGroup": gaps.update_work_group,
            "athena.DeleteNamedQuery": gaps.delete_named_query,
            "glue.StartJobRun": jobs.start_job_run,
            "glue.GetJobRun": jobs.get_job_run,
            "glue.GetJobRuns": jobs.get_job_runs,
            "glue.BatchStopJobRun": jobs.batch_stop_job_run,
            "glue.GetPartitions": paged_partitions(inside, self._page_size),
            "glue.DeleteColumnStatisticsForTable": no_column_statistics,
            "glue.DeleteColumnStatisticsForPartition": no_column_statistics,
            "athena.StartQueryExecution": athena.start_query_execution,
            "athena.GetQueryExecution": athena.get_query_execution,
            "athena.BatchGetQueryExecution": athena.batch_get_query_execution,
            "athena.StopQueryExecution": athena.stop_query_execution,
            "athena.GetQueryResults": athena.get_query_results,
        }

    # -- how to reach it

    def environment(self) -> dict[str, str]:
        """Return the variables that point boto3 here, with credentials that are good for nothing else.

        AWS_PROFILE must not be set beside them.
        """
        nowhere = str(self._folder / "no-such-file")
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": CLIENT_KEY,
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        }

    def environment_of(self, role_arn: str) -> dict[str, str]:
        """Return the variables that point boto3 here as a session of a role, taken by the account's administrator."""
        taken = self.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="test")["Credentials"]
        return {
            **self.environment(),
            "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
            "AWS_SESSION_TOKEN": taken["SessionToken"],
        }

    def settings_environment(self) -> dict[str, str]:
        """Return the variables that make the pipeline work here."""
        return {
            "EVENT_PIPELINE_ENV": "aws",
            "EVENT_PIPELINE_AWS_REGION": self.region,
            "EVENT_PIPELINE_RAW_BUCKET": "emulated-raw",
            "EVENT_PIPELINE_LAKE_BUCKET": "emulated-lake",
            "EVENT_PIPELINE_ARTIFACTS_BUCKET": "emulated-artifacts",
            "EVENT_PIPELINE_METRIC_NAMESPACE": "event-pipeline",
        }

    def settings(self, **overrides: Any) -> Settings:
        """Return the pipeline's settings for this account."""
        fields = {
            name.removeprefix("EVENT_PIPELINE_").lower(): value for name, value in self.settings_environment().items()
        }
        return load_settings(**{**fields, **overrides})

    def client(self, service: str) -> Any:
        """Return boto3's client of a service, pointed here; it tries nothing twice."""
        with self._making_clients:
            if service not in self._clients:
                config = Config(retries={"total_max_attempts": 1})
                self._clients[service] = self._session.client(service, endpoint_url=self.endpoint, config=config)
        return self._clients[service]

    def create_resources(self, settings: Settings | None = None) -> None:
        """Create what the pipeline expects: buckets, catalog, workgroup and Glue job."""
        resources.create_resources(settings or self.settings(), self.client)

    # -- what happened

    def wait_for_job(self, run_id: str) -> JobRun:
        """Wait until a Glue run has ended and return it."""
        return self._jobs.wait_for_end(run_id)

    def wait_for_query(self, execution_id: str) -> dict[str, Any]:
        """Wait until a query has ended and return its QueryExecution structure."""
        return self._athena.wait_for_end(execution_id).described()

    # -- what goes wrong

    def fail_next(
        self,
        operation: str,
        answer: Fault | AwsError,
        times: int | None = 1,
        *,
        after_effect: bool = False,
        containing: str = "",
        caller: Caller | None = None,
    ) -> PlannedFault:
        """Let the next requests of an operation fail; boto3's own retries count as requests.

        `operation` is like `athena.StartQueryExecution`. `times=None` fails all from now on. `after_effect` fails
        after the operation has done its work. `containing` picks requests by a text in their path (S3: bucket and
        key) or body. `caller` picks those of Glue jobs or of all others.
        """
        return self.faults.plan(PlannedFault(operation, answer, times, after_effect, containing, caller))

    def hold_next(
        self, operation: str, *, after_effect: bool = False, containing: str = "", caller: Caller | None = None
    ) -> Held:
        """Let the next request of an operation wait half way until `release()`."""
        held = Held()
        self.faults.plan(PlannedFault(operation, held, 1, after_effect, containing, caller))
        return held

    def kill_job_at(self, operation: str, *, after_effect: bool = False, containing: str = "") -> PlannedFault:
        """Kill the next Glue run that sends such a request, as when its machine dies at that moment."""
        return self.fail_next(operation, Fault.KILL_JOB, after_effect=after_effect, containing=containing, caller="job")

    def kill_jobs(self) -> None:
        """Kill the processes of all job runs that go on."""
        self._jobs.kill_all()

    def fail_next_run(self, state: str = "FAILED", message: str = "Resource unavailable") -> None:
        """Let the next Glue run end in a state (FAILED, ERROR, TIMEOUT, EXPIRED, STOPPED) before its script starts."""
        self._jobs.plan(PlannedEnd(state, message))

    def unseen_for(self, seconds: float) -> None:
        """Let Glue not know, for this long, the runs that are started from now on."""
        self._jobs.unseen_seconds = seconds

    def hold_next_run(self) -> Held:
        """Let the next Glue run stay STARTING until `release()`."""
        held = Held()
        self._jobs.plan(held)
        return held

    def fail_next_query(
        self,
        reason: str,
        *,
        retryable: bool = False,
        system: bool = False,
        after_effect: bool = False,
        containing: str = "",
        queued_again: bool = False,
    ) -> None:
        """Let the next query that holds a text fail by itself, before or after its statement has done its work.

        With `queued_again` Athena tries it again by itself, and it ends well.
        """
        failure = QueryFailedError(reason, category=1 if system else 2, retryable=retryable)
        self._athena.plan(PlannedFailure(failure, after_effect, containing, queued_again))

    def leave_orphans(self, times: int = 1) -> None:
        """Let the next UNLOADs with rows leave a file beside those that they name in their manifest."""
        self.statements.leave_orphans(times)


def _flex_is_not_queued(call: Call) -> None:
    definition = call.parameters.get("JobUpdate", call.parameters)
    refuse_flex_with_queuing(definition.get("ExecutionClass"), bool(definition.get("JobRunQueuingEnabled")))


def _serve(application: Any, port: int, name: str, opened: ExitStack) -> str:
    """Serve an application on a loopback port until `opened` is closed; return its endpoint."""
    server = make_server(ADDRESS, port, application, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name=name, daemon=True)
    thread.start()
    opened.callback(thread.join)
    opened.callback(server.server_close)
    opened.callback(server.shutdown)
    return f"http://{ADDRESS}:{server.server_port}"


def _check_models_were_understood(front: Front) -> None:
    """Fail what ran in the emulator: its requests were not held to what AWS holds them to."""
    if front.unchecked:
        raise UntranslatablePatternError("; ".join(sorted(set(front.unchecked))))


def _check_policies_were_understood(judge: Judge) -> None:
    """Fail what ran in the emulator: a policy was met that could not be judged."""
    if judge.not_understood:
        raise PolicyNotUnderstoodError("; ".join(sorted(set(judge.not_understood))))


def _reset_moto(endpoint: str) -> None:
    """Forget what an earlier emulator of this process stored: moto's state outlives its servers."""
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")) as answer:
        answer.read()
