"""Generated raw objects put into an emulated bucket as a producer would: gzipped, and marked as such."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from event_pipeline.generator import GeneratorOptions, generate, generate_live
from event_pipeline.generator.raw_folder import GeneratedObject, GeneratedTotals
from event_pipeline.rules.hour import Hour


def feed_hours(s3: Any, bucket: str, hours: Iterable[Hour], options: GeneratorOptions) -> GeneratedTotals:
    """Put the objects of landing hours into a bucket."""
    with tempfile.TemporaryDirectory(prefix="feed-") as folder:
        return generate(Path(folder), hours, options, lambda made: put(s3, bucket, Path(folder), made.key))


def feed_live(s3: Any, bucket: str, interval_seconds: int, options: GeneratorOptions, count: int | None = None) -> None:
    """Put one object into a bucket every `interval_seconds`, `count` or for ever; the first after one interval."""
    with tempfile.TemporaryDirectory(prefix="feed-") as folder:

        def land(made: GeneratedObject) -> None:
            put(s3, bucket, Path(folder), made.key)
            (Path(folder) / made.key).unlink()

        time.sleep(interval_seconds)
        generate_live(Path(folder), interval_seconds, options, count, land)


def put(s3: Any, bucket: str, folder: Path, key: str) -> None:
    """Put one object of a raw folder into a bucket, with the headers that producers set."""
    body = (folder / key).read_bytes()
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/x-ndjson", ContentEncoding="gzip")
