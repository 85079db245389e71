"""Athena's query executions: tokens, states over time, results in pages and as a file; not how a statement is run."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from botocore.exceptions import ClientError

from event_pipeline_tests.emulator import athena_results
from event_pipeline_tests.emulator.athena_outcome import Outcome, QueryFailedError
from event_pipeline_tests.emulator.athena_statements import Statements
from event_pipeline_tests.emulator.inside import Inside, is_refusal, split_uri
from event_pipeline_tests.emulator.permissions import Session
from event_pipeline_tests.emulator.wire import AwsError, Call

MOST_QUERY_BYTES = 262_144
MOST_ROWS_PER_PAGE = 1000
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_WAIT_SECONDS = 300
_QUEUED_AGAIN_SECONDS = 0.5


@dataclass
class PlannedFailure:
    """A query that fails by itself."""

    failure: QueryFailedError
    after_effect: bool
    """Whether it fails after its statement has done its work, leaving files behind."""
    containing: str
    queued_again: bool = False
    """Whether Athena tries it again by itself: FAILED first, then QUEUED and well."""


@dataclass
class Execution:
    """One query execution, as GetQueryExecution describes it."""

    id: str
    sql: str
    database: str
    workgroup: str
    output: str
    """Folder of its results, ending with a slash."""
    cutoff: int | None
    submitted: datetime
    session: Session | None = None
    """The session whose permissions apply to what the query reads and writes."""
    state: str = "QUEUED"
    completed: datetime | None = None
    failure: QueryFailedError | None = None
    outcome: Outcome | None = None
    scanned: int = 0
    """Bytes read so far, also of a failed query."""
    engine_millis: int = 0
    cancel: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def kind(self) -> str:
        """DML, DDL or UTILITY, by its first word."""
        word = self.sql.lstrip(" \t\r\n(").split(None, 1)[0].upper()
        if word in ("SHOW", "DESCRIBE", "EXPLAIN"):
            return "UTILITY"
        return "DDL" if word in ("CREATE", "ALTER", "DROP", "MSCK") else "DML"

    @property
    def result_uri(self) -> str:
        """Location of its result file, once it has succeeded."""
        return f"{self.output}{self.id}.{'csv' if self.kind == 'DML' else 'txt'}"

    def described(self) -> dict[str, Any]:
        """Return the QueryExecution structure of Athena's API."""
        status: dict[str, Any] = {"State": self.state, "SubmissionDateTime": self.submitted}
        if self.completed:
            status["CompletionDateTime"] = self.completed
        if self.failure:
            status["StateChangeReason"] = str(self.failure)
            if self.state == "FAILED":
                status["AthenaError"] = {
                    "ErrorCategory": self.failure.category,
                    "ErrorType": self.failure.error_type,
                    "Retryable": self.failure.retryable,
                    "ErrorMessage": str(self.failure),
                }
        statistics: dict[str, Any] = {
            "EngineExecutionTimeInMillis": self.engine_millis,
            "DataScannedInBytes": self.scanned,
            "TotalExecutionTimeInMillis": self.engine_millis,
            "QueryQueueTimeInMillis": 0,
            "ServiceProcessingTimeInMillis": 0,
        }
        if self.outcome and self.outcome.files is not None:
            statistics["DataManifestLocation"] = self.manifest_uri
        return {
            "QueryExecutionId": self.id,
            "Query": self.sql,
            "StatementType": self.kind,
            "ResultConfiguration": {"OutputLocation": self.result_uri},
            "QueryExecutionContext": {"Database": self.database, "Catalog": "awsdatacatalog"},
            "Status": status,
            "Statistics": statistics,
            "WorkGroup": self.workgroup,
            "EngineVersion": {
                "SelectedEngineVersion": "AUTO",
                "EffectiveEngineVersion": "Athena engine version 3",
            },
        }

    @property
    def manifest_uri(self) -> str:
        """Where UNLOAD lists the files it wrote."""
        return f"{self.output}{self.id}-manifest.csv"


