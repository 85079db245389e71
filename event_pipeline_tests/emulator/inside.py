"""Clients that the emulator itself uses, on moto's own port: past faults, log and limits of the endpoint."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://<bucket>/<key>`."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.removeprefix("/")


class Inside:
    """One client per service the emulator needs."""

    def __init__(self, endpoint: str, region: str) -> None:
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
        return self._session.client(service, endpoint_url=self._endpoint, config=config)

    def objects(self, uri: str) -> list[dict[str, Any]]:
        """List the objects below a location, as S3 describes them; the location means a folder."""
        bucket, prefix = split_uri(uri)
        prefix = prefix.rstrip("/") + "/" if prefix else ""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found for page in pages for found in page.get("Contents", ())]
