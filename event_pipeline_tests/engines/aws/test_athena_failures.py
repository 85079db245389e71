"""What Athena says when a query or a call fails, in its own words, and what each of them means for the pipeline.

Texts and numbers are from Athena's error catalog, its pages on troubleshooting and on throttling, Trino's error codes
and what people reported of their accounts.
"""

from __future__ import annotations

from typing import Any

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.athena_failures import query_failure, start_refusal
from event_pipeline.errors import LimitError, PipelineError, QueryError, StorageError, TransientError
from event_pipeline_tests.emulator import AwsError, EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import silver
from event_pipeline_tests.pipeline import HOUR

GLUE_DENIED = (
    "Insufficient permissions to execute the query. User: arn:aws:sts::123456789012:assumed-role/orchestrator/x is not "
    "authorized to perform: glue:GetDatabase on resource: arn:aws:glue:eu-central-1:123456789012:database/default "
    "because no identity-based policy allows the glue:GetDatabase action (Service: AWSGlue; Status Code: 400; Error "
    "Code: AccessDeniedException; Request ID: e8fb47f5; Proxy: null)"
)
LAKE_FORMATION = (
    "Insufficient Lake Formation permission(s): Required Select on events (Service: AmazonDataCatalog; Status Code: "
    "400; Error Code: AccessDeniedException; Request ID: 14419262; Proxy: null)"
)
S3_DENIED = (
    "HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split s3://lake/runs/x (offset=0, length=10): Access Denied (Service: "
    "Amazon S3; Status Code: 403; Error Code: AccessDenied; Request ID: 1; S3 Extended Request ID: 2)"
)
S3_BUSY = (
    "HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split s3://lake/runs/x (offset=0, length=10): Please reduce your "
    "request rate. (Service: Amazon S3; Status Code: 503; Error Code: SlowDown; Request ID: 1)"
)
GONE = "HIVE_CURSOR_ERROR: com.amazonaws.services.s3.model.AmazonS3Exception: The specified key does not exist."
MISMATCH = (
    "HIVE_PARTITION_SCHEMA_MISMATCH: There is a mismatch between the table and partition schemas. The types are "
    "incompatible and cannot be coerced. The column 'price' in table 'silver.events' is declared as type 'double'"
)
OUTPUT_DENIED = (
    "Access denied when writing output to url: s3://artifacts/athena-results/1.csv . Please ensure you are allowed to "
    "access the S3 bucket. If you are encrypting query results with KMS key, please ensure you are allowed to access "
    "your KMS key"
)