class Athena:
    """All query executions of one emulator. Thread-safe; every query runs in a thread of its own."""

    def __init__(self, inside: Inside, statements: Statements, queue_seconds: float) -> None:
        self._inside = inside
        self._statements = statements
        self._queue_seconds = queue_seconds
        self._lock = threading.Lock()
        self._executions: dict[str, Execution] = {}
        self._tokens: dict[str, tuple[str, str]] = {}
        self._planned: list[PlannedFailure] = []

    # -- operations

    def start_query_execution(self, call: Call) -> dict[str, Any]:
        """Start a query, or find the one that the same token started."""
        parameters = call.parameters
        sql = parameters["QueryString"]
        if len(sql.encode()) > MOST_QUERY_BYTES:
            raise _invalid(f"The query string is longer than {MOST_QUERY_BYTES} bytes")
        if parameters.get("ExecutionParameters"):
            raise AwsError("EmulatorError", "ExecutionParameters are not emulated")
        token = parameters.pop("ClientRequestToken", None)
        asked = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
        with self._lock:
            if token in self._tokens:
                execution_id, asked_first = self._tokens[token]
                if asked != asked_first:
                    raise _invalid("Idempotent parameters do not match an earlier request with this token")
                return {"QueryExecutionId": execution_id}
            execution = self._new_execution(parameters, self._inside.judge.session(call.access_key))
            self._executions[execution.id] = execution
            if token:
                self._tokens[token] = (execution.id, asked)
        threading.Thread(target=self._work, args=(execution,), name=execution.id, daemon=True).start()
        return {"QueryExecutionId": execution.id}

    def get_query_execution(self, call: Call) -> dict[str, Any]:
        """Describe one execution."""
        return {"QueryExecution": self._execution(call.parameters["QueryExecutionId"]).described()}

    def batch_get_query_execution(self, call: Call) -> dict[str, Any]:
        """Describe up to 50 executions; unknown ones come back as such."""
        found, unknown = [], []
        ids = call.parameters["QueryExecutionIds"]
        if len(ids) > 50:
            raise _invalid("Member must have length less than or equal to 50")
        for execution_id in ids:
            try:
                found.append(self._execution(execution_id).described())
            except AwsError as error:
                unknown.append(
                    {"QueryExecutionId": execution_id, "ErrorCode": error.code, "ErrorMessage": error.message}
                )
        return {"QueryExecutions": found, "UnprocessedQueryExecutionIds": unknown}

    def stop_query_execution(self, call: Call) -> dict[str, Any]:
        """Cancel an execution; one that has ended stays as it is."""
        execution = self._execution(call.parameters["QueryExecutionId"])
        execution.cancel.set()
        self._statements.interrupt(execution.id)
        return {}

    def get_query_results(self, call: Call) -> dict[str, Any]:
        """Return one page of a succeeded query's rows; its caller must be able to read the file of results.

        https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryResults.html
        """
        parameters = call.parameters
        execution = self._execution(parameters["QueryExecutionId"])
        if session := self._inside.judge.session(call.access_key):
            bucket, key = split_uri(execution.result_uri)
            self._inside.judge.check(session, "s3", "GetObject", {"Bucket": bucket, "Key": key})
        if execution.state not in ENDED:
            raise _invalid(f"Query has not yet finished. Current state: {execution.state}")
        if execution.state != "SUCCEEDED" or not execution.outcome:
            raise _invalid(f"Query did not finish successfully. Final query state: {execution.state}")
        size = parameters.get("MaxResults") or MOST_ROWS_PER_PAGE
        if size > MOST_ROWS_PER_PAGE:
            raise _invalid(f"MaxResults is more than maximum allowed length {MOST_ROWS_PER_PAGE}")
        return athena_results.page(execution.outcome, int(parameters.get("NextToken") or 0), size)

    # -- what the emulator and its tests ask for

    def plan(self, planned: PlannedFailure) -> None:
        """Make the next query that contains a text fail."""
        with self._lock:
            self._planned.append(planned)

    def wait_for_end(self, execution_id: str) -> Execution:
        """Wait until an execution has ended.

        Raises:
            TimeoutError: it did not end for five minutes.
        """
        execution = self._executions[execution_id]
        if not execution.ended.wait(_WAIT_SECONDS):
            raise TimeoutError(f"query {execution_id} is still {execution.state} after {_WAIT_SECONDS} s")
        return execution

    def close(self) -> None:
        """Cancel running queries and wait until they have ended."""
        for execution in list(self._executions.values()):
            if not execution.ended.is_set():
                execution.cancel.set()
                self._statements.interrupt(execution.id)
                execution.ended.wait(_WAIT_SECONDS)

    def workgroup_of(self, execution_id: str) -> str:
        """Return the workgroup that an execution belongs to."""
        return self._execution(execution_id).workgroup

    # -- inside

    def _execution(self, execution_id: str) -> Execution:
        with self._lock:
            if execution_id in self._executions:
                return self._executions[execution_id]
        raise _invalid(f"QueryExecution {execution_id} was not found")

    def _new_execution(self, parameters: dict[str, Any], session: Session | None) -> Execution:
        workgroup = parameters.get("WorkGroup", "primary")
        configuration = self._configuration(workgroup)
        asked = parameters.get("ResultConfiguration", {}).get("OutputLocation")
        own = configuration.get("ResultConfiguration", {}).get("OutputLocation")
        output = own if configuration.get("EnforceWorkGroupConfiguration") and own else asked or own
        if not output:
            raise _invalid(
                "No output location provided. An output location is required either through the Workgroup result "
                "configuration setting or as an API input."
            )
        bucket = split_uri(output)[0]
        try:
            with self._inside.acting_for(session):
                self._inside.s3.get_bucket_location(Bucket=bucket)
        except ClientError as error:
            message = f"Unable to verify/create output bucket {bucket}"
            if is_refusal(error):
                message = f"{message}. {error.response['Error']['Message']}"
            raise _invalid(message) from error
        return Execution(
            id=str(uuid.uuid4()),
            sql=parameters["QueryString"],
            database=parameters.get("QueryExecutionContext", {}).get("Database", "default"),
            workgroup=workgroup,
            output=output.rstrip("/") + "/",
            cutoff=configuration.get("BytesScannedCutoffPerQuery"),
            submitted=datetime.now(UTC),
            session=session,
        )

    def _configuration(self, workgroup: str) -> dict[str, Any]:
        # moto answers null for a workgroup that is not there.
        found = self._inside.athena.get_work_group(WorkGroup=workgroup).get("WorkGroup")
        if not found:
            raise _invalid(f"WorkGroup {workgroup} is not found.")
        if found.get("State") == "DISABLED":
            raise _invalid(f"WorkGroup {workgroup} is disabled.")
        configuration: dict[str, Any] = found.get("Configuration", {})
        return configuration

    def _take_planned(self, sql: str) -> PlannedFailure | None:
        with self._lock:
            for planned in self._planned:
                if planned.containing in sql:
                    self._planned.remove(planned)
                    return planned
        return None

    def _work(self, execution: Execution) -> None:
        if execution.cancel.wait(self._queue_seconds):
            state = "CANCELLED"
        else:
            execution.state = "RUNNING"
            self._fail_and_queue_again(execution)
            with self._inside.acting_for(execution.session):
                state = self._run(execution)
        # The state is set last, so that whoever sees it sees the rest as well.
        execution.completed = datetime.now(UTC)
        execution.state = state
        execution.ended.set()

    def _fail_and_queue_again(self, execution: Execution) -> None:
        """Show the failure that Athena heals by itself, where one is planned.

        https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecutionStatus.html: "you may see the query
        state transition from RUNNING or FAILED to QUEUED".
        """
        with self._lock:
            healed = [each for each in self._planned if each.queued_again and each.containing in execution.sql]
            for each in healed[:1]:
                self._planned.remove(each)
        for each in healed[:1]:
            execution.failure, execution.state = each.failure, "FAILED"
            execution.cancel.wait(_QUEUED_AGAIN_SECONDS)
            execution.failure, execution.state = None, "QUEUED"
            execution.cancel.wait(_QUEUED_AGAIN_SECONDS)
            execution.state = "RUNNING"

    def _run(self, execution: Execution) -> str:
        """Run the statement and write its result file; return the last state."""
        begun = monotonic()
        planned = self._take_planned(execution.sql)
        try:
            if planned and not planned.after_effect:
                raise planned.failure
            self._check_catalog(execution)
            outcome = self._statements.run(execution.id, execution.sql, execution.database, execution.cutoff)
            execution.scanned = outcome.scanned
            if planned:
                raise planned.failure
            if execution.cancel.is_set():
                return "CANCELLED"
            self._write_results(execution, outcome)
            execution.outcome = outcome
            return "SUCCEEDED"
        except QueryFailedError as failure:
            execution.scanned = max(execution.scanned, failure.scanned)
            execution.failure = failure
            return "CANCELLED" if failure.cancelled or execution.cancel.is_set() else "FAILED"
        except Exception as error:
            if isinstance(error, ClientError) and is_refusal(error):
                message = error.response["Error"]["Message"]
                execution.failure = QueryFailedError(f"Insufficient permissions to execute the query. {message}")
                return "FAILED"
            # A fault of the emulator: the client must see it, and the thread has no other way to report it.
            execution.failure = QueryFailedError(f"the emulator failed: {type(error).__name__}: {error}", category=1)
            return "FAILED"
        finally:
            execution.engine_millis = round((monotonic() - begun) * 1000)

    def _check_catalog(self, execution: Execution) -> None:
        """Ask for the database `default`, which Athena looks at for every query, and for that of the context.

        https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html
        """
        for database in ("default", execution.database):
            self._inside.require("glue", "GetDatabase", Name=database)

    def _write_results(self, execution: Execution, outcome: Outcome) -> None:
        if outcome.files is not None:
            text = "".join(f"{uri}\n" for uri in outcome.files)
            self._put(execution.manifest_uri, text)
            return
        self._put(execution.result_uri, athena_results.as_file(outcome))
        if execution.kind == "DML":
            self._put(execution.result_uri + ".metadata", "emulated")

    def _put(self, uri: str, text: str) -> None:
        bucket, key = split_uri(uri)
        try:
            self._inside.s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
        except ClientError as error:
            if is_refusal(error):
                raise QueryFailedError(
                    f"Access denied when writing output to url: {uri} . Please ensure you are allowed to access the S3 "
                    "bucket. If you are encrypting query results with KMS key, please ensure you are allowed to access "
                    "your KMS key"
                ) from error
            raise QueryFailedError(f"Unable to write query results to {uri}: {error}") from error


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidRequestException", message)
