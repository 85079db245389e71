"""Classifies failures of Athena: a transient error, a missing permission, a limit, wrong data, or wrong SQL.

Athena reports it in three ways: as text (`StateChangeReason`), as error type and as error category, but only the text
always exists. So the text decides first. The codes at its beginning are Trino's; types and categories are from Athena's
error catalog (https://docs.aws.amazon.com/athena/latest/ug/error-reference.html).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from event_pipeline.errors import LimitError, PipelineError, QueryError, StorageError, TransientError
from event_pipeline.settings import PREFIX


class Meaning(Enum):
    """What to do after a failure."""

    PASSING = "wait and run it again"
    DENIED = "grant the caller a permission"
    LIMIT = "ask for less at a time"
    DATA = "repair files, tables or infrastructure"
    SQL = "write another statement"
    CANCELLED = "ask who stopped it"


_SYSTEM, _USER = 1, 2

_CODE = re.compile(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?::|\b)")
"""Trino's name of an error; all of them have an underscore."""

_CODES = {
    Meaning.SQL: """
        SYNTAX_ERROR COLUMN_NOT_FOUND TABLE_NOT_FOUND SCHEMA_NOT_FOUND CATALOG_NOT_FOUND FUNCTION_NOT_FOUND
        TYPE_NOT_FOUND TYPE_MISMATCH AMBIGUOUS_NAME AMBIGUOUS_FUNCTION_CALL COLUMN_NAME_NOT_SPECIFIED
        COLUMN_TYPE_UNKNOWN DUPLICATE_COLUMN_NAME EXPRESSION_NOT_AGGREGATE EXPRESSION_NOT_SCALAR
        EXPRESSION_NOT_IN_DISTINCT EXPRESSION_NOT_CONSTANT MISSING_GROUP_BY MISSING_COLUMN_NAME NESTED_AGGREGATION
        NESTED_WINDOW INVALID_COLUMN_REFERENCE INVALID_CAST_ARGUMENT INVALID_FUNCTION_ARGUMENT INVALID_LITERAL
        INVALID_WINDOW_FRAME INVALID_ARGUMENTS INVALID_ORDER_BY NUMERIC_VALUE_OUT_OF_RANGE DIVISION_BY_ZERO
        MISMATCHED_COLUMN_ALIASES SUBQUERY_MULTIPLE_ROWS NOT_SUPPORTED INVALID_VIEW VIEW_IS_STALE
    """,
    Meaning.LIMIT: """
        QUERY_HAS_TOO_MANY_STAGES QUERY_TEXT_TOO_LARGE COMPILER_ERROR EXCEEDED_TIME_LIMIT EXCEEDED_CPU_LIMIT
        EXCEEDED_SCAN_LIMIT EXCEEDED_LOCAL_MEMORY_LIMIT EXCEEDED_GLOBAL_MEMORY_LIMIT EXCEEDED_FUNCTION_MEMORY_LIMIT
        EXCEEDED_SPILL_LIMIT EXCEEDED_TASK_DESCRIPTOR_STORAGE_CAPACITY
    """,
    Meaning.PASSING: """
        TOO_MANY_REQUESTS_FAILED PAGE_TRANSPORT_ERROR PAGE_TRANSPORT_TIMEOUT REMOTE_TASK_ERROR REMOTE_TASK_MISMATCH
        REMOTE_HOST_GONE NO_NODES_AVAILABLE CLUSTER_OUT_OF_MEMORY CLUSTER_STARTING_UP SERVER_SHUTTING_DOWN
        SERVER_STARTING_UP QUERY_QUEUE_FULL GENERIC_INSUFFICIENT_RESOURCES ABANDONED_TASK
    """,
    Meaning.DENIED: "PERMISSION_DENIED",
}
_MEANING_OF_CODE = {code: meaning for meaning, codes in _CODES.items() for code in codes.split()}

_TEXTS = (
    (
        Meaning.DENIED,
        r"access ?denied|not authorized to|insufficient permissions|lake ?formation permission|status code: 403"
        r"|permission denied|allaccessdisabled|do(?:es)? not (?:seem to )?have (?:access|permission|any privilege)",
    ),
    (Meaning.LIMIT, r"bytes scanned limit|query timeout|query timed out|maximum query length"),
    (
        Meaning.PASSING,
        r"slow ?down|status code: (?:429|50\d)|reduce your request rate|rate exceeded|throttl|too ?many ?requests"
        r"|exhausted resources|insufficient capacity|service ?unavailable|submitting the query again|connection reset"
        r"|read timed out|timeout waiting for connection|unable to execute http request"
        # A listed file that is gone or different: deleted or replaced while the query ran.
        r"|incorrect filesize|specified key does not exist|nosuchkey|preconditionfailed",
    ),
    (Meaning.DATA, r"nosuchbucket|bucket does not exist|unable to create input format|org\.apache\.parquet"),
)
"""The first match in a text decides."""

