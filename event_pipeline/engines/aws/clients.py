"""Calls to AWS: all go through `Aws.call`, which counts them and turns errors into actionable ones.

botocore itself retries throttled and failed calls with backoff; what is raised here has been retried enough.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)

from event_pipeline.errors import PipelineError, StorageError, TransientError
from event_pipeline.settings import PREFIX, Settings

_ATTEMPTS = 6
_CONNECT_TIMEOUT_SECONDS = 10
_READ_TIMEOUT_SECONDS = 60
_CONNECTIONS = 32
_PRINCIPAL_HINT = "docs/aws.md lists what each step needs, docs/deploy.md what a deployment needs"

_PASSING_CODES = frozenset(
    (
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "RequestTimeout",
        "RequestTimeoutException",
        "OperationTimeoutException",
        "InternalError",
        "InternalFailure",
        "InternalServerException",
        "InternalServiceException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ConcurrentModificationException",
        "ConditionalRequestConflict",
        "OperationAborted",
    )
)
_DENIED_CODES = frozenset(
    ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "403", "Forbidden")
)
_EXPIRED_CODES = frozenset(("ExpiredToken", "ExpiredTokenException", "RequestExpired"))
_CREDENTIAL_CODES = frozenset(
    (
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    )
)
_CLOCK_CODES = frozenset(("RequestTimeTooSkewed", "RequestInTheFuture"))
_REGION_CODES = frozenset(
    (
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "IncorrectEndpoint",
        "301",
    )
)

_SAYS_OF_CLOCKS = ("Signature not yet current", "Signature expired")
"""Message of other AWS services, reported as a wrong signature, for what has its own code in S3."""

PERMITTED_AS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
"""API calls that have another name in policies."""

_WRITES = frozenset(
    (
        "PutObject",
        "CopyObject",
        "ListObjectsV2",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    )
)
_READS = frozenset(("GetObject", "HeadObject", "HeadBucket"))


class ExpectedError(Exception):
    """A service's refusal that the caller declared as expected."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Aws:
    """The clients of one engine. Creating it calls nothing; boto3 finds credentials and AWS_ENDPOINT_URL itself."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests: Counter[str] = Counter()
        """`service.Operation` -> requests sent, counting every attempt."""
        # A private session: boto3's default session is not thread-safe for creating clients, and each session loads the
        # services' models again.
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[str, bool], Any] = {}
        self._lock = threading.Lock()

    def call(
        self,
        service: str,
        operation: str,
        resource: str,
        *,
        expected: Collection[str] = (),
        once: bool = False,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Make one call, for example `call("s3", "get_object", "s3://bucket/key", Bucket=..., Key=...)`.

        `resource` is the readable name of the resource. `once` forbids retries, for calls that are not idempotent.

        Raises:
            ExpectedError: the service refused with one of the `expected` codes.
            TransientError: a retry may succeed.
            StorageError: permissions, credentials, region or the resource itself are wrong.
        """
        try:
            return getattr(self.client(service, once=once), operation)(**parameters)  # type: ignore[no-any-return]
        except ClientError as error:
            refusal = error.response.get("Error", {})
            if refusal.get("Code") in expected:
                raise ExpectedError(refusal["Code"], refusal.get("Message", "")) from error
            raise self._explain(error, f"{service}:{_api_name(operation)}", resource) from error
        except BotoCoreError as error:
            raise self._explain(error, f"{service}:{_api_name(operation)}", resource) from error

    def pages(
        self, service: str, operation: str, resource: str, *, expected: Collection[str] = (), **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        """Make a paginated call.

        Raises:
            ExpectedError: the service refused with one of the `expected` codes.
            TransientError: a retry may succeed.
            StorageError: a retry will not help.
        """
        try:
            yield from self.client(service).get_paginator(operation).paginate(**parameters)
        except ClientError as error:
            refusal = error.response.get("Error", {})
            if refusal.get("Code") in expected:
                raise ExpectedError(refusal["Code"], refusal.get("Message", "")) from error
            raise self._explain(error, f"{service}:{_api_name(operation)}", resource) from error
        except BotoCoreError as error:
            raise self._explain(error, f"{service}:{_api_name(operation)}", resource) from error

    def s3_requests(self) -> tuple[int, int]:
        """Return the number of S3 requests sent so far: those priced like PUT, and those priced like GET."""
        with self._lock:
            counted = dict(self.requests)
        return (
            sum(counted.get(f"s3.{operation}", 0) for operation in _WRITES),
            sum(counted.get(f"s3.{operation}", 0) for operation in _READS),
        )

    def note(self, request: str, times: int) -> None:
        """Count requests that other processes sent for this one; `request` is `service.Operation`."""
        with self._lock:
            self.requests[request] += times

    def client(self, service: str, *, once: bool = False) -> Any:
        """Return boto3's client for a service; with `once` it never retries."""
        with self._lock:
            client = self._clients.get((service, once))
            if client is None:
                config = Config(
                    retries={"mode": "standard", "total_max_attempts": 1 if once else _ATTEMPTS},
                    connect_timeout=_CONNECT_TIMEOUT_SECONDS,
                    read_timeout=_READ_TIMEOUT_SECONDS,
                    max_pool_connections=_CONNECTIONS,
                    user_agent_extra="event-pipeline",
                )
                if self._session is None:
                    self._session = boto3.Session(region_name=self.settings.aws_region)
                client = self._session.client(service, config=config)
                client.meta.events.register("before-send", self._count)
                client.meta.events.register("provide-client-params.s3", self._name_owner)
                self._clients[service, once] = client
            return client

    def _name_owner(self, params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any] | None:
        """Make S3 refuse a call if the bucket belongs to another account than the known owner.

        The name of a deleted bucket is free: whoever creates it again would receive the data.
        """
        owner, own = self.settings.aws_account, (self.settings.lake_bucket, self.settings.artifacts_bucket)
        if not owner or params.get("Bucket") not in own:
            return None
        named = {"ExpectedBucketOwner": owner}
        source = params.get("CopySource")
        if (source["Bucket"] if isinstance(source, dict) else str(source).split("/")[0]) in own:
            named["ExpectedSourceBucketOwner"] = owner
        taken = model.input_shape.members
        return {**params, **{name: value for name, value in named.items() if name in taken}}

    def _count(self, event_name: str, **_: Any) -> None:
        with self._lock:
            self.requests[event_name.removeprefix("before-send.")] += 1

    def _explain(self, error: ClientError | BotoCoreError, call: str, resource: str) -> PipelineError:
        text = f"{call} on {resource}: "
        if isinstance(error, ClientError):
            return self._explain_refusal(error, call, text)
        if isinstance(error, NoCredentialsError | PartialCredentialsError | ProfileNotFound | SSOError):
            return StorageError(f"{text}no usable AWS credentials ({error}): log in or set AWS_PROFILE")
        if isinstance(error, NoRegionError):
            return StorageError(f"{text}no region: set {PREFIX}AWS_REGION")
        if isinstance(error, EndpointConnectionError):
            return TransientError(f"{text}{error}: check the network and {PREFIX}AWS_REGION={self.settings.aws_region}")
        if isinstance(error, HTTPClientError):
            return TransientError(f"{text}no answer after {_ATTEMPTS} attempts ({error})")
        return StorageError(f"{text}{error}")

    def _explain_refusal(self, error: ClientError, call: str, text: str) -> PipelineError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        message = str(error.response.get("Error", {}).get("Message", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        said = f"{code}: {message}" if message and message != code else code
        region = self.settings.aws_region
        if code in _PASSING_CODES or status >= 500:
            return TransientError(f"{text}{said} (after {_ATTEMPTS} attempts with backoff)")
        if code in _EXPIRED_CODES:
            return StorageError(f"{text}the AWS credentials have expired ({said}): log in again and run again")
        if code in _CLOCK_CODES or (code in _CREDENTIAL_CODES and message.startswith(_SAYS_OF_CLOCKS)):
            return StorageError(f"{text}the clock of this machine is wrong ({said}): set it, and run again")
        if code in _CREDENTIAL_CODES:
            return StorageError(f"{text}AWS does not know these credentials ({said}): check AWS_PROFILE or the keys")
        if code in _REGION_CODES:
            return StorageError(
                f"{text}it is not in region {region} ({said}): set {PREFIX}AWS_REGION to the region of the bucket"
            )
        if code in _DENIED_CODES or status == 403:
            action = PERMITTED_AS.get(call, call)
            return StorageError(f"{text}denied ({said}): the role needs {action} there; {_PRINCIPAL_HINT}")
        if code == "NoSuchBucket":
            return StorageError(
                f"{text}there is no such bucket in region {region}: deploy the infrastructure, or check "
                f"{PREFIX}RAW_BUCKET, {PREFIX}LAKE_BUCKET, {PREFIX}ARTIFACTS_BUCKET and {PREFIX}AWS_REGION"
            )
        if code in ("EntityNotFoundException", "NoSuchKey", "404"):
            return StorageError(
                f"{text}it does not exist in region {region} ({said}): deploy the infrastructure, or check the "
                f"settings and {PREFIX}AWS_REGION"
            )
        return StorageError(f"{text}{said}")


def _api_name(operation: str) -> str:
    """Convert boto3's method name to the API's: `list_objects_v2` -> `ListObjectsV2`."""
    return "".join(part.capitalize() for part in operation.split("_"))