FAILED = [
    # what the caller, or Lake Formation, must be granted
    (GLUE_DENIED, 2, 1500, StorageError),
    (LAKE_FORMATION, 2, 1500, StorageError),
    ("Lake Formation refuses", 1, 234, StorageError),
    (S3_DENIED, 2, 1501, StorageError),
    (OUTPUT_DENIED, 2, 401, StorageError),
    ("PERMISSION_DENIED: Access Denied: Cannot select from columns [price] in table events", 2, 1, StorageError),
    ("Permission error", 2, 1500, StorageError),
    # what may be over in a moment
    (S3_BUSY, 2, 1403, TransientError),
    ("HIVE_METASTORE_ERROR: Rate exceeded (Service: AWSGlue; Status Code: 400)", 2, 1401, TransientError),
    ("Query failed due to Amazon Athena throttling", 2, 1404, TransientError),
    ("Query exhausted resources at this scale factor", 2, 6, TransientError),
    ("Amazon Athena experienced an internal error while executing this query. Please try submitting the query again "
     "and if the issue reoccurs, contact AWS support for further assistance.", 1, 300, TransientError),
    ("GENERIC_INTERNAL_ERROR: null", 1, 200, TransientError),
    ("HIVE_WRITER_CLOSE_ERROR: Error committing write to Hive", 1, 235, TransientError),
    ("Internal service error", 3, 9999, TransientError),
    ("TOO_MANY_REQUESTS_FAILED: Encountered too many errors talking to a worker node", 1, 217, TransientError),
    ("PAGE_TRANSPORT_TIMEOUT: Encountered too many errors talking to a worker node", 2, 1000, TransientError),
    ("Exceeded reserved capacity limit. Insufficient capacity to execute this query.", 2, 1602, TransientError),
    ("HIVE_FILESYSTEM_ERROR: Incorrect fileSize 1234567 for file", 2, 1001, TransientError),
    (GONE, 2, 1302, TransientError),
    # what must be asked for in smaller pieces
    ("QUERY_HAS_TOO_MANY_STAGES: Number of stages in the query (161) exceeds the allowed maximum (150). If the query "
     "contains multiple aggregates with DISTINCT over different columns, please set the "
     "'mark_distinct_strategy' session property to 'none'", 2, 1000, LimitError),
    ("Query timeout", 2, 1000, LimitError),
    ("EXCEEDED_TIME_LIMIT: Query exceeded the maximum execution time limit of 30.00m", 1, 210, LimitError),
    ("Query timed out", 1, 206, LimitError),
    ("EXCEEDED_LOCAL_MEMORY_LIMIT: Query exceeded per-node user memory limit of 13GB", 2, 1000, LimitError),
    # what is wrong with files, tables or buckets
    ("HIVE_BAD_DATA: Field price's type DOUBLE in parquet file s3://lake/x is incompatible with type bigint defined in "
     "table schema", 2, 1001, StorageError),
    (MISMATCH, 2, 1004, StorageError),
    ("HIVE_CURSOR_ERROR: Unexpected end of input stream", 2, 1001, StorageError),
    ("HIVE_UNKNOWN_ERROR: Unable to create input format", 2, 1004, StorageError),
    ("HIVE_PATH_ALREADY_EXISTS: Target directory for table 's3://lake/x' already exists", 2, 1000, StorageError),
    ("The specified bucket does not exist (Service: Amazon S3; Status Code: 404; Error Code: NoSuchBucket)", 2, 1306,
     StorageError),
    # what is wrong with the statement, whatever it quotes
    ("SYNTAX_ERROR: line 1:8: Column 'slowdown' cannot be resolved", 2, 1006, QueryError),
    ("COLUMN_NOT_FOUND: line 2:5: Column 'billing' cannot be resolved or requester is not authorized to access "
     "requested resources", 2, 1006, QueryError),
    ("TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.silver.access denied' does not exist", 2, 1301, QueryError),
    ("TYPE_MISMATCH: line 1:27: Cannot apply operator: varchar = integer", 2, 1006, QueryError),
    ("FUNCTION_NOT_FOUND: line 1:8: Function 'throttled' not registered", 2, 1303, QueryError),
    ("INVALID_CAST_ARGUMENT: Cannot cast 'Rate exceeded' to INT", 2, 1000, QueryError),
    ("DIVISION_BY_ZERO: Division by zero", 2, 1000, QueryError),
    ("NOT_SUPPORTED: Unsupported Hive type: timestamp(3) with time zone", 2, 1200, QueryError),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "category", "kind", "expected"), FAILED, ids=[row[0][:40] for row in FAILED])
def test_a_failed_query_is_the_fault_that_its_text_and_type_say(
    reason: str, category: int, kind: int, expected: type[PipelineError]
) -> None:
    failure = query_failure(ended("FAILED", reason, {"ErrorCategory": category, "ErrorType": kind}))
    assert type(failure) is expected
    assert reason in str(failure)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (GLUE_DENIED, StorageError),
        (S3_BUSY, TransientError),
        ("Query exhausted resources at this scale factor", TransientError),
        ("SYNTAX_ERROR: line 1:8: mismatched input", QueryError),
    ],
)
def test_the_text_alone_is_enough(reason: str, expected: type[PipelineError]) -> None:
    assert type(query_failure(ended("FAILED", reason, None))) is expected


def test_what_athena_calls_retryable_is_a_passing_fault() -> None:
    error = {"ErrorCategory": 2, "ErrorType": 1009, "Retryable": True}
    assert type(query_failure(ended("FAILED", "Query failed", error))) is TransientError


def test_a_failure_without_any_words_is_still_told() -> None:
    assert "no reason given" in str(query_failure(ended("FAILED", None, None)))


