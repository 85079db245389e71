"""Raw objects with other ETags and the same bytes, as after a copy in parts, are no change on AWS either."""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime

import pytest

from event_pipeline.engines.aws import AwsEngine
from event_pipeline.engines.aws.clients import Aws
from event_pipeline.engines.aws.raw import RawBucket
from event_pipeline.engines.aws.storage import Bucket
from event_pipeline.engines.pipeline import Pipeline
from event_pipeline.engines.state import HourState
from event_pipeline.inspection import verification
from event_pipeline.settings import Settings
from event_pipeline_tests.emulator import EmulatedAws
from event_pipeline_tests.engines.aws.pipeline import land, silver
from event_pipeline_tests.pipeline import HOUR, event

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PART_BYTES = 5 << 20
"""The least that S3 takes for any part but the last."""


def state_of(engine: AwsEngine, settings: Settings) -> HourState:
    return Pipeline(engine, (), settings).states(NOW)[HOUR]


def stored_object() -> bytes:
    """An object of more than one part: a record, and a broken one that does not compress."""
    noise = random.Random(1).randbytes(PART_BYTES).hex()
    return gzip.compress(json.dumps(event()).encode() + b"\n" + noise.encode(), mtime=0, compresslevel=1)


def put_in_parts(aws: EmulatedAws, bucket: str, key: str, stored: bytes) -> None:
    """Write an object in parts: its ETag is that of the parts."""
    s3 = aws.client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(stored), PART_BYTES), start=1):
        part = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=stored[start : start + PART_BYTES]
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


@pytest.fixture
def copied(aws: EmulatedAws, engine: AwsEngine, settings: Settings) -> str:
    """The key of an object that was built, and copied in parts since."""
    stored = stored_object()
    key = land(aws, settings, HOUR, 0, stored)
    land(aws, settings, HOUR, 5, [event(second=1)])
    silver(engine, HOUR)
    before = {each.key: each.etag for each in engine.list_raw(HOUR).objects}
    put_in_parts(aws, settings.raw_bucket, key, stored)
    after = {each.key: each.etag for each in engine.list_raw(HOUR).objects}
    assert after[key] != before[key]
    assert after[key].endswith("-2")
    return key


@pytest.mark.usefixtures("copied")
def test_the_same_bytes_with_another_etag_are_not_built_again(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    assert state_of(engine, settings) is HourState.READY
    (again,) = silver(engine, HOUR)
    assert again.reason == "same input, same rules"
    assert len(aws.requests.of("glue.StartJobRun")) == 1
    found = verification.verify(engine, [], settings.event_time_limits, None, NOW, lambda *_: None)
    assert found.differences == []


def test_an_object_with_another_etag_is_read_once(aws: EmulatedAws, settings: Settings, copied: str) -> None:
    for _ in range(3):
        assert state_of(AwsEngine(settings), settings) is HourState.READY
    notes = f"commits/digests/{HOUR.hive_path}.json"
    (note,) = json.loads(aws.client("s3").get_object(Bucket=settings.lake_bucket, Key=notes)["Body"].read())
    assert note[0] == copied
    # A note is believed: if the object were read again, it would not be the one that was built.
    changed = [[*note[:3], "0" * 64]]
    aws.client("s3").put_object(Bucket=settings.lake_bucket, Key=notes, Body=json.dumps(changed).encode())
    assert state_of(AwsEngine(settings), settings) is HourState.CHANGED


def test_other_bytes_of_the_same_size_are_a_change(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings, copied: str
) -> None:
    stored = bytearray(stored_object())
    stored[len(stored) // 2] ^= 1
    put_in_parts(aws, settings.raw_bucket, copied, bytes(stored))

    assert state_of(engine, settings) is HourState.CHANGED
    (rebuilt,) = silver(engine, HOUR)
    assert rebuilt.reason == "input changed"
    assert [each.unreadable for each in rebuilt.commit.account.objects] == ["corrupt_gzip", None]
    assert state_of(engine, settings) is HourState.READY


def test_the_digest_of_an_object_that_was_replaced_is_not_given(
    aws: EmulatedAws, engine: AwsEngine, settings: Settings
) -> None:
    land(aws, settings, HOUR, 0, [event()])
    (listed,) = engine.list_raw(HOUR).objects
    raw = RawBucket(Bucket(Aws(settings), settings.raw_bucket, settings.raw_prefix), settings)
    assert raw.digest(listed)
    land(aws, settings, HOUR, 0, [event(second=1)])
    assert raw.digest(listed) is None
