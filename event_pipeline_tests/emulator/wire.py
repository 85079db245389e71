"""Which AWS operation an HTTP request is, and how its service words an error; not what any operation does."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import botocore.session
from botocore.model import OperationModel
from werkzeug.wsgi import LimitedStream

_CREDENTIAL = re.compile(r"Credential=([^/,]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_SERVICE_OF_SIGNATURE = {"monitoring": "cloudwatch", "states": "stepfunctions", "email": "ses"}
"""Services whose signing name is not the name boto3 knows them by."""


class AwsError(Exception):
    """A service's refusal: code, message and HTTP status, as a client gets them."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood: `s3.PutObject` by some access key in some region."""

    service: str
    operation: str
    protocol: str
    """How the service speaks: `json`, `query` or `xml` (S3); all others are answered like `json`."""
    region: str
    access_key: str
    """Empty for an unsigned request."""
    method: str
    path: str
    """Decoded; `/<bucket>/<key>` for S3."""
    body: bytes
    """The body of JSON and form requests and of Lambda; an S3 body stays in its stream."""

    @property
    def name(self) -> str:
        """Service and operation, for example `glue.StartJobRun`."""
        return f"{self.service}.{self.operation}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What a JSON request asks for."""
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found

    def mentions(self, text: str) -> bool:
        """Return whether path or body hold a text, for example a key's prefix or a word of a query."""
        return text in self.path or text in self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def identify(environ: dict[str, Any]) -> Call:
    """Understand a WSGI request. A JSON or form body is read and put back."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    authorization = environ.get("HTTP_AUTHORIZATION") or "Credential=" + query.get("X-Amz-Credential", [""])[0]
    signed = _CREDENTIAL.search(authorization)
    access_key, region, signed_service = signed.groups() if signed else ("", "", "s3")
    service = _SERVICE_OF_SIGNATURE.get(signed_service, signed_service)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    path = unquote(environ.get("RAW_URI", environ.get("PATH_INFO", "")).partition("?")[0])
    body = b""
    if not environ.get("wsgi.input_terminated"):
        # Ends where the body ends, whoever reads it: the bare socket would wait for more.
        environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0))
    if target or form or service == "lambda":
        body = drain(environ)
        environ["wsgi.input"] = io.BytesIO(body)
    if target:
        operation, protocol = target.rpartition(".")[2], "json"
    elif form:
        operation, protocol = parse_qs(body.decode()).get("Action", ["?"])[0], "query"
    else:
        protocol = "xml" if service == "s3" else "json"
        operation = _rest_operation(service, environ, path, query)
    return Call(service, operation, protocol, region, access_key, environ["REQUEST_METHOD"], path, body)


def drain(environ: dict[str, Any]) -> bytes:
    """Read what is left of a request's body, so that its connection can carry the next request."""
    return bytes(environ["wsgi.input"].read())


def json_answer(body: object) -> Answer:
    """Render what a JSON operation answers."""
    text = json.dumps({} if body is None else body, default=_epoch_seconds)
    return Answer(200, (("Content-Type", "application/x-amz-json-1.1"),), text.encode())


def error_answer(call: Call, error: AwsError) -> Answer:
    """Render a refusal the way the call's service does."""
    if call.method == "HEAD":
        return Answer(error.status, (("Content-Type", "application/xml"),), b"")
    if call.protocol == "json":
        body = json.dumps({"__type": error.code, "message": error.message, "Message": error.message})
        headers = (("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", error.code))
        return Answer(error.status, headers, body.encode())
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    if call.protocol == "xml":
        text = f"<Error>{inner}<Resource>{escape(call.path)}</Resource><RequestId>emulated</RequestId></Error>"
    else:
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>emulated</RequestId></ErrorResponse>"
        )
    return Answer(error.status, (("Content-Type", "text/xml"),), text.encode())


def _epoch_seconds(value: Any) -> float:
    return float(value.timestamp())


@dataclass(frozen=True, slots=True)
class _RestOperation:
    """What identifies a REST operation: method, path, and what its query and headers must have."""

    name: str
    method: str
    path: re.Pattern[str]
    query: frozenset[str]
    headers: frozenset[str]


def request_uri(operation: OperationModel) -> tuple[str, str]:
    """Return path and fixed query of a REST operation, as its model says them.

    botocore takes the bucket out of a model's path at the first call of a client, and keeps the whole one aside; tests
    share their models with the clients.
    """
    path, _, fixed = operation.http["requestUri"].partition("?")
    return operation.http.get("authPath", path).rstrip("/") or "/", fixed


@cache
def _rest_operations(service: str) -> tuple[_RestOperation, ...]:
    model = botocore.session.Session().get_service_model(service)
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        if operation.deprecated:
            continue  # another has its path: PutBucketLifecycle, PutBucketLifecycleConfiguration
        path, fixed = request_uri(operation)
        # "{Key+}" spans slashes, "{Bucket}" does not.
        pattern = re.sub(r"\\\{\w+\\\+\\\}", ".+", re.escape(path))
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", pattern)
        query = {part for part in fixed.split("&") if part and not part.startswith("x-id=")}
        headers = set()
        if operation.input_shape:
            for member in operation.input_shape.required_members:
                serialization = operation.input_shape.members[member].serialization
                if serialization.get("location") == "querystring":
                    query.add(serialization["name"])
                elif serialization.get("location") == "header":
                    headers.add(serialization["name"].lower())
        method = operation.http["method"]
        found.append(_RestOperation(name, method, re.compile(pattern + "/?"), frozenset(query), frozenset(headers)))
    return tuple(found)


def _rest_operation(service: str, environ: dict[str, Any], path: str, query: dict[str, list[str]]) -> str:
    method = environ["REQUEST_METHOD"]
    try:
        operations = _rest_operations(service)
    except botocore.exceptions.UnknownServiceError:
        return f"{method} {path}"
    given = set(query) | {f"{name}={value}" for name, values in query.items() for value in values}
    headers = {name[5:].lower().replace("_", "-") for name in environ if name.startswith("HTTP_")}
    fitting = [
        operation
        for operation in operations
        if operation.method == method
        and operation.path.fullmatch(path)
        and operation.query <= given
        and operation.headers <= headers
    ]
    if not fitting:
        return f"{method} {path}"
    # The one that asks for most is meant; of equals, the plain one (ListBuckets before ListDirectoryBuckets).
    return min(fitting, key=lambda fit: (-len(fit.query) - len(fit.headers), len(fit.name))).name