def test_a_query_that_was_stopped_says_by_whom() -> None:
    assert isinstance(query_failure(ended("CANCELLED", "Bytes scanned limit was exceeded", None)), LimitError)
    assert "it was stopped from outside" in str(query_failure(ended("CANCELLED", "Query canceled by user", None)))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("WorkGroup event-pipeline is not found.", StorageError),
        ("WorkGroup event-pipeline is disabled.", StorageError),
        ("Unable to verify/create output bucket artifacts", StorageError),
        ("No output location provided. An output location is required either through the Workgroup result "
         "configuration setting or as an API input.", StorageError),
        ("The S3 location provided to save your query results is invalid. Please check your S3 location is correct "
         "and is in the same region and try again.", StorageError),
        ("1 validation error detected: Value at 'queryString' failed to satisfy constraint: Member must have length "
         "less than or equal to 262144", LimitError),
        ("line 1:8: mismatched input 'output'. Expecting: '(', 'WORKGROUP x is not found'", QueryError),
        ("Queries of this type are not supported", QueryError),
    ],
)  # fmt: skip
def test_a_refused_start_is_told_by_its_message(message: str, expected: type[PipelineError]) -> None:
    assert type(start_refusal(message, "SELECT 1", "event-pipeline")) is expected


@pytest.mark.parametrize(
    ("code", "message", "status", "expected"),
    [
        ("AccessDeniedException", "You are not authorized to perform: athena:StartQueryExecution", 400, StorageError),
        ("TooManyRequestsException", "You have exceeded the limit for the number of queries you can run", 400,
         TransientError),
        ("ThrottlingException", "Rate exceeded", 400, TransientError),
        ("InternalServerException", "Internal server error", 500, TransientError),
        ("ExpiredTokenException", "The security token included in the request is expired", 400, StorageError),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", 400, StorageError),
        ("InvalidRequestException", "line 1:8: mismatched input 'FROM'", 400, QueryError),
    ],
)  # fmt: skip
def test_exceptions_of_the_api_are_told_apart(
    aws: EmulatedAws,
    engine: AwsEngine,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    message: str,
    status: int,
    expected: type[PipelineError],
) -> None:
    monkeypatch.setattr("event_pipeline.engines.aws.clients._ATTEMPTS", 1)
    aws.fail_next("athena.StartQueryExecution", AwsError(code, message, status), None)
    with pytest.raises(expected) as raised:
        engine.query("SELECT 1 AS one")
    assert type(raised.value) is expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (LAKE_FORMATION, StorageError),
        (S3_BUSY, TransientError),
        (
            "QUERY_HAS_TOO_MANY_STAGES: Number of stages in the query (161) exceeds the allowed maximum (150)",
            LimitError,
        ),
    ],
)
def test_the_engine_tells_failures_of_queries_apart(
    aws: EmulatedAws, engine: AwsEngine, reason: str, expected: type[PipelineError]
) -> None:
    aws.fail_next_query(reason)
    with pytest.raises(expected):
        engine.query("SELECT 1 AS one")


def test_a_query_that_athena_queues_again_by_itself_ends_well(aws: EmulatedAws, engine: AwsEngine) -> None:
    aws.fail_next_query("Query exhausted resources", retryable=True, system=True, queued_again=True)
    assert engine.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_count_that_fails_in_passing_says_nothing_of_the_partition(aws: EmulatedAws, engine: AwsEngine) -> None:
    silver(engine, HOUR)
    aws.fail_next_query("Query exhausted resources", retryable=True, system=True)
    with pytest.raises(TransientError):
        engine.partition_faults(HOUR)
    assert engine.partition_faults(HOUR) == []


def ended(state: str, reason: str | None, error: dict[str, Any] | None) -> dict[str, Any]:
    """Return a QueryExecution that ended otherwise than well."""
    status: dict[str, Any] = {"State": state}
    if reason is not None:
        status["StateChangeReason"] = reason
    if error is not None:
        status["AthenaError"] = {"Retryable": False, **error}
    return {"QueryExecutionId": "0a1b", "Query": "SELECT 1", "Status": status}
