"""The generator as a Lambda function: one raw object per tick of its schedule, idempotent.

The object is determined by the tick, and it is written only if it does not exist: a tick that is delivered twice, or
retried after a failure, gives one object and one notification.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

from event_pipeline.generator.objects import write_object
from event_pipeline.generator.options import GeneratorOptions
from event_pipeline.rules.hour import Hour

TICK = timedelta(minutes=5)
_STANDS_ALREADY = "PreconditionFailed"


class UnknownTickError(ValueError):
    """The event of an invocation does not contain its tick."""


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Write the object of one tick to the bucket RAW_BUCKET, under RAW_PREFIX, and return its key, records and bytes.

    EVENTS_PER_FILE and SEED determine the content. `scheduled_time` of the event is the tick, truncated to five
    minutes.

    Raises:
        UnknownTickError: the event has no `scheduled_time` that is an instant with a time zone.
        ClientError: the object cannot be written; Lambda retries the invocation.
    """
    started = time.monotonic()
    landed = tick_of(event)
    key = os.environ["RAW_PREFIX"] + Hour.containing(landed).raw_key(landed)
    options = GeneratorOptions(events_per_file=int(os.environ["EVENTS_PER_FILE"]), seed=int(os.environ["SEED"]))
    with tempfile.TemporaryFile() as stored:
        counts = write_object(stored, landed, options)
        size = stored.tell()
        stored.seek(0)
        try:
            boto3.client("s3").put_object(
                Bucket=os.environ["RAW_BUCKET"],
                Key=key,
                Body=stored,
                ContentType="application/x-ndjson",
                ContentEncoding="gzip",
                IfNoneMatch="*",
            )
            was_there = False
        except ClientError as error:
            if error.response["Error"]["Code"] != _STANDS_ALREADY:
                raise
            was_there = True
    done = {"key": key, "records": counts.records, "bytes": size, "was_there": was_there}
    print(f"{key}: {counts.records:,} records, {size:,} bytes in {time.monotonic() - started:.1f} s", flush=True)
    return done


def tick_of(event: Mapping[str, Any]) -> datetime:
    """Return the tick of an invocation, in UTC.

    Raises:
        UnknownTickError: the event has no `scheduled_time` that is an instant with a time zone.
    """
    text = event.get("scheduled_time")
    try:
        scheduled = datetime.fromisoformat(str(text))
    except ValueError:
        scheduled = None
    if scheduled is None or scheduled.utcoffset() is None:
        raise UnknownTickError(f"scheduled_time={text!r}: it must be an instant such as 2025-12-07T22:05:00Z")
    return datetime.fromtimestamp(scheduled.timestamp() // TICK.total_seconds() * TICK.total_seconds(), UTC)
