"""Clients that the emulator itself uses, on moto's own port: past faults, log and limits of the endpoint.

What they do for a caller, as Athena and Glue do, is judged by that caller's permissions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from event_pipeline_tests.emulator.permissions import Judge, Session
from event_pipeline_tests.emulator.policies import Need
from event_pipeline_tests.emulator.wire import AwsError

_JUDGED = ("s3", "glue", "logs")
"""Services that are asked with the caller's permissions; the others are asked for what the emulator wants to know."""


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://<bucket>/<key>`."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.removeprefix("/")


def is_refusal(error: ClientError) -> bool:
    """Return whether a call was refused because its caller lacks a permission."""
    return error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


@contextmanager
def as_far_as_permitted() -> Iterator[None]:
    """Go on without logs and metrics that a role may not write, as AWS does; the judge has noted what was refused."""
    try:
        yield
    except ClientError as error:
        if not is_refusal(error):
            raise


class Inside:
    """One client per service the emulator needs."""

    def __init__(self, endpoint: str, region: str, judge: Judge) -> None:
        self.judge = judge
        self._acting = threading.local()
        self._endpoint = endpoint
        self._session = boto3.Session("inside", "inside", region_name=region)
        # All now: making clients is not safe between threads, using them is.
        self.s3 = self._client("s3")
        self.glue = self._client("glue")
        self.athena = self._client("athena")
        self.logs = self._client("logs")
        self.events = self._client("events")
        self.sns = self._client("sns")
        self.sqs = self._client("sqs")

    def _client(self, service: str) -> Any:
        config = Config(retries={"total_max_attempts": 1}, max_pool_connections=20)
        client = self._session.client(service, endpoint_url=self._endpoint, config=config)
        client.meta.events.register("before-parameter-build", self._check)
        return client

    @contextmanager
    def acting_for(self, caller: Session | None) -> Iterator[None]:
        """Let what this thread does in the block be judged as the caller's; None is nobody who is judged.

        boto3's transfers (`upload_file`) use threads of their own and are not judged: use single calls.
        """
        before, self._acting.caller = self.caller, caller
        try:
            yield
        finally:
            self._acting.caller = before

    @property
    def caller(self) -> Session | None:
        """For whom this thread works."""
        return getattr(self._acting, "caller", None)

    def require(self, service: str, operation: str, **parameters: Any) -> None:
        """Judge a call that AWS makes for the caller, where the emulator knows its answer already.

        Raises:
            ClientError: the caller may not.
        """
        self._judged(lambda caller: self.judge.check(caller, service, operation, parameters), operation)

    def require_action(self, need: Need) -> None:
        """Judge a permission that AWS asks for without a call that the emulator makes.

        Raises:
            ClientError: the caller lacks it.
        """
        self._judged(lambda caller: self.judge.require(caller, need), need.action)

    def _check(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        if service in _JUDGED:
            self.require(service, model.name, **params)

    def _judged(self, judge: Any, operation: str) -> None:
        if self.caller is None:
            return
        try:
            judge(self.caller)
        except AwsError as error:
            said = {
                "Error": {"Code": error.code, "Message": error.message},
                "ResponseMetadata": {"HTTPStatusCode": error.status},
            }
            raise ClientError(said, operation) from error

    def objects(self, uri: str) -> list[dict[str, Any]]:
        """List the objects below a location, as S3 describes them; the location means a folder."""
        bucket, prefix = split_uri(uri)
        prefix = prefix.rstrip("/") + "/" if prefix else ""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found for page in pages for found in page.get("Contents", ())]