_TYPES = {
    Meaning.DENIED: {234, 1500, 1501},
    Meaning.LIMIT: {206, 210},
    # Resources, internal errors of service and engine, and throttling; 1402: too many versions of a table.
    Meaning.PASSING: {*range(9), 100, *range(200, 206), *range(207, 210), *range(211, 241)}
    | {*range(300, 304), *range(400, 403), 1010, 1012, 1013, 1102, 1104, 1105, 1304, 1305, 1308, 1400, 1401}
    | {*range(1403, 1407), 1602, 9999},
    Meaning.DATA: {1001, 1002, 1004, 1005, 1007, 1109, 1302, 1306, 1402},
    Meaning.CANCELLED: {1011, 1014},
}
_MEANING_OF_TYPE = {number: meaning for meaning, numbers in reversed(_TYPES.items()) for number in numbers}


def meaning(state: str, reason: str, error: Mapping[str, Any]) -> Meaning:
    """Return what to do after a query that did not succeed.

    Args:
        state: FAILED or CANCELLED.
        reason: its `StateChangeReason`.
        error: its `AthenaError`; empty if Athena gave none, as for cancelled queries.
    """
    found = _CODE.match(reason)
    code = found[1] if found else ""
    # A user's text follows these codes, and may contain anything.
    if code in _MEANING_OF_CODE:
        return _MEANING_OF_CODE[code]
    for kind, pattern in _TEXTS:
        if re.search(pattern, reason, re.IGNORECASE):
            return kind
    if state == "CANCELLED":
        return Meaning.CANCELLED
    by_type = _MEANING_OF_TYPE.get(error.get("ErrorType", -1))
    if by_type in (Meaning.DENIED, Meaning.LIMIT):
        return by_type
    if error.get("Retryable") or error.get("ErrorCategory") == _SYSTEM:
        return Meaning.PASSING
    if code.startswith(("HIVE_", "ICEBERG_", "PARQUET_")):
        return Meaning.DATA
    if by_type is not None:
        return by_type
    return Meaning.SQL if error.get("ErrorCategory") == _USER else Meaning.DATA


def query_failure(execution: Mapping[str, Any]) -> PipelineError:
    """Return the error of a QueryExecution that is FAILED or CANCELLED."""
    status = execution["Status"]
    error = status.get("AthenaError", {})
    reason = str(status.get("StateChangeReason") or error.get("ErrorMessage") or "no reason given")
    text = f"Athena query {execution.get('QueryExecutionId')} {status['State'].lower()}: {reason}"
    statement = shown(execution.get("Query", ""))
    match meaning(status["State"], reason, error):
        case Meaning.PASSING:
            return TransientError(f"{text}: run again")
        case Meaning.DENIED:
            # Athena's own text does not name the permission.
            action = " (s3:PutObject)" if "when writing output to url" in reason else ""
            return StorageError(
                f"{text}{action}: the role, or the grants of Lake Formation, must allow what Athena does on behalf of "
                "its caller; see docs/aws.md, and event-pipeline doctor"
            )
        case Meaning.LIMIT:
            return LimitError(f"{text}: ask for fewer days or hours at a time, or raise the limit: {statement}")
        case Meaning.SQL:
            return QueryError(f"{text}: {statement}")
        case Meaning.CANCELLED:
            return PipelineError(f"{text}: it was stopped from outside")
        case Meaning.DATA:
            return StorageError(text)


_INFRASTRUCTURE = re.compile(
    r"workgroup .*(?:not found|disabled)|verify/create output bucket|no output location provided"
    r"|location provided to save your query results|not (?:seem to )?have access to the s3 location",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"length less than or equal to|query string is longer", re.IGNORECASE)


def start_refusal(message: str, sql: str, workgroup: str) -> PipelineError:
    """Return the error of a StartQueryExecution that was refused with InvalidRequestException and this message."""
    # Athena's own text comes before a position, the statement's after it; the latter may contain anything.
    if not re.match(r"(?:[A-Z_]+: )?line \d+:\d+", message):
        if _INFRASTRUCTURE.search(message) or re.search(_TEXTS[0][1], message, re.IGNORECASE):
            return StorageError(
                f"athena:StartQueryExecution in workgroup {workgroup}: {message}: deploy the infrastructure, or check "
                f"{PREFIX}ATHENA_WORKGROUP and the permissions on its output location"
            )
        if _TOO_LONG.search(message):
            return LimitError(f"Athena refuses the statement: {message}: ask for fewer days or hours at a time")
    return QueryError(f"Athena refuses the statement: {message}: {shown(sql)}")


def shown(sql: str) -> str:
    """Return the beginning of a statement on one line."""
    flat = " ".join(sql.split())
    return flat if len(flat) <= 200 else f"{flat[:200]}…"
