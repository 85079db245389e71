"""S3 calls to the pipeline's own buckets name the account that must own them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse

from event_pipeline.engines.aws.clients import Aws
from event_pipeline.settings import Environment, SettingsError, load_settings

OWNER = "x-amz-expected-bucket-owner"
SOURCE_OWNER = "x-amz-source-expected-bucket-owner"


def sent_headers(account: str, operation: str, **parameters: Any) -> dict[str, str]:
    """Return the headers of one call as botocore would send it."""
    settings = load_settings(
        env=Environment.AWS,
        aws_region="us-east-1",
        aws_account=account,
        raw_bucket="raw",
        lake_bucket="lake",
        artifacts_bucket="artifacts",
    )
    client, sent = Aws(settings).client("s3"), list[AWSRequest]()

    def answer(request: AWSRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, _Body())

    client.meta.events.register_last("before-send", answer)
    getattr(client, operation)(**parameters)
    return {
        name.lower(): str(value.decode() if isinstance(value, bytes) else value)
        for name, value in sent[0].headers.items()
    }


class _Body:
    """An empty body of an answer."""

    def stream(self, *_: Any, **__: Any) -> Any:
        return iter(())

    def read(self, *_: Any, **__: Any) -> bytes:
        return b""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("put_object", {"Key": "k", "Body": b""}),
        ("delete_object", {"Key": "k"}),
        ("head_object", {"Key": "k"}),
        ("list_objects_v2", {}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": "k"}]}}),
    ],
)
def test_the_owner_of_our_own_buckets_is_named(operation: str, parameters: dict[str, Any]) -> None:
    for bucket in ("lake", "artifacts"):
        assert sent_headers("123456789012", operation, Bucket=bucket, **parameters)[OWNER] == "123456789012"
    assert OWNER not in sent_headers("", operation, Bucket="lake", **parameters)
    # Producers may have the raw bucket in an account of their own.
    assert OWNER not in sent_headers("123456789012", operation, Bucket="raw", **parameters)


def test_a_copy_names_the_owner_of_its_source() -> None:
    copy = {"Bucket": "lake", "Key": "b", "CopySource": {"Bucket": "lake", "Key": "a"}}
    headers = sent_headers("123456789012", "copy_object", **copy)
    assert (headers[OWNER], headers[SOURCE_OWNER]) == ("123456789012", "123456789012")
    headers = sent_headers("123456789012", "copy_object", **{**copy, "CopySource": "raw/a"})
    assert (headers[OWNER], SOURCE_OWNER in headers) == ("123456789012", False)


def test_an_account_has_twelve_digits() -> None:
    with pytest.raises(SettingsError, match="12 digits"):
        load_settings(aws_account="1234")
